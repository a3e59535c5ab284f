//! Reply codes, enhanced status codes and replies (RFC 5321 §4.2, RFC 3463), for what we say and what we are told.

use std::fmt;

/// Three digits, 200 to 599 (RFC 5321 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyCode(u16);

/// `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

/// A whole reply, ours or a site's. A multi-line text is kept as its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, of which the first says it all (RFC 5321 §4.2.1).
    pub code: ReplyCode,
    /// Class, subject and detail, if the site says them (RFC 2034).
    pub enhanced: Option<EnhancedStatus>,
    /// Without code and enhanced status; never empty, never with CR, LF or NUL.
    pub lines: Vec<String>,
}

impl ReplyCode {
    /// None unless it is 200 to 599.
    pub const fn new(code: u16) -> Option<ReplyCode> {
        if code >= 200 && code <= 599 { Some(ReplyCode(code)) } else { None }
    }

    /// For printing.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// 2yz and 3yz.
    pub const fn is_positive(self) -> bool {
        self.0 < 400
    }

    /// 4yz: the same may be taken later.
    pub const fn is_transient(self) -> bool {
        self.0 >= 400 && self.0 < 500
    }

    /// 5yz: the same will not be taken.
    pub const fn is_permanent(self) -> bool {
        self.0 >= 500
    }
}

impl EnhancedStatus {
    /// Nothing is checked: `parse` is for what others say.
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedStatus {
        EnhancedStatus { class, subject, detail }
    }

    /// 2, 4 or 5 (RFC 3463 §2).
    pub const fn class(self) -> u8 {
        self.class
    }

    /// What it is about: 1 addresses, 2 mailbox, …, 7 policy (RFC 3463 §3).
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The particular of its subject (RFC 3463 §3).
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// Parses exactly `d.ddd.ddd`; the class is 2, 4 or 5.
    pub fn parse(text: &str) -> Option<EnhancedStatus> {
        let mut parts = text.split('.');
        let mut number = |digits_max: usize| -> Option<u16> {
            let part = parts.next()?;
            let digits =
                !part.is_empty() && part.len() <= digits_max && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let whole = parts.next().is_none() && matches!(class, 2 | 4 | 5);
        whole.then_some(EnhancedStatus { class: class as u8, subject, detail })
    }
}

impl Reply {
    /// A reply of one line. Control characters in `text` become spaces: nobody's text may end our line.
    pub fn new(code: u16, enhanced: Option<EnhancedStatus>, text: impl Into<String>) -> Reply {
        let code = ReplyCode::new(code).unwrap_or(ReplyCode(451));
        Reply { code, enhanced, lines: vec![clean(text.into())] }
    }

    /// All lines in one, as logs, events and reply rules see it: `550 5.1.1 user unknown`.
    pub fn to_line(&self) -> String {
        self.to_string()
    }
}

fn clean(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in &self.lines {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_enhanced_status_is_three_numbers() {
        assert_eq!(EnhancedStatus::parse("5.1.1"), Some(EnhancedStatus::new(5, 1, 1)));
        assert_eq!(EnhancedStatus::parse("4.7.999").unwrap().to_string(), "4.7.999");
        for text in ["", "5", "5.1", "5.1.", "5.1.1.1", "3.1.1", "5.1.1000", "5.+1.1", "a.b.c", "5 .1.1"] {
            assert_eq!(EnhancedStatus::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_reply_code_has_three_digits_of_a_known_kind() {
        assert!(ReplyCode::new(199).is_none() && ReplyCode::new(600).is_none());
        let code = ReplyCode::new(451).unwrap();
        assert!(code.is_transient() && !code.is_permanent() && !code.is_positive());
    }

    #[test]
    fn no_text_can_end_a_reply_line() {
        let reply = Reply::new(550, Some(EnhancedStatus::new(5, 1, 1)), "no\r\n250 ok");
        assert_eq!(reply.to_line(), "550 5.1.1 no  250 ok");
    }
}
