//! What is still open: the messages with unsettled recipients, and the segments they lie in.
//!
//! Rebuilt by recovery, kept up by the commit thread after each sync, so it speaks of durable records only. It holds
//! an id, a position and a bit per recipient; everything else about a message is on the disk.

use crate::{Position, Record};
use mail::MessageId;
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) live: HashMap<MessageId, Live>,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    /// Messages that were settled while this ledger watched.
    pub(crate) settled: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) position: Position,
    pub(crate) open: Open,
}

/// One bit per open recipient; most messages have one recipient and need no memory of their own for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Open {
    Few(u64),
    Many(Box<[u64]>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// Up to where the file holds committed records.
    pub(crate) octets: u64,
    /// Messages accepted here that have open recipients.
    pub(crate) open: u32,
    /// It holds something this program does not understand and must not lose.
    pub(crate) pinned: bool,
    /// The disk did not let recovery open it.
    pub(crate) unreadable: bool,
}

impl Ledger {
    /// Returns where the message lies if this record settled its last recipient.
    pub(crate) fn apply(&mut self, position: Position, record: &Record) -> Option<Position> {
        match record {
            Record::Accepted(accepted) => {
                let open = Open::new(accepted.recipients.len());
                // A message id comes once. Should it come again, the first record counts.
                if !open.is_empty() && !self.live.contains_key(&accepted.message) {
                    self.live.insert(accepted.message, Live { position, open });
                    self.segments.entry(position.segment()).or_default().open += 1;
                }
                None
            }
            Record::Settled(settled) => self.settle(settled.message, settled.recipient),
            Record::Attempted(_) | Record::Unknown { .. } => None,
        }
    }

    fn settle(&mut self, message: MessageId, recipient: u32) -> Option<Position> {
        let live = self.live.get_mut(&message)?;
        live.open.close(recipient);
        if !live.open.is_empty() {
            return None;
        }
        let position = live.position;
        self.live.remove(&message);
        self.settled += 1;
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.open = segment.open.saturating_sub(1);
        }
        Some(position)
    }

    /// Whether the oldest segment holds nothing open and is not the one being written.
    pub(crate) fn oldest_is_done(&self) -> bool {
        self.segments.len() > 1 && self.segments.values().next().is_some_and(|oldest| oldest.open == 0)
    }

    pub(crate) fn pinned(&self) -> usize {
        self.segments.values().filter(|segment| segment.pinned).count()
    }

    pub(crate) fn octets(&self) -> u64 {
        self.segments.values().map(|segment| segment.octets).sum()
    }
}

impl Open {
    fn new(recipients: usize) -> Open {
        match recipients {
            0..=63 => Open::Few((1 << recipients) - 1),
            64 => Open::Few(u64::MAX),
            _ => {
                let mut words = vec![u64::MAX; recipients / 64];
                words.extend((!recipients.is_multiple_of(64)).then_some((1 << (recipients % 64)) - 1));
                Open::Many(words.into())
            }
        }
    }

    fn words(&self) -> &[u64] {
        match self {
            Open::Few(word) => std::slice::from_ref(word),
            Open::Many(words) => words,
        }
    }

    fn close(&mut self, recipient: u32) {
        let words = match self {
            Open::Few(word) => std::slice::from_mut(word),
            Open::Many(words) => words,
        };
        if let Some(word) = words.get_mut(recipient as usize / 64) {
            *word &= !(1 << (recipient % 64));
        }
    }

    fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    /// Indexes of the open recipients.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |(index, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index as u32 * 64 + bit)
        };
        self.words().iter().enumerate().flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_per_recipient_is_closed_once_and_out_of_range_is_ignored() {
        for recipients in [1_usize, 2, 63, 64, 65, 128, 1_000] {
            let mut open = Open::new(recipients);
            assert_eq!(open.iter().count(), recipients);
            open.close(recipients as u32 + 5);
            open.close(0);
            open.close(0);
            assert_eq!(open.iter().count(), recipients - 1);
            (0..recipients as u32).for_each(|recipient| open.close(recipient));
            assert!(open.is_empty(), "{recipients}");
        }
        assert!(Open::new(0).is_empty());
    }
}
