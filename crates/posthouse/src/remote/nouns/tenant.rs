//! `posthouse tenant`: onboarding, and everything that happens to a tenant as a whole.

use super::Noun;
use crate::exit::Failure;
use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, fields, of_tenant, v1, word};
use crate::remote::options::When;
use crate::remote::view::{Column, View, column};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Tenant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the tenants
    List(Rows),
    /// Show one tenant and its plan
    Show(One),
    /// Onboard: a tenant with its first domain, streams, API key and SMTP credential
    ///
    /// Prints the secrets, which are not shown again, and the DNS records that the tenant has to publish.
    Onboard(Onboard),
    /// Give a tenant another name
    Rename {
        #[command(flatten)]
        one: One,
        /// The new name
        name: String,
    },
    /// Refuse its mail and send nothing until `resume`; what is queued waits
    ///
    /// The tenant sees that it is paused, and the reason as you write it.
    Pause(Reasoned),
    /// Take and send its mail again after `pause`; a quarantine ends with `release`
    Resume(Explained),
    /// Pause it on suspicion of abuse: mail is refused, and what is queued waits until `release`
    ///
    /// The tenant sees that it is quarantined, and the reason as you write it.
    Quarantine(Reasoned),
    /// End the quarantine: its mail is taken and sent again
    Release(Explained),
    /// Show its limits
    Quota(One),
    /// Change its limits; those that are not named stay as they are
    SetQuota(SetQuota),
    /// What it used, a day and stream a line
    Usage {
        #[command(flatten)]
        one: One,
        /// First day (UTC): a time, or a span from now back such as 7d; 30 days without it, 100 at most
        #[arg(long, value_name = "WHEN")]
        since: Option<When>,
        /// Last day: a time, or a span from now back; today without it
        #[arg(long, value_name = "WHEN")]
        until: Option<When>,
    },
    /// Delete a tenant: its mail is drained, then everything of it is erased
    Delete {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Name or id; `self` with the tenant's own API key
    #[arg(value_name = "TENANT")]
    tenant: String,
}

#[derive(Debug, clap::Args)]
struct Reasoned {
    #[command(flatten)]
    one: One,
    /// Why: shown to the tenant, word for word
    #[arg(long)]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Explained {
    #[command(flatten)]
    one: One,
    /// Why: the audit keeps it, and the tenant may read it
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Onboard {
    /// For people, such as "Acme Ltd"
    #[arg(long)]
    name: String,
    /// The domain that it will send from
    #[arg(long)]
    domain: String,
    /// The pool that its mail leaves from; the default pool without it
    #[arg(long)]
    pool: Option<String>,
    /// Where its events are sent
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, clap::Args)]
struct SetQuota {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Debug, clap::Args)]
struct Plan {
    /// Recipients a day (UTC); a new tenant has no limit
    #[arg(long, value_name = "COUNT")]
    per_day: Option<u64>,
    /// Recipients a second; a new tenant has no limit
    #[arg(long, value_name = "COUNT")]
    per_second: Option<u64>,
    /// Recipients of one message, 1 to 100000; a new tenant has 1000
    #[arg(long, value_name = "COUNT")]
    recipients_max: Option<u64>,
    /// Octets of one message, 1 KiB to 1 GiB; a new tenant has 52428800 (50 MiB)
    #[arg(long, value_name = "OCTETS")]
    message_octets_max: Option<u64>,
    /// Submission connections at a time; a new tenant has 100
    #[arg(long, value_name = "COUNT")]
    connections_max: Option<u64>,
    /// Its share where many want to send at once, 1 to 100: 2 gets twice as much as 1, which a new tenant has
    #[arg(long)]
    weight: Option<u64>,
}

impl Plan {
    /// Null if nothing was said.
    fn body(&self) -> Option<Value> {
        let body = fields([
            ("per_day", self.per_day.map(Value::from)),
            ("per_second", self.per_second.map(Value::from)),
            ("recipients_max", self.recipients_max.map(Value::from)),
            ("message_octets_max", self.message_octets_max.map(Value::from)),
            ("connections_max", self.connections_max.map(Value::from)),
            ("weight", self.weight.map(Value::from)),
        ]);
        body.as_object().is_some_and(|said| !said.is_empty()).then_some(body)
    }
}

const LIST: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("STATUS", "/status"),
    column("A DAY", "/plan/per_day"),
    column("SINCE", "/created_at"),
];

const CARD: &[Column] = &[
    column("id", "/id"),
    column("name", "/name"),
    column("status", "/status"),
    column("reason", "/status_reason"),
    column("a day", "/plan/per_day"),
    column("a second", "/plan/per_second"),
    column("recipients of a message", "/plan/recipients_max"),
    column("octets of a message", "/plan/message_octets_max"),
    column("connections", "/plan/connections_max"),
    column("weight", "/plan/weight"),
    column("created", "/created_at"),
    column("changed", "/updated_at"),
];

