//! `posthouse api-key`: what a tenant's programs call the API with.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, fields, of_tenant, thing, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct ApiKey {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the API keys
    List(Rows),
    /// Show one, without its secret
    Show(One),
    /// Make one; prints the secret, which is not shown again
    Add(Add),
    /// Give it a new secret; the old one ends within seconds
    Rotate(One),
    /// End it for good
    Revoke {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Name or id
    #[arg(value_name = "API KEY")]
    key: String,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// For people, such as "shop backend"
    name: String,
    /// What it may do; several with commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = ["send", "read", "manage"])]
    scopes: Vec<String>,
    /// The only stream that it may send to
    #[arg(long)]
    stream: Option<String>,
    /// Use it only from these networks, such as 192.0.2.0/24; may be given again
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Ends at this time, or so long from now, such as 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("SCOPES", "/scopes"),
    column("EXPIRES", "/expires_at"),
    column("REVOKED", "/revoked_at"),
];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("scopes", "/scopes"),
    column("stream", "/stream"),
    column("networks", "/networks"),
    column("created", "/created_at"),
    column("expires", "/expires_at"),
    column("revoked", "/revoked_at"),
];

const SHOWN: &[Column] =
    &[column("id", "/id"), column("name", "/name"), column("scopes", "/scopes"), column("secret", "/secret")];

impl Noun for ApiKey {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let all = || of_tenant(&self.whose.tenant, [word("api-keys")]);
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(all()), *rows, View::Table(LIST)),
            Command::Show(one) => Action::once(Call::get(self.at(one, [])), View::Card(CARD)),
            Command::Add(add) => {
                let call = Call::post(all(), add.body(now)).naming("/stream", Kind::Stream);
                Action::once(call, View::Secret(SHOWN))
            }
            Command::Rotate(one) => {
                Action::once(Call::order(self.at(one, [word("rotate")])), View::Secret(SHOWN))
            }
            Command::Revoke { one, yes } => {
                Action::once(Call::delete(self.at(one, [])), View::Card(CARD)).with_consent(yes)
            }
        })
    }
}

impl ApiKey {
    fn at(&self, one: &One, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let key = [word("api-keys"), thing(Kind::ApiKey, &one.key)];
        of_tenant(&self.whose.tenant, key.into_iter().chain(further))
    }
}

impl Add {
    fn body(&self, now: Timestamp) -> Value {
        fields([
            ("name", Some(json!(self.name))),
            ("scopes", Some(json!(self.scopes))),
            ("stream", self.stream.as_ref().map(|stream| json!(stream))),
            ("networks", (!self.networks.is_empty()).then(|| json!(self.networks))),
            ("expires_at", self.expires.map(|when| json!(when.after(now)))),
        ])
    }
}
