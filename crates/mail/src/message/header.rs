//! The header section of a raw message: where each field lies and what it says (RFC 5322 §2.2, §3.6).
//!
//! The one header parser of the house. It borrows the message, copies nothing and remembers exact offsets, so that
//! the signature covers the same octets that policy has read. It refuses what different programs read differently:
//! a line without colon, a space before the colon, a continuation of nothing, a continuation line of only spaces
//! (some take it for the end of the section), bare CR or LF, NUL. It does not look into the body.
//!
//! Called by ingress (policy, preparation), dkim, the API and egress. What may surprise: an empty section and a
//! missing body are both fine; a body begins after the first empty line.

use super::encoded_word;
use super::mailbox_list::{self, MailboxListError};
use crate::{Mailbox, Refusal, RefusalKind};
use std::borrow::Cow;
use std::ops::Range;

/// What a header section may cost. Defaults are generous for mail and small for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Octets of the whole section.
    pub octets_max: usize,
    /// Fields of the section, each counted whatever its name.
    pub fields_max: usize,
    /// Octets of one line without CRLF, RFC 5322 §2.1.1.
    pub line_octets_max: usize,
}

/// Why bytes are not a header section. The sentences are public. Lines are numbered from 1; the first three
/// hold the limit that was passed, in octets (of a line without its CRLF) or in fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum MalformedMessage {
    #[error("the header section is longer than {0} octets")]
    LongSection(usize),
    #[error("the header section has more than {0} fields")]
    ManyFields(usize),
    #[error("a header line is longer than {0} octets")]
    LongLine(usize),
    #[error("line {0} of the header section is neither a field nor the continuation of one")]
    NotAField(usize),
    #[error(
        "line {0} of the header section has a space before the colon; the name of a field ends right before it"
    )]
    SpaceBeforeColon(usize),
    #[error("line {0} of the header section has only spaces")]
    BlankContinuation(usize),
    #[error("line {0} of the header section has a bare CR, a bare LF or a NUL")]
    BareControl(usize),
}

/// Why the From field does not name one author without doubt. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum FromError {
    #[error("the message has no From field")]
    Missing,
    #[error("the message has more than one From field")]
    Repeated,
    #[error("the From field cannot be read without doubt: {0}")]
    Unreadable(#[from] MailboxListError),
}

/// One field with its continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a str,
    raw: &'a [u8],
    range: Range<usize>,
}

/// A parsed header section that borrows the message.
#[derive(Debug, Clone)]
pub struct HeaderSection<'a> {
    raw: &'a [u8],
    fields: Vec<Field<'a>>,
    body_offset: usize,
}

/// Fields that RFC 5322 §3.6 allows once, and those of RFC 2045 that say how the whole body is to be read.
const SINGLE_FIELDS: [&str; 13] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "message-id",
    "in-reply-to",
    "references",
    "subject",
    "date",
    "content-type",
    "content-transfer-encoding",
];
/// Characters of a decoded subject that are kept for display.
pub const SUBJECT_CHARS_MAX: usize = 256;
/// Octets of a Message-ID that are kept for display: what RFC 5322 §2.1.1 lets stand in one line.
pub const MESSAGE_ID_OCTETS_MAX: usize = 998;

impl Default for HeaderLimits {
    fn default() -> HeaderLimits {
        HeaderLimits { octets_max: 256 * 1024, fields_max: 1000, line_octets_max: 998 }
    }
}

