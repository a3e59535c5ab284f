//! Changing the header section of a raw message without touching the rest.
//!
//! An `Edit` removes fields, by name or one alone, and puts new ones on top; every other octet stays as it was, so signatures and
//! odd folding survive. A field that is added is checked: nobody's value can end a line and start another field.

use super::header::{Field, HeaderSection};

/// Octets of the name and the unfolded value of a field that we add.
pub const FIELD_OCTETS_MAX: usize = 16 * 1024;

/// Why a field cannot be added. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum FieldError {
    #[error("a field name has printable ASCII characters except the colon, at least one")]
    Name,
    #[error("a field value cannot have line ends or control characters")]
    Control,
    #[error("the field is too long")]
    Long,
}

/// What to remove and what to add; applied in one pass.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    removed: Vec<String>,
    /// By where they begin in their message.
    removed_at: Vec<usize>,
    /// In the order they were given; the last one ends up on top, as trace fields do.
    prepended: Vec<String>,
}

impl Edit {
    /// Changes nothing yet.
    pub fn new() -> Edit {
        Edit::default()
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &str) -> &mut Edit {
        self.removed.push(name.to_ascii_lowercase());
        self
    }

    /// Removes this field and leaves others of its name. The edit is then for the section that it is of.
    pub fn remove_field(&mut self, field: &Field<'_>) -> &mut Edit {
        self.removed_at.push(field.range().start);
        self
    }

    /// Puts `name: value` above everything that is there, earlier additions included. The value is one line.
    ///
    /// # Errors
    /// As [`check_field`] does; nothing is changed then.
    pub fn prepend(&mut self, name: &str, value: &str) -> Result<&mut Edit, FieldError> {
        check_field(name, value)?;
        self.prepended.push(format!("{name}: {value}\r\n"));
        Ok(self)
    }

    /// Puts a whole field, folded and ended with CRLF, above everything that is there.
    ///
    /// # Errors
    /// `Name` without a colon, `Control` if it does not end with CRLF, has a line end that no white space
    /// follows, or a folded line of white space alone; else as [`check_field`] does of the unfolded field.
    /// Nothing is changed then.
    pub fn prepend_folded(&mut self, field: String) -> Result<&mut Edit, FieldError> {
        let (name, rest) = field.split_once(':').ok_or(FieldError::Name)?;
        let body = rest.strip_suffix("\r\n").ok_or(FieldError::Control)?;
        // What is left of a right folding after this has no line end.
        check_field(name, &body.replace("\r\n ", " ").replace("\r\n\t", " "))?;
        // No line of it may be white space alone (RFC 5322 §3.2.2): some take that for the end of the header section.
        if body.split("\r\n").skip(1).any(|line| line.trim().is_empty()) {
            return Err(FieldError::Control);
        }
        self.prepended.push(field);
        Ok(self)
    }

    /// The new header section with its empty line, without the body.
    pub fn apply_header(&self, section: &HeaderSection<'_>) -> Vec<u8> {
        let added: usize = self.prepended.iter().map(String::len).sum();
        let mut header = Vec::with_capacity(section.body_offset() + added + 2);
        for field in self.prepended.iter().rev() {
            header.extend_from_slice(field.as_bytes());
        }
        for field in section.fields() {
            let goes = self.removed.iter().any(|name| field.is(name))
                || self.removed_at.contains(&field.range().start);
            if !goes {
                header.extend_from_slice(field.raw());
                // The last field of a message without body may lack its line end.
                if !field.raw().ends_with(b"\r\n") {
                    header.extend_from_slice(b"\r\n");
                }
            }
        }
        header.extend_from_slice(b"\r\n");
        header
    }

    /// The whole new message.
    pub fn apply(&self, section: &HeaderSection<'_>) -> Vec<u8> {
        let mut message = self.apply_header(section);
        message.extend_from_slice(section.body());
        message
    }
}

