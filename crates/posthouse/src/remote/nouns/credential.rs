//! `posthouse credential`: SMTP users of a tenant.

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
pub struct Credential {
    #[command(flatten)]
    whose: Whose,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the SMTP credentials
    List(Rows),
    /// Show one, without its password
    Show(One),
    /// Make one; prints the password, which is not shown again
    Add(Add),
    /// Give it a new password; the old one ends within seconds
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
    /// Name, SMTP user or id
    #[arg(value_name = "CREDENTIAL")]
    credential: String,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// For people, such as "shop backend"
    name: String,
    /// The stream of its mail, unless a message says otherwise
    #[arg(long)]
    stream: Option<String>,
    /// Send only from these domains; may be given again
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    #[command(flatten)]
    bounds: Bounds,
    /// Understand X-Virtual-MTA, X-Job and X-Envid as PowerMTA does
    #[arg(long, value_name = "MTA", value_parser = ["pmta"])]
    compat: Option<String>,
    /// Refuse recipients that are suppressed with 550, instead of taking and reporting them; no effect yet
    #[arg(long)]
    reject_suppressed: bool,
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("USER", "/username"),
    column("STREAM", "/stream"),
    column("EXPIRES", "/expires_at"),
    column("REVOKED", "/revoked_at"),
];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("user", "/username"),
    column("stream", "/stream"),
    column("domains", "/domains"),
    column("networks", "/networks"),
    column("limits", "/limits"),
    column("compat", "/compat"),
    column("created", "/created_at"),
    column("expires", "/expires_at"),
    column("revoked", "/revoked_at"),
];

const SHOWN: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("user", "/username"),
    column("password", "/password"),
];

impl Noun for Credential {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let (whose, collection, kind) = (&self.whose, "credentials", Kind::Credential);
        let secrets = Secrets { whose, collection, kind, list: LIST, card: CARD, shown: SHOWN };
        Ok(match &self.command {
            Command::List(rows) => secrets.list(*rows),
            Command::Show(one) => secrets.show(&one.credential),
            Command::Add(add) => secrets.add(add.body(now)),
            Command::Rotate(one) => secrets.rotate(&one.credential),
            Command::Revoke { one, yes } => secrets.revoke(&one.credential, yes),
        })
    }
}

impl Add {
    fn body(&self, now: Timestamp) -> Value {
        let [networks, expires_at] = self.bounds.fields(now);
        fields([
            ("name", Some(json!(self.name))),
            ("stream", self.stream.as_ref().map(|stream| json!(stream))),
            ("domains", (!self.domains.is_empty()).then(|| json!(self.domains))),
            ("compat", self.compat.as_ref().map(|compat| json!(compat))),
            ("reject_suppressed", self.reject_suppressed.then_some(json!(true))),
            networks,
            expires_at,
        ])
    }
}
