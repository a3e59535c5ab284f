//! How gathered records become transactions of bounded size, whatever the number of recipients of a message is. Pure.
//!
//! What was gathered is a list of numbers here: the rows of each record, one for each recipient of an accepted message.
//! A part goes from one place to another, and a place may be in the middle of a message, between two of its recipients.
//! Where a part ends is not where the cursor goes: that moves only behind records that are whole (`project.rs`).

use std::ops::Range;

/// A record and, of an accepted message, one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub record: usize,
    pub row: u32,
}

/// From a place up to, and without, another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub from: Place,
    pub to: Place,
    /// Rows in it.
    pub rows: usize,
}

impl Place {
    /// The beginning of the record after this one.
    pub fn skip(self) -> Place {
        Place { record: self.record + 1, row: 0 }
    }
}

impl Part {
    /// What comes next: at least one row, at most `rows_max`.
    pub fn next(rows_of: &[u32], from: Place, rows_max: usize) -> Part {
        let (mut to, mut rows) = (from, 0);
        let rows_max = rows_max.max(1);
        while let Some(all) = rows_of.get(to.record) {
            let (left, room) = (all.saturating_sub(to.row), rows_max - rows);
            if left as usize > room {
                // Less than `left`, so it fits.
                to.row += u32::try_from(room).unwrap_or(left);
                rows = rows_max;
                break;
            }
            rows += left as usize;
            to = to.skip();
        }
        Part { from, to, rows }
    }

    /// Every record that is touched, and which of its rows.
    pub fn records(self, rows_of: &[u32]) -> impl Iterator<Item = (usize, Range<u32>)> {
        let Part { from, to, .. } = self;
        let last = if to.row > 0 { to.record + 1 } else { to.record };
        (from.record..last).map(move |record| {
            let start = if record == from.record { from.row } else { 0 };
            let end = if record == to.record { to.row } else { rows_of[record] };
            (record, start..end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of rows of every part, and its ranges one after the other.
    fn cut(rows_of: &[u32], rows_max: usize) -> (Vec<usize>, Vec<Vec<(u32, u32)>>) {
        let (mut place, mut rows, mut ranges) = (Place::default(), Vec::new(), Vec::new());
        while place.record < rows_of.len() {
            let part = Part::next(rows_of, place, rows_max);
            rows.push(part.rows);
            ranges.push(part.records(rows_of).map(|(_, range)| (range.start, range.end)).collect());
            place = part.to;
        }
        assert_eq!(place, Place { record: rows_of.len(), row: 0 });
        (rows, ranges)
    }

    #[test]
    fn a_message_larger_than_a_part_is_cut_and_nothing_is_left_out_or_there_twice() {
        let (rows, ranges) = cut(&[1, 7, 2], 3);
        assert_eq!(rows, [3, 3, 3, 1]);
        assert_eq!(ranges, [vec![(0, 1), (0, 2)], vec![(2, 5)], vec![(5, 7), (0, 1)], vec![(1, 2)]]);
        for rows_max in 0..12 {
            let (rows, ranges) = cut(&[4, 1, 0, 9], rows_max);
            assert!(rows.iter().all(|rows| (1..=rows_max.max(1)).contains(rows)), "{rows:?}");
            assert_eq!(ranges.iter().flatten().map(|(start, end)| end - start).sum::<u32>(), 14);
        }
    }

    #[test]
    fn what_fits_is_one_part() {
        assert_eq!(cut(&[2, 3], 5).0, [5]);
        assert_eq!(cut(&[2, 3, 1], 5).0, [5, 1]);
    }
}
