//! Who stands behind an address: the parts of the address space that one customer or one network usually has.
//!
//! Limits that counted single addresses would be none: an IPv6 customer has 2^64 of them, and a machine that guesses often
//! has its whole /24. An IPv4 address in IPv6 dress counts as what it is. Pure; asked by both doors.

use std::net::{IpAddr, Ipv6Addr};

/// The part of an address that one customer of a provider usually has: IPv4 /24, IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(u128);

/// Who shares the limit of one address: of IPv4 the address, of IPv6 the /64, which is what one customer has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour(IpAddr);

impl Network {
    /// The IPv4 /24 or IPv6 /64 of an address; an IPv4 address within IPv6 counts as the first.
    pub fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network(u128::from(v4.to_bits() >> 8)),
            IpAddr::V6(v6) => Network(v6.to_bits() >> 64 << 64),
        }
    }
}

impl Neighbour {
    /// Whose neighbour an address is; an IPv4 address within IPv6 counts as what it is.
    pub fn of(address: IpAddr) -> Neighbour {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Neighbour(v4),
            IpAddr::V6(v6) => Neighbour(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_address_in_ipv6_dress_is_the_same_network() {
        assert_eq!(Network::of(address("::ffff:192.0.2.7")), Network::of(address("192.0.2.9")));
        assert_ne!(Network::of(address("2001:db8:0:1::1")), Network::of(address("2001:db8:0:2::1")));
    }

    #[test]
    fn neighbours_share_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let of = |text| Neighbour::of(address(text));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