const QUOTA: &[Column] = &[
    column("a day", "/per_day"),
    column("a second", "/per_second"),
    column("recipients of a message", "/recipients_max"),
    column("octets of a message", "/message_octets_max"),
    column("connections", "/connections_max"),
    column("weight", "/weight"),
];

const USAGE: &[Column] = &[column("DAY", "/day"), column("STREAM", "/stream"), column("COUNTS", "/counts")];

impl Noun for Tenant {
    fn action(&self, now: Timestamp) -> anyhow::Result<Action> {
        let at = |one: &One, verb: &'static str| of_tenant(&one.tenant, [word(verb)]);
        Ok(match &self.command {
            Command::List(rows) => Action::list(Call::get(v1([word("tenants")])), *rows, View::Table(LIST)),
            Command::Show(one) => Action::once(Call::get(of_tenant(&one.tenant, [])), View::Card(CARD)),
            Command::Onboard(new) => Action::once(new.call(), View::Onboarded),
            Command::Rename { one, name } => {
                let call = Call::patch(of_tenant(&one.tenant, []), json!({ "name": name }));
                Action::once(call, View::Card(CARD))
            }
            Command::Pause(Reasoned { one, reason }) => {
                Action::once(Call::post(at(one, "pause"), json!({ "reason": reason })), View::Card(CARD))
            }
            Command::Quarantine(Reasoned { one, reason }) => {
                Action::once(Call::post(at(one, "quarantine"), json!({ "reason": reason })), View::Card(CARD))
            }
            Command::Resume(Explained { one, reason }) => {
                Action::once(Call::post(at(one, "resume"), why(reason.as_deref())), View::Card(CARD))
            }
            Command::Release(Explained { one, reason }) => {
                Action::once(Call::post(at(one, "release"), why(reason.as_deref())), View::Card(CARD))
            }
            Command::Quota(one) => Action::once(Call::get(at(one, "quotas")), View::Card(QUOTA)),
            Command::SetQuota(SetQuota { one, plan }) => {
                let changes = plan
                    .body()
                    .ok_or_else(|| Failure::Usage("say which limits: --per-day COUNT, …".to_owned()))?;
                Action::once(Call::change(at(one, "quotas"), changes), View::Card(QUOTA))
            }
            Command::Usage { one, since, until } => {
                let call = Call::get(at(one, "usage"))
                    .asking("since", since.map(|when| when.before(now)))
                    .asking("until", until.map(|when| when.before(now)));
                Action::once(call, View::Table(USAGE))
            }
            Command::Delete { one, yes } => {
                Action::once(Call::delete(of_tenant(&one.tenant, [])), View::Card(CARD)).with_consent(yes)
            }
        })
    }
}

fn why(reason: Option<&str>) -> Value {
    fields([("reason", reason.map(Value::from))])
}

impl Onboard {
    fn call(&self) -> Call {
        let body = fields([
            ("name", Some(json!(self.name))),
            ("domain", Some(json!(self.domain))),
            ("pool", self.pool.as_ref().map(|pool| json!(pool))),
            ("webhook", self.webhook.as_ref().map(|url| json!({ "url": url }))),
            ("plan", self.plan.body()),
        ]);
        Call::post(v1([word("tenants")]), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_only_what_was_said() {
        let none = Plan {
            per_day: None,
            per_second: None,
            recipients_max: None,
            message_octets_max: None,
            connections_max: None,
            weight: None,
        };
        assert_eq!(none.body(), None);
        assert_eq!(Plan { weight: Some(2), ..none }.body(), Some(json!({"weight": 2})));
    }
    #[test]
    fn the_help_tells_the_limits_that_a_new_tenant_has() {
        use clap::Args;
        let plan = registry::Plan::default();
        assert_eq!((plan.per_day, plan.per_second), (None, None), "the help says: no limit");
        let command = Plan::augment_args(clap::Command::new("plan"));
        let help = |name: &str| {
            let argument = command.get_arguments().find(|argument| argument.get_id() == name);
            argument.and_then(clap::Arg::get_help).unwrap().to_string()
        };
        for (name, default) in [
            ("recipients_max", u64::from(plan.recipients_max)),
            ("message_octets_max", plan.message_octets_max),
            ("connections_max", u64::from(plan.connections_max)),
            ("weight", u64::from(plan.weight)),
        ] {
            let told = help(name);
            assert!(told.split(|c: char| !c.is_numeric()).any(|word| word == default.to_string()), "{told}");
        }
    }
}
