//! Who is asked for names: the servers of `[dns] servers`, or those of the system. One rule for the whole house.
//!
//! Mail (`egress/src/resolve/dns.rs`), domain checks (`api/src/dns.rs`) and webhooks (`events/src/webhook/names.rs`) each
//! ask other questions with other patience, so they set what the builder leaves open and build their own resolver. Nothing
//! is asked and nothing is judged here. What may surprise: the search list of the host is left to the caller, who ends a
//! name with a dot; and without servers the options are those of /etc/resolv.conf, unless the caller replaces them.

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::net::SocketAddr;

/// A resolver in the making that asks `servers`, by UDP and, for long answers, by TCP; those of the system if there are
/// none.
///
/// # Errors
/// If there are none and the file of the system cannot be read.
pub fn asking(servers: &[SocketAddr]) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    if servers.is_empty() {
        return TokioResolver::builder_tokio();
    }
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    server
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, UdpSocket};

    /// What is too long for UDP is asked for again at the same port.
    #[tokio::test]
    async fn a_server_is_asked_at_its_port_by_udp_and_then_by_tcp() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).await.unwrap();
        let resolver = asking(&[tcp.local_addr().unwrap()]).unwrap().build().unwrap();
        let asked = tokio::spawn(async move { resolver.txt_lookup("a.example.").await.is_err() });
        let mut question = [0; 512];
        let (octets, peer) = udp.recv_from(&mut question).await.unwrap();
        // RFC 1035 §4.1.1: an answer, recursion available, cut short.
        question[2] = 0x83;
        question[3] = 0x80;
        udp.send_to(&question[..octets], peer).await.unwrap();
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, tcp.accept()).await.expect("it is asked by TCP").unwrap();
        asked.abort();
    }
}
