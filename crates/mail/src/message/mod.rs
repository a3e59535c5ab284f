//! The message itself: its header section read, changed and composed (RFC 5322, RFC 6532, RFC 2045).
//!
//! A raw message here has CRLF line ends only: the SMTP machine guarantees it, the API calls
//! `normalize_line_endings` first. One parser, `HeaderSection`, serves policy, signing and delivery, so that no two
//! parts of the house can read the same bytes differently.

pub mod agent;
pub mod compose;
pub mod edit;
pub mod encoded_word;
pub mod header;
pub mod mailbox_list;

pub use agent::{Agent, AgentError, AgentField};
pub use compose::{Attachment, Composition, Disposition, NamedMailbox, compose};
pub use edit::{Edit, FieldError};
pub use header::{Field, FromError, HeaderLimits, HeaderSection, MalformedMessage};
pub use mailbox_list::MailboxListError;

use std::borrow::Cow;

/// Every line end becomes CRLF: bare LF and bare CR too. For doors where line ends carry no meaning (JSON, files),
/// never for SMTP, where a bare LF is a smuggling attempt and is refused.
pub fn normalize_line_endings(raw: &[u8]) -> Cow<'_, [u8]> {
    if has_only_crlf(raw) {
        return Cow::Borrowed(raw);
    }
    let mut normal = Vec::with_capacity(raw.len() + raw.len() / 32);
    let mut rest = raw;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        normal.extend_from_slice(&rest[..at]);
        normal.extend_from_slice(b"\r\n");
        let width = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[at + width..];
    }
    normal.extend_from_slice(rest);
    Cow::Owned(normal)
}

/// Whether everybody sees the same lines: all end with CRLF, or all with LF. Of a bare CR, or of one kind among the other, some
/// see an end and some do not, and so another header field.
pub fn has_clear_line_ends(raw: &[u8]) -> bool {
    has_only_crlf(raw) || memchr::memchr(b'\r', raw).is_none()
}

fn has_only_crlf(raw: &[u8]) -> bool {
    let pairs = memchr::memchr_iter(b'\n', raw).filter(|at| *at > 0 && raw[at - 1] == b'\r').count();
    pairs == memchr::memchr_iter(b'\n', raw).count() && pairs == memchr::memchr_iter(b'\r', raw).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_some_see_and_some_do_not_are_not_clear() {
        for raw in [&b""[..], b"a", b"a\r\n\r\nb\r\n", b"a\n\nb\n", b"\n"] {
            assert!(has_clear_line_ends(raw), "{raw:?}");
        }
        for raw in [&b"a\rb\r\n"[..], b"a\r", b"a\nb\r\n", b"a\r\nb\n", b"a\n\r\n", b"a\r\r\n"] {
            assert!(!has_clear_line_ends(raw), "{raw:?}");
        }
    }

    #[test]
    fn every_line_end_becomes_crlf_and_right_ones_are_not_copied() {
        assert!(matches!(normalize_line_endings(b"a\r\n\r\nb\r\n"), Cow::Borrowed(_)));
        assert_eq!(&*normalize_line_endings(b"a\nb\rc\r\nd\n\ne\r"), b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n");
        assert_eq!(&*normalize_line_endings(b"\n"), b"\r\n");
        assert_eq!(&*normalize_line_endings(b"\r\r\n"), b"\r\n\r\n");
        assert_eq!(&*normalize_line_endings(b""), b"");
    }
}
