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

impl Config {
    /// What is wrong with it by itself, in sentences that begin with the key. They hold nothing of the URL: it may have a
    /// password.
    pub fn mistakes(&self) -> Vec<String> {
        let read = self.url.parse::<tokio_postgres::Config>();
        let mut mistakes = Vec::new();
        if !self.url.is_empty() && read.is_err() {
            mistakes.push(
                "url is no address of PostgreSQL, such as postgres://user:password@host/name".to_owned(),
            );
        }
        if self.connections_max == 0 {
            mistakes.push("connections_max must be at least 1".to_owned());
        }
        let times = [
            ("connect_ms_max", self.connect_ms_max),
            ("statement_ms_max", self.statement_ms_max),
            ("answer_ms_max", self.answer_ms_max),
            ("follow_every_ms", self.follow_every_ms),
        ];
        mistakes.extend(
            times.into_iter().filter(|(_, ms)| *ms == 0).map(|(key, _)| format!("{key} must be at least 1")),
        );
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_nothing_is_a_mistake() {
        let changes: [fn(&mut Config); 4] = [
            |config| config.connect_ms_max = 0,
            |config| config.statement_ms_max = 0,
            |config| config.answer_ms_max = 0,
            |config| config.follow_every_ms = 0,
        ];
        for change in changes {
            let mut config = Config::default();
            change(&mut config);
            let mistakes = config.mistakes();
            assert!(mistakes.len() == 1 && mistakes[0].ends_with("must be at least 1"), "{mistakes:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_is_a_mistake_and_is_not_repeated() {
        let with = |url: &str| Config { url: url.to_owned(), ..Config::default() }.mistakes();
        for right in ["", "postgres://a:b@c/d", "host=/run/postgresql user=a dbname=b"] {
            assert_eq!(with(right), Vec::<String>::new(), "{right}");
        }
        for wrong in ["zzz", "postgres://a:secret@c:port/d"] {
            let mistakes = with(wrong);
            assert!(mistakes.len() == 1 && !mistakes[0].contains("secret"), "{mistakes:?}");
        }
        assert_eq!(Config { connections_max: 0, ..Config::default() }.mistakes().len(), 1);
    }
}