impl<'a> HeaderSection<'a> {
    /// Parses up to and including the empty line that ends the section.
    ///
    /// # Errors
    /// The first line that programs would read differently, by its number (`NotAField`, `SpaceBeforeColon`,
    /// `BlankContinuation`, `BareControl`), or the limit that was passed (`LongSection`, `ManyFields`,
    /// `LongLine`).
    pub fn parse(raw: &'a [u8], limits: &HeaderLimits) -> Result<HeaderSection<'a>, MalformedMessage> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let mut offset = 0;
        let mut line_number = 0;
        while offset < raw.len() {
            line_number += 1;
            let line = line_at(raw, offset, line_number)?;
            let next = (offset + line.len() + 2).min(raw.len());
            if next > limits.octets_max {
                return Err(MalformedMessage::LongSection(limits.octets_max));
            }
            if line.is_empty() {
                return Ok(HeaderSection { raw, fields, body_offset: next });
            }
            if line.len() > limits.line_octets_max {
                return Err(MalformedMessage::LongLine(limits.line_octets_max));
            }
            if is_wsp(line[0]) {
                if line.iter().all(|b| is_wsp(*b)) {
                    return Err(MalformedMessage::BlankContinuation(line_number));
                }
                let field = fields.last_mut().ok_or(MalformedMessage::NotAField(line_number))?;
                field.range.end = next;
                field.raw = &raw[field.range.clone()];
            } else {
                if fields.len() == limits.fields_max {
                    return Err(MalformedMessage::ManyFields(limits.fields_max));
                }
                let name = field_name(line).ok_or_else(|| not_a_field(line, line_number))?;
                fields.push(Field { name, raw: &raw[offset..next], range: offset..next });
            }
            offset = next;
        }
        Ok(HeaderSection { raw, fields, body_offset: raw.len() })
    }

    /// In their order, top first.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The fields of one name, top first. Names are compared without case.
    pub fn all<'s>(&'s self, name: &'s str) -> impl DoubleEndedIterator<Item = &'s Field<'a>> {
        self.fields.iter().filter(move |field| field.is(name))
    }

    /// The topmost field of that name.
    pub fn first(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.is(name))
    }

    /// Offset of the first octet of the body; the length of the message if it has none.
    pub fn body_offset(&self) -> usize {
        self.body_offset
    }

    /// Everything behind the empty line; empty if there is none.
    pub fn body(&self) -> &'a [u8] {
        &self.raw[self.body_offset..]
    }

    /// The whole message this section was parsed from.
    pub fn message(&self) -> &'a [u8] {
        self.raw
    }

    /// The mailboxes of the one From field, at least one.
    ///
    /// # Errors
    /// `Missing` without a From field, `Repeated` with more than one (RFC 5322 §3.6), `Unreadable` if it is
    /// no mailbox-list with one reading.
    pub fn from_addresses(&self) -> Result<Vec<Mailbox>, FromError> {
        let mut fields = self.all("from");
        let field = fields.next().ok_or(FromError::Missing)?;
        if fields.next().is_some() {
            return Err(FromError::Repeated);
        }
        Ok(mailbox_list::parse(&field.unfolded())?)
    }

    /// A field that may be there once and is there twice: receivers disagree about which one counts.
    pub fn repeated_field(&self) -> Option<&'static str> {
        SINGLE_FIELDS.into_iter().find(|name| self.all(name).nth(1).is_some())
    }

    /// The Message-ID as written, angle brackets included, cut after `MESSAGE_ID_OCTETS_MAX`: every event repeats it.
    pub fn message_id(&self) -> Option<String> {
        let value = self.first("message-id")?.value();
        let kept = &value[..value.floor_char_boundary(MESSAGE_ID_OCTETS_MAX)];
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    /// The subject for display: encoded words decoded, cut after `SUBJECT_CHARS_MAX` characters.
    pub fn subject(&self) -> Option<String> {
        Some(encoded_word::decode(&self.first("subject")?.value(), SUBJECT_CHARS_MAX))
    }

    /// Hops so far, for the loop limit of RFC 5321 §6.3.
    pub fn received_count(&self) -> usize {
        self.all("received").count()
    }
}

impl<'a> Field<'a> {
    /// As written; compare with `is`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Names are compared without regard to case (RFC 5322 §1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The whole field with its folding and its last CRLF (which only the end of a message may lack).
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Where `raw` lies in the message.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Everything after the colon, still folded.
    pub fn folded(&self) -> &'a [u8] {
        &self.raw[self.name.len() + 1..]
    }

    /// Unfolded by RFC 5322 §2.2.3 (each CRLF removed, the white space after it kept), without outer white space.
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        let folded = self.folded().trim_ascii();
        if memchr::memchr(b'\n', folded).is_none() {
            return Cow::Borrowed(folded);
        }
        Cow::Owned(folded.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
    }

    /// `unfolded` as text; octets that are not UTF-8 are shown as U+FFFD. For decisions use `unfolded`.
    pub fn value(&self) -> Cow<'a, str> {
        match self.unfolded() {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}

