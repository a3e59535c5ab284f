//! Descriptors: the soft limit is raised to the hard one at start, and the budget is told.
//!
//! Running out of descriptors has stopped other mailers, so the number we have is logged once, and a small one warned of.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that the journal, the database, DNS and the log keep for themselves.
pub const RESERVED: u64 = 128;

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
