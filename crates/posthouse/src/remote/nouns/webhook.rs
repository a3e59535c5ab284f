//! `posthouse webhook`: where a tenant's events are sent.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, fields, of_tenant, thing, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub struct Webhook {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the webhooks
    List(Rows),
    /// Show one, and why it was disabled
    Show(One),
    /// Add an endpoint; prints its secret, which is not shown again
    Add {
        /// Where to: https://…
        url: String,
        /// Only these events, such as message.bounced; several with commas; all without it
        #[arg(long, value_delimiter = ',', value_name = "TYPES")]
        types: Vec<String>,
    },
    /// Call it no more until `resume`; its events wait
    Pause(One),
    /// Go on after a pause, or after it was disabled by a 410
    Resume(One),
    /// Send it a test event, webhook.test
    Test(One),
    /// The last calls: when, how often, what it answered
    Deliveries {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        rows: Rows,
    },
    /// Send again what failed, or everything since a time
    Replay {
        #[command(flatten)]
        one: One,
        /// All calls since then: a time, or a span back from now such as 2h
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
    },
    /// Sign with a new secret too; prints it, and it is not shown again
    RotateSecret(One),
    /// Delete it, with the calls that wait
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// URL or id
    #[arg(value_name = "WEBHOOK")]
    webhook: String,
}

const LIST: &[Column] =
    &[column("ID", "/id"), column("URL", "/url"), column("STATE", "/state"), column("TYPES", "/types")];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("url", "/url"),
    column("state", "/state"),
    column("reason", "/state_reason"),
    column("types", "/types"),
    column("created", "/created_at"),
];

const SHOWN: &[Column] = &[column("id", "/id"), column("url", "/url"), column("secret", "/secret")];

const DELIVERIES: &[Column] = &[
    column("EVENT", "/event"),
    column("TYPE", "/type"),
    column("STATE", "/state"),
    column("TRIES", "/attempts"),
    column("STATUS", "/last_status"),
    column("MS", "/last_ms"),
    column("LAST", "/last_at"),
    column("NEXT", "/due_at"),
    column("ERROR", "/last_error"),
];

const REPLAYED: &[Column] = &[
    column("calls to be made again", "/replayed"),
    column("more of them, by another replay", "/more"),
    column("with --since", "/next_since"),
];

impl Noun for Webhook {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let all = || of_tenant(&self.whose.tenant, [word("webhooks")]);
        let put = |one: &One, state: &str| {
            Action::once(Call::patch(self.at(one, []), json!({ "state": state })), View::Card(CARD))
        };
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(all()), *rows, View::Table(LIST)),
            Command::Show(one) => Action::once(Call::get(self.at(one, [])), View::Card(CARD)),
            Command::Add { url, types } => {
                let types = (!types.is_empty()).then(|| json!(types));
                let body = fields([("url", Some(json!(url))), ("types", types)]);
                Action::once(Call::post(all(), body), View::Secret(SHOWN))
            }
            Command::Pause(one) => put(one, "paused"),
            Command::Resume(one) => put(one, "active"),
            Command::Test(one) => {
                let call = Call::order(self.at(one, [word("test")]));
                Action::once(call, View::Card(const { &[column("test event", "/event")] }))
            }
            Command::Deliveries { one, rows } => {
                let call = Call::get(self.at(one, [word("deliveries")]));
                Action::list(call, *rows, View::Table(DELIVERIES))
            }
            Command::Replay { one, since } => {
                let body = fields([("since", since.map(|when| json!(when.before(now))))]);
                let call = Call::post(self.at(one, [word("replay")]), body);
                Action::once(call, View::Card(REPLAYED))
            }
            Command::RotateSecret(one) => {
                let call = Call::order(self.at(one, [word("secrets"), word("rotate")]));
                Action::once(call, View::Secret(SHOWN))
            }
            Command::Delete { one, yes } => {
                Action::once(Call::delete(self.at(one, [])), View::Done("deleted")).with_consent(yes)
            }
        })
    }
}

impl Webhook {
    fn at(&self, one: &One, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let webhook = [word("webhooks"), thing(Kind::Webhook, &one.webhook)];
        of_tenant(&self.whose.tenant, webhook.into_iter().chain(further))
    }
}
