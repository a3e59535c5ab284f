//! `posthouse domain`: the domains a tenant sends from, and their keys.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, fields, of_tenant, thing, word};
use crate::remote::options::Whose;
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Domain {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the domains and their states
    List(Rows),
    /// Show a domain and the DNS records it needs
    Show(One),
    /// Add a domain; prints the records to publish
    Add {
        /// The domain of From and MAIL FROM, such as news.client.example
        name: String,
    },
    /// Look at the DNS now, and say what is missing
    Verify(One),
    /// List its DKIM keys
    Keys(One),
    /// Begin to sign with new DKIM keys; the old ones stay published until their mail has gone
    RotateKeys(One),
    /// Take no more mail from it until `release`
    Suspend(Explained),
    /// End the suspension
    Release(Explained),
    /// Delete a domain; mail from it is refused from now on
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Name or id
    #[arg(value_name = "DOMAIN")]
    domain: String,
}

#[derive(Debug, clap::Args)]
struct Explained {
    #[command(flatten)]
    one: One,
    /// Why: the audit keeps it
    #[arg(long)]
    reason: Option<String>,
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("STATE", "/state"),
    column("VERIFIED", "/verified_at"),
    column("CHECKED", "/checked_at"),
];

const KEYS: &[Column] = &[
    column("SELECTOR", "/selector"),
    column("ALGORITHM", "/algorithm"),
    column("STATE", "/state"),
    column("SINCE", "/created_at"),
];

impl Noun for Domain {
    fn action(&self, _: Timestamp) -> anyhow::Result<Action> {
        let all = || of_tenant(&self.whose.tenant, [word("domains")]);
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(all()), *rows, View::Table(LIST)),
            Command::Add { name } => Action::once(Call::post(all(), json!({ "name": name })), View::Domain),
            Command::Show(one) => Action::once(Call::get(self.at(one, [])), View::Domain),
            Command::Verify(one) => Action::once(Call::order(self.at(one, [word("verify")])), View::Domain),
            Command::Suspend(stop) => Action::once(self.stop(stop, "suspend"), View::Domain),
            Command::Release(stop) => Action::once(self.stop(stop, "release"), View::Domain),
            Command::Keys(one) => {
                Action::once(Call::get(self.at(one, [word("dkim-keys")])), View::Table(KEYS))
            }
            Command::RotateKeys(one) => {
                let path = self.at(one, [word("dkim-keys"), word("rotate")]);
                Action::once(Call::order(path), View::Table(KEYS))
            }
            Command::Delete { one, yes } => {
                Action::once(Call::delete(self.at(one, [])), View::Done("deleted")).with_consent(yes)
            }
        })
    }
}

impl Domain {
    fn stop(&self, Explained { one, reason }: &Explained, verb: &'static str) -> Call {
        let reason = reason.as_deref().map(Value::from);
        Call::post(self.at(one, [word(verb)]), fields([("reason", reason)]))
    }

    fn at(&self, one: &One, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let domain = [word("domains"), thing(Kind::Domain, &one.domain)];
        of_tenant(&self.whose.tenant, domain.into_iter().chain(further))
    }
}
