//! What this node's doors allow. Every number has its name and its reason here.
//!
//! Read by the binary from `[ingress]`. Where the doors are and where the certificate lies is the node's business and
//! handed in; what tenants may do is in the registry, never here. Unknown keys are errors. Durations are whole
//! seconds or milliseconds, as the name says; an empty text means none.

use registry::ThrottleConfig;
use serde::{Deserialize, Serialize};

/// What the doors for mail are told by the configuration file: the section `[ingress]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads that check, hash and sign; 0 means one per processor. RSA costs 0.3 ms, too much for a network thread.
    pub signing_threads: usize,
    /// Messages that may wait for a signing thread; more make the sessions wait, which makes the clients wait.
    pub signing_queue_max: usize,
    /// Certificate and key of the doors.
    pub tls: TlsConfig,
    /// What one session may do: lines, messages, recipients, errors, times.
    pub session: smtp::Limits,
    /// What one client, tenant or network may have open.
    pub limits: Limits,
    /// What wrong secrets cost.
    pub throttle: ThrottleConfig,
    /// Fields that are put on top of accepted mail.
    pub headers: HeaderConfig,
}

/// How the certificate files are used; where they are is the node's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// How often the files are compared with what is in use.
    pub reload_check_s: u64,
    /// A handshake that takes longer is given up.
    pub handshake_s_max: u64,
}

/// What all sessions together may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Authenticated connections at both submission doors. Tenants share them: one alone gets half, and in a full
    /// house whoever has more than a fair share is answered with 421.
    pub connections_max: usize,
    /// Connections at those doors that have not authenticated. When all places are taken, whoever has been here longest
    /// makes room.
    pub strangers_max: usize,
    /// But not before so many seconds: what an honest client over a slow line needs to say who it is.
    pub stranger_seconds_min: u64,
    /// Connections at the door for returned mail, with the same rule.
    pub inbound_connections_max: usize,
    /// Connections of one address (IPv6: of one /64) that have not authenticated.
    pub connections_per_address_max: usize,
    /// Connections over that limit that wait, before their greeting, for another to authenticate or end.
    pub connections_waiting_per_address_max: usize,
    /// How long they wait before their 421.
    pub connection_wait_ms_max: u64,
    /// Authenticated connections of one credential, unless the credential says less.
    pub connections_per_credential_max: usize,
    /// Octets of a report that is returned to us.
    pub inbound_octets_max: usize,
    /// Octets of all messages that arrived, by SMTP or HTTP, and are not answered yet. Tenants share them: one alone
    /// gets half, over its share new messages get 451 or 503. A client that declares its SIZE gets its room at MAIL, or
    /// 452 4.3.1.
    pub octets_in_flight_max: usize,
    /// Received fields; more is a loop (RFC 5321 §6.3). Real ways have less than fifteen; the RFC's 100 would let a loop
    /// of two hosts carry a message fifty times around.
    pub received_fields_max: usize,
    /// Of them, those that this host wrote: a list may send on through us what it got through us. Lists of lists need more.
    pub received_own_fields_max: usize,
    /// A client that does not take our reply for so long is dropped.
    pub write_s_max: u64,
    /// After a request to stop, sessions have so long to get their answer.
    pub drain_s_max: u64,
}

/// What we write into messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderConfig {
    /// Whether Received names the client and its address. They identify a person's machine, so the default is no.
    pub show_client: bool,
    /// Last field of Feedback-ID: the sender identifier that Gmail's reports are keyed by; 5 to 15 characters.
    pub feedback_sender: String,
    /// Domain of complaint addresses: `CFBL-Address: b+<token>@<domain>` (RFC 9477). Empty adds no such field.
    #[serde(with = "or_empty")]
    pub complaint_domain: Option<mail::Domain>,
    /// Base URL of one-click unsubscribing (RFC 8058), `https://…/u`. Empty adds no List-Unsubscribe.
    #[serde(with = "or_empty")]
    pub unsubscribe_url: Option<HttpsUrl>,
}

/// With half of this, all that one tenant alone may hold, no message of a useful size fits.
const OCTETS_IN_FLIGHT_MIN: usize = 64 * 1024;

