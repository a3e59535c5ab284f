//! Limits of projecting and of webhook calls.

use crate::Fault;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// What telling is told by the configuration file: the section `[events]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Journal records that become one transaction.
    pub batch_records_max: usize,
    /// How long the first record of a batch waits for others.
    pub batch_wait_ms_max: u64,
    /// Recipients whose message is remembered, so that an outcome needs no look at the database.
    pub remembered_recipients_max: usize,
    /// Longest pause between attempts to reach a database that is down.
    pub database_backoff_ms_max: u64,
    /// Webhook calls at the same time, all endpoints together; tenants share them.
    pub webhook_calls_max: usize,
    /// Webhook calls at the same time to one endpoint.
    pub webhook_calls_per_endpoint_max: usize,
    /// A call that takes longer has failed.
    pub webhook_timeout_ms_max: u64,
    /// How often the database is asked for calls that another node left behind. New calls and due times are noticed
    /// without it.
    pub webhook_poll_ms: u64,
    /// How far the schedule of retries is spread, in percent.
    pub webhook_jitter_percent: u32,
    /// Networks that endpoints may be in although they are private or loopback; plain http is allowed there.
    pub webhook_allow_networks: Vec<IpNet>,
    /// Name servers that are asked for the hosts of endpoints; empty means as the system does it. Set by the binary.
    #[serde(skip)]
    pub dns_servers: Vec<SocketAddr>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            batch_records_max: 1_000,
            batch_wait_ms_max: 50,
            remembered_recipients_max: 100_000,
            database_backoff_ms_max: 5_000,
            webhook_calls_max: 64,
            webhook_calls_per_endpoint_max: 4,
            webhook_timeout_ms_max: 15_000,
            webhook_poll_ms: 30_000,
            webhook_jitter_percent: 10,
            webhook_allow_networks: Vec::new(),
            dns_servers: Vec::new(),
        }
    }
}

impl Config {
    /// Every rule that this breaks, in a sentence that begins with the key.
    pub fn mistakes(&self) -> Vec<&'static str> {
        let rules = [
            (self.batch_records_max > 0, "batch_records_max must not be 0"),
            (self.database_backoff_ms_max > 0, "database_backoff_ms_max must not be 0"),
            (self.webhook_calls_max > 0, "webhook_calls_max must not be 0"),
            (self.webhook_calls_per_endpoint_max > 0, "webhook_calls_per_endpoint_max must not be 0"),
            (self.webhook_timeout_ms_max > 0, "webhook_timeout_ms_max must not be 0"),
            (self.webhook_poll_ms > 0, "webhook_poll_ms must not be 0"),
            (self.webhook_jitter_percent <= 50, "webhook_jitter_percent must be at most 50"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence).collect()
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.mistakes().first().map_or(Ok(()), |sentence| Err(Fault::Config(sentence)))
    }

    pub(crate) fn webhook_timeout(&self) -> Duration {
        Duration::from_millis(self.webhook_timeout_ms_max)
    }

    /// A claimed call belongs to this node for so long: it may wait its turn behind others of its endpoint.
    pub(crate) fn webhook_lease(&self) -> Duration {
        self.webhook_timeout() * 4
    }
}
