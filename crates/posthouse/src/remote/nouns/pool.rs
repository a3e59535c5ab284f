//! `posthouse pool`: sets of egress sources that mail leaves from.

use super::Noun;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, fields, thing, v1, word};
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub struct Pool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the pools
    List(Rows),
    /// Show a pool, its sources and the platform's DKIM record
    Show(One),
    /// Make a pool
    Add {
        /// Such as shared or acme-dedicated
        name: String,
        #[command(flatten)]
        members: Members,
        /// Make it the dedicated pool of this tenant
        #[arg(long, value_name = "TENANT")]
        dedicated_to: Option<String>,
        /// Domain of the platform's own signature; the installation's without it
        #[arg(long, value_name = "DOMAIN")]
        platform_domain: Option<String>,
    },
    /// Say anew which sources a pool has: those that are not named leave it
    SetMembers {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        members: Members,
    },
    /// Delete a pool that no stream uses
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
    #[arg(value_name = "POOL")]
    pool: String,
}

#[derive(Debug, clap::Args)]
struct Members {
    /// A source by name, address or id, and its share of the pool's mail: mx1=3; may be given again
    #[arg(long = "member", value_name = "SOURCE[=WEIGHT]")]
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    source: String,
    weight: u32,
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Member, String> {
        let Some((source, weight)) = text.split_once('=') else {
            return Ok(Member { source: text.to_owned(), weight: 1 });
        };
        let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight; say mx1=3"))?;
        Ok(Member { source: source.to_owned(), weight })
    }
}

impl Members {
    fn body(&self) -> Value {
        let member = |member: &Member| json!({"source": member.source, "weight": member.weight});
        self.members.iter().map(member).collect()
    }

    fn named_in(&self, call: Call) -> Call {
        let pointers = (0..self.members.len()).map(|index| format!("/members/{index}/source"));
        pointers.fold(call, |call, pointer| call.naming(pointer, Kind::Source))
    }
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("MEMBERS", "/members"),
    column("DEDICATED TO", "/tenant"),
];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("members", "/members"),
    column("dedicated to", "/tenant"),
    column("platform's domain", "/platform/domain"),
    column("its selector", "/platform/selector"),
    column("its record", "/platform/record"),
    column("created", "/created_at"),
];

impl Noun for Pool {
    fn action(&self, _: Timestamp) -> anyhow::Result<Action> {
        let at = |one: &One| v1([word("pools"), thing(Kind::Pool, &one.pool)]);
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(v1([word("pools")])), *rows, View::Table(LIST)),
            Command::Show(one) => Action::once(Call::get(at(one)), View::Card(CARD)),
            Command::Add { name, members, dedicated_to, platform_domain } => {
                let body = fields([
                    ("name", Some(json!(name))),
                    ("members", Some(members.body())),
                    ("tenant", dedicated_to.as_ref().map(|tenant| json!(tenant))),
                    ("platform_domain", platform_domain.as_ref().map(|domain| json!(domain))),
                ]);
                let call = Call::post(v1([word("pools")]), body).naming("/tenant", Kind::Tenant);
                Action::once(members.named_in(call), View::Card(CARD))
            }
            Command::SetMembers { one, members } => {
                let call = Call::patch(at(one), json!({ "members": members.body() }));
                Action::once(members.named_in(call), View::Card(CARD))
            }
            Command::Delete { one, yes } => {
                Action::once(Call::delete(at(one)), View::Done("deleted")).with_consent(yes)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_is_no_number_is_refused() {
        assert!("mx1=".parse::<Member>().is_err() && "mx1=-1".parse::<Member>().is_err());
        assert_eq!("mx1".parse::<Member>().map(|member| member.weight), Ok(1));
        assert_eq!("mx1=3".parse::<Member>().map(|member| member.weight), Ok(3));
    }

    #[test]
    fn each_member_is_looked_up() {
        let members = Members { members: vec!["a".parse().unwrap(), "b=2".parse().unwrap()] };
        let call = members.named_in(Call::order(Vec::new()));
        let pointers: Vec<&str> = call.named.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/members/0/source", "/members/1/source"]);
    }
}
