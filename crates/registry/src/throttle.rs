//! What wrong secrets cost: a growing delay, then a lock of that credential from that network. Pure.
//!
//! Three counts, one table. *Pair*: a credential name from a network (IPv4 /24, IPv6 /64) is slowed down and then
//! locked. *Network*: one machine that tries many names is stopped for a minute. *Name*: many machines that try one name
//! are stopped too. The last two do not count for a credential at a network where it was used with success, so that a
//! stranger cannot lock the owner out. Unknown names are counted like known ones, or the delay would tell which exist.
//!
//! Two doors have one each: SMTP AUTH (`ingress/src/session.rs`) counts a wrong secret when it was seen to be wrong; the
//! login of people (`api/src/routes/auth.rs`) counts an attempt beforehand, because many come at the same time, and
//! takes the count back. What may surprise: the lock answers before the secret is looked at, so a right secret is
//! refused too while it lasts. The table has a bound and forgets first what would be forgotten soonest; of a long name
//! only the beginning counts.

use mail::{Instant, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Octets of a name that are kept: nobody fills our memory with names.
const NAME_OCTETS: usize = 64;
const MINUTE: Duration = Duration::from_secs(60);

/// What wrong secrets cost. Counted per credential and network, per network, and per credential from everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Wrong secrets of one credential from one network that cost nothing.
    pub free_failures: u32,
    /// The first delay; each further wrong secret doubles it.
    pub delay_ms_first: u64,
    /// The longest delay.
    pub delay_ms_max: u64,
    /// At so many wrong secrets the credential is locked for that network.
    pub failures_to_lock: u32,
    /// For how long.
    pub lock_s: u64,
    /// Failures are forgotten after so much time without another.
    pub forget_s: u64,
    /// Wrong secrets a minute from one network, whatever the credential.
    pub failures_per_network_minute_max: u32,
    /// Wrong secrets a minute for one credential from everywhere; only networks that it was never used from notice.
    pub failures_per_credential_minute_max: u32,
    /// Entries of the table; the one that is forgotten soonest makes room.
    pub entries_max: usize,
}

impl Default for ThrottleConfig {
    fn default() -> ThrottleConfig {
        ThrottleConfig {
            free_failures: 2,
            delay_ms_first: 500,
            delay_ms_max: 8_000,
            failures_to_lock: 8,
            lock_s: 900,
            forget_s: 3_600,
            failures_per_network_minute_max: 10,
            failures_per_credential_minute_max: 10,
            entries_max: 100_000,
        }
    }
}

/// The part of an address that one customer of a provider usually has: IPv4 /24, IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(u128);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Pair(Box<str>, Network),
    Network(Network),
    Name(Box<str>),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    locked_until: Instant,
    /// Set by a success: this network is one of the owner's.
    known: bool,
    forget_at: Instant,
}

/// The table. One per process; the caller keeps it behind a mutex.
#[derive(Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    entries: HashMap<Key, Entry>,
    /// The same entries by the time at which they are forgotten.
    order: BTreeSet<(Instant, Key)>,
}

impl Network {
    pub fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network(u128::from(v4.to_bits() >> 8)),
            IpAddr::V6(v6) => Network(v6.to_bits() >> 64 << 64),
        }
    }
}

impl Throttle {
    pub fn new(config: ThrottleConfig) -> Throttle {
        Throttle { config, entries: HashMap::new(), order: BTreeSet::new() }
    }

    /// Whether this name may be tried from this address now; the refusal says when to come back.
    pub fn check(&self, name: &str, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        let network = Network::of(peer);
        let pair = self.live(&Key::Pair(short(name), network), now);
        // What strangers do, here or elsewhere, is no reason to stop whom we know here.
        let strangers = match pair {
            Some(entry) if entry.known => [None, None],
            Some(_) | None => {
                [self.live(&Key::Network(network), now), self.live(&Key::Name(short(name)), now)]
            }
        };
        let until = [pair].into_iter().chain(strangers).flatten().map(|entry| entry.locked_until).max();
        match until.filter(|until| *until > now) {
            Some(until) => Err(Refusal::new(
                RefusalKind::CredentialLocked,
                "too many failed attempts to authenticate from your network",
            )
            .with_retry_after(until.saturating_since(now))),
            None => Ok(()),
        }
    }

