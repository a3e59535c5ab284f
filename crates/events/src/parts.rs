//! How gathered records become transactions of bounded size, whatever the number of recipients of a message is. Pure.
//!
//! A part goes from one place to another, and a place may be in the middle of a message: between two of its recipients.
//! Where a part ends is not where the cursor goes: that moves only behind records that are whole (`project.rs`).

use crate::rows::Entry;
use spool::Record;
use std::ops::Range;

/// An entry and, of an accepted message, one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub entry: usize,
    pub recipient: u32,
}

/// From a place up to, and without, another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub from: Place,
    pub to: Place,
    /// Recipients and outcomes in it.
    pub rows: usize,
}

impl Part {
    /// What comes next: at least one row, at most `rows_max`.
    pub fn next(entries: &[Entry], from: Place, rows_max: usize) -> Part {
        let (mut to, mut rows) = (from, 0);
        let rows_max = rows_max.max(1);
        while let Some((_, record)) = entries.get(to.entry) {
            let left = rows_of(record).saturating_sub(to.recipient);
            let room = rows_max - rows;
            if left as usize > room {
                // Less than `left`, so it fits.
                to.recipient += u32::try_from(room).unwrap_or(left);
                rows = rows_max;
                break;
            }
            rows += left as usize;
            to = Place { entry: to.entry + 1, recipient: 0 };
        }
        Part { from, to, rows }
    }

    /// Every record that is touched, and which of its recipients.
    pub fn records<'a>(&self, entries: &'a [Entry]) -> impl Iterator<Item = (&'a Record, Range<u32>)> {
        let Part { from, to, .. } = *self;
        let last = if to.recipient > 0 { to.entry + 1 } else { to.entry };
        entries[from.entry..last].iter().zip(from.entry..).map(move |((_, record), index)| {
            let start = if index == from.entry { from.recipient } else { 0 };
            let end = if index == to.entry { to.recipient } else { rows_of(record) };
            (&**record, start..end)
        })
    }
}

fn rows_of(record: &Record) -> u32 {
    match record {
        Record::Accepted(accepted) => u32::try_from(accepted.recipients.len()).unwrap_or(u32::MAX),
        Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => 1,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{
        BodyKind, DomainId, ForwardPath, MessageId, PoolId, Random, ReversePath, StreamId, TenantId,
        Timestamp,
    };
    use spool::{Accepted, Position, RecipientRecord};
    use std::sync::Arc;

    fn message(recipients: usize) -> Entry {
        let (now, mut random) = (Timestamp::UNIX_EPOCH, Random::from_number(1));
        let recipient = RecipientRecord {
            forward_path: ForwardPath::parse("a@example.org").unwrap(),
            reverse_path: ReversePath::Null,
            notify: None,
            original: None,
        };
        let accepted = Accepted {
            message: MessageId::mint(now, &mut random),
            tenant: TenantId::mint(now, &mut random),
            stream: StreamId::mint(now, &mut random),
            domain: DomainId::mint(now, &mut random),
            credential: None,
            api_key: None,
            pool: PoolId::mint(now, &mut random),
            accepted_at: now,
            not_before: None,
            expires_at: now,
            reverse_path: ReversePath::Null,
            message_id_header: String::new(),
            subject: String::new(),
            header_from: String::new(),
            tags: Vec::new(),
            metadata: Vec::new(),
            body_kind: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            envelope_id: None,
            recipients: vec![recipient; recipients],
            size: 0,
        };
        (Position::START, Arc::new(Record::Accepted(Arc::new(accepted))))
    }

    /// The number of rows of every part, and the ranges of recipients one after the other.
    fn cut(counts: &[usize], rows_max: usize) -> (Vec<usize>, Vec<Vec<Range<u32>>>) {
        let entries: Vec<Entry> = counts.iter().map(|count| message(*count)).collect();
        let (mut place, mut rows, mut ranges) = (Place::default(), Vec::new(), Vec::new());
        while place.entry < entries.len() {
            let part = Part::next(&entries, place, rows_max);
            rows.push(part.rows);
            ranges.push(part.records(&entries).map(|(_, range)| range).collect());
            place = part.to;
        }
        assert_eq!(place, Place { entry: entries.len(), recipient: 0 });
        (rows, ranges)
    }

    #[test]
    fn a_message_larger_than_a_part_is_cut_and_nothing_is_left_out_or_there_twice() {
        let (rows, ranges) = cut(&[1, 7, 2], 3);
        assert_eq!(rows, [3, 3, 3, 1]);
        assert_eq!(ranges, [vec![0..1, 0..2], vec![2..5], vec![5..7, 0..1], vec![1..2]]);
        for rows_max in 0..12 {
            let (rows, ranges) = cut(&[4, 1, 0, 9], rows_max);
            assert!(rows.iter().all(|rows| (1..=rows_max.max(1)).contains(rows)), "{rows:?}");
            assert_eq!(ranges.iter().flatten().map(|range| range.len()).sum::<usize>(), 14);
        }
    }

    #[test]
    fn what_fits_is_one_part() {
        assert_eq!(cut(&[2, 3], 5).0, [5]);
        assert_eq!(cut(&[2, 3, 1], 5).0, [5, 1]);
    }
}
