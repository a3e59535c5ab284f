//! Who is who in the lab: providers, the domains people know, their MX host names.
//!
//! The host names end as the real ones do, so that the house's provider profiles apply. Every MX host has its own
//! loopback address. Example domains with a fixed behaviour are providers of their own. The table is also in
//! README.md; a new row belongs in both.

mod table;

pub use table::PROVIDERS;

use super::behaviour::{Behaviour, Outage, TlsMode};
use super::voice::Voice;

/// A provider before it is started.
#[derive(Debug)]
pub struct Spec {
    /// The control interface and arrivals name it by this.
    pub name: &'static str,
    /// The id of the house's profile that should apply; also accepted as a name.
    pub profile: &'static str,
    /// How it words what it says.
    pub voice: Voice,
    /// Each with its domains and exchangers.
    pub sites: &'static [Site],
    /// Connections of one peer, messages of one connection; 0: no limit.
    pub connections: u32,
    /// Before it answers 421.
    pub messages_per_connection: u32,
    /// What is peculiar about it.
    pub temper: Temper,
}

/// Domains that share an MX set.
#[derive(Debug)]
pub struct Site {
    /// Their MX sets are equal.
    pub domains: &'static [&'static str],
    /// Preference and name.
    pub mx: &'static [(u16, &'static str)],
}

/// How a provider is from the start; `PUT /providers/{name}` can change all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Nothing.
    Normal,
    /// Takes its time for each answer.
    Slow,
    /// Strangers have to come twice.
    Greylisting,
    /// No STARTTLS.
    TlsOff,
    /// STARTTLS fails.
    TlsBroken,
    /// No mail without TLS.
    TlsRequired,
    /// Always 421.
    Busy,
    /// Closes without a word.
    Closed,
    /// Never says a word.
    Silent,
}

impl Spec {
    /// The behaviour at the start and after a reset.
    pub fn behaviour(&self, slow_ms: u64, greylist_ms: u64) -> Behaviour {
        let mut behaviour = Behaviour::default();
        behaviour.limits.connections = self.connections;
        behaviour.limits.messages_per_connection = self.messages_per_connection;
        behaviour.greylist.delay_ms = greylist_ms;
        match self.temper {
            Temper::Normal => {}
            Temper::Slow => behaviour.delay_ms = slow_ms,
            Temper::Greylisting => behaviour.greylist.enabled = true,
            Temper::TlsOff => behaviour.tls = TlsMode::Off,
            Temper::TlsBroken => behaviour.tls = TlsMode::Broken,
            Temper::TlsRequired => behaviour.tls = TlsMode::Required,
            Temper::Busy => behaviour.outage = Outage::Busy,
            Temper::Closed => behaviour.outage = Outage::Drop,
            Temper::Silent => behaviour.outage = Outage::Silent,
        }
        behaviour
    }

    /// Names of its exchangers, those of all sites.
    pub fn hosts(&self) -> impl Iterator<Item = &'static str> {
        let mut seen = Vec::new();
        self.sites.iter().flat_map(|site| site.mx).filter_map(move |(_, host)| {
            let fresh = !seen.contains(host);
            seen.push(*host);
            fresh.then_some(*host)
        })
    }
}

/// Domains whose exchange has an address on which nobody listens.
pub static DEAD_HOSTS: &[(&str, u16, &str)] =
    &[("dead.example", 10, "mx.dead.example"), ("two-mx.example", 10, "mx1.two-mx.example")];

/// Further exchanges of domains above, played by another provider than the first.
pub static EXTRA_EXCHANGES: &[(&str, u16, &str)] = &[("half-busy.example", 20, "mx2.half-busy.example")];

/// The provider that answers for domains that nobody described.
pub const DEFAULT_PROVIDER: &str = "plain";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_domain_or_host_appears_twice() {
        let (mut names, mut domains, mut hosts) = (HashSet::new(), HashSet::new(), HashSet::new());
        for spec in PROVIDERS {
            assert!(names.insert(spec.name), "{}", spec.name);
            assert!(
                spec.hosts().count() < 250 && spec.hosts().all(|host| hosts.insert(host)),
                "{}",
                spec.name
            );
            for domain in spec.sites.iter().flat_map(|site| site.domains) {
                assert!(domains.insert(domain), "{domain}");
            }
        }
        assert!(PROVIDERS.len() < 250);
    }

    #[test]
    fn every_name_is_one_that_mail_can_be_sent_to() {
        for spec in PROVIDERS {
            let domains = spec.sites.iter().flat_map(|site| site.domains).copied();
            for name in domains.chain(spec.hosts()) {
                assert_eq!(mail::Domain::parse(name).map(|d| d.to_string()), Ok(name.to_owned()));
            }
        }
    }
}
