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
