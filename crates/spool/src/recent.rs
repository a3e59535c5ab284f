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
        Some((batch, next))
    }
}
