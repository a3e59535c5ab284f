use crate::{Accepted, Position, Quarantined};
use mail::Timestamp;
use std::sync::Arc;

pub struct Recovery {
    /// Messages with recipients that are not settled, oldest first.
    pub unsettled: UnsettledMessages,
    /// Messages all of whose recipients are settled, in the segments that are left.
    pub settled: u64,
    /// Records of a kind or version this program does not know.
    pub unknown: u64,
    pub quarantined: Vec<Quarantined>,
    pub torn: Option<Torn>,
    /// Where the log ends: follow from here to see what comes after `unsettled`.
    pub end: Position,
}

/// What was cut off the end of the log: a group that was being written when the process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub position: Position,
    pub octets: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Unsettled {
    pub position: Position,
    pub accepted: Arc<Accepted>,
    /// The recipients that are still open.
    pub recipients: Vec<RecipientState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipientState {
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// Attempts made so far.
    pub attempt: u32,
    /// When the last attempt said it is due again; none before the first attempt.
    pub next_at: Option<Timestamp>,
}

/// Reads the envelopes from the disk one at a time, so that a million waiting messages need no memory for them.
/// Blocking: go through it before serving, or on a blocking task.
pub struct UnsettledMessages {}

impl UnsettledMessages {
    /// Messages left to go through.
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for UnsettledMessages {
    type Item = Unsettled;
    fn next(&mut self) -> Option<Unsettled> {
        todo!()
    }
}
