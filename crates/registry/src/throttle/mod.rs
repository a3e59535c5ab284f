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

mod table;

use crate::network::Network;
use mail::{Instant, Refusal, RefusalKind};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use table::{Entry, Key, Table};

const MINUTE: Duration = Duration::from_secs(60);

/// What wrong secrets cost. Counted per credential and network, per network, and per credential from everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Wrong secrets of one credential from one network that cost nothing.
    pub free_failures: u32,
    /// The first delay in milliseconds; each further wrong secret doubles it.
    pub delay_ms_first: u64,
    /// The longest delay in milliseconds.
    pub delay_ms_max: u64,
    /// At so many wrong secrets the credential is locked for that network.
    pub failures_to_lock: u32,
    /// For how long, in seconds.
    pub lock_s: u64,
    /// Failures are forgotten after so many seconds without another.
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
    table: Table,
}

impl Throttle {
    /// Remembers nobody yet.
    pub fn new(config: ThrottleConfig) -> Throttle {
        Throttle { table: Table::new(config.entries_max), config }
    }

    /// Whether this name may be tried from this address now, at a door where a look at the secret is dear.
    ///
    /// # Errors
    /// `CredentialLocked`, with the time until then, while the name is locked for this network; also while
    /// the network or the name as a whole is, unless the name was used with success from this network.
    pub fn check(&self, name: &str, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        let network = Network::of(peer);
        let pair = self.table.live(&Key::pair(name, network), now);
        // What strangers do, here or elsewhere, is no reason to stop whom we know here.
        let strangers = match pair {
            Some(entry) if entry.known => [None, None],
            Some(_) | None => {
                [self.table.live(&Key::Network(network), now), self.table.live(&Key::name(name), now)]
            }
        };
        unlocked([pair].into_iter().chain(strangers), now)
    }

    /// The same at a door where it is cheap: only this name's own failures from this network keep a right secret out.
    ///
    /// # Errors
    /// `CredentialLocked`, with the time until then, while the name is locked for this network.
    pub fn check_pair(&self, name: &str, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        unlocked([self.table.live(&Key::pair(name, Network::of(peer)), now)], now)
    }

    /// An attempt where a look at the secret is dear, counted as a failure: its answer must be held back for the duration
    /// that is returned. The same secret again is as dear, so it counts again.
    pub fn failed(&mut self, name: &str, peer: IpAddr, now: Instant) -> Duration {
        let keys = [&Key::Network(Network::of(peer)), &Key::name(name)];
        let locked = unlocked(keys.map(|key| self.table.live(key, now)), now).is_err();
        let failures = self.count_pair(name, peer, now);
        // As in `wrong`: somebody whom we know here is let in meanwhile, and would make the lock of the others longer.
        if !locked {
            self.count_strangers(name, peer, now);
        }
        self.delay(failures)
    }

    /// A secret that was seen to be wrong where a look at it is cheap.
    pub fn wrong(&mut self, name: &str, peer: IpAddr, guess: Guess, now: Instant) -> Setback {
        let key = Key::pair(name, Network::of(peer));
        // Whether the name is known here makes no difference: strangers would hear who sends from their network.
        let keys = [&key, &Key::Network(Network::of(peer)), &Key::name(name)];
        let locked = unlocked(keys.map(|key| self.table.live(key, now)), now).err();
        let again = self
            .table
            .live(&key, now)
            .filter(|pair| pair.last.is_some_and(|(last, until)| last == guess && until > now));
        let tries = match again {
            Some(mut pair) => {
                pair.repeats = pair.repeats.saturating_add(1);
                self.table.put(key, pair);
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
        let key = Key::pair(name, Network::of(peer));
        let forget_at = now + Duration::from_secs(self.config.forget_s);
        // A connection that authenticates for every message would move the entry each time; a minute is enough.
        if let Some(entry) = self.table.get(&key)
            && entry.known
            && entry.failures == 0
            && forget_at.saturating_since(entry.forget_at) < MINUTE
        {
            return;
        }
        self.table.put(key, Entry { known: true, ..Entry::fresh(now, forget_at) });
    }

    /// The secret that was counted beforehand was right, or was never looked at.
    pub fn returned(&mut self, name: &str, peer: IpAddr, now: Instant) {
        let network = Network::of(peer);
        for (key, limit) in [
            (Key::pair(name, network), self.config.failures_to_lock),
            (Key::Network(network), self.config.failures_per_network_minute_max),
            (Key::name(name), self.config.failures_per_credential_minute_max),
        ] {
            let Some(mut entry) = self.table.live(&key, now) else { continue };
            entry.failures = entry.failures.saturating_sub(1);
            if entry.failures < limit {
                entry.locked_until = entry.locked_until.min(now);
            }
            self.table.put(key, entry);
        }
    }

    /// One more failure of a name from a network; locks the pair when there are too many.
    fn count_pair(&mut self, name: &str, peer: IpAddr, now: Instant) -> u32 {
        let key = Key::pair(name, Network::of(peer));
        let failures = self.count(key.clone(), Duration::from_secs(self.config.forget_s), now);
        if failures >= self.config.failures_to_lock {
            self.table.lock(key, now + Duration::from_secs(self.config.lock_s));
        }
        failures
    }

    /// One more failure of a network and of a name.
    fn count_strangers(&mut self, name: &str, peer: IpAddr, now: Instant) {
        for (key, limit) in [
            (Key::Network(Network::of(peer)), self.config.failures_per_network_minute_max),
            (Key::name(name), self.config.failures_per_credential_minute_max),
        ] {
            if self.table.count_minute(key.clone(), now) >= limit {
                self.table.lock(key, now + MINUTE);
            }
        }
    }

    /// Keeps what was tried last, and gives how often something was tried again before.
    fn remember(&mut self, key: Key, guess: Guess, now: Instant) -> u32 {
        let Some(mut entry) = self.table.live(&key, now) else { return 0 };
        entry.last = Some((guess, now + MINUTE));
        self.table.put(key, entry);
        entry.repeats
    }

    /// One more failure in a period that begins anew with each one.
    fn count(&mut self, key: Key, keep: Duration, now: Instant) -> u32 {
        let mut entry = self.table.live(&key, now).unwrap_or(Entry::fresh(now, now));
        // A lock that is over gives a few more tries, not a whole new set.
        if entry.failures >= self.config.failures_to_lock && entry.locked_until <= now {
            entry.failures = self.config.failures_to_lock / 2;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.forget_at = entry.forget_at.max(now + keep);
        let failures = entry.failures;
        self.table.put(key, entry);
        failures
    }

    fn delay(&self, failures: u32) -> Duration {
        let Some(over) = failures.checked_sub(self.config.free_failures + 1) else {
            return Duration::ZERO;
        };
        let doubled = self.config.delay_ms_first.saturating_mul(1u64.checked_shl(over).unwrap_or(u64::MAX));
        Duration::from_millis(doubled.min(self.config.delay_ms_max))
    }
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

#[cfg(test)]
mod tests;
