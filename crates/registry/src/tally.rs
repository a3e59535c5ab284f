//! How many there are of each: connections of an address, look-ups of a tenant, large messages on a path.
//!
//! A collection that is as large as what is here now: a key of which there is none is not in it, so that strangers who
//! come and go leave nothing behind. Held by the doors (`ingress`, `api`) and by the look-ups and sessions of `egress`,
//! each with limits of its own.

use std::collections::HashMap;
use std::hash::Hash;

/// No key has zero.
#[derive(Debug, Clone)]
pub struct Tally<K>(HashMap<K, usize>);

impl<K: Eq + Hash> Tally<K> {
    /// How many of `key` are here.
    pub fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// One more.
    pub fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    /// One more, unless there are `max` or more of it. Says whether it was counted.
    #[must_use]
    pub fn add_within(&mut self, key: K, max: usize) -> bool {
        let is_within = self.of(&key) < max;
        if is_within {
            self.add(key);
        }
        is_within
    }

    /// One less, of those that were added.
    pub fn remove(&mut self, key: &K) {
        let Some(count) = self.0.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(key);
        }
    }

    /// Nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally(HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_its_limit_or_has_gone_leaves_nothing_behind() {
        let mut tally = Tally::default();
        assert!(!tally.add_within('a', 0) && tally.is_empty());
        assert!(tally.add_within('a', 2) && tally.add_within('a', 2) && !tally.add_within('a', 2));
        tally.add('a');
        assert_eq!((tally.of(&'a'), tally.of(&'b')), (3, 0));
        for _ in 0..3 {
            tally.remove(&'a');
        }
        tally.remove(&'a');
        assert!(tally.is_empty());
    }
}
