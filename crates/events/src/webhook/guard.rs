//! Where a webhook may go: public addresses only, unless the operator allows a network.
//!
//! A tenant chooses the URL, so without this every tenant could make us call our own database or a cloud's metadata
//! service. The host is resolved here, asking whom `names.rs` says, and nowhere else; if one of its addresses is not
//! allowed the call is refused, and the connection goes to the addresses that were checked, so a name that changes its
//! mind gains nothing. Redirects are never followed. Checked at every try, not only when the endpoint is made.

use super::names::Names;
use ipnet::IpNet;
use mail::network::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Octets of a URL, at most.
pub const URL_OCTETS_MAX: usize = 2048;

/// Why a URL or an address is refused. The sentences are public; they do not tell what a name resolved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum GuardError {
    #[error("the URL cannot be read or is too long")]
    Url,
    #[error("the URL must begin with https://")]
    Scheme,
    #[error("the URL must not have a user name or a password")]
    Userinfo,
    #[error("the URL has no host")]
    Host,
    #[error("the port is not allowed: use 443, 80 or one above 1023")]
    Port,
    #[error("the address is private, loopback or reserved")]
    Address,
    #[error("the host name has no address")]
    NoAddress,
}

/// The rule, shared by the check of a URL and the resolver of the HTTP client.
#[derive(Debug, Clone)]
pub struct Guard {
    allow: Arc<[IpNet]>,
    public: Public,
    names: Names,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Public {
    Allowed,
    Refused,
}

impl Guard {
    /// Looks names up as the system does.
    pub fn new(allow: &[IpNet]) -> Guard {
        Guard { allow: allow.into(), public: Public::Allowed, names: Names::System }
    }

    pub(crate) fn with_names(self, names: Names) -> Guard {
        Guard { names, ..self }
    }

    /// The same without the public internet: for plain http, which must stay inside allowed networks.
    pub(crate) fn only_allowed_networks(&self) -> Guard {
        Guard { public: Public::Refused, ..self.clone() }
    }

