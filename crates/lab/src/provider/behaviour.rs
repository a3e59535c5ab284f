//! How a provider behaves, as `GET /providers` shows it and `PUT /providers/{name}` changes it.
//!
//! A change names only what it changes. Short forms are taken where a person would type them: `"outage": true`,
//! `"greylist": true`, `"tls": "off"`. Unknown fields are refused with the known ones listed, by serde.

use serde::{Deserialize, Serialize};

/// A provider's behaviour now.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Behaviour {
    /// What one peer may do.
    pub limits: Limits,
    /// Local-parts that do not exist, besides those that begin with `unknown`; a `*` at the end stands for anything.
    pub unknown: Vec<String>,
    /// What is out of order.
    pub outage: Outage,
    /// Whether strangers have to come twice.
    pub greylist: Greylist,
    /// Share of accepted messages that are complained about, 0 to 1.
    pub complaint_rate: f64,
    /// Share of accepted messages that bounce later, 0 to 1.
    pub bounce_rate: f64,
    /// Share of recipients that are deferred, 0 to 1.
    pub defer_rate: f64,
    /// What becomes of STARTTLS.
    pub tls: TlsMode,
    /// Milliseconds before the answer to RCPT and to the end of data.
    pub delay_ms: u64,
    /// Peers that are refused as having a bad reputation.
    pub blocked: Vec<std::net::IpAddr>,
}

/// Per peer address; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Limits {
    pub connections: u32,
    pub messages_per_connection: u32,
    pub messages_per_minute: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Greylist {
    pub enabled: bool,
    pub delay_ms: u64,
}

/// What becomes of STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Offered, and it works.
    #[default]
    On,
    /// Not offered.
    Off,
    /// Offered, but the handshake fails.
    Broken,
    /// No mail without it.
    Required,
}

/// What is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// Nothing.
    #[default]
    None,
    /// Greets with 421 and closes.
    Busy,
    /// Closes without a word.
    Drop,
    /// Accepts the connection and says nothing.
    Silent,
    /// Every recipient is deferred.
    Defer,
}

/// A change: what is absent stays.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// As in `Behaviour`; a part that is absent stays too.
    pub limits: Option<LimitsChange>,
    /// As in `Behaviour`.
    #[serde(alias = "unknown_local_parts")]
    pub unknown: Option<Vec<String>>,
    /// One of its words, or whether there is one.
    pub outage: Option<OutageChange>,
    /// Its parts, or whether it is on.
    pub greylist: Option<GreylistChange>,
    /// 0 to 1.
    pub complaint_rate: Option<f64>,
    /// 0 to 1.
    pub bounce_rate: Option<f64>,
    /// 0 to 1.
    pub defer_rate: Option<f64>,
    /// As in `Behaviour`.
    #[serde(alias = "tls_mode")]
    pub tls: Option<TlsMode>,
    /// As in `Behaviour`.
    pub delay_ms: Option<u64>,
    /// As in `Behaviour`.
    pub blocked: Option<Vec<std::net::IpAddr>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsChange {
    pub connections: Option<u32>,
    pub messages_per_connection: Option<u32>,
    pub messages_per_minute: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum OutageChange {
    Switch(bool),
    Mode(Outage),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum GreylistChange {
    Switch(bool),
    Parts { enabled: Option<bool>, delay_ms: Option<u64> },
}

impl Behaviour {
    /// Applies a change.
    ///
    /// # Errors
    /// A sentence that names a share which is not from 0 to 1; nothing is changed then.
    pub fn apply(&mut self, change: Change) -> Result<(), String> {
        for (name, rate) in [
            ("complaint_rate", change.complaint_rate),
            ("bounce_rate", change.bounce_rate),
            ("defer_rate", change.defer_rate),
        ] {
            if rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
                return Err(format!("{name} is a share between 0 and 1"));
            }
        }
        if let Some(limits) = change.limits {
            self.limits.connections = limits.connections.unwrap_or(self.limits.connections);
            self.limits.messages_per_connection =
                limits.messages_per_connection.unwrap_or(self.limits.messages_per_connection);
            self.limits.messages_per_minute =
                limits.messages_per_minute.unwrap_or(self.limits.messages_per_minute);
        }
        match change.outage {
            Some(OutageChange::Switch(true)) => self.outage = Outage::Busy,
            Some(OutageChange::Switch(false)) => self.outage = Outage::None,
            Some(OutageChange::Mode(outage)) => self.outage = outage,
            None => {}
        }
        match change.greylist {
            Some(GreylistChange::Switch(enabled)) => self.greylist.enabled = enabled,
            Some(GreylistChange::Parts { enabled, delay_ms }) => {
                self.greylist.enabled = enabled.unwrap_or(true);
                self.greylist.delay_ms = delay_ms.unwrap_or(self.greylist.delay_ms);
            }
            None => {}
        }
        self.unknown = change.unknown.unwrap_or_else(|| std::mem::take(&mut self.unknown));
        self.blocked = change.blocked.unwrap_or_else(|| std::mem::take(&mut self.blocked));
        self.complaint_rate = change.complaint_rate.unwrap_or(self.complaint_rate);
        self.bounce_rate = change.bounce_rate.unwrap_or(self.bounce_rate);
        self.defer_rate = change.defer_rate.unwrap_or(self.defer_rate);
        self.tls = change.tls.unwrap_or(self.tls);
        self.delay_ms = change.delay_ms.unwrap_or(self.delay_ms);
        Ok(())
    }

    /// Whether such a mailbox does not exist here.
    pub fn is_unknown(&self, local_part: &str) -> bool {
        self.unknown.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => local_part.starts_with(&start.to_ascii_lowercase()),
            None => local_part == pattern.to_ascii_lowercase(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<Change, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn what_is_not_known_or_not_a_share_changes_nothing() {
        let error = change(r#"{"tarpit": 3}"#).unwrap_err().to_string();
        assert!(error.contains("tarpit") && error.contains("delay_ms"), "{error}");
        let mut behaviour = Behaviour::default();
        for json in [r#"{"tls":"off","complaint_rate":1.5}"#, r#"{"tls":"off","defer_rate":-0.1}"#] {
            assert!(behaviour.apply(change(json).unwrap()).is_err());
            assert_eq!(behaviour, Behaviour::default());
        }
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let mut behaviour = Behaviour::default();
        behaviour
            .apply(change(r#"{"limits":{"connections":2},"unknown_local_parts":["gone*","x"]}"#).unwrap())
            .unwrap();
        behaviour.apply(change(r#"{"outage":true,"greylist":true,"tls":"required"}"#).unwrap()).unwrap();
        behaviour.apply(change(r#"{"greylist":{"delay_ms":10},"outage":"silent"}"#).unwrap()).unwrap();
        assert_eq!(behaviour.limits.connections, 2);
        assert_eq!(behaviour.outage, Outage::Silent);
        assert_eq!(behaviour.greylist, Greylist { enabled: true, delay_ms: 10 });
        assert_eq!(behaviour.tls, TlsMode::Required);
        assert!(
            behaviour.is_unknown("gone.away") && behaviour.is_unknown("x") && !behaviour.is_unknown("xy")
        );
    }
}
