//! What can go wrong in the lab's own surroundings: a port that is taken, a certificate that cannot be made.
//!
//! Refusals of mail are no faults; they are what the lab is for (`provider/model.rs`).

use std::net::{IpAddr, SocketAddr};

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    /// The lab plays gmail.com and all the others: nothing of it may be reachable from outside.
    #[error("the lab works on loopback only: {what} may not be {address}")]
    NotLoopback { what: &'static str, address: IpAddr },
    #[error("cannot listen on {address} for {what}")]
    Bind {
        what: &'static str,
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("no port is free on all {addresses} addresses of the lab's providers; give smtp_port")]
    NoCommonPort { addresses: usize },
    #[error("cannot make the lab's certificates")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot set up TLS in the lab")]
    Tls(#[from] rustls::Error),
    #[error("cannot speak with {peer} while {doing}")]
    Dialog {
        peer: SocketAddr,
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{peer} answered {reply} while {doing}")]
    Unexpected { peer: SocketAddr, doing: &'static str, reply: String },
    #[error("{what} took longer than {seconds} s")]
    Slow { what: &'static str, seconds: u64 },
    #[error("{0}")]
    Option(String),
}

/// The one door through which every address of the lab passes before it is bound or called.
pub(crate) fn require_loopback(what: &'static str, address: SocketAddr) -> Result<SocketAddr, Fault> {
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(Fault::NotLoopback { what, address: address.ip() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_let_through() {
        for text in ["0.0.0.0:25", "192.0.2.1:25", "[::]:25", "[::ffff:192.0.2.1]:25", "[2001:db8::1]:25"] {
            let address: SocketAddr = text.parse().unwrap_or_else(|_| unreachable!("written above"));
            assert!(
                matches!(require_loopback("a listener", address), Err(Fault::NotLoopback { .. })),
                "{text}"
            );
        }
        for text in ["127.0.0.1:25", "127.25.3.1:0", "[::1]:25"] {
            let address: SocketAddr = text.parse().unwrap_or_else(|_| unreachable!("written above"));
            assert!(require_loopback("a listener", address).is_ok(), "{text}");
        }
    }
}
