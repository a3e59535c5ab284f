//! A webhook endpoint: where a tenant wants to be told, about what, and the secrets that sign the calls.
//!
//! The secrets are in the clear here because every call is signed with them; they are sealed in the database and
//! never shown in Debug output. Delivery, retries and the network checks are `events`' work.

use ipnet::IpNet;
use mail::network::is_public;
use mail::{EndpointId, EventKind, TenantId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Whether an endpoint is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// It is called.
    Active,
    /// By the tenant; calls wait until it is resumed.
    Paused,
    /// By us, after a 410.
    Disabled,
}

/// Where events of a tenant are sent.
#[derive(Clone)]
pub struct Endpoint {
    /// Never used again.
    pub id: EndpointId,
    /// Whose events it is told, and nobody else's.
    pub tenant: TenantId,
    /// `https://` and a name; its address is checked before each call.
    pub url: Arc<str>,
    /// Empty means every kind.
    pub kinds: Vec<EventKind>,
    /// `whsec_…`, newest first: during a rotation a call carries one signature for each.
    pub secrets: Vec<Arc<str>>,
    /// One that is not active is not called; its events wait as long as they are kept.
    pub state: EndpointState,
}

impl Endpoint {
    /// Whether it asked for this kind; none named means all.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.state == EndpointState::Active && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    /// Whether a URL with this host may be kept: an address in it must be of the public internet or in a network that
    /// the operator allows. A name says nothing yet; what it resolves to is checked at every call.
    pub fn may_name_host(host: &str, allow: &[IpNet]) -> bool {
        let Some(address) = address_of(host).map(|address| address.to_canonical()) else { return true };
        is_public(address) || Endpoint::is_inside(host, allow)
    }

    /// Whether this host is an address in a network that the operator allows.
    pub fn is_inside(host: &str, allow: &[IpNet]) -> bool {
        let address = address_of(host).map(|address| address.to_canonical());
        address.is_some_and(|address| allow.iter().any(|network| network.contains(&address)))
    }

    /// Whether this host may be called over plain `http`: an address inside, or a name if there is an inside at all. What
    /// a name resolves to is checked at every call.
    pub fn may_be_plain(host: &str, allow: &[IpNet]) -> bool {
        match address_of(host) {
            Some(_) => Endpoint::is_inside(host, allow),
            None => !allow.is_empty(),
        }
    }
}

impl EndpointState {
    /// In JSON and in the tables: `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndpointState::Active => "active",
            EndpointState::Paused => "paused",
            EndpointState::Disabled => "disabled",
        }
    }

    /// The state with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<EndpointState> {
        match text {
            "active" => Some(EndpointState::Active),
            "paused" => Some(EndpointState::Paused),
            "disabled" => Some(EndpointState::Disabled),
            _ => None,
        }
    }
}

/// A URL may carry a tenant's token, and the secrets are secrets.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}, {})", self.id, self.state.as_str())
    }
}

/// The address that a host of a URL stands for, in every spelling that HTTP clients read; none for a name.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // RFC 6761 §6.3: this name is this host.
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let parts = host.split('.').map(number_of).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    // The last part fills what the others leave over: 127.1 is 127.0.0.1.
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high = first.iter().enumerate().map(|(index, part)| part << (8 * (3 - index))).sum::<u64>();
    u32::try_from(high + last).ok().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

/// Decimal, octal (`017`) or hexadecimal (`0x7f`).
fn number_of(part: &str) -> Option<u64> {
    match (part.strip_prefix("0x"), part.strip_prefix('0')) {
        (Some(""), _) | (_, Some("")) => Some(0),
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) => u64::from_str_radix(digits, 8).ok(),
        (None, None) => part.parse().ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_refused_in_every_spelling_unless_the_operator_allows_it() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "127.0.0.1.",
            "localhost",
            "a.LOCALHOST",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:10.0.0.1]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
        ] {
            assert!(!Endpoint::may_name_host(host, &[]), "{host}");
        }
        let allow = ["127.0.0.0/8".parse().unwrap()];
        for host in ["127.0.0.1", "127.1", "[::ffff:127.0.0.1]", "localhost"] {
            assert!(Endpoint::may_name_host(host, &allow), "{host}");
        }
        assert!(!Endpoint::may_name_host("10.0.0.1", &allow));
        for (host, plain, inside) in
            [("127.0.0.1", true, true), ("hooks.example", true, false), ("192.0.43.8", false, false)]
        {
            assert_eq!(Endpoint::may_be_plain(host, &allow), plain, "{host}");
            assert_eq!(Endpoint::is_inside(host, &allow), inside, "{host}");
            assert!(!Endpoint::may_be_plain(host, &[]) && !Endpoint::is_inside(host, &[]), "{host}");
        }
        for host in ["hooks.example", "10.example", "192.0.43.8", "[2a00:1450::1]", "1.2.3.4.example", ""] {
            assert!(Endpoint::may_name_host(host, &[]), "{host}");
        }
    }
}