/// Whether `name: value` is one field on one line. Horizontal tabs are white space and allowed.
///
/// # Errors
/// `Name` if it is empty or has more than printable ASCII without the colon (RFC 5322 §2.2), `Control` for a
/// line end or another control character in the value, `Long` if both together have more than
/// [`FIELD_OCTETS_MAX`].
pub fn check_field(name: &str, value: &str) -> Result<(), FieldError> {
    if name.is_empty() || !name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
        return Err(FieldError::Name);
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(FieldError::Control);
    }
    if name.len() + value.len() > FIELD_OCTETS_MAX {
        return Err(FieldError::Long);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::message::HeaderLimits;

    fn section(raw: &[u8]) -> HeaderSection<'_> {
        HeaderSection::parse(raw, &HeaderLimits::default()).unwrap()
    }

    #[test]
    fn no_value_can_start_another_field() {
        let mut edit = Edit::new();
        for value in ["x\r\nBcc: y", "x\ny", "x\ry", "x\0", "x\u{85}y"] {
            assert_eq!(edit.prepend("Subject", value).err(), Some(FieldError::Control));
        }
        for name in ["", "Sub ject", "Sub:ject", "Sübject", "A\r\nB"] {
            assert_eq!(edit.prepend(name, "x").err(), Some(FieldError::Name));
        }
        for field in
            ["A: b", "A: b\r\nC: d\r\n", "A: b\r\n\r\n", "A: b\n c\r\n", "A: b\r\n \t\r\n", "no colon\r\n"]
        {
            assert!(edit.prepend_folded(field.to_string()).is_err(), "{field:?}");
        }
        assert_eq!(edit.prepend("A", &"x".repeat(FIELD_OCTETS_MAX)).err(), Some(FieldError::Long));
        assert_eq!(edit.apply(&section(b"A: 1\r\n\r\n")), b"A: 1\r\n\r\n");
    }

    #[test]
    fn the_rest_keeps_every_octet() {
        let raw =
            b"X-Tag: a\r\nSubject:  odd \t\r\n\tfolding \r\nx-TAG: b\r\n c\r\nTo: y\r\n\r\nbody\xff\r\n";
        let mut edit = Edit::new();
        edit.remove("X-Tag").prepend("Date", "now").unwrap().prepend("Received", "here").unwrap();
        edit.prepend_folded("DKIM-Signature: v=1;\r\n\tb=x\r\n".to_string()).unwrap();
        let wanted = b"DKIM-Signature: v=1;\r\n\tb=x\r\nReceived: here\r\nDate: now\r\nSubject:  odd \t\r\n\tfolding \r\nTo: y\r\n\r\nbody\xff\r\n";
        assert_eq!(edit.apply(&section(raw)), wanted);
        assert_eq!(edit.apply_header(&section(raw)).len(), wanted.len() - b"body\xff\r\n".len());
    }

    #[test]
    fn one_field_can_go_and_others_of_its_name_stay() {
        let raw = b"X-Tag: a\r\nX-Tag: b\r\n c\r\nX-Tag: d\r\n\r\nX-Tag: body\r\n";
        let section = section(raw);
        let mut edit = Edit::new();
        edit.remove_field(&section.fields()[1]);
        assert_eq!(edit.apply(&section), b"X-Tag: a\r\nX-Tag: d\r\n\r\nX-Tag: body\r\n");
    }

    #[test]
    fn a_message_that_ends_in_its_header_gets_its_empty_line() {
        let mut edit = Edit::new();
        edit.prepend("A", "1").unwrap();
        assert_eq!(edit.apply(&section(b"B: 2")), b"A: 1\r\nB: 2\r\n\r\n");
        assert_eq!(edit.apply(&section(b"\r\nbody")), b"A: 1\r\n\r\nbody");
        assert_eq!(edit.apply(&section(b"")), b"A: 1\r\n\r\n");
    }
}
