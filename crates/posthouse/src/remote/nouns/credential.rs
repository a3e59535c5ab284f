//! `posthouse credential`: SMTP users of a tenant.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, fields, of_tenant, thing, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::{Column, View, column};
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
    /// Log in only from these networks, such as 192.0.2.0/24; may be given again
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Ends at this time, or so long from now, such as 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// Understand X-Virtual-MTA, X-Job and X-Envid as PowerMTA does
    #[arg(long, value_name = "MTA", value_parser = ["pmta"])]
    compat: Option<String>,
    /// Refuse recipients that are suppressed with 550, instead of taking and reporting them
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
        let all = || of_tenant(&self.whose.tenant, [word("credentials")]);
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

impl Credential {
    fn at(&self, one: &One, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let credential = [word("credentials"), thing(Kind::Credential, &one.credential)];
        of_tenant(&self.whose.tenant, credential.into_iter().chain(further))
    }
}

impl Add {
    fn body(&self, now: Timestamp) -> Value {
        fields([
            ("name", Some(json!(self.name))),
            ("stream", self.stream.as_ref().map(|stream| json!(stream))),
            ("domains", (!self.domains.is_empty()).then(|| json!(self.domains))),
            ("networks", (!self.networks.is_empty()).then(|| json!(self.networks))),
            ("expires_at", self.expires.map(|when| json!(when.after(now)))),
            ("compat", self.compat.as_ref().map(|compat| json!(compat))),
            ("reject_suppressed", self.reject_suppressed.then_some(json!(true))),
        ])
    }
}
