//! The message as it comes: dot transparency is undone (RFC 5321 §4.5.2), and what a message may not contain is found.
//! The way out is `text.rs`.
//!
//! Only CRLF ends a line and only CRLF . CRLF ends a message. A bare CR, a bare LF or a NUL makes a message malformed:
//! nothing of it is kept, and it is read on to its real end and then refused. Taking any of them for the end of a line
//! is how one message becomes two (SMTP smuggling, CVE-2023-51764 and its family); dropping them is how signatures
//! break. Text is copied once, in runs between leading dots, never octet by octet.

use crate::limits::Limits;
use bytes::Bytes;
use memchr::memmem;

/// What is wrong with a message that was read to its end. Of several things the first of this list is told, whatever
/// came first and in whatever pieces, by DATA and by BDAT alike. Only of a message that is too long for BDAT nothing else is
/// known: its text is not kept, and a chunk that has no room is not read for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataError {
    /// A CR without LF or an LF without CR.
    BareLineEnding,
    /// An octet of zero.
    Nul,
    /// A line longer than RFC 5321 §4.5.3.1.6 and our own limit allow.
    LineTooLong,
    /// The header section has more octets than `header_octets_max`.
    HeaderTooLong,
    /// The message has more octets than SIZE said it may (RFC 1870).
    MessageTooLong,
}

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    /// After the dot a line begins with: it is held back.
    Dot,
    /// After `.` CR at the start of a line.
    DotCr,
    Text,
    /// After a CR that may be half of a line ending.
    Cr,
}

/// Reads a message that comes by DATA and undoes dot transparency.
pub struct DataReader {
    place: Place,
    text: Vec<u8>,
    /// Of the text, kept or not.
    text_octets: usize,
    line_octets: usize,
    received: u64,
    error: Option<DataError>,
    line_octets_max: usize,
    message_octets_max: usize,
}

/// How far a reader has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All octets were taken, the end has not come.
    More,
    /// The end came; so many octets were taken.
    End(usize),
}

impl DataReader {
    /// `size_hint` is what the client declared: room for it is made at once, within the limits.
    pub fn new(limits: &Limits, size_hint: Option<u64>) -> DataReader {
        DataReader {
            place: Place::LineStart,
            text: Vec::with_capacity(first_capacity(size_hint)),
            text_octets: 0,
            line_octets: 0,
            received: 0,
            error: None,
            line_octets_max: limits.text_line_octets_max,
            message_octets_max: limits.message_octets_max,
        }
    }

    /// Octets that came, stored or not.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the message will be refused at its end.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Octets that are stored; none of a message that will be refused.
    pub fn held_octets(&self) -> usize {
        self.text.len()
    }

    /// Takes what belongs to the message, and says how much that was and whether its end was there.
    pub fn read(&mut self, octets: &[u8]) -> Progress {
        // Behind the end of this message a NUL is not ours to judge, so it is looked for again in what belongs to it.
        let nul_ahead = memchr::memchr(0, octets).is_some();
        self.read_run(octets, nul_ahead.then_some(DataError::Nul))
    }

    fn read_run(&mut self, octets: &[u8], suspicion: Option<DataError>) -> Progress {
        // `run..at` is text that was looked at and not yet copied.
        let (mut run, mut at) = (0, 0);
        while let Some(&octet) = octets.get(at) {
            match self.place {
                Place::LineStart if octet == b'.' => {
                    self.keep(&octets[run..at], suspicion);
                    self.place = Place::Dot;
                    at += 1;
                    run = at;
                }
                Place::LineStart => self.place = Place::Text,
                Place::Dot if octet == b'\r' => {
                    self.place = Place::DotCr;
                    at += 1;
                }
                // RFC 5321 §4.5.2: the dot in front of other text is not part of it.
                Place::Dot => self.place = Place::Text,
                Place::DotCr if octet == b'\n' => {
                    self.received += at as u64 + 1;
                    return Progress::End(at + 1);
                }
                Place::DotCr => {
                    self.fail(DataError::BareLineEnding);
                    self.place = Place::Cr;
                }
                Place::Text => at = self.read_text(octets, at),
                Place::Cr if octet == b'\n' => {
                    self.end_line();
                    at += 1;
                }
                Place::Cr => {
                    self.fail(DataError::BareLineEnding);
                    self.place = Place::Text;
                }
            }
        }
        // A CR after a held dot is not text yet, and if it becomes text the message is refused anyway.
        if self.place != Place::DotCr {
            self.keep(&octets[run..at], suspicion);
        }
        self.received += octets.len() as u64;
        Progress::More
    }

