//! What can go wrong with our own surroundings on the way out. A site's answer is never one of these.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    #[error("the egress configuration is not usable: {0}")]
    Config(&'static str),
    #[error("cannot make a DNS resolver")]
    Resolver(#[source] hickory_resolver::net::NetError),
    #[error("no root certificate in {path} can be used (egress.tls_roots)")]
    Roots {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The journal takes no more outcomes: what was delivered could not be written down, so nothing more is sent.
    #[error("cannot write outcomes to the journal")]
    Outcomes(#[source] spool::Fault),
    #[error("what waits could not be read to its end")]
    Recovery,
    #[error("cannot follow the journal")]
    Journal(#[source] spool::Fault),
    #[error("too many messages are taken back that the journal has not given yet")]
    CancelsFull,
    #[error("egress has stopped")]
    Stopped,
}
