//! Which of the messages that wait are written next.
//!
//! In the order in which they came, except that one that does not fit into a group lets smaller ones behind it go first.
//! The sync of twenty megabytes takes as long as the disk needs for them: who has two kilobytes to send waits for the one
//! that is under way, and not for all that large messages still queue up. A message is passed over a few times at most.

use std::collections::VecDeque;

/// So many groups may pass a message over.
const PASSED_MAX: u32 = 4;

/// Messages in the order in which they came, each with its size.
pub(crate) struct Picker<T> {
    waiting: VecDeque<T>,
    octets: fn(&T) -> u64,
    /// Groups that passed the first one over.
    passed: u32,
}

/// How much a group has room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) records: usize,
    pub(crate) octets: u64,
    /// Taken already by others.
    pub(crate) taken: u64,
}

impl<T> Picker<T> {
    pub(crate) fn new(octets: fn(&T) -> u64) -> Picker<T> {
        Picker { waiting: VecDeque::new(), octets, passed: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, message: T) {
        self.waiting.push_back(message);
    }

    /// In front of what came later, in their order.
    pub(crate) fn put_back(&mut self, messages: Vec<T>) {
        for message in messages.into_iter().rev() {
            self.waiting.push_front(message);
        }
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.passed = 0;
        self.waiting.drain(..)
    }

    /// The next group. One message at least if anything waits and nothing else is in the group, however large it is.
    pub(crate) fn group(&mut self, room: Room) -> Vec<T> {
        let mut group = Vec::with_capacity(self.waiting.len().min(room.records));
        let mut octets = room.taken;
        let size = self.octets;
        let is_due = |first: &T| self.passed >= PASSED_MAX || octets + size(first) <= room.octets;
        let first_goes = self.waiting.front().is_some_and(is_due);
        let mut left = VecDeque::new();
        // What comes when the records are full stays where it is.
        while group.len() < room.records
            && let Some(message) = self.waiting.pop_front()
        {
            let has_its_turn = first_goes && group.is_empty() && left.is_empty();
            if has_its_turn || octets + size(&message) <= room.octets {
                octets += size(&message);
                group.push(message);
            } else {
                left.push_back(message);
            }
        }
        if group.is_empty() && room.taken == 0 {
            group.extend(left.pop_front());
            self.passed = 0;
        } else {
            self.passed = if first_goes || left.is_empty() { 0 } else { self.passed + 1 };
        }
        self.put_back(left.into());
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { records: 8, octets: 100, taken: 0 };

    fn waiting(sizes: &[u64]) -> Picker<u64> {
        let mut picker = Picker::new(|size| *size);
        sizes.iter().for_each(|size| picker.push(*size));
        picker
    }

    #[test]
    fn one_that_is_larger_than_any_group_goes_alone() {
        let mut picker = waiting(&[500]);
        assert_eq!(picker.group(ROOM), [500]);
        assert!(picker.is_empty() && picker.group(ROOM).is_empty());
    }

    #[test]
    fn small_ones_do_not_wait_for_all_the_large_ones_before_them() {
        let mut picker = waiting(&[500, 500, 500, 1, 2]);
        assert_eq!(picker.group(ROOM), [1, 2]);
        assert_eq!(picker.group(ROOM), [500]);
        picker.push(3);
        assert_eq!(picker.group(ROOM), [3]);
        assert_eq!(picker.group(ROOM), [500]);
    }

    #[test]
    fn those_that_fit_keep_their_order() {
        let mut picker = waiting(&[40, 40, 40, 10, 70]);
        assert_eq!(picker.group(ROOM), [40, 40, 10]);
        assert_eq!(picker.group(ROOM), [40]);
        assert_eq!(picker.group(ROOM), [70]);
    }

    #[test]
    fn a_large_one_is_not_passed_over_for_ever() {
        let mut picker = waiting(&[500, 501]);
        let mut groups = 0;
        let mut large = Vec::new();
        while large.len() < 2 {
            picker.push(1);
            groups += 1;
            large.extend(picker.group(ROOM).into_iter().filter(|size| *size >= 500));
        }
        assert_eq!((groups, large), (2 * (PASSED_MAX as usize + 1), vec![500, 501]));
    }

    #[test]
    fn outcomes_in_a_group_pass_a_large_one_over_just_so_often() {
        let mut picker = waiting(&[500]);
        let beside = Room { taken: 10, ..ROOM };
        for _ in 0..PASSED_MAX {
            assert!(picker.group(beside).is_empty());
        }
        assert_eq!(picker.group(beside), [500]);
    }

    #[test]
    fn no_more_records_than_there_is_room_for() {
        let mut picker = waiting(&[1; 20]);
        assert_eq!(picker.group(ROOM).len(), 8);
        assert_eq!(picker.len(), 12);
        picker.put_back(vec![7, 8]);
        assert_eq!(picker.group(ROOM), [7, 8, 1, 1, 1, 1, 1, 1]);
    }
}
