//! What can fail in our surroundings while mail comes in, and the two ways in which a door says no.

use mail::{Refusal, RefusalKind};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot read the TLS file {path}")]
    TlsFile { path: PathBuf, source: std::io::Error },
    #[error("the TLS file {path} holds no usable certificate or key")]
    TlsPem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("the certificate and key cannot be used together")]
    TlsPair { source: rustls::Error },
    #[error("a submission door needs a TLS certificate")]
    TlsMissing,
    #[error("cannot start signing thread {number}")]
    Thread { number: usize, source: std::io::Error },
    #[error("the signing threads have stopped")]
    SigningStopped,
    #[error("the message could not be signed for {domain}")]
    Signing { domain: mail::Domain, source: mail::dkim::SignError },
    #[error("cannot write a header field")]
    Field { source: mail::message::FieldError },
    #[error("cannot commit the message to the spool")]
    Spool { source: spool::Fault },
    #[error("the handler of returned mail has stopped")]
    ReturnHandler,
}

/// Why a message was not accepted: our answer, or our surroundings.
#[derive(Debug)]
pub enum Denial {
    /// Our answer is no; the client has to do something.
    Refusal(Refusal),
    /// Our surroundings failed; the client has to try again.
    Fault(Fault),
}

impl Denial {
    /// What the client is told. A fault is our trouble: temporary, and without its cause.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Denial::Refusal(refusal) => refusal.clone(),
            Denial::Fault(_) => Refusal::new(
                RefusalKind::LocalTrouble,
                "the message could not be stored here just now; please try again later",
            ),
        }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial::Refusal(refusal)
    }
}

impl From<Fault> for Denial {
    fn from(fault: Fault) -> Denial {
        Denial::Fault(fault)
    }
}
