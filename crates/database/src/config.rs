//! How this node reaches PostgreSQL, and with which limits.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How PostgreSQL is reached, and how long it is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `postgres://user:password@host/name`. The user may be the owner of the schema; every transaction steps down to
    /// the role `posthouse_runtime`.
    pub url: String,
    /// A PEM file with the authorities that PostgreSQL's certificate must come from. With it the connection is
    /// encrypted and checked; without it it is in the clear, which is right for a unix socket or the same host.
    pub ca_file: Option<PathBuf>,
    /// Connections in the pool. Tenants share three quarters of them, and the house has at most as many.
    pub connections_max: usize,
    /// How long a request waits for a free connection before it is answered with 503.
    pub wait_ms_max: u64,
    /// How long opening a connection may take.
    pub connect_ms_max: u64,
    /// How long one statement of our own work may run (events, housekeeping, the registry); an answer that takes a second
    /// more counts as PostgreSQL being away.
    pub statement_ms_max: u64,
    /// How long a call of the API may use the database in one go, waiting for a connection included; then it is answered
    /// with 503.
    pub answer_ms_max: u64,
    /// How often the follower asks for the generation, besides being notified.
    pub follow_every_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: String::new(),
            ca_file: None,
            connections_max: 16,
            wait_ms_max: 5_000,
            connect_ms_max: 5_000,
            statement_ms_max: 10_000,
            answer_ms_max: 4_000,
            follow_every_ms: 1_000,
        }
    }
}
