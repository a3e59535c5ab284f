//! The envelope: what MAIL FROM and RCPT TO said, as values (RFC 5321 §2.3.1, DSN by RFC 3461).
//!
//! Built by the submission doors, kept in the journal, read by egress. It says nothing about the header section.

use crate::path::{ForwardPath, ReversePath};

/// What the body needs of the next hop (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Every octet below 128.
    SevenBit,
    /// Octets above 127 may be in the body (RFC 6152).
    EightBitMime,
}

/// RFC 3461 §4.3: how much of the message a failure report should return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsnReturn {
    /// The whole message (`RET=FULL`).
    Full,
    /// Its header section only (`RET=HDRS`).
    Headers,
}

/// RFC 3461 §4.1: when the originator wants to hear. `Never` excludes the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// `NOTIFY=NEVER`, which stands alone.
    Never,
    /// `NOTIFY=` with one or more of them.
    When {
        /// `SUCCESS`: when it was delivered.
        success: bool,
        /// `FAILURE`: when it never will be.
        failure: bool,
        /// `DELAY`: when it takes long.
        delay: bool,
    },
}

/// One RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub forward_path: ForwardPath,
    /// NOTIFY as given; `None` is the default of RFC 3461 §4.1.
    pub notify: Option<Notify>,
    /// ORCPT as given, still in xtext, checked to be printable ASCII without spaces.
    pub original: Option<String>,
}

/// What a transaction says before its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whom a failure is returned to.
    pub reverse_path: ReversePath,
    /// In the order of the RCPT commands, the same address perhaps twice.
    pub recipients: Vec<Recipient>,
    /// What the body may hold; never more than was declared or found.
    pub body: BodyKind,
    /// SMTPUTF8 was asked for (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// REQUIRETLS was asked for (RFC 8689).
    pub require_tls: bool,
    /// `RET=` (RFC 3461 §4.3); none if the client did not say.
    pub dsn_return: Option<DsnReturn>,
    /// ENVID as given, still in xtext.
    pub envelope_id: Option<String>,
}

impl Recipient {
    /// Without any of the parameters of RFC 3461.
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