    /// From inside a line to its end or to the end of the octets; gives the place after it.
    fn read_text(&mut self, octets: &[u8], at: usize) -> usize {
        let Some(length) = memchr::memchr2(b'\r', b'\n', &octets[at..]) else {
            self.line_octets += octets.len() - at;
            return octets.len();
        };
        self.line_octets += length;
        let end = at + length;
        if octets[end] == b'\n' {
            // Not the start of a line: only CRLF is.
            self.fail(DataError::BareLineEnding);
        } else {
            self.place = Place::Cr;
        }
        end + 1
    }

    fn end_line(&mut self) {
        if self.line_octets > self.line_octets_max {
            self.fail(DataError::LineTooLong);
        }
        self.line_octets = 0;
        self.place = Place::LineStart;
    }

    fn keep(&mut self, run: &[u8], suspicion: Option<DataError>) {
        if suspicion.is_some() && memchr::memchr(0, run).is_some() {
            self.fail(DataError::Nul);
        }
        self.text_octets += run.len();
        if self.text_octets > self.message_octets_max {
            self.fail(DataError::MessageTooLong);
        }
        if self.error.is_none() {
            self.text.extend_from_slice(run);
        }
    }

    /// What was kept is let go at once.
    fn fail(&mut self, error: DataError) {
        self.error = Some(self.error.map_or(error, |known| known.min(error)));
        self.text = Vec::new();
    }

    /// The message, to be asked for when its end has come.
    ///
    /// # Errors
    /// What [`DataReader::read`] met, of several mistakes the first in the order of [`DataError`]; without
    /// any, `HeaderTooLong` if the header section does not end within `header_octets_max`.
    pub fn finish(self, limits: &Limits) -> Result<Bytes, DataError> {
        match self.error {
            Some(error) => Err(error),
            None => check_header(&self.text, limits).map(|()| Bytes::from(self.text)),
        }
    }
}

/// Room for the size a client declared, up to a bound: a declaration costs it nothing.
fn first_capacity(size_hint: Option<u64>) -> usize {
    const HINT_OCTETS_MAX: u64 = 256 * 1024;
    size_hint.map_or(8 * 1024, |size| size.min(HINT_OCTETS_MAX) as usize + 64)
}

/// Collects a message that comes in chunks (RFC 3030): no dots, no end but the declared one.
pub struct ChunkReader {
    text: Vec<u8>,
    received: u64,
    too_long: bool,
    message_octets_max: usize,
}

impl ChunkReader {
    /// `size_hint` is what the client declared: room for it is made at once, within the limits.
    pub fn new(limits: &Limits, size_hint: Option<u64>) -> ChunkReader {
        ChunkReader {
            text: Vec::with_capacity(first_capacity(size_hint)),
            received: 0,
            too_long: false,
            message_octets_max: limits.message_octets_max,
        }
    }

    /// Octets of all chunks so far, kept or not.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Octets in memory: what a session is charged for.
    pub fn held_octets(&self) -> usize {
        self.text.len()
    }

    /// Whether a chunk of this size still fits.
    pub fn has_room(&self, octets: u64) -> bool {
        !self.too_long && octets <= (self.message_octets_max - self.text.len()) as u64
    }

