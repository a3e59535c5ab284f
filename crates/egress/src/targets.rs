//! Which addresses of a site are tried in one attempt, and in which order. Pure.
//!
//! Exchangers in the order of preference, those of one preference in turn from session to session, the addresses of
//! one in the order of the DNS (RFC 5321 §5.1). The number of addresses is bounded, and no exchanger takes a second
//! one of it before each has one: a first exchanger with many dead addresses must not hide the others.

use crate::resolve::Exchanger;
use crate::source::same_family;
use std::net::IpAddr;

/// Pairs of host and address that `source` can reach, at most `limit`. `turn` counts sessions.
pub(crate) fn targets(
    exchangers: &[Exchanger],
    source: IpAddr,
    turn: u64,
    limit: usize,
) -> Vec<(&str, IpAddr)> {
    let mut hosts: Vec<(&str, Vec<IpAddr>)> = Vec::new();
    for same in exchangers.chunk_by(|a, b| a.preference == b.preference) {
        let first = (turn % same.len() as u64) as usize;
        for exchanger in same[first..].iter().chain(&same[..first]) {
            let reachable = exchanger.addresses.iter().filter(|address| same_family(source, **address));
            hosts.push((&exchanger.host, reachable.copied().collect()));
        }
    }
    let taken = shares(&hosts, limit);
    let mut targets = Vec::new();
    for ((host, addresses), taken) in hosts.into_iter().zip(taken) {
        targets.extend(addresses.into_iter().take(taken).map(|address| (host, address)));
    }
    targets
}

/// How many addresses of each host are tried: one of each, then another of each, until there are `limit`.
fn shares(hosts: &[(&str, Vec<IpAddr>)], limit: usize) -> Vec<usize> {
    let mut taken = vec![0; hosts.len()];
    let mut left = limit.min(hosts.iter().map(|(_, addresses)| addresses.len()).sum());
    while left > 0 {
        for (taken, (_, addresses)) in taken.iter_mut().zip(hosts) {
            if left > 0 && *taken < addresses.len() {
                *taken += 1;
                left -= 1;
            }
        }
    }
    taken
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Host names with preference and number of addresses; those of the second host begin at 192.0.2.20, and so on.
    fn exchangers(list: &[(&str, u16, u8)]) -> Vec<Exchanger> {
        let exchanger = |(number, (host, preference, count)): (usize, &(&str, u16, u8))| Exchanger {
            host: (*host).to_owned(),
            preference: *preference,
            addresses: (0..*count).map(|last| address(10 * (number as u8 + 1) + last)).collect(),
        };
        list.iter().enumerate().map(exchanger).collect()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn tried(exchangers: &[Exchanger], turn: u64, limit: usize) -> Vec<(&str, u8)> {
        let last = |address: IpAddr| match address {
            IpAddr::V4(four) => four.octets()[3],
            IpAddr::V6(_) => panic!("the source is of IPv4"),
        };
        targets(exchangers, address(1), turn, limit).into_iter().map(|(host, a)| (host, last(a))).collect()
    }

    #[test]
    fn an_exchanger_with_many_addresses_does_not_hide_the_others() {
        let many = exchangers(&[("a", 10, 8), ("b", 20, 2)]);
        assert_eq!(tried(&many, 0, 5), [("a", 10), ("a", 11), ("a", 12), ("b", 20), ("b", 21)]);
        let one_each = exchangers(&[("a", 1, 8), ("b", 2, 8), ("c", 3, 8)]);
        assert_eq!(tried(&one_each, 0, 3), [("a", 10), ("b", 20), ("c", 30)]);
        assert_eq!(tried(&one_each, 0, 1), [("a", 10)]);
        assert_eq!(tried(&many, 0, 100).len(), 10);
    }

    #[test]
    fn exchangers_of_one_preference_take_turns_and_never_go_before_a_better_one() {
        let list = exchangers(&[("best", 5, 1), ("a", 10, 1), ("b", 10, 1), ("last", 20, 1)]);
        let hosts = |turn| tried(&list, turn, 9).into_iter().map(|(host, _)| host).collect::<Vec<_>>();
        assert_eq!(hosts(0), ["best", "a", "b", "last"]);
        assert_eq!(hosts(1), ["best", "b", "a", "last"]);
        assert_eq!(hosts(2), hosts(0));
    }

    #[test]
    fn only_addresses_of_the_family_of_the_source_are_tried() {
        let mut both = exchangers(&[("a", 10, 1), ("b", 10, 1)]);
        both[0].addresses.push("2001:db8::1".parse().unwrap());
        let six = targets(&both, "2001:db8::99".parse().unwrap(), 0, 5);
        assert_eq!(six, [("a", "2001:db8::1".parse().unwrap())]);
        assert_eq!(tried(&both, 0, 5), [("a", 10), ("b", 20)]);
    }
}
