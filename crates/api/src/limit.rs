//! How often somebody may ask: a rate per credential, and a growing wait for wrong passwords.
//!
//! Both are tables with a limit; when one is full, the entries that matter least are forgotten first. Both are plain
//! values that are told the time. The rate is a GCRA, so one number per credential is all that is kept.

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

/// Wrong passwords by e-mail address.
#[derive(Debug)]
pub struct LoginThrottle {
    failures_max: u32,
    wait_first: Duration,
    entries_max: usize,
    failures: HashMap<String, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    until: Instant,
}

/// The longest wait for a password.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

impl LoginThrottle {
    pub fn new(failures_max: u32, wait_first: Duration, entries_max: usize) -> LoginThrottle {
        LoginThrottle { failures_max, wait_first, entries_max: entries_max.max(1), failures: HashMap::new() }
    }

    /// Counts an attempt before the password is looked at, or says how long this address must still wait. Counted as
    /// a failure until it is known to be none: attempts that come at the same time would all pass otherwise.
    pub fn attempt(&mut self, email: &str, now: Instant) -> Result<(), Duration> {
        let email = email.to_lowercase();
        let forgotten = WAIT_MAX;
        make_room(&mut self.failures, &email, self.entries_max, |old| {
            now.saturating_since(old.until) > forgotten
        });
        let entry = self.failures.entry(email).or_insert(Failures { count: 0, until: now });
        let wait = entry.until.saturating_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        entry.count = entry.count.saturating_add(1);
        entry.until = match entry.count.checked_sub(self.failures_max) {
            Some(extra) => {
                let factor = 1u32.checked_shl(extra).unwrap_or(u32::MAX);
                now + self.wait_first.saturating_mul(factor).min(WAIT_MAX)
            }
            None => now,
        };
        Ok(())
    }

    /// The password was right: nothing before counts any more.
    pub fn succeeded(&mut self, email: &str) {
        self.failures.remove(&email.to_lowercase());
    }

    /// The password was not looked at: the attempt is given back.
    pub fn returned(&mut self, email: &str, now: Instant) {
        if let Some(entry) = self.failures.get_mut(&email.to_lowercase()) {
            entry.count = entry.count.saturating_sub(1);
            entry.until = now;
        }
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

    #[test]
    fn wrong_passwords_wait_longer_and_longer_until_one_is_right() {
        let mut logins = LoginThrottle::new(3, Duration::from_secs(10), 10);
        let mut now = Instant::ZERO;
        for _ in 0..3 {
            assert_eq!(logins.attempt("A@example.org", now), Ok(()));
        }
        for wait in [10, 20, 40] {
            let wait = Duration::from_secs(wait);
            assert_eq!(logins.attempt("a@example.org", now), Err(wait));
            now = now + wait;
            assert_eq!(logins.attempt("a@example.org", now), Ok(()));
        }
        assert_eq!(logins.attempt("b@example.org", now), Ok(()));
        for _ in 0..100 {
            now = now + WAIT_MAX;
            assert_eq!(logins.attempt("a@example.org", now), Ok(()));
        }
        assert_eq!(logins.attempt("a@example.org", now), Err(WAIT_MAX));
        logins.succeeded("a@example.org");
        assert_eq!(logins.attempt("a@example.org", now), Ok(()));
    }

    #[test]
    fn attempts_at_the_same_time_are_counted_before_any_of_them_has_failed() {
        let mut logins = LoginThrottle::new(3, Duration::from_secs(10), 10);
        let passed = (0..100).filter(|_| logins.attempt("a@example.org", Instant::ZERO).is_ok());
        assert_eq!(passed.count(), 3);
    }

    #[test]
    fn an_attempt_that_was_not_looked_at_is_given_back() {
        let mut logins = LoginThrottle::new(1, Duration::from_secs(10), 10);
        for _ in 0..5 {
            assert_eq!(logins.attempt("a@example.org", Instant::ZERO), Ok(()));
            logins.returned("a@example.org", Instant::ZERO);
        }
    }
}
