//! Keys that follow one another: each is known at once and in force from its time on.
//!
//! So every node can have a key before the first of them uses it (docs/design/0014). Held by whoever makes something that
//! outlives a key: return paths here, hashes of secrets in `registry`, tokens of people in `api`. Time is handed in. What
//! may surprise: of several with one time the last that was added is in force, the others never were.

use crate::Timestamp;
use std::time::Duration;

/// At least one key.
#[derive(Debug, Clone)]
pub struct Succession<K> {
    first: K,
    /// In the order of their times.
    later: Vec<(Timestamp, K)>,
}

impl<K> Succession<K> {
    /// With one that is in force since ever.
    pub const fn new(first: K) -> Succession<K> {
        Succession { first, later: Vec::new() }
    }

    /// With another one that is in force from that time on.
    #[must_use]
    pub fn followed_by(mut self, from: Timestamp, key: K) -> Succession<K> {
        self.later.push((from, key));
        // Stable: what was added later stays behind what has the same time.
        self.later.sort_by_key(|(from, _)| *from);
        self
    }

    /// What is used at a time.
    pub fn in_force(&self, at: Timestamp) -> &K {
        self.later.iter().rev().find(|(from, _)| *from <= at).map_or(&self.first, |(_, key)| key)
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        std::iter::once(&self.first).chain(self.later.iter().map(|(_, key)| key))
    }

    /// What a node may have used at a time: the key in force, and those that had ended less than `overlap` before, which it
    /// may not have known to be over.
    pub fn around(&self, at: Timestamp, overlap: Duration) -> impl Iterator<Item = &K> {
        let times = self.later.iter().map(|(from, _)| *from);
        let begins = std::iter::once(None).chain(times.clone().map(Some));
        let ends = times.map(Some).chain([None]);
        self.iter().zip(begins).zip(ends).filter_map(move |((key, begin), end)| {
            let has_begun = begin.is_none_or(|begin| begin <= at);
            let is_over = end.is_some_and(|end| end <= at && at.saturating_since(end) >= overlap);
            (has_begun && !is_over).then_some(key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn each_is_known_at_once_and_in_force_from_its_time_on() {
        // Out of order, and one that is in force for no time.
        let keys =
            Succession::new('a').followed_by(at(20), 'd').followed_by(at(10), 'b').followed_by(at(10), 'c');
        assert_eq!(keys.iter().collect::<String>(), "abcd");
        for (time, wanted) in [(-5, 'a'), (9, 'a'), (10, 'c'), (19, 'c'), (20, 'd'), (99, 'd')] {
            assert_eq!(*keys.in_force(at(time)), wanted, "{time}");
        }
    }

    #[test]
    fn one_that_has_ended_may_have_been_used_a_short_while_longer() {
        let keys =
            Succession::new('a').followed_by(at(10), 'b').followed_by(at(10), 'c').followed_by(at(20), 'd');
        for (time, wanted) in
            [(9, "a"), (10, "abc"), (14, "abc"), (15, "c"), (20, "cd"), (24, "cd"), (25, "d")]
        {
            let used: String = keys.around(at(time), Duration::from_millis(5)).collect();
            assert_eq!(used, wanted, "{time}");
        }
    }
}
