//! Every key of the lab, with its default and its limits.
//!
//! Addresses that are not loopback are refused when the lab starts, not when it reads this.

use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What the lab is told: addresses, limits, and what to pretend.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabConfig {
    /// Where the control listens (HTTP). Port 0: any free port.
    pub control: SocketAddr,
    /// Where the DNS listens, UDP and TCP. Port 0: any port free for both.
    pub dns: SocketAddr,
    /// The port of every provider, on its own address. 0: a port that is free on all of them.
    pub smtp_port: u16,
    /// Our inbound listener: where providers send bounces and complaints. Can be set later.
    pub inbound: Option<SocketAddr>,
    /// Where the house's egress sources live; the lab's DNS has reverse records for all of it.
    pub source_net: Ipv4Net,
    /// The first two octets of every provider's address.
    pub provider_net: [u8; 2],
    /// Arrivals kept; the oldest go first.
    pub arrivals_max: usize,
    /// Octets of raw messages kept; beyond, the oldest arrivals lose theirs and keep the rest.
    pub raw_octets_max: usize,
    /// Octets of one message, whatever a provider announces.
    pub message_octets_max: usize,
    /// Recipients of one transaction.
    pub recipients_max: usize,
    /// Sessions of all providers together.
    pub connections_max: usize,
    /// Records that can be published.
    pub published_max: usize,
    /// Webhook sinks, and calls kept for each.
    pub hooks_max: usize,
    /// Calls that are remembered of one hook.
    pub hook_calls_max: usize,
    /// Octets of one control request or recorded webhook call.
    pub request_octets_max: usize,
    /// Bounces and complaints waiting to be sent.
    pub returns_max: usize,
    /// A provider waits this long for the next command.
    #[serde(with = "milliseconds")]
    pub command_timeout: Duration,
    /// How long `slow…` mailboxes and slow.example think before they answer.
    #[serde(with = "milliseconds")]
    pub slow_delay: Duration,
    /// A greylisting mailbox accepts when this has passed since the first attempt.
    #[serde(with = "milliseconds")]
    pub greylist_delay: Duration,
    /// A provider's complaint or late bounce comes this long after the arrival.
    #[serde(with = "milliseconds")]
    pub return_delay: Duration,
}

impl Default for LabConfig {
    fn default() -> LabConfig {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        LabConfig {
            control: any_port,
            dns: any_port,
            smtp_port: 0,
            inbound: None,
            source_net: Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
            provider_net: [127, 25],
            arrivals_max: 50_000,
            raw_octets_max: 128 << 20,
            message_octets_max: 50 << 20,
            recipients_max: 1_000,
            connections_max: 4_096,
            published_max: 200_000,
            hooks_max: 1_000,
            hook_calls_max: 10_000,
            request_octets_max: 4 << 20,
            returns_max: 10_000,
            command_timeout: Duration::from_secs(300),
            slow_delay: Duration::from_secs(3),
            greylist_delay: Duration::from_secs(2),
            return_delay: Duration::from_millis(500),
        }
    }
}

/// Durations in a file are whole milliseconds.
mod milliseconds {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
