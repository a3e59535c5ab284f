//! Descriptors: the soft limit is raised to the hard one at start, and what there is is divided.
//!
//! Running out of descriptors has stopped other mailers: whoever comes first has them all, and the journal or the way out
//! has none. So connections of every kind get a part of what the reserve leaves, in the proportion of their configured
//! limits, and the number we have is logged once, and a small one warned of.

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that the journal, the database, DNS and the log keep for themselves.
pub const RESERVED: u64 = 128;

/// Of each kind of connection, however few there are.
const LEAST: u64 = 8;

/// Lowers the limits of connections to what there are descriptors for.
pub fn fit(config: &mut Config) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    if bound(config, limit) {
        tracing::info!(
            limit,
            reserved = RESERVED,
            submission = config.ingress.limits.connections_max,
            strangers = config.ingress.limits.strangers_max,
            egress = config.egress.connections_max,
            api = config.api.connections_max,
            "there are few descriptors: limits of connections are lower than configured"
        );
    }
}

/// Says whether anything was lowered.
fn bound(config: &mut Config, limit: u64) -> bool {
    let room = limit.saturating_sub(RESERVED);
    let ingress = &mut config.ingress.limits;
    let users = [
        &mut ingress.connections_max,
        &mut ingress.strangers_max,
        &mut ingress.inbound_connections_max,
        &mut config.egress.connections_max,
        &mut config.api.connections_max,
        &mut config.events.webhook_calls_max,
    ];
    let wanted: u64 = users.iter().map(|user| **user as u64).sum();
    if wanted <= room {
        return false;
    }
    for user in users {
        let part = u128::from(room) * *user as u128 / u128::from(wanted);
        *user = (*user).min((part as u64).max(LEAST) as usize);
    }
    // What one party may have of it, or the first one has it all.
    let of_one = &mut config.egress.deliveries_per_tenant_max;
    *of_one = (*of_one).min(config.egress.connections_max / 2);
    let of_one = &mut config.api.connections_per_address_max;
    *of_one = (*of_one).min(config.api.connections_max / 2);
    true
}

/// Raises the soft limit as far as the hard limit allows; returns what is in force.
pub fn raise() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    if before.current != before.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX));
    tracing::info!(limit, reserved = RESERVED, "open files");
    if limit < RESERVED * 4 {
        tracing::warn!(
            limit,
            "few open files are allowed; raise the hard limit (ulimit -Hn, LimitNOFILE=) to at least 65536"
        );
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_divided_in_proportion_and_what_fits_stays() {
        let all = |config: &Config| {
            let ingress = &config.ingress.limits;
            let others =
                [config.egress.connections_max, config.api.connections_max, config.events.webhook_calls_max];
            let doors = [ingress.connections_max, ingress.strangers_max, ingress.inbound_connections_max];
            doors.into_iter().chain(others).collect::<Vec<_>>()
        };
        let mut config = Config::default();
        assert!(!bound(&mut config, 65_536) && config == Config::default());
        for limit in [256, 1_024, 4_096] {
            let mut config = Config::default();
            assert!(bound(&mut config, limit));
            let sum: usize = all(&config).iter().sum();
            assert!(sum as u64 <= limit - RESERVED + 2 * LEAST, "{sum} of {limit}");
            assert!(config.egress.deliveries_per_tenant_max * 2 <= config.egress.connections_max);
            assert!(config.api.connections_per_address_max * 2 <= config.api.connections_max);
            let lowered = all(&config);
            assert!(lowered.iter().zip(all(&Config::default())).all(|(now, was)| *now >= 8 && *now <= was));
        }
        let mut none = Config::default();
        bound(&mut none, 64);
        assert!(all(&none).iter().all(|each| *each == LEAST as usize));
    }

    #[test]
    fn whatever_the_hard_limit_allows_is_taken_and_told() {
        let before = getrlimit(Resource::Nofile);
        // One less, so that the other tests of this process do not notice.
        let most = before.maximum.filter(|most| *most > 1);
        let lowered = Rlimit { current: most.map(|most| most - 1), maximum: before.maximum };
        setrlimit(Resource::Nofile, lowered).unwrap();
        assert_eq!(raise(), most.unwrap_or(u64::from(u32::MAX)));
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        assert_eq!(raise(), raise(), "a second time changes nothing");
    }
}
