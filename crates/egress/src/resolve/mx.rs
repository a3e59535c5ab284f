//! What MX records mean (RFC 5321 §5.1, RFC 7505). Pure.
//!
//! Refuses hosts that are no names, cuts lists that are too long, finds ourselves among the exchangers. Called by the
//! resolver between its two look-ups.

use crate::resolve::Unresolved;
use mail::{Domain, SiteName};
use std::collections::HashSet;
use std::net::IpAddr;

/// Exchangers that are looked at; N7 of hostile DNS: a domain may have a thousand.
const EXCHANGERS_MAX: usize = 8;

/// One MX record, host without its trailing dot, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Smaller comes first (RFC 5321 §5.1).
    pub preference: u16,
    /// In lower case, without a dot at its end.
    pub host: String,
}

/// Whose addresses to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Named after the set of hosts.
    pub site: SiteName,
    /// The preferred ones first.
    pub hosts: Vec<Record>,
}

/// `records` is what the domain has, empty if it exists without any; `own` are our names, in lower case.
///
/// # Errors
/// `NullMx` if all of them have an empty name (RFC 7505 §3), `NoAddress` if none has a host name, `Loop` if
/// none is preferred to one of `own` (RFC 5321 §5.1).
pub fn plan(domain: &Domain, mut records: Vec<Record>, own: &[String]) -> Result<Plan, Unresolved> {
    if records.is_empty() {
        // The implicit MX: the domain itself.
        let host = domain.as_str().to_owned();
        return Ok(Plan {
            site: SiteName::new(domain.as_str()),
            hosts: vec![Record { preference: 0, host }],
        });
    }
    // RFC 7505 §3: one record, an empty name. Beside others it is an error, and the others count.
    if records.iter().all(|record| record.host.is_empty()) {
        return Err(Unresolved::NullMx);
    }
    // An address where a name belongs is not looked up, and never connected to.
    records.retain(|record| is_host_name(&record.host) && record.host.parse::<IpAddr>().is_err());
    records.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    // A host that stands there twice is the same machine: its best preference counts.
    let mut known = HashSet::new();
    records.retain(|record| known.insert(record.host.clone()));
    let site = site_name(records.iter().map(|record| record.host.as_str()));
    // Ourselves and everything not preferred to us would come back to us.
    let ours = records.iter().find(|record| own.contains(&record.host)).map(|record| record.preference);
    if let Some(limit) = ours {
        records.retain(|record| record.preference < limit);
        if records.is_empty() {
            return Err(Unresolved::Loop);
        }
    }
    records.truncate(EXCHANGERS_MAX);
    if records.is_empty() { Err(Unresolved::NoAddress) } else { Ok(Plan { site, hosts: records }) }
}

/// Letters, digits, hyphens and the underscores that exist: a label of DNS may hold anything, and one with a comma would
/// let a domain take the name of another's site.
fn is_host_name(host: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    host.len() <= 253 && host.split('.').all(|label| !label.is_empty() && label.bytes().all(legal))
}

/// The canonical text of a set of hosts: sorted, so that two domains with one set share a site.
pub fn site_name<'a>(hosts: impl Iterator<Item = &'a str>) -> SiteName {
    let mut hosts: Vec<&str> = hosts.collect();
    hosts.sort_unstable();
    hosts.truncate(EXCHANGERS_MAX);
    SiteName::new(hosts.join(","))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::parse("client.example").unwrap()
    }

    fn records(list: &[(u16, &str)]) -> Vec<Record> {
        list.iter()
            .map(|(preference, host)| Record { preference: *preference, host: (*host).to_owned() })
            .collect()
    }

    #[test]
    fn a_null_mx_ends_it_but_not_beside_others() {
        assert_eq!(plan(&domain(), records(&[(0, "")]), &[]), Err(Unresolved::NullMx));
        let beside = plan(&domain(), records(&[(0, ""), (10, "mx.example")]), &[]).unwrap();
        assert_eq!(beside.hosts, records(&[(10, "mx.example")]));
    }

    #[test]
    fn an_address_in_place_of_a_name_is_not_followed() {
        let found = plan(&domain(), records(&[(0, "192.0.2.1"), (0, "2001:db8::1")]), &[]);
        assert_eq!(found, Err(Unresolved::NoAddress));
    }

    #[test]
    fn a_host_that_is_no_name_is_not_looked_up_and_names_no_site() {
        let bank =
            plan(&domain(), records(&[(10, "mx1.bank.example"), (20, "mx2.bank.example")]), &[]).unwrap();
        let thief = "mx1.bank.example,mx2.bank.example";
        assert_eq!(site_name([thief].into_iter()), bank.site);
        for host in [thief, "a b.example", "a\\.b.example", "a\\000b.example", "a..example", "ü.example"] {
            assert_eq!(plan(&domain(), records(&[(10, host)]), &[]), Err(Unresolved::NoAddress), "{host}");
        }
        let beside = plan(&domain(), records(&[(10, thief), (20, "_mx-1.a.example")]), &[]).unwrap();
        assert_eq!(beside.hosts, records(&[(20, "_mx-1.a.example")]));
    }

    #[test]
    fn our_own_name_and_everything_behind_it_is_a_loop() {
        let own = ["mx.house.example".to_owned()];
        let found = plan(&domain(), records(&[(10, "mx.house.example"), (20, "other.example")]), &own);
        assert_eq!(found, Err(Unresolved::Loop));
        let found = plan(&domain(), records(&[(5, "a.example"), (10, "mx.house.example")]), &own).unwrap();
        assert_eq!(found.hosts, records(&[(5, "a.example")]));
    }

    #[test]
    fn a_thousand_exchangers_become_eight_and_duplicates_one() {
        let many = (0..1000).map(|n| Record { preference: n, host: format!("mx{n}.example") }).collect();
        assert_eq!(plan(&domain(), many, &[]).unwrap().hosts.len(), EXCHANGERS_MAX);
        let twice = plan(&domain(), records(&[(10, "a.example"), (10, "a.example")]), &[]).unwrap();
        assert_eq!(twice.hosts.len(), 1);
        let apart = plan(&domain(), records(&[(30, "a.example"), (10, "a.example"), (20, "b.example")]), &[])
            .unwrap();
        assert_eq!(apart.hosts, records(&[(10, "a.example"), (20, "b.example")]));
        let once = plan(&domain(), records(&[(10, "b.example"), (20, "a.example")]), &[]).unwrap();
        assert_eq!(apart.site, once.site);
    }

    #[test]
    fn without_mx_the_domain_itself_is_the_exchanger() {
        let found = plan(&domain(), vec![], &[]).unwrap();
        assert_eq!((found.site.as_str(), found.hosts[0].host.as_str()), ("client.example", "client.example"));
    }

    #[test]
    fn domains_with_the_same_exchangers_share_a_site_in_whatever_order() {
        let a = plan(&domain(), records(&[(10, "b.example"), (5, "a.example")]), &[]).unwrap();
        let b = plan(&domain(), records(&[(1, "a.example"), (1, "b.example")]), &[]).unwrap();
        assert_eq!(a.site, b.site);
        assert_eq!(a.hosts[0].host, "a.example");
    }
}
