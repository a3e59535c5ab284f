//! What wrong secrets cost: a growing delay, then a lock of that credential from that network. Pure.
//!
//! Three counts, one table. *Pair*: a credential name from a network (IPv4 /24, IPv6 /64) is slowed down and then
//! locked. *Network*: one machine that tries many names. *Name*: many machines that try one name. Unknown names are
//! counted like known ones, or the delay would tell which exist.
//!
//! Who can lock whom out: nobody is locked out by what was tried under other names, or from other networks. At a door
//! where a look at the secret is cheap (SMTP AUTH, `ingress/src/session.rs`: a keyed hash of 200 random bits) a right
//! secret is stopped by the lock of its own pair alone (`check_pair`); network and name only make wrong ones wait
//! (`wrong`). So that client is locked out which itself repeats wrong secrets, or whose neighbour within the /24 knows
//! its user name and wants it; from every other network its secret goes on to work. Where a look is dear (the login of
//! people, argon2, `api/src/routes/auth.rs`) all three stop an attempt beforehand (`check`), or guessing would cost us
//! more than the guesser; there a pair that was used with success is not stopped by the other two. That door counts an
//! attempt before the look, because many come at the same time, and takes the count back.
//!
//! What may surprise: a client that tries PLAIN and then LOGIN gives one wrong secret twice, so the same secret within
//! a minute counts once, but makes the delay grow; what is remembered of it is a keyed hash. A lock that stops nobody
//! with a right secret is still an answer (454) after the longest delay. The table has a bound and forgets first what
//! would be forgotten soonest; of a long name only the beginning counts.

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
    /// Wrong secrets a minute from one network, whatever the credential; then more of them wait, and where a look at the
    /// secret is dear everybody there does who is not known there.
    pub failures_per_network_minute_max: u32,
    /// The same for one credential from everywhere.
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
    /// The last wrong secret of a pair, and until when the same one is no further failure.
    last: Option<(Guess, Instant)>,
    /// How often the same one came again: the delay grows with it.
    repeats: u32,
    forget_at: Instant,
}

/// A keyed hash of a name and a wrong secret: tells whether it is the same again, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess(pub [u8; 16]);

/// What a wrong secret is answered with.
#[derive(Debug, PartialEq, Eq)]
pub struct Setback {
    /// The answer is held back so long.
    pub delay: Duration,
    /// In the place of the plain refusal.
    pub locked: Option<Refusal>,
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
    /// The IPv4 /24 or IPv6 /64 of an address; an IPv4 address within IPv6 counts as the first.
    pub fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network(u128::from(v4.to_bits() >> 8)),
            IpAddr::V6(v6) => Network(v6.to_bits() >> 64 << 64),
        }
    }
}

impl Throttle {
    /// Remembers nobody yet.
    pub fn new(config: ThrottleConfig) -> Throttle {
        Throttle { config, entries: HashMap::new(), order: BTreeSet::new() }
    }

