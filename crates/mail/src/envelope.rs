//! The envelope: what MAIL FROM and RCPT TO said, as values (RFC 5321 §2.3.1, DSN by RFC 3461).
//!
//! Built by the submission doors, kept in the journal, read by egress. It says nothing about the header section.

use crate::path::{ForwardPath, ReversePath};

/// What the body needs of the next hop (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    SevenBit,
    EightBitMime,
}

/// RFC 3461 §4.3: how much of the message a failure report should return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsnReturn {
    Full,
    Headers,
}

/// RFC 3461 §4.1: when the originator wants to hear. `Never` excludes the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    Never,
    When { success: bool, failure: bool, delay: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub forward_path: ForwardPath,
    /// NOTIFY as given; `None` is the default of RFC 3461 §4.1.
    pub notify: Option<Notify>,
    /// ORCPT as given, still in xtext, checked to be printable ASCII without spaces.
    pub original: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub reverse_path: ReversePath,
    pub recipients: Vec<Recipient>,
    pub body: BodyKind,
    /// SMTPUTF8 was asked for (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// REQUIRETLS was asked for (RFC 8689).
    pub require_tls: bool,
    pub dsn_return: Option<DsnReturn>,
    /// ENVID as given, still in xtext.
    pub envelope_id: Option<String>,
}

impl Recipient {
    pub fn new(forward_path: ForwardPath) -> Recipient {
        Recipient { forward_path, notify: None, original: None }
    }
}

impl Envelope {
    /// An envelope as a message without SMTP parameters has it.
    pub fn new(reverse_path: ReversePath, recipients: Vec<Recipient>) -> Envelope {
        Envelope {
            reverse_path,
            recipients,
            body: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            envelope_id: None,
        }
    }
}
