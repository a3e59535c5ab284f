//! What SMTP credentials and API keys have in common: a secret that is shown once, bounds, and an end.
//!
//! Each has its own words on the command line; the calls that they become are these.

use crate::remote::action::{Action, Rows, Yes};
use crate::remote::call::{Call, Kind, Step, of_tenant, thing, word};
use crate::remote::options::{When, Whose};
use crate::remote::view::{Column, View};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Where it may be used from, and for how long.
#[derive(Debug, clap::Args)]
pub struct Bounds {
    /// Use it only from these networks, such as 192.0.2.0/24; may be given again
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Ends at this time, or so long from now, such as 90d
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
}

impl Bounds {
    pub fn fields(&self, now: Timestamp) -> [(&'static str, Option<Value>); 2] {
        [
            ("networks", (!self.networks.is_empty()).then(|| json!(self.networks))),
            ("expires_at", self.expires.map(|when| json!(when.after(now)))),
        ]
    }
}

/// One of the two, of one tenant.
pub struct Secrets<'a> {
    pub whose: &'a Whose,
    /// As the path has it.
    pub collection: &'static str,
    pub kind: Kind,
    pub list: &'static [Column],
    pub card: &'static [Column],
    /// With the secret.
    pub shown: &'static [Column],
}

impl Secrets<'_> {
    pub fn list(&self, rows: Rows) -> Action {
        Action::list(Call::get(self.all()), rows, View::Table(self.list))
    }

    pub fn show(&self, one: &str) -> Action {
        Action::once(Call::get(self.at(one, [])), View::Card(self.card))
    }

    pub fn add(&self, body: Value) -> Action {
        let call = Call::post(self.all(), body).naming("/stream", Kind::Stream);
        Action::once(call, View::Secret(self.shown))
    }

    pub fn rotate(&self, one: &str) -> Action {
        Action::once(Call::order(self.at(one, [word("rotate")])), View::Secret(self.shown))
    }

    pub fn revoke(&self, one: &str, yes: &Yes) -> Action {
        Action::once(Call::delete(self.at(one, [])), View::Card(self.card)).with_consent(yes)
    }

    fn all(&self) -> Vec<Step> {
        of_tenant(&self.whose.tenant, [word(self.collection)])
    }

    fn at(&self, one: &str, further: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let one = [word(self.collection), thing(self.kind, one)];
        of_tenant(&self.whose.tenant, one.into_iter().chain(further))
    }
}
