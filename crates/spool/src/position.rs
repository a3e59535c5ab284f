//! A place in the journal: segment and octet offset, ordered as the log is, storable as one number.

use crate::segment::SEGMENT_HEADER;
use std::fmt;

/// Where a record begins, or where reading goes on. The database keeps it as `as_u64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    segment: u32,
    offset: u32,
}

impl Position {
    /// Before everything: following from here begins with the oldest record there is, without a gap error.
    pub const START: Position = Position { segment: 0, offset: 0 };

    pub(crate) const fn new(segment: u32, offset: u32) -> Position {
        Position { segment, offset }
    }

    /// Where the first record of a segment lies.
    pub(crate) const fn beginning_of(segment: u32) -> Position {
        Position { segment, offset: SEGMENT_HEADER.len() as u32 }
    }

    pub const fn segment(self) -> u32 {
        self.segment
    }

    pub const fn offset(self) -> u32 {
        self.offset
    }

    pub const fn as_u64(self) -> u64 {
        (self.segment as u64) << 32 | self.offset as u64
    }

    pub const fn from_u64(number: u64) -> Position {
        Position { segment: (number >> 32) as u32, offset: number as u32 }
    }
}

/// As file names and logs show it, in hexadecimal: `0000002a:00001f40`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}", self.segment, self.offset)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_number_it_keeps_the_order_of_the_log() {
        let places = [Position::START, Position::new(0, 7), Position::new(1, 0), Position::new(1, u32::MAX)];
        assert!(places.is_sorted() && places.map(Position::as_u64).is_sorted());
        assert!(places.iter().all(|place| Position::from_u64(place.as_u64()) == *place));
    }
}