    /// What can be said about a URL without resolving its host. An address as host is checked here, because
    /// the HTTP client does not ask its resolver about it.
    ///
    /// # Errors
    /// `Url` for a text longer than `URL_OCTETS_MAX` or no URL; `Userinfo`, `Host`, `Scheme` and `Port` for
    /// what their sentences say; `Address` for an address as host that
    /// [`check_address`](Guard::check_address) refuses.
    pub fn check_url(&self, text: &str) -> Result<Url, GuardError> {
        if text.len() > URL_OCTETS_MAX {
            return Err(GuardError::Url);
        }
        let url = Url::parse(text).map_err(|_| GuardError::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(GuardError::Userinfo);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(GuardError::Host)?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if let Some(address) = literal {
            self.check_address(address)?;
        }
        match url.scheme() {
            "https" => {}
            // In the clear only inside a network the operator answers for; a name there is still resolved and checked.
            "http" if literal.is_some_and(|address| self.is_allowed(address)) => return Ok(url),
            "http" if literal.is_none() && !self.allow.is_empty() => {}
            _ => return Err(GuardError::Scheme),
        }
        let port = url.port_or_known_default().unwrap_or(443);
        let allowed = literal.is_some_and(|address| self.is_allowed(address));
        if port < 1024 && !matches!(port, 80 | 443) && !allowed { Err(GuardError::Port) } else { Ok(url) }
    }

    /// Whoever gives us a URL must not reach our own network through us.
    ///
    /// # Errors
    /// `Address` unless it is public or in a network that the operator allows.
    pub fn check_address(&self, address: IpAddr) -> Result<(), GuardError> {
        let public = self.public == Public::Allowed && is_public(address);
        if public || self.is_allowed(address) { Ok(()) } else { Err(GuardError::Address) }
    }

    /// One address that is not allowed spoils the name: it would be a matter of luck which one is used.
    fn check_all(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, GuardError> {
        if addresses.is_empty() {
            return Err(GuardError::NoAddress);
        }
        addresses.iter().try_for_each(|address| self.check_address(address.ip()))?;
        Ok(addresses)
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow.iter().any(|network| network.contains(&address))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let checked = guard.check_all(guard.names.look_up(name.as_str()).await?)?;
            Ok(Box::new(checked.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<GuardError> {
        Guard::new(&[]).check_url(text).err()
    }

    #[test]
    fn addresses_that_are_not_of_the_internet_are_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a00:1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[ff02::1]",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "127.1",
            "127.0.0.1.",
        ] {
            assert_eq!(check(&format!("https://{host}/hook")), Some(GuardError::Address), "{host}");
        }
    }

    #[test]
    fn other_schemes_ports_and_forms_are_refused() {
        for (text, why) in [
            ("http://client.example/hook", GuardError::Scheme),
            ("http://192.0.43.8/", GuardError::Scheme),
            ("ftp://client.example/", GuardError::Scheme),
            ("file:///etc/passwd", GuardError::Host),
            ("https://user@client.example/", GuardError::Userinfo),
            ("https://user:pass@client.example/", GuardError::Userinfo),
            ("https://client.example:25/", GuardError::Port),
            ("https://client.example:22/", GuardError::Port),
            ("not a url", GuardError::Url),
            ("", GuardError::Url),
        ] {
            assert_eq!(check(text), Some(why), "{text}");
        }
        assert_eq!(
            check(&format!("https://client.example/{}", "a".repeat(URL_OCTETS_MAX))),
            Some(GuardError::Url)
        );
    }

    #[test]
    fn public_hosts_may_be_called_and_so_may_allowed_networks() {
        for text in [
            "https://client.example/hook?x=1",
            "https://client.example:8443/",
            "https://192.0.43.8/",
            "https://[2a00:1450::1]/",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
        let lab = Guard::new(&["127.0.0.0/8".parse().unwrap()]);
        assert!(lab.check_url("http://127.0.0.1:81/sink").is_ok());
        assert!(lab.check_url("http://[::ffff:127.0.0.1]:8081/sink").is_ok());
        assert_eq!(lab.check_url("http://10.0.0.1/").err(), Some(GuardError::Address));
        assert_eq!(lab.check_url("http://192.0.43.8/").err(), Some(GuardError::Scheme));
    }

    #[test]
    fn one_private_address_spoils_a_name() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let guard = Guard::new(&[]);
        assert_eq!(guard.check_all(addresses(&["192.0.43.8:0", "10.0.0.1:0"])), Err(GuardError::Address));
        assert_eq!(guard.check_all(Vec::new()), Err(GuardError::NoAddress));
        assert!(guard.check_all(addresses(&["192.0.43.8:0", "[2a00::1]:0"])).is_ok());
        assert!(guard.only_allowed_networks().check_all(addresses(&["192.0.43.8:0"])).is_err());
    }

    #[tokio::test]
    async fn a_name_of_this_host_is_refused_when_it_is_resolved() {
        let refused = Guard::new(&[]).resolve("localhost".parse().unwrap()).await;
        let error = refused.err().unwrap();
        assert_eq!(error.downcast_ref::<GuardError>(), Some(&GuardError::Address));
    }

    #[tokio::test]
    async fn what_the_configured_servers_say_is_checked_too() {
        let guard = async |address| {
            let server = crate::webhook::names::tests::name_server_of(address).await;
            Guard::new(&[]).with_names(Names::new(&[server]).unwrap())
        };
        let inside = guard([10, 0, 0, 1]).await.resolve("hooks.client.example".parse().unwrap()).await;
        assert_eq!(inside.err().unwrap().downcast_ref::<GuardError>(), Some(&GuardError::Address));
        let public = guard([192, 0, 43, 8]).await.resolve("hooks.client.example".parse().unwrap()).await;
        assert_eq!(public.unwrap().next(), Some("192.0.43.8:0".parse().unwrap()));
    }
}