    /// Octets of the current chunk; the caller counts to its end.
    pub fn read(&mut self, octets: &[u8]) {
        self.received += octets.len() as u64;
        if self.too_long || self.text.len() + octets.len() > self.message_octets_max {
            self.too_long = true;
            self.text = Vec::new();
        } else {
            self.text.extend_from_slice(octets);
        }
    }

    /// DATA always ends with CRLF; here it is added where it is missing, so that both ways give the same message. It does
    /// not count as the client's: the message may then be up to two octets longer than `message_octets_max`.
    ///
    /// # Errors
    /// `MessageTooLong` if the chunks had more than `message_octets_max`; else as [`check_lines`] does with
    /// `text_line_octets_max`; else `HeaderTooLong` if the header section does not end within
    /// `header_octets_max`.
    pub fn finish(mut self, limits: &Limits) -> Result<Bytes, DataError> {
        if self.too_long {
            return Err(DataError::MessageTooLong);
        }
        check_lines(&self.text, Some(limits.text_line_octets_max))?;
        if !self.text.is_empty() && !self.text.ends_with(b"\r\n") {
            self.text.extend_from_slice(b"\r\n");
        }
        check_header(&self.text, limits).map(|()| Bytes::from(self.text))
    }
}

/// Whether every line ends with CRLF, no NUL occurs and no line is longer than the limit, in octets without
/// its CRLF.
///
/// # Errors
/// `BareLineEnding`, `Nul` and, with a limit, `LineTooLong`: of several the first in this order, wherever it
/// stands.
pub fn check_lines(text: &[u8], line_octets_max: Option<usize>) -> Result<(), DataError> {
    let octets_max = line_octets_max.unwrap_or(usize::MAX);
    let (mut rest, mut is_too_long) = (text, false);
    while let Some(length) = memchr::memchr2(b'\r', b'\n', rest) {
        if rest[length] == b'\n' || rest.get(length + 1) != Some(&b'\n') {
            return Err(DataError::BareLineEnding);
        }
        is_too_long |= length > octets_max;
        rest = &rest[length + 2..];
    }
    if memchr::memchr(0, text).is_some() {
        return Err(DataError::Nul);
    }
    if is_too_long || rest.len() > octets_max { Err(DataError::LineTooLong) } else { Ok(()) }
}