impl MalformedMessage {
    /// The answer to the client: permanent, with the sentence of the case.
    pub fn to_refusal(self) -> Refusal {
        let kind = match self {
            MalformedMessage::LongSection(_)
            | MalformedMessage::ManyFields(_)
            | MalformedMessage::LongLine(_)
            | MalformedMessage::NotAField(_)
            | MalformedMessage::SpaceBeforeColon(_)
            | MalformedMessage::BlankContinuation(_)
            | MalformedMessage::BareControl(_) => RefusalKind::MessageMalformed,
        };
        Refusal::new(kind, self.to_string())
    }
}

impl FromError {
    /// The answer to the client: permanent, and it names the field.
    pub fn to_refusal(self) -> Refusal {
        Refusal::new(RefusalKind::AmbiguousFrom, self.to_string())
    }
}

/// The line that begins at `offset`, without its CRLF; the last line of a message may lack it.
fn line_at(raw: &[u8], offset: usize, number: usize) -> Result<&[u8], MalformedMessage> {
    let rest = &raw[offset..];
    let line = match memchr::memchr(b'\n', rest) {
        Some(at) if at > 0 && rest[at - 1] == b'\r' => &rest[..at - 1],
        Some(_) => return Err(MalformedMessage::BareControl(number)),
        None => rest,
    };
    if memchr::memchr2(b'\r', 0, line).is_some() {
        return Err(MalformedMessage::BareControl(number));
    }
    Ok(line)
}

/// RFC 5322 §2.2: printable ASCII except colon, at least one, right before the colon.
fn field_name(line: &[u8]) -> Option<&str> {
    let colon = memchr::memchr(b':', line)?;
    let name = &line[..colon];
    let legal = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
    if legal { std::str::from_utf8(name).ok() } else { None }
}

/// The one mistake that can be named: everything else may be a body that has no header section.
fn not_a_field(line: &[u8], number: usize) -> MalformedMessage {
    let name = memchr::memchr(b':', line).map_or(&b""[..], |colon| &line[..colon]);
    let trimmed = name.trim_ascii_end();
    let spaced = trimmed.len() < name.len() && field_name(&[trimmed, b":"].concat()).is_some();
    if spaced { MalformedMessage::SpaceBeforeColon(number) } else { MalformedMessage::NotAField(number) }
}

