//! Where the projection stands, as the database keeps it. Pure.
//!
//! Usually one place: everything before it is in the tables, and the next start goes on there. Two, while the journal
//! owes something: up to where records were told, and where the next start goes on, which is before what is owed. What
//! lies between is told again and changes nothing.
//!
//! What may surprise: a cursor that cannot be read is as good as none, and everything is read again. So does a program
//! that knows only cursors of one place with one of two.

use spool::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Behind the last record that was told.
    pub told: Position,
    /// Everything before is in the tables.
    pub goes_on: Position,
}

impl Cursor {
    pub const START: Cursor = Cursor { told: Position::START, goes_on: Position::START };

    /// Where a stored cursor stands in the journal that ends at `end`. One behind the end is of another journal, which was
    /// lost or replaced: this one is read from its start.
    pub fn parse(stored: Option<&[u8]>, end: Position) -> Cursor {
        let Some(cursor) = stored.and_then(parse) else { return Cursor::START };
        if cursor.told <= end {
            return cursor;
        }
        tracing::warn!(position = %cursor.told, "the cursor of events does not belong to this journal; reading it from the start");
        Cursor::START
    }

    /// After the records before `position` were told.
    pub fn after(self, position: Position, owed: Option<Position>) -> Cursor {
        let goes_on = owed.map_or(position, |owed| owed.min(position));
        Cursor { told: self.told.max(position), goes_on }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        let Cursor { told, goes_on } = self;
        let places = if told == goes_on { &[told][..] } else { &[told, goes_on] };
        places.iter().flat_map(|place| place.as_u64().to_be_bytes()).collect()
    }
}

fn parse(stored: &[u8]) -> Option<Cursor> {
    let (places, rest) = stored.as_chunks::<8>();
    let place = |bytes: &[u8; 8]| Position::from_u64(u64::from_be_bytes(*bytes));
    match (places, rest) {
        ([told], []) => Some(Cursor { told: place(told), goes_on: place(told) }),
        ([told, goes_on], []) => Some(Cursor { told: place(told), goes_on: place(goes_on).min(place(told)) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(octet: u64) -> Position {
        Position::from_u64(octet)
    }

    #[test]
    fn a_cursor_reads_as_it_was_written_and_one_place_as_it_always_was() {
        for cursor in [Cursor { told: at(7), goes_on: at(7) }, Cursor { told: at(9), goes_on: at(7) }] {
            assert_eq!(Cursor::parse(Some(&cursor.to_bytes()), at(9)), cursor);
        }
        assert_eq!(Cursor::START.after(at(7), None).to_bytes(), 7_u64.to_be_bytes());
    }

    #[test]
    fn what_cannot_be_read_or_is_of_another_journal_begins_anew() {
        let ahead = Cursor { told: at(9), goes_on: at(7) }.to_bytes();
        let strange: [Option<&[u8]>; 5] = [None, Some(&[]), Some(&[1; 7]), Some(&[0; 24]), Some(&ahead)];
        for stored in strange {
            assert_eq!(Cursor::parse(stored, at(8)), Cursor::START, "{stored:?}");
        }
    }

    #[test]
    fn the_next_start_goes_on_before_what_is_owed_and_nothing_told_is_forgotten() {
        let owing = Cursor::START.after(at(20), Some(at(10)));
        assert_eq!(owing, Cursor { told: at(20), goes_on: at(10) });
        // It was given, and is read again from there on.
        let again = owing.after(at(12), None);
        assert_eq!(again, Cursor { told: at(20), goes_on: at(12) });
        assert_eq!(again.after(at(25), None), Cursor { told: at(25), goes_on: at(25) });
    }
}
