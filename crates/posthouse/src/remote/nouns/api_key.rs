//! `posthouse api-key`: what a tenant's programs call the API with.

use super::Noun;
use super::secret::{Bounds, Secrets};
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Kind, fields};
use crate::remote::options::Whose;
use crate::remote::view::{Column, column};
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
    /// Give it a new secret; the old one ends within seconds, or after ten minutes if the key rotates itself
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
    #[command(flatten)]
    bounds: Bounds,
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
        let (whose, collection, kind) = (&self.whose, "api-keys", Kind::ApiKey);
        let secrets = Secrets { whose, collection, kind, list: LIST, card: CARD, shown: SHOWN };
        Ok(match &self.command {
            Command::List(rows) => secrets.list(*rows),
            Command::Show(one) => secrets.show(&one.key),
            Command::Add(add) => secrets.add(add.body(now)),
            Command::Rotate(one) => secrets.rotate(&one.key),
            Command::Revoke { one, yes } => secrets.revoke(&one.key, yes),
        })
    }
}

impl Add {
    fn body(&self, now: Timestamp) -> Value {
        let [networks, expires_at] = self.bounds.fields(now);
        fields([
            ("name", Some(json!(self.name))),
            ("scopes", Some(json!(self.scopes))),
            ("stream", self.stream.as_ref().map(|stream| json!(stream))),
            networks,
            expires_at,
        ])
    }
}
