//! Replies on the wire: written by the server, read by the client (RFC 5321 §4.2, RFC 2034).
//!
//! A reply that is read is bounded in lines and in octets, and comes out as printable text: a site's words go into
//! events and logs, and no control character of theirs may get there. What may surprise: a reply line ended by LF alone
//! is understood (some sites do it, and nothing can be smuggled in a reply), one without code is not.

use crate::line::{self, Line};
use bytes::{BufMut, BytesMut};
use mail::{EnhancedStatus, Reply, ReplyCode};

/// Appends a reply. Every line carries the enhanced status (RFC 2034 §3).
pub(crate) fn write_reply(out: &mut BytesMut, reply: &Reply) {
    let last = reply.lines.len().saturating_sub(1);
    for (index, text) in reply.lines.iter().enumerate() {
        write_code(out, reply.code, if index == last { b' ' } else { b'-' });
        if let Some(status) = reply.enhanced {
            write_number(out, u16::from(status.class()));
            out.put_u8(b'.');
            write_number(out, status.subject());
            out.put_u8(b'.');
            write_number(out, status.detail());
            out.put_u8(b' ');
        }
        write_text(out, text);
    }
}

/// One line without enhanced status: greeting, EHLO, 354.
pub(crate) fn write_line(out: &mut BytesMut, code: u16, divider: u8, text: &str) {
    write_number(out, code);
    out.put_u8(divider);
    write_text(out, text);
}

fn write_code(out: &mut BytesMut, code: ReplyCode, divider: u8) {
    write_number(out, code.as_u16());
    out.put_u8(divider);
}

fn write_number(out: &mut BytesMut, number: u16) {
    let (mut digits, mut rest, mut first) = ([0; 5], number, 5);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[first..]);
}

/// `Reply::new` already replaces control characters; a `Reply` built by hand is not trusted more.
fn write_text(out: &mut BytesMut, text: &str) {
    if text.bytes().any(|b| b.is_ascii_control()) {
        out.extend(text.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
    } else {
        out.put_slice(text.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// Why something is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// A line has more octets than allowed.
    LineTooLong,
    /// More lines than allowed.
    TooManyLines,
    /// All its lines together.
    TooLong,
    /// A line that does not begin with three digits and a space or a hyphen.
    NoCode,
    /// The lines of one reply have different codes.
    CodeChanged,
}

/// Puts the lines of a reply together.
pub struct ReplyReader {
    line_octets_max: usize,
    lines_max: usize,
    octets_max: usize,
    code: Option<ReplyCode>,
    lines: Vec<String>,
    octets: usize,
}

impl ReplyReader {
    /// Limits for one reply: octets of a line, lines, octets of all lines.
    pub fn new(line_octets_max: usize, lines_max: usize, octets_max: usize) -> ReplyReader {
        ReplyReader { line_octets_max, lines_max, octets_max, code: None, lines: Vec::new(), octets: 0 }
    }

    /// Reads from the beginning of `octets`: a whole reply if its last line is there, and how many octets were used.
    ///
    /// # Errors
    /// `NoCode` or `CodeChanged` if it is no reply (RFC 5321 §4.2.1), `LineTooLong`, `TooManyLines` or
    /// `TooLong` if it is beyond the limits of `new`. The session cannot go on, and the reader is of no use
    /// any more.
    pub fn read(&mut self, octets: &[u8]) -> Result<(Option<Reply>, usize), ReplyError> {
        let mut used = 0;
        loop {
            let (line, length) = line::next_line(&octets[used..], self.line_octets_max);
            let text = match line {
                Line::Partial => return Ok((None, used)),
                Line::TooLong => return Err(ReplyError::LineTooLong),
                Line::Whole(text) => text,
                // LF alone, or control characters inside: they become spaces below.
                Line::Malformed => octets[used..used + length].trim_ascii_end(),
            };
            used += length;
            if self.take_line(text)? {
                return Ok((self.finish(), used));
            }
        }
    }

    /// Whether the line was the last of its reply.
    fn take_line(&mut self, text: &[u8]) -> Result<bool, ReplyError> {
        let (digits, rest) = text.split_at_checked(3).ok_or(ReplyError::NoCode)?;
        let code = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .and_then(ReplyCode::new)
            .ok_or(ReplyError::NoCode)?;
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::NoCode),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::CodeChanged);
        }
        if self.lines.len() >= self.lines_max {
            return Err(ReplyError::TooManyLines);
        }
        let mut text = printable(text);
        // It grew by doubling.
        text.shrink_to_fit();
        // What is kept, which is up to three times as long as what came.
        self.octets += text.len();
        if self.octets > self.octets_max {
            return Err(ReplyError::TooLong);
        }
        self.lines.push(text);
        Ok(last)
    }

    fn finish(&mut self) -> Option<Reply> {
        let mut lines = std::mem::take(&mut self.lines);
        self.octets = 0;
        let code = self.code.take()?;
        let status = lines.first().and_then(|line| leading_status(line, code));
        if let Some((status, _)) = status {
            for line in &mut lines {
                if let Some((_, length)) = leading_status(line, code).filter(|(own, _)| *own == status) {
                    line.drain(..length);
                }
            }
        }
        Some(Reply { code, enhanced: status.map(|(status, _)| status), lines })
    }
}

