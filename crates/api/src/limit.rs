//! How often somebody may ask: a rate per credential.
//!
//! A table with a limit; when it is full, the entries that matter least are forgotten first. A plain value that is told
//! the time. The rate is a GCRA, so one number per credential is all that is kept. What wrong passwords cost is said in
//! `registry::Throttle`.

use mail::Instant;
use registry::Actor;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Seconds' worth of requests that may come at once.
const BURST_SECONDS: u64 = 10;

/// What a request was told about its rate; becomes the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests in the window at most.
    pub quota: u64,
    pub window_seconds: u64,
    pub remaining: u64,
    /// Until the quota is whole again.
    pub reset: Duration,
    /// Set when this request is one too many.
    pub wait: Option<Duration>,
}

/// Requests of each credential.
#[derive(Debug)]
pub struct RequestRate {
    step: Duration,
    per_second: u64,
    entries_max: usize,
    /// When the credential will have paid for everything it asked so far.
    paid: HashMap<Actor, Instant>,
}

impl RequestRate {
    pub fn new(per_second: u32, entries_max: usize) -> RequestRate {
        let per_second = u64::from(per_second.max(1));
        RequestRate {
            step: Duration::from_micros(1_000_000 / per_second),
            per_second,
            entries_max: entries_max.max(1),
            paid: HashMap::new(),
        }
    }

    pub fn charge(&mut self, actor: Actor, now: Instant) -> Standing {
        make_room(&mut self.paid, &actor, self.entries_max, |paid| *paid <= now);
        let burst = Duration::from_secs(BURST_SECONDS);
        let paid = self.paid.entry(actor).or_insert(now);
        let start = (*paid).max(now);
        let next = start + self.step;
        let debt = next.saturating_since(now);
        let wait = debt.checked_sub(burst).filter(|wait| !wait.is_zero());
        if wait.is_none() {
            *paid = next;
        }
        let reset = paid.saturating_since(now);
        let used = reset.as_micros().div_ceil(self.step.as_micros().max(1)) as u64;
        let quota = self.per_second * BURST_SECONDS;
        Standing { quota, window_seconds: BURST_SECONDS, remaining: quota.saturating_sub(used), reset, wait }
    }
}

/// Keeps a table within its limit before `key` is added: first drops what no longer matters, then anything.
fn make_room<K: Hash + Eq + Clone, V>(
    table: &mut HashMap<K, V>,
    key: &K,
    entries_max: usize,
    idle: impl Fn(&V) -> bool,
) {
    if table.len() < entries_max || table.contains_key(key) {
        return;
    }
    table.retain(|_, value| !idle(value));
    if table.len() >= entries_max
        && let Some(victim) = table.keys().next().cloned()
    {
        table.remove(&victim);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ME: Actor = Actor::House("test");

    #[test]
    fn a_burst_is_allowed_and_then_the_rate_holds() {
        let mut rate = RequestRate::new(10, 10);
        let now = Instant::from_micros(1_000_000);
        for left in (0..100).rev() {
            let standing = rate.charge(ME, now);
            assert_eq!((standing.wait, standing.remaining, standing.quota), (None, left, 100));
        }
        let wait = rate.charge(ME, now).wait.unwrap();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(rate.charge(ME, now + wait).wait.is_none());
        assert!(rate.charge(ME, now + wait).wait.is_some());
        assert!(rate.charge(Actor::House("other"), now).wait.is_none());
    }

    #[test]
    fn a_full_table_stays_within_its_limit() {
        let mut rate = RequestRate::new(10, 2);
        for who in ["a", "b", "c", "d"] {
            rate.charge(Actor::House(who), Instant::ZERO);
            assert!(rate.paid.len() <= 2);
        }
    }
}
