//! How often somebody may ask: a rate per credential, and one for all credentials of a tenant together, or making keys
//! would make requests.
//!
//! A table with a limit; when it is full, the entries that matter least are forgotten first. A plain value that is told
//! the time. The rate is a GCRA, so one number per credential or tenant is all that is kept. What wrong passwords cost is
//! said in `registry::Throttle`.

use mail::{Instant, TenantId};
use registry::{Access, Actor};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// So much time's worth of requests may come at once.
const BURST: Duration = Duration::from_secs(10);

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

/// Requests of each credential and each tenant.
#[derive(Debug)]
pub struct RequestRate {
    credential: Rate,
    tenant: Rate,
    entries_max: usize,
    /// When everything that was asked so far will have been paid for.
    paid: HashMap<Asker, Instant>,
}

/// Who pays for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asker {
    Credential(Actor),
    Tenant(TenantId),
}

/// So many of something a second, with a burst.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    per_second: u64,
    step: Duration,
}

impl RequestRate {
    pub fn new(credential_per_second: u32, tenant_per_second: u32, entries_max: usize) -> RequestRate {
        RequestRate {
            credential: Rate::new(credential_per_second),
            tenant: Rate::new(tenant_per_second),
            // A request has two.
            entries_max: entries_max.max(2),
            paid: HashMap::new(),
        }
    }

    /// Charges the credential and its tenant, or neither. Tells the standing of the one that has less left.
    pub fn charge(&mut self, access: &Access, now: Instant) -> Standing {
        let credential = Asker::Credential(access.actor());
        let own = self.credential.after_one_more(self.paid(credential, now), now);
        let Some(tenant) = access.tenant().map(Asker::Tenant) else {
            if own.wait.is_none() {
                self.take(credential, self.credential, now);
            }
            return own;
        };
        let shared = self.tenant.after_one_more(self.paid(tenant, now), now);
        if own.wait.is_none() && shared.wait.is_none() {
            self.take(credential, self.credential, now);
            self.take(tenant, self.tenant, now);
        }
        // None is less than any wait.
        let is_tighter = (shared.wait, own.remaining) > (own.wait, shared.remaining);
        if is_tighter { shared } else { own }
    }

    fn take(&mut self, asker: Asker, rate: Rate, now: Instant) {
        let paid = self.paid(asker, now);
        make_room(&mut self.paid, &asker, self.entries_max, |paid| *paid <= now);
        self.paid.insert(asker, paid + rate.step);
    }

    fn paid(&self, asker: Asker, now: Instant) -> Instant {
        self.paid.get(&asker).copied().unwrap_or(now).max(now)
    }
}

impl Rate {
    pub fn new(per_second: u32) -> Rate {
        let per_second = u64::from(per_second.max(1));
        Rate { per_second, step: Duration::from_micros(1_000_000 / per_second) }
    }

    /// When everything will have been paid for if `count` more are asked. None: they are too many for now.
    pub fn after(self, paid: Instant, count: u32, now: Instant) -> Option<Instant> {
        let next = paid.max(now) + self.step * count;
        (next.saturating_since(now) <= BURST).then_some(next)
    }

    /// If everything until `paid` was asked, and this request as well unless it has to wait.
    fn after_one_more(self, paid: Instant, now: Instant) -> Standing {
        let next = paid + self.step;
        let wait = next.saturating_since(now).checked_sub(BURST).filter(|wait| !wait.is_zero());
        let reset = if wait.is_none() { next } else { paid }.saturating_since(now);
        let used = reset.as_micros().div_ceil(self.step.as_micros().max(1)) as u64;
        let quota = self.per_second * BURST.as_secs();
        let remaining = quota.saturating_sub(used);
        Standing { quota, window_seconds: BURST.as_secs(), remaining, reset, wait }
    }
}

/// Keeps a table within its limit before `key` is added: first drops what no longer matters, then anything.
pub fn make_room<K: Hash + Eq + Clone, V>(
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
    use mail::{Random, Timestamp, UserId};
    use registry::Role;

    fn house(name: &'static str) -> Access {
        Access::house(name)
    }

    /// A key of one tenant.
    fn key(number: u64) -> Access {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(1));
        let user = UserId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(number));
        Access::of_user(user, Role::Viewer, Some(tenant)).unwrap()
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate_holds() {
        let mut rate = RequestRate::new(10, 20, 10);
        let now = Instant::from_micros(1_000_000);
        for left in (0..100).rev() {
            let standing = rate.charge(&house("test"), now);
            assert_eq!((standing.wait, standing.remaining, standing.quota), (None, left, 100));
        }
        let wait = rate.charge(&house("test"), now).wait.unwrap();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(rate.charge(&house("test"), now + wait).wait.is_none());
        assert!(rate.charge(&house("test"), now + wait).wait.is_some());
        assert!(rate.charge(&house("other"), now).wait.is_none());
    }

    #[test]
    fn many_keys_of_a_tenant_have_the_rate_of_a_tenant() {
        let mut rate = RequestRate::new(10, 20, 100);
        let now = Instant::from_micros(1_000_000);
        let mut taken = 0;
        for _ in 0..100 {
            taken += (1..=10).filter(|number| rate.charge(&key(*number), now).wait.is_none()).count();
        }
        assert_eq!(taken, 200);
        let standing = rate.charge(&key(11), now);
        assert_eq!((standing.wait, standing.quota), (Some(Duration::from_millis(50)), 200));
        // What was refused cost the key nothing.
        let later = now + Duration::from_secs(1);
        assert_eq!((1..=10).filter(|_| rate.charge(&key(11), later).wait.is_none()).count(), 10);
        assert!(rate.charge(&house("operator"), now).wait.is_none());
    }

    #[test]
    fn one_key_of_a_tenant_has_the_rate_of_a_key() {
        let mut rate = RequestRate::new(10, 20, 100);
        let taken = (0..300).filter(|_| rate.charge(&key(1), Instant::ZERO).wait.is_none()).count();
        let standing = rate.charge(&key(1), Instant::ZERO);
        assert_eq!((taken, standing.wait, standing.quota), (100, Some(Duration::from_millis(100)), 100));
    }

    #[test]
    fn a_full_table_stays_within_its_limit() {
        let mut rate = RequestRate::new(10, 20, 2);
        for who in ["a", "b", "c", "d"] {
            rate.charge(&house(who), Instant::ZERO);
            assert!(rate.paid.len() <= 2);
        }
        for number in 1..=50 {
            rate.charge(&key(number), Instant::ZERO);
            assert!(rate.paid.len() <= 2);
        }
    }
}
