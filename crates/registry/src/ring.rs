//! Whose turn it is, of those for whom something waits: one after the other, each once in a round.
//!
//! Whoever gets something to wait for stands behind all others, and so does whoever was looked at. So between two turns
//! of one, everybody else who waits all the while has been looked at once, however much the first has brought. What a
//! line looks like inside, and whether its party may have its turn now, is the caller's: it is asked for each in turn.
//!
//! Held by the signers of `ingress` (jobs by party), by the webhooks of `events` (calls by endpoint) and by the look-ups of
//! `egress` (domains by tenant), which put a `Shares` beside it. A plain collection: no clock, no limit of its own. What
//! may surprise: one that is passed over has had its turn; in exchange, a look that finds nobody leaves the order alone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What waits for one party.
pub trait Line: Default {
    /// Nothing waits: the party leaves the ring.
    fn is_empty(&self) -> bool;
}

impl<T> Line for VecDeque<T> {
    fn is_empty(&self) -> bool {
        VecDeque::is_empty(self)
    }
}

/// What came of a look at a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<T> {
    /// This was taken from it.
    Had(T),
    /// Nothing of it may be taken now: the next one is looked at.
    Passed,
    /// Nobody may take anything now. It does not count as a turn.
    Closed,
}

/// All lines that are not empty.
#[derive(Debug)]
pub struct Ring<K, L> {
    /// The one whose turn it is stands in front. Those of `lines`, each once.
    order: VecDeque<K>,
    lines: HashMap<K, L>,
}

impl<K: Copy + Eq + Hash, L: Line> Ring<K, L> {
    /// The line of `key`, for something to be put into it.
    pub fn line(&mut self, key: K) -> &mut L {
        self.lines.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            L::default()
        })
    }

    /// Looks at the lines in turn, at each once, until something is taken from one.
    pub fn next<T>(&mut self, mut look: impl FnMut(K, &mut L) -> Turn<T>) -> Option<T> {
        for _ in 0..self.order.len() {
            let key = self.order.pop_front()?;
            let Some(line) = self.lines.get_mut(&key) else { continue };
            let turn = look(key, line);
            if line.is_empty() {
                self.lines.remove(&key);
            } else if matches!(turn, Turn::Closed) {
                self.order.push_front(key);
            } else {
                self.order.push_back(key);
            }
            match turn {
                Turn::Had(taken) => return Some(taken),
                Turn::Passed => {}
                Turn::Closed => return None,
            }
        }
        None
    }

    /// Nothing waits for anybody.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl<K, L> Default for Ring<K, L> {
    fn default() -> Ring<K, L> {
        Ring { order: VecDeque::new(), lines: HashMap::new() }
    }
}

