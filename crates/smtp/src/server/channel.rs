//! How the octets of a session travel, and what is offered on that way.
//!
//! One value instead of a flag, the names of what was agreed on and a copy of the offer, which would have to be changed
//! together. Held by `Peer`; `starttls.rs` is the only one that changes it.

use super::{Role, ServerConfig, TlsMode};
use crate::extension::{Extension, Extensions};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Channel {
    Clear,
    /// Encrypted before the greeting (RFC 8314 §3.3). The shell did it and knows the names.
    Implicit,
    /// Encrypted by STARTTLS (RFC 3207), with the names that the shell gave.
    Upgraded {
        version: String,
        cipher: String,
    },
}

impl Channel {
    /// As it is when the connection has just been opened.
    pub fn opened(tls: TlsMode) -> Channel {
        match tls {
            TlsMode::Implicit => Channel::Implicit,
            TlsMode::Offered | TlsMode::None => Channel::Clear,
        }
    }

    pub fn is_encrypted(&self) -> bool {
        match self {
            Channel::Clear => false,
            Channel::Implicit | Channel::Upgraded { .. } => true,
        }
    }

    /// Version and cipher of TLS, if they were told.
    pub fn names(&self) -> Option<(String, String)> {
        match self {
            Channel::Clear | Channel::Implicit => None,
            Channel::Upgraded { version, cipher } => Some((version.clone(), cipher.clone())),
        }
    }

    /// What the listener offers here: a secret is asked for, and REQUIRETLS promised, on an encrypted way only.
    pub fn offer(&self, config: &ServerConfig) -> Extensions {
        use Extension::{Chunking, Dsn, EightBitMime, EnhancedStatusCodes, Pipelining, Size, SmtpUtf8};
        let always =
            Extensions::of(&[Pipelining, Size, EightBitMime, SmtpUtf8, EnhancedStatusCodes, Chunking, Dsn]);
        let offer = match (self.is_encrypted(), config.role, config.tls) {
            (true, Role::Submission, _) => always.with(Extension::RequireTls).with(Extension::Auth),
            (true, Role::Inbound, _) => always.with(Extension::RequireTls),
            (false, _, TlsMode::Offered) => always.with(Extension::StartTls),
            (false, _, TlsMode::Implicit | TlsMode::None) => always,
        };
        config.withheld.iter().fold(offer, Extensions::without)
    }
}
