//! Why an address cannot be listened on and what to do about it, in the same words at a start and from the doctor.

use crate::exit::Failure;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// What to do, as half a sentence.
pub fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "stop what listens there (`ss -ltnp`), or choose another port",
        ErrorKind::PermissionDenied => {
            "give the program the right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
        }
        ErrorKind::AddrNotAvailable => "name an address of this host (`ip address`)",
        // EAFNOSUPPORT has no kind of its own: the kernel was started without IPv6.
        _ => "name an IPv4 address if this host has no IPv6",
    }
}

/// The end of a start.
pub fn failure(key: &str, address: SocketAddr, error: &Error) -> Failure {
    Failure::Unavailable(format!("cannot listen on {address} ({key}): {error}\n  {}", advice(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_is_taken_and_an_address_that_is_not_ours_are_told_apart() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let taken = TcpListener::bind(address).unwrap_err();
        let text = failure("listen.http", address, &taken).to_string();
        assert!(text.contains("listen.http") && text.contains("another port"), "{text}");
        let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let text = failure("listen.http", foreign, &TcpListener::bind(foreign).unwrap_err()).to_string();
        assert!(text.contains("an address of this host"), "{text}");
    }
}
