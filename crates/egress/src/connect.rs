//! One TCP connection, from a set address to a checked one.
//!
//! The final address is checked here, after all of DNS, so that no name can lead us to a private network: loopback,
//! private, link-local, shared and documentation ranges are refused unless the operator allows the network. In the
//! lab it is the other way round: only loopback is connected to, whatever the DNS says.

use crate::config::Config;
use crate::trouble::Cause;
use mail::network::is_public;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Whether this process may connect to `address` at all.
pub(crate) fn is_allowed(address: IpAddr, config: &Config) -> bool {
    let address = address.to_canonical();
    if config.lab_loopback_only {
        return address.is_loopback();
    }
    is_public(address) || config.allow_networks.iter().any(|network| network.contains(&address))
}

/// Connects from `source` to `target`. The error is what to judge, in words for the tenant.
pub(crate) async fn connect(source: IpAddr, target: SocketAddr, config: &Config) -> Result<TcpStream, Cause> {
    let socket = bind(source, target).map_err(|error| match is_shortage(&error) {
        true => Cause::Shortage,
        false => Cause::NoConnection(format!("the local address {source} cannot be used: {error}")),
    })?;
    reach(socket, target, config).await.map_err(Cause::NoConnection)
}

/// Whether it is us who have nothing left to connect with.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

async fn reach(socket: TcpSocket, target: SocketAddr, config: &Config) -> Result<TcpStream, String> {
    let limit = Duration::from_secs(config.connect_seconds_max);
    match tokio::time::timeout(limit, socket.connect(target)).await {
        Ok(Ok(stream)) => {
            // A command must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(format!("connecting to {}: {error}", target.ip())),
        Err(_) => {
            crate::measured::ran_out("connect");
            Err(format!("connecting to {}: no answer in {} s", target.ip(), limit.as_secs()))
        }
    }
}

fn bind(source: IpAddr, target: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Lets the kernel choose the port at connect, by the whole connection: 28,000 connections to each address of a
    // site instead of 28,000 in all.
    #[cfg(target_os = "linux")]
    choose_port_at_connect(&socket)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// IP_BIND_ADDRESS_NO_PORT, which neither socket2 nor rustix knows.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the kernel reads four octets from a valid
    // pointer to an int and keeps nothing.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(address: &str, config: &Config) -> bool {
        is_allowed(address.parse().unwrap(), config)
    }

    #[test]
    fn nothing_private_is_connected_to() {
        let config = Config::default();
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::1",
            "64:ff9b::7f00:1",
            "192.88.99.1",
            "2001:10::1",
        ] {
            assert!(!allowed(address, &config), "{address}");
        }
        for address in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(allowed(address, &config), "{address}");
        }
    }

    #[test]
    fn what_we_lack_is_not_the_sites_fault() {
        let is_shortage = |code| is_shortage(&io::Error::from_raw_os_error(code));
        assert!(is_shortage(libc::EMFILE) && is_shortage(libc::ENOBUFS));
        assert!(!is_shortage(libc::EADDRNOTAVAIL) && !is_shortage(libc::ECONNREFUSED));
    }

    #[test]
    fn an_operator_may_allow_a_network() {
        let config = Config { allow_networks: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        assert!(allowed("10.1.2.3", &config) && allowed("::ffff:10.1.2.3", &config));
        assert!(!allowed("192.168.1.1", &config));
    }

    #[test]
    fn in_the_lab_nothing_leaves_the_machine() {
        let networks = vec!["0.0.0.0/0".parse().unwrap()];
        let config = Config { lab_loopback_only: true, allow_networks: networks, ..Config::default() };
        assert!(allowed("127.3.4.5", &config) && allowed("::1", &config));
        assert!(!allowed("8.8.8.8", &config) && !allowed("10.0.0.1", &config));
    }
}
