//! Why an address cannot be listened on and what to do about it, in the same words at a start and from the doctor.

use crate::exit::Failure;
use rustix::io::Errno;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// What to do, as half a sentence.
pub fn advice(address: SocketAddr, error: &Error) -> &'static str {
    // No kind of its own: the kernel was started without IPv6.
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) && address.is_ipv6() {
        return "name an IPv4 address, as this host has no IPv6, or let the kernel have it";
    }
    match error.kind() {
        ErrorKind::AddrInUse => "stop what listens there (`ss -ltnp`), or choose another port",
        ErrorKind::PermissionDenied => {
            "give the program the right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
        }
        // Also what a kernel says of every IPv6 address that was told to disable IPv6 later.
        ErrorKind::AddrNotAvailable if address.is_ipv6() => {
            "name an address of this host (`ip address`), an IPv4 one if it has no IPv6"
        }
        ErrorKind::AddrNotAvailable => "name an address of this host (`ip address`)",
        _ => "the system gives no other reason; `dmesg` and `strace -f -e bind,listen` may",
    }
}

/// The end of a start.
pub fn failure(key: &str, address: SocketAddr, error: &Error) -> Failure {
    Failure::Unavailable(format!("cannot listen on {address} ({key}): {error}\n  {}", advice(address, error)))
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

    #[test]
    fn a_host_without_ipv6_is_told_apart_from_what_nobody_knows() {
        let said = |address: &str, errno: Errno| {
            let error = Error::from_raw_os_error(errno.raw_os_error());
            failure("listen.http", address.parse().unwrap(), &error).to_string()
        };
        let without = said("[2001:db8::25]:0", Errno::AFNOSUPPORT);
        assert!(without.contains("as this host has no IPv6"), "{without}");
        let foreign = said("[2001:db8::25]:0", Errno::ADDRNOTAVAIL);
        assert!(foreign.contains("an address of this host") && foreign.contains("IPv4 one"), "{foreign}");
        assert!(!said("192.0.2.1:0", Errno::ADDRNOTAVAIL).contains("IPv6"));
        for address in ["192.0.2.1:0", "[2001:db8::25]:0"] {
            let unknown = said(address, Errno::NOMEM);
            assert!(unknown.contains("no other reason") && !unknown.contains("IPv6"), "{unknown}");
        }
    }
}
