//! What the HTTP listener of this node does; every limit of the API has its name here.

use mail::Domain;
use registry::{Slug, ThrottleConfig};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What the API is told by the configuration file: the section `[api]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Octets of a JSON body of any operation but sending.
    pub body_octets_max: usize,
    /// Octets of the body of `POST …/messages`; base64 makes a message a third larger.
    pub message_body_octets_max: usize,
    /// Connections at the same time. When all places are taken, the one that has been idle longest makes room.
    pub connections_max: usize,
    /// Requests at the same time. Tenants share them: one alone gets half, over its share it is told to come back.
    pub requests_in_flight_max: usize,
    /// Connections of one address (IPv6: of one /64), with the same rule among themselves. A proxy in front of the API
    /// is one address.
    pub connections_per_address_max: usize,
    /// Frames of HTTP/2 a second that ask for nothing (PING, SETTINGS, requests taken back, bodies in pieces of a few
    /// octets, and the like), of one connection, with a burst of ten seconds' worth. A connection that sends more is closed.
    pub idle_frames_per_second: u32,
    /// Seconds that new connections of an address are not heard after one of it was closed for a flood of HTTP/2. 0 for a
    /// proxy that speaks HTTP/2 to us: it is the address of everybody behind it.
    pub flood_pause_seconds: u64,
    /// Seconds a client may take to send its request line and headers, and may be idle between two requests.
    pub header_seconds_max: u64,
    /// Seconds a request may take from its headers to our answer.
    pub request_seconds_max: u64,
    /// Seconds that requests in progress are given when we shut down.
    pub drain_seconds_max: u64,
    /// Requests a second of one credential, with a burst of ten seconds' worth.
    pub requests_per_second: u32,
    /// The same of all credentials of a tenant together.
    pub tenant_requests_per_second: u32,
    /// Credentials and tenants whose request rate is remembered, and addresses that have to wait; those that asked nothing
    /// lately are forgotten.
    pub rate_entries_max: usize,
    /// Seconds a token from `POST /v1/auth/token` is good for.
    pub token_seconds: u64,
    /// Seconds a refresh cookie is good for; each use replaces it.
    pub refresh_seconds: u64,
    /// Whether the refresh cookie is only sent over HTTPS. False for a listener on loopback.
    pub cookie_secure: bool,
    /// Seconds that a call waits for the same call that is still running.
    pub idempotency_wait_seconds: u64,
    /// Seconds that a question about one message waits until the tables know all that was accepted.
    pub told_wait_seconds: u64,
    /// Calls with an `Idempotency-Key` at the same time; each is finished even if its client goes away. Shared by
    /// tenants like requests.
    pub idempotent_calls_max: usize,
    /// Messages of one batch call.
    pub batch_recipients_max: usize,
    /// Name servers that check the records of sending domains; empty means those of the system. Set by the binary.
    #[serde(skip)]
    pub dns_servers: Vec<SocketAddr>,
    /// Milliseconds for one question to a name server.
    pub dns_timeout_ms: u64,
    /// Seconds after which the domain watch looks at a domain again.
    pub domain_check_seconds: u64,
    /// The host of our inbound listener: where the return path of every sending domain must point (a CNAME).
    /// Set by the binary.
    #[serde(skip)]
    pub return_path_target: Domain,
    /// Domain of the platform's signature, for pools that are made without one of their own. Set by the binary.
    #[serde(skip)]
    pub platform_domain: Option<Domain>,
    /// Networks that are not of the public internet and that a webhook may name all the same. Set by the binary.
    #[serde(skip)]
    pub webhook_allow_networks: Vec<ipnet::IpNet>,
    /// Name of the pool that new tenants send from when none is asked for.
    pub default_pool: Slug,
    /// What wrong passwords cost; the credential is the e-mail address here.
    pub login: ThrottleConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            body_octets_max: 256 * 1024,
            message_body_octets_max: 70 * 1024 * 1024,
            connections_max: 1024,
            requests_in_flight_max: 512,
            connections_per_address_max: 256,
            idle_frames_per_second: 100,
            flood_pause_seconds: 5,
            header_seconds_max: 30,
            request_seconds_max: 60,
            drain_seconds_max: 8,
            requests_per_second: 1000,
            tenant_requests_per_second: 2000,
            rate_entries_max: 100_000,
            token_seconds: 15 * 60,
            refresh_seconds: 8 * 3600,
            cookie_secure: true,
            idempotency_wait_seconds: 15,
            told_wait_seconds: 5,
            idempotent_calls_max: 1024,
            batch_recipients_max: 500,
            dns_servers: Vec::new(),
            dns_timeout_ms: 3000,
            domain_check_seconds: 900,
            return_path_target: Domain::parse("return.posthouse.test")
                .unwrap_or_else(|_| unreachable!("it is a domain")),
            platform_domain: None,
            webhook_allow_networks: Vec::new(),
            default_pool: Slug::parse("shared").unwrap_or_else(|_| unreachable!("it is a slug")),
            // A name has to be tried from eight networks at once before networks that we do not know are stopped:
            // behind two or three an operator who was never seen from this place is not locked out.
            login: ThrottleConfig { failures_per_credential_minute_max: 60, ..ThrottleConfig::default() },
        }
    }
}

impl Config {
    /// Every rule that this breaks, in a sentence that begins with the key.
    pub fn mistakes(&self) -> Vec<String> {
        let least = |key: &str, value: u64| (value == 0).then(|| format!("{key} must not be 0"));
        let counts = [
            ("body_octets_max", self.body_octets_max as u64),
            ("message_body_octets_max", self.message_body_octets_max as u64),
            ("connections_max", self.connections_max as u64),
            ("connections_per_address_max", self.connections_per_address_max as u64),
            ("requests_in_flight_max", self.requests_in_flight_max as u64),
            ("idle_frames_per_second", u64::from(self.idle_frames_per_second)),
            ("header_seconds_max", self.header_seconds_max),
            ("request_seconds_max", self.request_seconds_max),
            ("requests_per_second", u64::from(self.requests_per_second)),
            ("tenant_requests_per_second", u64::from(self.tenant_requests_per_second)),
            ("rate_entries_max", self.rate_entries_max as u64),
            ("token_seconds", self.token_seconds),
            ("refresh_seconds", self.refresh_seconds),
            ("idempotent_calls_max", self.idempotent_calls_max as u64),
            ("batch_recipients_max", self.batch_recipients_max as u64),
            ("dns_timeout_ms", self.dns_timeout_ms),
            ("domain_check_seconds", self.domain_check_seconds),
        ];
        counts.into_iter().filter_map(|(key, value)| least(key, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_answer_nobody_is_a_mistake_by_its_key() {
        assert_eq!(Config::default().mistakes(), Vec::<String>::new());
        let config = Config { request_seconds_max: 0, requests_in_flight_max: 0, ..Config::default() };
        let keys: Vec<String> =
            config.mistakes().iter().filter_map(|text| text.split(' ').next().map(str::to_owned)).collect();
        assert_eq!(keys, ["requests_in_flight_max", "request_seconds_max"]);
    }
}
