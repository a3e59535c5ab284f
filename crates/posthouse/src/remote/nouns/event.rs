//! `posthouse event`: what happened, as a list and as it happens.

use super::Noun;
use crate::remote::action::{Action, Extent, Rows};
use crate::remote::call::{Call, of_tenant, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::View;
use clap::Subcommand;
use jiff::{Span, Timestamp};

#[derive(Debug, clap::Args)]
pub struct Event {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Events, the oldest first
    List {
        /// From then on: a time, or a span back from now such as 2h; from the first one without it
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Events as they happen, until Ctrl-C; with --json one object a line
    Tail {
        /// Begin then: a time, or a span back from now such as 10m; now without it
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
    },
}

impl Noun for Event {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let call = |since: Option<When>| {
            let path = of_tenant(&self.whose.tenant, [word("events")]);
            Call::get(path).asking("since", since.map(|when| when.before(now)))
        };
        Ok(match &self.command {
            Command::List { since, rows } => Action::list(call(*since), *rows, View::Events),
            Command::Tail { since } => {
                let since = since.unwrap_or(When::Away(Span::new()));
                Action { extent: Extent::Follow, ..Action::once(call(Some(since)), View::Events) }
            }
        })
    }
}