    /// A wrong secret: the answer must be held back for the duration that is returned.
    pub fn failed(&mut self, name: &str, peer: IpAddr, now: Instant) -> Duration {
        let network = Network::of(peer);
        let forget = Duration::from_secs(self.config.forget_s);
        let pair = self.count(Key::Pair(short(name), network), forget, now);
        if pair >= self.config.failures_to_lock {
            let lock = Duration::from_secs(self.config.lock_s);
            self.lock(Key::Pair(short(name), network), now + lock);
        }
        if self.count_minute(Key::Network(network), now) >= self.config.failures_per_network_minute_max {
            self.lock(Key::Network(network), now + MINUTE);
        }
        if self.count_minute(Key::Name(short(name)), now) >= self.config.failures_per_credential_minute_max {
            self.lock(Key::Name(short(name)), now + MINUTE);
        }
        self.delay(pair)
    }

    /// A right secret: the network counts as one of the owner's, earlier mistakes are forgiven.
    pub fn succeeded(&mut self, name: &str, peer: IpAddr, now: Instant) {
        let key = Key::Pair(short(name), Network::of(peer));
        let forget_at = now + Duration::from_secs(self.config.forget_s);
        // A connection that authenticates for every message would move the entry each time; a minute is enough.
        if let Some(entry) = self.entries.get(&key)
            && entry.known
            && entry.failures == 0
            && forget_at.saturating_since(entry.forget_at) < MINUTE
        {
            return;
        }
        self.put(key, Entry { failures: 0, locked_until: now, known: true, forget_at });
    }

    /// The secret that was counted beforehand was right, or was never looked at.
    pub fn returned(&mut self, name: &str, peer: IpAddr, now: Instant) {
        let network = Network::of(peer);
        for (key, limit) in [
            (Key::Pair(short(name), network), self.config.failures_to_lock),
            (Key::Network(network), self.config.failures_per_network_minute_max),
            (Key::Name(short(name)), self.config.failures_per_credential_minute_max),
        ] {
            let Some(mut entry) = self.live(&key, now) else { continue };
            entry.failures = entry.failures.saturating_sub(1);
            if entry.failures < limit {
                entry.locked_until = entry.locked_until.min(now);
            }
            self.put(key, entry);
        }
    }

    fn live(&self, key: &Key, now: Instant) -> Option<Entry> {
        self.entries.get(key).copied().filter(|entry| entry.forget_at > now)
    }

    /// One more failure in a period that begins anew with each one.
    fn count(&mut self, key: Key, keep: Duration, now: Instant) -> u32 {
        let fresh = Entry { failures: 0, locked_until: now, known: false, forget_at: now };
        let mut entry = self.live(&key, now).unwrap_or(fresh);
        // A lock that is over gives a few more tries, not a whole new set.
        if entry.failures >= self.config.failures_to_lock && entry.locked_until <= now {
            entry.failures = self.config.failures_to_lock / 2;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.forget_at = entry.forget_at.max(now + keep);
        let failures = entry.failures;
        self.put(key, entry);
        failures
    }

    /// One more failure in the minute that began with the first.
    fn count_minute(&mut self, key: Key, now: Instant) -> u32 {
        let fresh = Entry { failures: 0, locked_until: now, known: false, forget_at: now + MINUTE };
        let mut entry = self.live(&key, now).unwrap_or(fresh);
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        self.put(key, entry);
        failures
    }

    fn lock(&mut self, key: Key, until: Instant) {
        if let Some(mut entry) = self.entries.get(&key).copied() {
            entry.locked_until = until;
            entry.forget_at = entry.forget_at.max(until);
            self.put(key, entry);
        }
    }

    fn put(&mut self, key: Key, entry: Entry) {
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.order.remove(&(before.forget_at, key.clone()));
        }
        self.order.insert((entry.forget_at, key));
        while self.entries.len() > self.config.entries_max.max(1) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        let Some(over) = failures.checked_sub(self.config.free_failures + 1) else {
            return Duration::ZERO;
        };
        let doubled = self.config.delay_ms_first.saturating_mul(1u64.checked_shl(over).unwrap_or(u64::MAX));
        Duration::from_millis(doubled.min(self.config.delay_ms_max))
    }
}

