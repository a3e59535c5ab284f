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

    /// Number of the segment, from 1.
    pub const fn segment(self) -> u32 {
        self.segment
    }

    /// Octets from the start of the segment.
    pub const fn offset(self) -> u32 {
        self.offset
    }

    /// Segment and offset in one number that grows with the journal.
    pub const fn as_u64(self) -> u64 {
        (self.segment as u64) << 32 | self.offset as u64
    }

    /// What `as_u64` gave.
    pub const fn from_u64(number: u64) -> Position {
        Position { segment: (number >> 32) as u32, offset: number as u32 }
    }
}

/// A stretch of the log, without its end. It does not reach over the end of a segment, except to where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: Position,
    /// Where the next piece begins.
    pub to: Position,
}

/// As it is shown: `0000002a:00001f40`.
impl std::str::FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Position, NoPosition> {
        let (segment, offset) = text.split_once(':').ok_or(NoPosition)?;
        let number = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16).map_err(|_| NoPosition)
            }
            _ => Err(NoPosition),
        };
        Ok(Position { segment: number(segment)?, offset: number(offset)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is two hexadecimal numbers with a colon between: 0000002a:00001f40")]
pub struct NoPosition;

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

    #[test]
    fn what_is_shown_is_parsed_and_nothing_else() {
        let place = Position::new(0x2a, 0x1f40);
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", ":", "1", "1:", ":1", "1:2:3", "g:1", "+1:1", "123456789:1", "1:-1"] {
            assert_eq!(text.parse::<Position>(), Err(NoPosition), "{text}");
        }
    }
}