/// The enhanced status a line begins with, if its class fits the code, and how many octets it and its space take.
fn leading_status(line: &str, code: ReplyCode) -> Option<(EnhancedStatus, usize)> {
    let word = line.split(' ').next()?;
    let status = EnhancedStatus::parse(word)?;
    let fits = u16::from(status.class()) == code.as_u16() / 100;
    fits.then(|| (status, line.len().min(word.len() + 1)))
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<(Option<Reply>, usize), ReplyError> {
        ReplyReader::new(100, 3, 150).read(text)
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            &b"\r\n"[..],
            b"25\r\n",
            b"abc hi\r\n",
            b"250_hi\r\n",
            b"199 hi\r\n",
            b"600 hi\r\n",
            b"+50 x\r\n",
        ] {
            assert_eq!(read(text).unwrap_err(), ReplyError::NoCode, "{text:?}");
        }
        assert_eq!(read(b"250-a\r\n251 b\r\n").unwrap_err(), ReplyError::CodeChanged);
        assert_eq!(read(b"250-a\r\n250-b\r\n250-c\r\n250 d\r\n").unwrap_err(), ReplyError::TooManyLines);
        assert_eq!(read(&[b'2'; 100]).unwrap_err(), ReplyError::LineTooLong);
        let long = |octet: u8, count| [b"250-".as_slice(), &vec![octet; count], b"\r\n"].concat().repeat(3);
        assert!(read(&long(b'x', 50)).unwrap().0.is_none());
        assert_eq!(read(&long(b'x', 51)).unwrap_err(), ReplyError::TooLong);
        assert_eq!(read(&long(0xff, 17)).unwrap_err(), ReplyError::TooLong);
    }

    #[test]
    fn a_reply_of_several_lines_is_one_reply() {
        let (reply, used) = read(b"550-5.1.1 no such\r\n550-user\r\n550 5.1.1 here\r\n250 ok\r\n").unwrap();
        let reply = reply.unwrap();
        assert_eq!(reply.to_line(), "550 5.1.1 no such user here");
        assert_eq!(used, 45);
    }

    #[test]
    fn a_reply_may_come_in_pieces() {
        let mut reader = ReplyReader::new(100, 3, 150);
        let text = b"250-a\r\n250 b\r\n";
        let (reply, used) = reader.read(&text[..9]).unwrap();
        assert!(reply.is_none() && used == 7);
        let (reply, used) = reader.read(&text[7..]).unwrap();
        assert_eq!((reply.unwrap().to_line().as_str(), used), ("250 a b", 7));
    }

    #[test]
    fn a_sites_words_come_out_printable() {
        let line = |text: &[u8]| read(text).unwrap().0.unwrap().to_line();
        assert_eq!(line(b"250 \x1b[31mred\x00\xff\r\n"), "250  [31mred \u{fffd}");
        assert_eq!(line(b"250\r\n"), "250 ");
        assert_eq!(line(b"250 lf only\n"), "250 lf only");
        // A status of another class than the code is text.
        assert_eq!(read(b"550 4.7.1 odd\r\n").unwrap().0.unwrap().enhanced, None);
        assert_eq!(read(b"550 5.7.1\r\n").unwrap().0.unwrap().lines, [""]);
    }

    #[test]
    fn a_written_reply_reads_the_same() {
        let mut reply = Reply::new(421, Some(EnhancedStatus::new(4, 7, 250)), "first");
        reply.lines.push("sec\r\n250 ond".into());
        let mut out = BytesMut::new();
        write_reply(&mut out, &reply);
        assert_eq!(&out[..], b"421-4.7.250 first\r\n421 4.7.250 sec  250 ond\r\n");
        assert_eq!(read(&out).unwrap().0.unwrap().to_line(), "421 4.7.250 first sec  250 ond");
    }
}