    /// Whether this name may be tried from this address now, at a door where a look at the secret is dear. The refusal
    /// says when to come back.
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
        unlocked([pair].into_iter().chain(strangers), now)
    }

    /// The same at a door where it is cheap: only this name's own failures from this network keep a right secret out.
    pub fn check_pair(&self, name: &str, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        unlocked([self.live(&Key::Pair(short(name), Network::of(peer)), now)], now)
    }

    /// An attempt where a look at the secret is dear, counted as a failure: its answer must be held back for the duration
    /// that is returned. The same secret again is as dear, so it counts again.
    pub fn failed(&mut self, name: &str, peer: IpAddr, now: Instant) -> Duration {
        let failures = self.count_pair(name, peer, now);
        self.count_strangers(name, peer, now);
        self.delay(failures)
    }

    /// A secret that was seen to be wrong where a look at it is cheap.
    pub fn wrong(&mut self, name: &str, peer: IpAddr, guess: Guess, now: Instant) -> Setback {
        let key = Key::Pair(short(name), Network::of(peer));
        // Whether the name is known here makes no difference: strangers would hear who sends from their network.
        let keys = [&key, &Key::Network(Network::of(peer)), &Key::Name(short(name))];
        let locked = unlocked(keys.map(|key| self.live(key, now)), now).err();
        let again = self
            .live(&key, now)
            .filter(|pair| pair.last.is_some_and(|(last, until)| last == guess && until > now));
        let tries = match again {
            Some(mut pair) => {
                pair.repeats = pair.repeats.saturating_add(1);
                self.put(key, pair);
                pair.failures.saturating_add(pair.repeats)
            }
            None => {
                let failures = self.count_pair(name, peer, now);
                // A lock that runs is not made longer: it would last as long as anybody goes on.
                if locked.is_none() {
                    self.count_strangers(name, peer, now);
                }
                failures.saturating_add(self.remember(key, guess, now))
            }
        };
        let delay = match &locked {
            Some(_) => Duration::from_millis(self.config.delay_ms_max),
            None => self.delay(tries),
        };
        Setback { delay, locked }
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
        self.put(key, Entry { known: true, ..fresh(now, forget_at) });
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

    /// One more failure of a name from a network; locks the pair when there are too many.
    fn count_pair(&mut self, name: &str, peer: IpAddr, now: Instant) -> u32 {
        let key = Key::Pair(short(name), Network::of(peer));
        let failures = self.count(key.clone(), Duration::from_secs(self.config.forget_s), now);
        if failures >= self.config.failures_to_lock {
            self.lock(key, now + Duration::from_secs(self.config.lock_s));
        }
        failures
    }

    /// One more failure of a network and of a name.
    fn count_strangers(&mut self, name: &str, peer: IpAddr, now: Instant) {
        for (key, limit) in [
            (Key::Network(Network::of(peer)), self.config.failures_per_network_minute_max),
            (Key::Name(short(name)), self.config.failures_per_credential_minute_max),
        ] {
            if self.count_minute(key.clone(), now) >= limit {
                self.lock(key, now + MINUTE);
            }
        }
    }

    /// Keeps what was tried last, and gives how often something was tried again before.
    fn remember(&mut self, key: Key, guess: Guess, now: Instant) -> u32 {
        let Some(mut entry) = self.live(&key, now) else { return 0 };
        entry.last = Some((guess, now + MINUTE));
        self.put(key, entry);
        entry.repeats
    }

    /// One more failure in a period that begins anew with each one.
    fn count(&mut self, key: Key, keep: Duration, now: Instant) -> u32 {
        let mut entry = self.live(&key, now).unwrap_or(fresh(now, now));
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
        let mut entry = self.live(&key, now).unwrap_or(fresh(now, now + MINUTE));
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

fn fresh(now: Instant, forget_at: Instant) -> Entry {
    Entry { failures: 0, locked_until: now, known: false, last: None, repeats: 0, forget_at }
}

/// Whether none of these is locked now.
fn unlocked(entries: impl IntoIterator<Item = Option<Entry>>, now: Instant) -> Result<(), Refusal> {
    let until = entries.into_iter().flatten().map(|entry| entry.locked_until).max();
    match until.filter(|until| *until > now) {
        Some(until) => Err(Refusal::new(
            RefusalKind::CredentialLocked,
            "too many failed attempts to authenticate from your network",
        )
        .with_retry_after(until.saturating_since(now))),
        None => Ok(()),
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

    fn guess(number: u8) -> Guess {
        Guess([number; 16])
    }

    #[test]
    fn wrong_secrets_of_neighbours_stop_no_right_one() {
        let (mut throttle, office) = (throttle(), address("203.0.113.5"));
        for n in 0..20 {
            throttle.wrong(&format!("tenant{n}"), office, guess(n), at(1));
        }
        throttle.check_pair("newcomer", office, at(2)).unwrap();
        throttle.check_pair("tenant3", office, at(2)).unwrap();
    }

    #[test]
    fn strangers_from_everywhere_stop_no_right_secret_at_a_new_place() {
        let mut throttle = throttle();
        for n in 0..100u8 {
            throttle.wrong("c", address(&format!("10.0.{n}.1")), guess(n), at(1));
        }
        throttle.check_pair("c", address("10.200.0.1"), at(2)).unwrap();
    }

    #[test]
    fn guessing_goes_on_slowly_where_a_network_or_a_name_is_locked() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..10 {
            let setback = throttle.wrong(&format!("name{n}"), peer, guess(n), at(1));
            assert_eq!((setback.delay, setback.locked), (Duration::ZERO, None), "{n}");
        }
        throttle.succeeded("known", peer, at(1));
        let of_known = throttle.wrong("known", peer, guess(10), at(2));
        let of_network = throttle.wrong("name10", peer, guess(10), at(2));
        assert_eq!(of_known, of_network);
        for n in 0..10u8 {
            throttle.wrong("c", address(&format!("10.0.{n}.1")), guess(n), at(2));
        }
        let of_name = throttle.wrong("c", address("10.200.0.1"), guess(10), at(3));
        for setback in [of_network, of_name] {
            assert_eq!(setback.delay, Duration::from_secs(8));
            assert_eq!(setback.locked.unwrap().kind, RefusalKind::CredentialLocked);
        }
    }

    #[test]
    fn a_lock_of_a_network_ends_however_long_others_go_on() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..65u64 {
            throttle.wrong(&format!("name{n}"), peer, guess(n as u8), at(n));
        }
        assert!(throttle.check("stranger", peer, at(69)).is_ok());
        // Whoever guesses under one name is locked there, whatever else is.
        for n in 0..8 {
            throttle.wrong("c", peer, guess(n), at(100));
        }
        assert!(throttle.check_pair("c", peer, at(100)).is_err());
    }

    #[test]
    fn the_same_wrong_secret_within_a_minute_counts_once_and_is_slowed_down() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        let delays: Vec<u64> =
            (0..59).map(|n| throttle.wrong("c", peer, guess(1), at(n)).delay.as_millis() as u64).collect();
        assert_eq!(delays[..8], [0, 0, 500, 1000, 2000, 4000, 8000, 8000]);
        throttle.check("c", peer, at(59)).unwrap();
        // After a minute it is one more; in the end a client that knows nothing else is locked.
        let counted = (1..10).find(|n| {
            throttle.wrong("c", peer, guess(1), at(n * 60));
            throttle.check_pair("c", peer, at(n * 60)).is_err()
        });
        assert_eq!(counted, Some(7));
    }

    #[test]
    fn another_secret_or_another_name_is_another_failure() {
        let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
        for n in 0..8 {
            throttle.wrong("c", peer, guess(n % 2), at(1));
        }
        assert!(throttle.check_pair("c", peer, at(1)).is_err());
        for n in 0..2 {
            throttle.wrong(&format!("name{n}"), peer, guess(7), at(1));
        }
        assert!(throttle.check("stranger", peer, at(1)).is_err());
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
