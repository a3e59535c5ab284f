//! The records written last, for followers at the end of the log: they are told without reading anything.
//!
//! The commit thread extends it after each sync (`shared.rs`), `follow.rs` asks it first.

use crate::{Position, Record};
use std::collections::VecDeque;
use std::sync::Arc;

type Batch = Vec<(Position, Arc<Record>)>;

/// The records written last, in order and without holes.
pub(crate) struct Recent {
    records: VecDeque<(Position, Arc<Record>)>,
    end: Position,
    records_max: usize,
}

impl Recent {
    pub(crate) fn new(records_max: usize) -> Recent {
        Recent { records: VecDeque::new(), end: Position::START, records_max }
    }

    pub(crate) fn extend(&mut self, group: impl Iterator<Item = (Position, Arc<Record>)>, end: Position) {
        self.records.extend(group);
        self.end = end;
        let surplus = self.records.len().saturating_sub(self.records_max);
        self.records.drain(..surplus);
    }

    /// Up to `max` records from `cursor` on and before `end`, and where they end; None if memory does not reach back
    /// that far.
    pub(crate) fn batch(&self, cursor: Position, end: Position, max: usize) -> Option<(Batch, Position)> {
        if self.records.front().is_none_or(|(oldest, _)| *oldest > cursor) {
            return None;
        }
        let from = self.records.partition_point(|(position, _)| *position < cursor);
        let to = self.records.partition_point(|(position, _)| *position < end).min(from.saturating_add(max));
        if from >= to {
            return None;
        }
        let batch = self.records.range(from..to).cloned().collect();
        let next = self.records.get(to).map_or(self.end, |(position, _)| *position);
        // What comes behind `end` is here before anybody was told of it, and may lie in another segment.
        Some((batch, next.min(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(segment: u32) -> (Position, Arc<Record>) {
        (Position::beginning_of(segment), Arc::new(Record::Unknown { kind: 9, version: 1 }))
    }

    /// The commit thread extends it before it tells where the log ends.
    #[test]
    fn nobody_is_led_behind_the_end_that_was_told() {
        let mut recent = Recent::new(10);
        recent.extend([record(1)].into_iter(), Position::beginning_of(2));
        let end = Position::beginning_of(2);
        recent.extend([record(7)].into_iter(), Position::beginning_of(8));
        let (batch, next) = recent.batch(Position::beginning_of(1), end, 5).unwrap();
        assert_eq!((batch.len(), next), (1, end));
        assert_eq!(recent.batch(next, Position::beginning_of(8), 5).unwrap().1, Position::beginning_of(8));
    }
}
