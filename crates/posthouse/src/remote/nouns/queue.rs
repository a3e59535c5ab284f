//! `posthouse queue`: what is due on the node, why it does not move, and holds on paths.

use super::Noun;
use crate::remote::action::Action;
use crate::remote::call::{Call, Kind, fields, v1, word};
use crate::remote::options::When;
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mail that is due, largest first: whose, from which pool, to which site, and what it waits for
    List(Shown),
    /// Count the mail on this node: waiting, due, under way
    Totals,
    /// Paths, a source and a site each: connections open and allowed, holds, sites that cannot be reached
    Paths(Shown),
    /// Send nothing on a path until `resume`, a time, or a restart
    Hold {
        #[command(flatten)]
        path: Path,
        /// Why: operators read it, and tenants who ask why their mail waits
        #[arg(long)]
        reason: String,
        /// End by itself: at a time, or so long from now, such as 2h
        #[arg(long, value_name = "WHEN")]
        until: Option<When>,
    },
    /// End a hold
    Resume(Path),
}

#[derive(Debug, clap::Args)]
struct Path {
    /// Name of the source
    #[arg(long)]
    source: String,
    /// The site as `queue paths` names it, or one of its hosts
    #[arg(long)]
    site: String,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Shown {
    /// Rows at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// A site may be the names of many hosts: last, so that it pushes nothing else off the screen.
const LIST: &[Column] = &[
    column("TENANT", "/tenant"),
    column("POOL", "/pool"),
    column("DUE", "/ready"),
    column("WAITS FOR", "/reason"),
    column("UNTIL", "/until"),
    column("DETAIL", "/detail"),
    column("SITE", "/site"),
];

const TOTALS: &[Column] = &[
    column("waiting for their time", "/totals/waiting"),
    column("due", "/totals/ready"),
    column("under way", "/totals/in_flight"),
    column("queues", "/totals/queues"),
];

const PATHS: &[Column] = &[
    column("SOURCE", "/source"),
    column("OPEN", "/open"),
    column("ALLOWED", "/window"),
    column("RATE %", "/rate_percent"),
    column("UNREACHABLE UNTIL", "/dead_until"),
    column("HELD", "/held/reason"),
    column("HELD UNTIL", "/held/until"),
    column("SITE", "/site"),
];

impl Noun for Queue {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let paths = |verb: &'static str| v1([word("paths"), word(verb)]);
        Ok(match &self.command {
            Command::List(shown) => {
                let call = Call::get(v1([word("queues")])).asking("limit", Some(shown.limit));
                Action::once(call, View::Table(LIST))
            }
            Command::Totals => {
                let call = Call::get(v1([word("queues")])).asking("limit", Some(1));
                Action::once(call, View::Card(TOTALS))
            }
            Command::Paths(shown) => {
                let call = Call::get(v1([word("paths")])).asking("limit", Some(shown.limit));
                Action::once(call, View::Table(PATHS))
            }
            Command::Hold { path, reason, until } => {
                let body = fields([
                    ("source", Some(json!(path.source))),
                    ("site", Some(json!(path.site))),
                    ("reason", Some(json!(reason))),
                    ("until", until.map(|when| json!(when.after(now)))),
                ]);
                Action::once(Call::post(paths("hold"), body).naming("/site", Kind::Site), View::Done("held"))
            }
            Command::Resume(path) => {
                let body = json!({"source": path.source, "site": path.site});
                let call = Call::post(paths("resume"), body).naming("/site", Kind::Site);
                Action::once(call, View::Done("resumed"))
            }
        })
    }
}
