//! `posthouse source`: addresses that mail leaves from.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, thing, v1, word};
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub struct Source {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sources
    List(Rows),
    /// Show one
    Show(One),
    /// Add an address of this host
    Add {
        /// Such as mx1
        name: String,
        /// The IP address to connect from; this host must have it
        #[arg(long, value_name = "IP")]
        address: String,
        /// The name to greet with; its DNS should lead to the address and back
        #[arg(long, value_name = "HOST")]
        ehlo: String,
    },
    /// Send nothing from it until `activate`
    Hold(One),
    /// Finish what is under way on it, begin nothing new
    Drain(One),
    /// Send from it again, after `hold` or `drain`
    Activate(One),
    /// Greet with another name
    SetEhlo {
        #[command(flatten)]
        one: One,
        /// The name to greet with
        #[arg(value_name = "HOST")]
        ehlo: String,
    },
    /// Delete a source that no pool has
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Name, address or id
    #[arg(value_name = "SOURCE")]
    source: String,
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ADDRESS", "/address"),
    column("EHLO", "/ehlo"),
    column("STATE", "/state"),
];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("address", "/address"),
    column("ehlo", "/ehlo"),
    column("state", "/state"),
];

impl Noun for Source {
    fn action(&self, _: Timestamp) -> anyhow::Result<Action> {
        let at = |one: &One| v1([word("sources"), thing(Kind::Source, &one.source)]);
        let put = |one: &One, state: &str| {
            Action::once(Call::patch(at(one), json!({ "state": state })), View::Card(CARD))
        };
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(v1([word("sources")])), *rows, View::Table(LIST)),
            Command::Show(one) => Action::once(Call::get(at(one)), View::Card(CARD)),
            Command::Add { name, address, ehlo } => {
                let body = json!({"name": name, "address": address, "ehlo": ehlo});
                Action::once(Call::post(v1([word("sources")]), body), View::Card(CARD))
            }
            Command::Hold(one) => put(one, "held"),
            Command::Drain(one) => put(one, "draining"),
            Command::Activate(one) => put(one, "active"),
            Command::SetEhlo { one, ehlo } => {
                Action::once(Call::patch(at(one), json!({ "ehlo": ehlo })), View::Card(CARD))
            }
            Command::Delete { one, yes } => {
                Action::once(Call::delete(at(one)), View::Done("deleted")).with_consent(yes)
            }
        })
    }
}