impl<T> From<Option<T>> for Turn<T> {
    fn from(taken: Option<T>) -> Turn<T> {
        taken.map_or(Turn::Passed, Turn::Had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Numbers = Ring<u8, VecDeque<u32>>;

    #[test]
    fn they_take_turns_however_much_one_has_brought() {
        let mut ring = Numbers::default();
        ring.line(1).extend(0..300);
        ring.line(2).extend(300..303);
        ring.line(3).push_back(303);
        let order: Vec<u32> = std::iter::from_fn(|| ring.next(|_, line| line.pop_front().into())).collect();
        assert_eq!(order[..9], [0, 300, 303, 1, 301, 2, 302, 3, 4]);
        assert_eq!((order.len(), ring.is_empty(), ring.lines.len()), (304, true, 0));
    }

    #[test]
    fn who_may_not_is_passed_over_and_a_closed_ring_costs_nobody_its_turn() {
        let mut ring = Numbers::default();
        for key in [1, 2, 3] {
            ring.line(key).extend([u32::from(key); 2]);
        }
        let not_one = |key, line: &mut VecDeque<u32>| match key {
            1 => Turn::Passed,
            _ => line.pop_front().into(),
        };
        assert_eq!(ring.next(not_one), Some(2));
        assert_eq!(ring.order, [3, 1, 2]);
        assert_eq!(ring.next(|_, _| Turn::<u32>::Closed), None);
        assert_eq!(ring.next(|_, _| Turn::<u32>::Passed), None);
        assert_eq!(ring.order, [3, 1, 2]);
    }

    #[test]
    fn a_line_that_the_look_empties_leaves_whatever_the_look_says() {
        let mut ring = Numbers::default();
        for turn in [Turn::Had(()), Turn::Passed, Turn::Closed] {
            ring.line(1).push_back(0);
            ring.next(|_, line| {
                line.clear();
                turn
            });
            assert!(ring.is_empty() && ring.lines.is_empty(), "{turn:?}");
        }
        // One that nothing was put into is no more than an empty look.
        ring.line(1);
        assert_eq!(ring.next(|_, line| line.pop_front().into()), None);
        assert!(ring.is_empty());
    }

    const PARTIES: u8 = 6;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        /// Who may take nothing, and at whom the ring is closed.
        Look {
            passed: [bool; PARTIES as usize],
            closed: Option<u8>,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let passed = prop::array::uniform(prop::bool::weighted(0.3));
        let closed = prop::option::weighted(0.1, 0..PARTIES);
        prop_oneof![
            (0..PARTIES).prop_map(Step::Put),
            (passed, closed).prop_map(|(passed, closed)| Step::Look { passed, closed }),
        ]
    }

    /// A ring beside what it is to hold, and how often each of the others had a turn since one was looked at.
    #[derive(Default)]
    struct Watched {
        ring: Numbers,
        held: HashMap<u8, VecDeque<u32>>,
        next: u32,
        turns_since: [[u32; PARTIES as usize]; PARTIES as usize],
    }

    impl Watched {
        fn put(&mut self, key: u8) {
            let line = self.held.entry(key).or_default();
            if line.is_empty() {
                self.turns_since[usize::from(key)] = [0; PARTIES as usize];
            }
            line.push_back(self.next);
            self.ring.line(key).push_back(self.next);
            self.next += 1;
        }

        fn look(&mut self, passed: [bool; PARTIES as usize], closed: Option<u8>) {
            let (before, mut seen) = (self.ring.order.clone(), Vec::new());
            let taken = self.ring.next(|key, line| {
                seen.push(key);
                match passed[usize::from(key)] {
                    _ if closed == Some(key) => Turn::Closed,
                    true => Turn::Passed,
                    false => line.pop_front().map_or(Turn::Closed, |number| Turn::Had((key, number))),
                }
            });
            assert!(seen.iter().eq(before.iter().take(seen.len())), "{seen:?} of {before:?}");
            for key in &seen {
                self.turns_since[usize::from(*key)] = [0; PARTIES as usize];
            }
            let Some((key, number)) = taken else {
                let stopped = seen.last().copied().filter(|last| closed == Some(*last));
                assert!(stopped.is_some() || self.ring.order == before, "nobody had a turn");
                assert!(stopped.is_none() || self.ring.order.front().copied() == stopped);
                return;
            };
            assert_eq!(self.held.get_mut(&key).and_then(VecDeque::pop_front), Some(number), "in its order");
            for (waits, since) in self.turns_since.iter_mut().enumerate() {
                let count = &mut since[usize::from(key)];
                *count += 1;
                let waits = waits as u8;
                let is_there = waits != key && self.held.get(&waits).is_some_and(|line| !line.is_empty());
                assert!(!is_there || *count <= 1, "{key} had {count} turns while {waits} waited");
            }
        }

        fn is_whole(&self) {
            let mut order: Vec<u8> = self.ring.order.iter().copied().collect();
            order.sort_unstable();
            let mut held: Vec<u8> =
                self.held.iter().filter(|(_, line)| !line.is_empty()).map(|(key, _)| *key).collect();
            held.sort_unstable();
            assert_eq!(order, held);
            assert_eq!(self.ring.lines.len(), held.len());
        }
    }

    proptest! {
        /// Whatever comes and whoever may not: nothing is lost, and nobody has two turns while another waits for one.
        #[test]
        fn nobody_has_two_turns_while_another_waits(steps in prop::collection::vec(step(), 0..200)) {
            let mut watched = Watched::default();
            for step in steps {
                match step {
                    Step::Put(key) => watched.put(key),
                    Step::Look { passed, closed } => watched.look(passed, closed),
                }
                watched.is_whole();
            }
            while !watched.ring.is_empty() {
                watched.look([false; PARTIES as usize], None);
            }
            prop_assert!(watched.held.values().all(VecDeque::is_empty) && watched.ring.lines.is_empty());
        }
    }
}