impl Config {
    /// What would let nobody in or no message through, in sentences that begin with the key.
    pub fn mistakes(&self) -> Vec<String> {
        let (session, limits) = (&self.session, &self.limits);
        let nobody = "every client would be refused";
        let nothing = "every message would be refused";
        let late = "everybody would be too late";
        let counts = [
            ("tls.handshake_s_max", self.tls.handshake_s_max, late),
            ("session.command_octets_max", session.command_octets_max as u64, nobody),
            ("session.waiting_octets_max", session.waiting_octets_max as u64, nobody),
            ("session.command_seconds_max", session.command_seconds_max, late),
            ("session.idle_commands_max", u64::from(session.idle_commands_max), nobody),
            ("session.transactions_max", u64::from(session.transactions_max), nothing),
            ("session.recipients_max", session.recipients_max as u64, nothing),
            ("session.message_octets_max", session.message_octets_max as u64, nothing),
            ("session.header_octets_max", session.header_octets_max as u64, nothing),
            ("session.text_line_octets_max", session.text_line_octets_max as u64, nothing),
            ("session.data_seconds_max", session.data_seconds_max, late),
            ("session.data_grace_seconds", session.data_grace_seconds, late),
            ("limits.connections_max", limits.connections_max as u64, nobody),
            ("limits.strangers_max", limits.strangers_max as u64, nobody),
            ("limits.connections_per_address_max", limits.connections_per_address_max as u64, nobody),
            ("limits.connections_per_credential_max", limits.connections_per_credential_max as u64, nobody),
            (
                "limits.inbound_connections_max",
                limits.inbound_connections_max as u64,
                "bounces would not come back; an empty listen.inbound closes that door",
            ),
            ("limits.inbound_octets_max", limits.inbound_octets_max as u64, "bounces would not come back"),
            ("limits.write_s_max", limits.write_s_max, late),
        ];
        let is_none = |(key, value, why)| (value == 0).then(|| format!("{key} must be at least 1: {why}"));
        let mut mistakes: Vec<String> = counts.into_iter().filter_map(is_none).collect();
        if limits.octets_in_flight_max < OCTETS_IN_FLIGHT_MIN {
            mistakes.push(format!(
                "limits.octets_in_flight_max = {} must be at least {OCTETS_IN_FLIGHT_MIN}: a message may have half of it",
                limits.octets_in_flight_max
            ));
        }
        mistakes
    }
}

/// An absolute https URL that can stand between angle brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl(String);

impl HttpsUrl {
    /// As it was configured, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HttpsUrl {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<HttpsUrl, &'static str> {
        let host = text.strip_prefix("https://").ok_or("the URL must begin with https://")?;
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b',');
        if host.is_empty() || !host.bytes().all(plain) {
            return Err("the URL has a character that must be percent-encoded, or no host");
        }
        Ok(HttpsUrl(text.trim_end_matches('/').to_owned()))
    }
}

impl std::fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An optional value whose absence is the empty text, so that the shipped file can show the key.
mod or_empty {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            signing_threads: 0,
            signing_queue_max: 512,
            tls: TlsConfig::default(),
            session: smtp::Limits::default(),
            limits: Limits::default(),
            throttle: ThrottleConfig::default(),
            headers: HeaderConfig::default(),
        }
    }
}

impl Default for TlsConfig {
    fn default() -> TlsConfig {
        TlsConfig { reload_check_s: 10, handshake_s_max: 30 }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 2_000,
            strangers_max: 1_000,
            stranger_seconds_min: 5,
            inbound_connections_max: 500,
            connections_per_address_max: 50,
            connections_waiting_per_address_max: 200,
            connection_wait_ms_max: 2_000,
            connections_per_credential_max: 200,
            inbound_octets_max: 10 * 1024 * 1024,
            octets_in_flight_max: 512 * 1024 * 1024,
            received_fields_max: 30,
            received_own_fields_max: 1,
            write_s_max: 60,
            drain_s_max: 8,
        }
    }
}

impl Default for HeaderConfig {
    fn default() -> HeaderConfig {
        HeaderConfig {
            show_client: false,
            feedback_sender: "posthouse".into(),
            complaint_domain: None,
            unsubscribe_url: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<Config>(r#"{"signing_thread":1}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"limits":{"connections":1}}"#).is_err());
    }

    #[test]
    fn what_would_break_a_header_is_an_error() {
        for url in
            ["http://a.example/u", "https://", "https://a.example/>\\r\\nBcc: x", "https://a.example/a b"]
        {
            let text = format!(r#"{{"headers":{{"unsubscribe_url":"{url}"}}}}"#);
            assert!(serde_json::from_str::<Config>(&text).is_err(), "{url}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"headers":{"complaint_domain":"a b"}}"#).is_err());
    }

    #[test]
    fn what_would_refuse_everybody_is_a_mistake_by_its_key() {
        type Change = fn(&mut Config);
        assert_eq!(Config::default().mistakes(), Vec::<String>::new());
        let changes: [(&str, Change); 6] = [
            ("limits.connections_max", |config| config.limits.connections_max = 0),
            ("limits.octets_in_flight_max", |config| config.limits.octets_in_flight_max = 1),
            ("session.recipients_max", |config| config.session.recipients_max = 0),
            ("session.message_octets_max", |config| config.session.message_octets_max = 0),
            ("session.idle_commands_max", |config| config.session.idle_commands_max = 0),
            ("tls.handshake_s_max", |config| config.tls.handshake_s_max = 0),
        ];
        for (key, change) in changes {
            let mut config = Config::default();
            change(&mut config);
            let mistakes = config.mistakes();
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(&format!("{key} ")), "{mistakes:?}");
        }
    }

    #[test]
    fn what_may_be_nothing_is_no_mistake() {
        let mut config = Config { signing_threads: 0, signing_queue_max: 0, ..Config::default() };
        config.limits.connections_waiting_per_address_max = 0;
        config.limits.connection_wait_ms_max = 0;
        config.limits.drain_s_max = 0;
        config.session.errors_max = 0;
        config.session.credential_failures_max = 0;
        assert_eq!(config.mistakes(), Vec::<String>::new());
    }

    #[test]
    fn nothing_said_means_the_defaults_and_the_defaults_show_every_key() {
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
        let shown = serde_json::to_string(&Config::default()).unwrap();
        assert!(shown.contains(r#""complaint_domain":"""#), "{shown}");
        assert_eq!(serde_json::from_str::<Config>(&shown).unwrap(), Config::default());
    }
}