fn short(name: &str) -> Box<str> {
    name[..name.floor_char_boundary(NAME_OCTETS)].into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn throttle() -> Throttle {
        Throttle::new(ThrottleConfig::default())
    }

    #[test]
    fn the_delay_grows_and_then_the_pair_is_locked() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        // Slowly enough that the limits by the minute have no say.
        let delays: Vec<u64> =
            (0..8).map(|n| throttle.failed("c", peer, at(n * 61)).as_millis() as u64).collect();
        assert_eq!(delays, [0, 0, 500, 1000, 2000, 4000, 8000, 8000]);
        let refusal = throttle.check("c", address("192.0.2.200"), at(428)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::CredentialLocked);
        assert_eq!(refusal.retry_after_seconds(), Some(899));
        throttle.check("c", peer, at(427 + 900)).unwrap();
    }

    #[test]
    fn a_lock_that_is_over_does_not_give_a_whole_new_set_of_tries() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..8 {
            throttle.failed("c", peer, at(n * 61));
        }
        let after = 427 + 901;
        let tries = (0..8).take_while(|n| {
            throttle.failed("c", peer, at(after + n * 61));
            throttle.check("c", peer, at(after + n * 61)).is_ok()
        });
        assert_eq!(tries.count(), 3);
    }

    #[test]
    fn one_network_that_tries_many_names_is_stopped() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..10 {
            throttle.check(&format!("name{n}"), peer, at(n)).unwrap();
            throttle.failed(&format!("name{n}"), peer, at(n));
        }
        assert!(throttle.check("name10", peer, at(10)).is_err());
        throttle.check("name10", address("198.51.100.1"), at(10)).unwrap();
        throttle.check("name10", peer, at(70)).unwrap();
    }

    #[test]
    fn strangers_from_everywhere_cannot_lock_the_owner_out() {
        let (mut throttle, owner) = (throttle(), address("203.0.113.5"));
        throttle.succeeded("c", owner, at(0));
        for n in 0..100u8 {
            throttle.failed("c", address(&format!("10.0.{n}.1")), at(1));
        }
        assert!(throttle.check("c", address("10.200.0.1"), at(2)).is_err());
        throttle.check("c", owner, at(2)).unwrap();
    }

    #[test]
    fn a_neighbour_who_guesses_does_not_stop_whom_we_know() {
        let (mut throttle, office) = (throttle(), address("203.0.113.5"));
        throttle.succeeded("c", office, at(0));
        for n in 0..20 {
            throttle.failed(&format!("name{n}"), office, at(1));
        }
        assert!(throttle.check("d", office, at(2)).is_err());
        throttle.check("c", office, at(2)).unwrap();
    }

    #[test]
    fn a_success_forgives_earlier_mistakes() {
        let (mut throttle, peer) = (throttle(), address("2001:db8::1"));
        throttle.failed("c", peer, at(0));
        throttle.failed("c", peer, at(0));
        throttle.succeeded("c", peer, at(1));
        assert_eq!(throttle.failed("c", address("2001:db8::ffff"), at(2)), Duration::ZERO);
    }

    #[test]
    fn what_was_counted_beforehand_is_given_back() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..100 {
            let name = format!("name{}", n % 3);
            throttle.check(&name, peer, at(1)).unwrap();
            throttle.failed(&name, peer, at(1));
            throttle.returned(&name, peer, at(1));
        }
        for _ in 0..8 {
            throttle.check("name0", peer, at(1)).unwrap();
            throttle.failed("name0", peer, at(1));
        }
        assert!(throttle.check("name0", peer, at(1)).is_err());
        throttle.returned("name0", peer, at(1));
        throttle.check("name0", peer, at(1)).unwrap();
    }

    #[test]
    fn an_ipv4_address_in_ipv6_dress_is_the_same_network() {
        assert_eq!(Network::of(address("::ffff:192.0.2.7")), Network::of(address("192.0.2.9")));
        assert_ne!(Network::of(address("2001:db8:0:1::1")), Network::of(address("2001:db8:0:2::1")));
    }

    #[test]
    fn the_table_has_a_bound() {
        let mut throttle = Throttle::new(ThrottleConfig { entries_max: 50, ..ThrottleConfig::default() });
        for n in 0..1000 {
            throttle.failed(&format!("name{n}"), address(&format!("10.1.{}.1", n % 250)), at(n));
        }
        assert_eq!((throttle.entries.len(), throttle.order.len()), (50, 50));
    }
}
