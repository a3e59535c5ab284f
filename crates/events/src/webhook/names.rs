//! How the host of a webhook is looked up: by the configured name servers, or as the system does it.
//!
//! The same rule as for mail and for domain checks: `[dns] servers` holds for the whole house, so that an installation
//! whose system resolver knows internal names does not let tenants ask for them. Nothing is judged here: `guard.rs`
//! looks at every address that comes back. Files such as /etc/hosts count only where the system is asked.

use crate::Fault;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverOpts};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// For one question to one server; the call as a whole has its own limit.
const QUESTION_MAX: Duration = Duration::from_secs(3);

/// Who is asked.
#[derive(Clone)]
pub(crate) enum Names {
    System,
    Servers(Arc<TokioResolver>),
}

impl Names {
    /// Asks `servers`, or the system if there are none.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<Names, Fault> {
        if servers.is_empty() {
            return Ok(Names::System);
        }
        let mut options = ResolverOpts::default();
        options.timeout = QUESTION_MAX;
        options.attempts = 2;
        // Counted in answers and not in octets: a tenant with a name server of its own could fill gigabytes.
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Never;
        let asking = names::asking(servers).map_err(Fault::Resolver)?;
        let resolver = asking.with_options(options).build().map_err(Fault::Resolver)?;
        Ok(Names::Servers(Arc::new(resolver)))
    }

    /// Every address of a host, with port 0.
    pub(crate) async fn look_up(&self, host: &str) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        match self {
            Names::System => Ok(tokio::net::lookup_host((host, 0)).await?.collect()),
            // The dot at the end keeps the search list of the host out of it.
            Names::Servers(resolver) => {
                let found = resolver.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await?;
                Ok(found.iter().map(|address| SocketAddr::new(address, 0)).collect())
            }
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Names::System => "System",
            Names::Servers(_) => "Servers(…)",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// A name server for which every name has one IPv4 address and no other.
    pub(crate) async fn name_server_of(address: [u8; 4]) -> SocketAddr {
        name_server_of_each(vec![address]).await
    }

    /// One that says another address each time it is asked for one, and stays with the last; nobody may keep its answers.
    pub(crate) async fn name_server_of_each(addresses: Vec<[u8; 4]>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 512];
            let mut answered = 0;
            while let Ok((octets, peer)) = socket.recv_from(&mut question).await {
                let asked = &question[..octets];
                // RFC 1035 §4.1: behind the header the name, ended by an empty label, then type and class.
                let end = 12 + asked[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                let is_a = asked[end - 4..end - 2] == [0, 1];
                let mut answer = [&asked[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
                answer.extend_from_slice(&asked[12..end]);
                if is_a {
                    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                    answer.extend_from_slice(&addresses[answered.min(addresses.len() - 1)]);
                    answered += 1;
                }
                let _ = socket.send_to(&answer, peer).await;
            }
        });
        at
    }

    #[tokio::test]
    async fn the_configured_servers_are_asked_and_nobody_else() {
        let names = Names::new(&[name_server_of([192, 0, 43, 8]).await]).unwrap();
        let found = names.look_up("hooks.client.example").await.unwrap();
        assert_eq!(found, ["192.0.43.8:0".parse().unwrap()]);
    }
}
