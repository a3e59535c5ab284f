//! Bounded lines out of a stream of octets (RFC 5321 §2.3.8: only CRLF ends a line).
//!
//! Used by the server for commands and by the client for replies. A line is a slice of what was read, never a copy. A
//! line beyond the limit is found out before it is stored; the rest of it is then skipped up to its end.

/// What stands at the beginning of some octets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Without its CRLF. Holds no CR, LF or NUL.
    Whole(&'a [u8]),
    /// Ended by LF alone, or with a CR or NUL inside: may be read in two ways.
    Malformed,
    /// Longer than the limit; the end may not have come yet.
    TooLong,
    /// Not yet complete, and within the limit.
    Partial,
}

/// Finds the first line; gives it and how many octets it takes. `Partial` takes none, `TooLong` takes all that is there
/// or up to the end of the line.
pub(crate) fn next_line(octets: &[u8], octets_max: usize) -> (Line<'_>, usize) {
    let Some(end) = memchr::memchr(b'\n', octets) else {
        // Without its LF a line of exactly the limit is already too long.
        return if octets.len() >= octets_max { (Line::TooLong, octets.len()) } else { (Line::Partial, 0) };
    };
    let used = end + 1;
    if used > octets_max {
        return (Line::TooLong, used);
    }
    match octets[..end].split_last() {
        Some((b'\r', text)) if memchr::memchr2(b'\r', 0, text).is_none() => (Line::Whole(text), used),
        _ => (Line::Malformed, used),
    }
}

/// How many octets of a line that was too long remain at the beginning, its LF included.
pub(crate) fn skip_line(octets: &[u8]) -> usize {
    memchr::memchr(b'\n', octets).map_or(octets.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_crlf_and_nothing_else() {
        assert_eq!(next_line(b"NOOP\r\nQUIT\r\n", 512), (Line::Whole(b"NOOP"), 6));
        assert_eq!(next_line(b"\r\n", 512), (Line::Whole(b""), 2));
        for text in [&b"NOOP\nQUIT"[..], b"\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"NOOP\r\r\n"] {
            assert_eq!(next_line(text, 512).0, Line::Malformed, "{text:?}");
        }
        for text in [&b""[..], b"NOOP", b"NOOP\r"] {
            assert_eq!(next_line(text, 512), (Line::Partial, 0), "{text:?}");
        }
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_more_octet_does_not() {
        assert_eq!(next_line(b"12345678\r\n", 10), (Line::Whole(b"12345678"), 10));
        assert_eq!(next_line(b"123456789\r\nX", 10), (Line::TooLong, 11));
        assert_eq!(next_line(b"12345678\r", 10), (Line::Partial, 0));
        assert_eq!(next_line(b"123456789\r", 10), (Line::TooLong, 10));
        assert_eq!(skip_line(b"rest\r\nNOOP"), 6);
        assert_eq!(skip_line(b"rest"), 4);
    }
}
