//! Reverse-path and forward-path: the arguments of MAIL FROM and RCPT TO (RFC 5321 §4.1.2).
//!
//! A null reverse-path is its own case, never an empty string. Parsing the surrounding command is `smtp`'s work.

use crate::address::{AddressError, Domain, Mailbox};
use std::fmt;

/// Where failures are reported to; `<>` means nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `MAIL FROM:<>`: nobody is told of a failure.
    Null,
    /// The mailbox that failures are returned to.
    Mailbox(Mailbox),
}

/// Who the message is for. RFC 5321 §4.5.1 also allows a bare `postmaster`; a submission service does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardPath(pub Mailbox);

impl ReversePath {
    /// Parses the inside of the angle brackets; nothing is the null reverse-path.
    ///
    /// # Errors
    /// As [`Mailbox::parse`] does, but never with `Empty`.
    pub fn parse(text: &str) -> Result<ReversePath, AddressError> {
        if text.is_empty() { Ok(ReversePath::Null) } else { Mailbox::parse(text).map(ReversePath::Mailbox) }
    }

    /// None of a null reverse-path.
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox.domain()),
        }
    }

    /// True of a null reverse-path too.
    pub fn is_ascii(&self) -> bool {
        match self {
            ReversePath::Null => true,
            ReversePath::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

impl ForwardPath {
    /// Parses the inside of the angle brackets.
    ///
    /// # Errors
    /// As [`Mailbox::parse`] does: `Empty` for `<>`, `NoAt` for a bare `postmaster`.
    pub fn parse(text: &str) -> Result<ForwardPath, AddressError> {
        Mailbox::parse(text).map(ForwardPath)
    }

    /// Where it goes; `<Postmaster>` alone, which needs no domain, is `smtp`'s case (RFC 5321 §4.1.1.3).
    pub fn mailbox(&self) -> &Mailbox {
        &self.0
    }

    /// Of the mailbox: it decides about the site.
    pub fn domain(&self) -> &Domain {
        self.0.domain()
    }
}

/// Without angle brackets; the null reverse-path prints as nothing.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_null_reverse_path_is_not_a_mailbox() {
        assert_eq!(ReversePath::parse("").unwrap(), ReversePath::Null);
        assert_eq!(ReversePath::Null.to_string(), "");
        assert!(ForwardPath::parse("").is_err());
    }
}
