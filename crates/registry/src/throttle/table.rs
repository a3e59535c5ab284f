//! What the throttle remembers: entries that are forgotten by themselves, in a table with a bound.
//!
//! When the table is full the entry that would be forgotten soonest makes room. Of a long name only the beginning is kept.
//! Every change goes through `put`, which holds the two orders together. Pure.

use super::{Guess, MINUTE};
use crate::network::Network;
use mail::Instant;
use std::collections::{BTreeSet, HashMap};

/// Octets of a name that are kept: nobody fills our memory with names.
const NAME_OCTETS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Pair(Box<str>, Network),
    Network(Network),
    Name(Box<str>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub failures: u32,
    pub locked_until: Instant,
    /// Set by a success: this network is one of the owner's.
    pub known: bool,
    /// The last wrong secret of a pair, and until when the same one is no further failure.
    pub last: Option<(Guess, Instant)>,
    /// How often the same one came again: the delay grows with it.
    pub repeats: u32,
    pub forget_at: Instant,
}

#[derive(Debug)]
pub(super) struct Table {
    entries_max: usize,
    entries: HashMap<Key, Entry>,
    /// The same entries by the time at which they are forgotten.
    order: BTreeSet<(Instant, Key)>,
}

impl Key {
    pub fn pair(name: &str, network: Network) -> Key {
        Key::Pair(short(name), network)
    }

    pub fn name(name: &str) -> Key {
        Key::Name(short(name))
    }
}

impl Entry {
    pub fn fresh(now: Instant, forget_at: Instant) -> Entry {
        Entry { failures: 0, locked_until: now, known: false, last: None, repeats: 0, forget_at }
    }
}

impl Table {
    pub fn new(entries_max: usize) -> Table {
        Table { entries_max: entries_max.max(1), entries: HashMap::new(), order: BTreeSet::new() }
    }

    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn live(&self, key: &Key, now: Instant) -> Option<Entry> {
        self.entries.get(key).copied().filter(|entry| entry.forget_at > now)
    }

    /// One more failure in the minute that began with the first.
    pub fn count_minute(&mut self, key: Key, now: Instant) -> u32 {
        let mut entry = self.live(&key, now).unwrap_or(Entry::fresh(now, now + MINUTE));
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        self.put(key, entry);
        failures
    }

    pub fn lock(&mut self, key: Key, until: Instant) {
        if let Some(mut entry) = self.entries.get(&key).copied() {
            entry.locked_until = until;
            entry.forget_at = entry.forget_at.max(until);
            self.put(key, entry);
        }
    }

    pub fn put(&mut self, key: Key, entry: Entry) {
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.order.remove(&(before.forget_at, key.clone()));
        }
        self.order.insert((entry.forget_at, key));
        while self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }
}

fn short(name: &str) -> Box<str> {
    name[..name.floor_char_boundary(NAME_OCTETS)].into()
}