fn check_header(text: &[u8], limits: &Limits) -> Result<(), DataError> {
    if text.len() <= limits.header_octets_max {
        return Ok(());
    }
    let within = &text[..limits.header_octets_max];
    let ends = within.starts_with(b"\r\n") || memmem::find(within, b"\r\n\r\n").is_some();
    if ends { Ok(()) } else { Err(DataError::HeaderTooLong) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Reads `wire` in the pieces that `cuts` make of it; gives the result and what is left behind the end.
    fn read(wire: &[u8], cut: usize) -> (Option<Result<Bytes, DataError>>, Vec<u8>) {
        let limits = Limits { message_octets_max: 200, text_line_octets_max: 20, ..Limits::default() };
        let mut reader = DataReader::new(&limits, None);
        let (first, second) = wire.split_at(cut);
        if let Progress::End(used) = reader.read(first) {
            return (Some(reader.finish(&limits)), [&first[used..], second].concat());
        }
        match reader.read(second) {
            Progress::End(used) => (Some(reader.finish(&limits)), second[used..].to_vec()),
            Progress::More => (None, Vec::new()),
        }
    }

    #[test]
    fn leading_dots_are_removed_wherever_the_octets_are_cut() {
        let wire = b"..a\r\n.\x2e\r\n...\r\n.b\r\nc.\r\n\r\n..\r\n.\r\nrest";
        for cut in 0..wire.len() {
            let (result, rest) = read(wire, cut);
            assert_eq!(
                &result.unwrap().unwrap()[..],
                b".a\r\n.\r\n..\r\nb\r\nc.\r\n\r\n.\r\n",
                "cut at {cut}"
            );
            assert_eq!(rest, b"rest");
        }
        assert_eq!(&read(b".\r\n", 0).0.unwrap().unwrap()[..], b"");
    }

    #[test]
    fn limits_hold_and_the_end_is_still_found() {
        let long_line = [&[b'a'; 21][..], b"\r\n.\r\nX"].concat();
        assert_eq!(read(&long_line, 5), (Some(Err(DataError::LineTooLong)), b"X".to_vec()));
        assert!(read(&[&[b'a'; 20][..], b"\r\n.\r\n"].concat(), 5).0.unwrap().is_ok());
        let long = ["aaaaaaaa\r\n".repeat(21).as_bytes(), b".\r\nX"].concat();
        assert_eq!(read(&long, 5), (Some(Err(DataError::MessageTooLong)), b"X".to_vec()));
        assert!(read(&["aaaaaaaa\r\n".repeat(20).as_bytes(), b".\r\n"].concat(), 5).0.unwrap().is_ok());
    }

    #[test]
    fn a_nul_behind_the_end_is_not_the_messages_fault() {
        let (result, rest) = read(b"a\r\n.\r\n\0", 0);
        assert!(result.unwrap().is_ok());
        assert_eq!(rest, b"\0");
    }

    #[test]
    fn a_header_section_beyond_its_limit_is_refused() {
        let limits = Limits { header_octets_max: 10, ..Limits::default() };
        assert_eq!(check_header(b"A: 1\r\n\r\nlong body", &limits), Ok(()));
        assert_eq!(check_header(b"\r\nbody without header", &limits), Ok(()));
        assert_eq!(check_header(b"A: 1234567\r\n\r\nx", &limits), Err(DataError::HeaderTooLong));
    }

    #[test]
    fn chunks_are_held_to_the_same_rules() {
        let limits = Limits { message_octets_max: 30, text_line_octets_max: 20, ..Limits::default() };
        let read = |chunks: &[&[u8]]| {
            let mut reader = ChunkReader::new(&limits, Some(u64::MAX));
            chunks.iter().for_each(|chunk| reader.read(chunk));
            reader.finish(&limits)
        };
        assert_eq!(&read(&[b"a\r", b"\n.\r\n", b"b"]).unwrap()[..], b"a\r\n.\r\nb\r\n");
        assert_eq!(read(&[b"a\r", b"b"]), Err(DataError::BareLineEnding));
        assert_eq!(read(&[b"a\r"]), Err(DataError::BareLineEnding));
        assert_eq!(read(&[b"a\n"]), Err(DataError::BareLineEnding));
        assert_eq!(read(&[b"a\0"]), Err(DataError::Nul));
        assert_eq!(read(&[&[b'a'; 21]]), Err(DataError::LineTooLong));
        assert_eq!(read(&[&b"a\r\n"[..]; 11]), Err(DataError::MessageTooLong));
        let full: Vec<&[u8]> = [&b"a\r\n"[..]; 9].into_iter().chain([&b"bcd"[..]]).collect();
        assert_eq!(read(&full).unwrap().len(), 32, "the last CRLF is ours");
    }

    #[test]
    fn of_several_faults_both_ways_tell_the_same() {
        let limits = Limits { text_line_octets_max: 20, ..Limits::default() };
        let faults: [&[u8]; 3] = [b"a\nb", b"a\0b", &[b'x'; 21]];
        for first in faults {
            for second in faults {
                let text = [first, b"\r\n", second, b"\r\n"].concat();
                let mut chunks = ChunkReader::new(&limits, None);
                chunks.read(&text);
                let mut data = DataReader::new(&limits, None);
                data.read(&[&text[..], b".\r\n"].concat());
                assert_eq!(chunks.finish(&limits), data.finish(&limits), "{}", text.escape_ascii());
            }
        }
    }
}