const fn is_wsp(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(raw: &[u8]) -> Result<HeaderSection<'_>, MalformedMessage> {
        HeaderSection::parse(raw, &HeaderLimits::default())
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        use MalformedMessage::*;
        for (raw, why) in [
            (&b"From a@b.example Mon\r\nSubject: x\r\n\r\n"[..], NotAField(1)),
            (b" folded: nothing\r\n\r\n", NotAField(1)),
            (b"Subject : x\r\n\r\n", SpaceBeforeColon(1)),
            (b"A: 1\r\nX-A\t : b\r\n\r\n", SpaceBeforeColon(2)),
            (b"Dear Anna : hello\r\n\r\n", NotAField(1)),
            (b" : x\r\n\r\n", NotAField(1)),
            (b"Subject: x\r\nno colon here\r\n\r\n", NotAField(2)),
            (b": x\r\n\r\n", NotAField(1)),
            ("Sübject: x\r\n\r\n".as_bytes(), NotAField(1)),
            (b"Subject: x\r\n \t\r\n y\r\n\r\n", BlankContinuation(2)),
            (b"Subject: x\nTo: y\r\n\r\n", BareControl(1)),
            (b"Subject: x\rTo: y\r\n\r\n", BareControl(1)),
            (b"Subject: x\r\nTo: \0\r\n\r\n", BareControl(2)),
            (b"\nbody", BareControl(1)),
        ] {
            assert_eq!(parse(raw).err(), Some(why), "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn limits_are_kept_and_say_which() {
        let limits = HeaderLimits { octets_max: 64, fields_max: 2, line_octets_max: 20 };
        let check = |raw: &[u8]| HeaderSection::parse(raw, &limits).err();
        assert_eq!(check(b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n"), Some(MalformedMessage::ManyFields(2)));
        assert_eq!(check(b"A: 345678901234567890\r\n\r\n"), Some(MalformedMessage::LongLine(20)));
        assert_eq!(check(b"A: 34567890123456789\r\n\r\n"), None);
        let long = [b"A: 1\r\n".as_slice(), &b" 234567890\r\n".repeat(6)].concat();
        assert_eq!(check(&long), Some(MalformedMessage::LongSection(64)));
        // The limit is for the header section, not for the body.
        assert_eq!(check(&[b"A: 1\r\n\r\n".as_slice(), &[b'x'; 500]].concat()), None);
    }

    #[test]
    fn a_from_that_names_nobody_or_several_is_refused() {
        let from = |raw: &str| parse(raw.as_bytes()).unwrap().from_addresses();
        assert_eq!(from("Subject: x\r\n\r\n"), Err(FromError::Missing));
        assert_eq!(from("From: a@b.example\r\nfrom: a@b.example\r\n\r\n"), Err(FromError::Repeated));
        assert!(matches!(from("From:\r\n\r\n"), Err(FromError::Unreadable(_))));
        let two = from("From: a@b.example, \"C, D\" <c@d.example>\r\n\r\n").unwrap();
        assert_eq!(two.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a@b.example", "c@d.example"]);
    }

    #[test]
    fn fields_keep_their_place_and_unfold() {
        let raw = b"Received: one\r\nSUBJECT: Hello\r\n  =?utf-8?q?W=C3=B6rld?=\r\nReceived: two\r\nMessage-ID: <1@x>\r\n\r\nBody: no\r\n";
        let section = parse(raw).unwrap();
        assert_eq!(section.fields().len(), 4);
        assert_eq!(section.first("subject").unwrap().value(), "Hello  =?utf-8?q?W=C3=B6rld?=");
        assert_eq!(section.subject().unwrap(), "Hello  Wörld");
        assert_eq!(section.received_count(), 2);
        assert_eq!(section.message_id().unwrap(), "<1@x>");
        assert_eq!(section.body(), b"Body: no\r\n");
        assert_eq!(section.all("received").next_back().unwrap().value(), "two");
    }

    #[test]
    fn a_message_id_of_many_lines_is_cut_for_those_who_keep_it() {
        let raw = format!("Message-ID: <é{}@x>\r\n\r\n", "\r\n abcdefg".repeat(1000));
        let id = parse(raw.as_bytes()).unwrap().message_id().unwrap();
        assert!(id.len() <= MESSAGE_ID_OCTETS_MAX && id.starts_with("<é abcdefg abc"), "{}", id.len());
    }

    #[test]
    fn an_empty_section_and_a_missing_body_are_messages_too() {
        assert_eq!(parse(b"").unwrap().body_offset(), 0);
        assert_eq!(parse(b"\r\nhello\r\n").unwrap().body(), b"hello\r\n");
        let section = parse(b"Subject: x").unwrap();
        assert_eq!((section.body_offset(), section.first("subject").unwrap().value().as_ref()), (10, "x"));
        assert_eq!(parse(b"A: 1\r\na: 2\r\n\r\n").unwrap().repeated_field(), None);
        assert_eq!(parse(b"To: 1\r\ntO: 2\r\n\r\n").unwrap().repeated_field(), Some("to"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_and_offsets_cover_the_section(raw in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'a'), any::<u8>()], 0..200)) {
            let raw: Vec<u8> = super::super::normalize_line_endings(&raw).into_owned();
            if let Ok(section) = parse(&raw) {
                let mut at = 0;
                for field in section.fields() {
                    prop_assert_eq!(field.range().start, at);
                    prop_assert_eq!(&raw[field.range()], field.raw());
                    prop_assert!(field.raw().starts_with(field.name().as_bytes()));
                    prop_assert!(!field.unfolded().contains(&b'\n'));
                    at = field.range().end;
                }
                prop_assert!(section.body_offset() == at || &raw[at..section.body_offset()] == b"\r\n");
                let _ = (section.from_addresses(), section.subject(), section.message_id());
            }
        }
    }
}
