//! The resolver that asks DNS, over hickory's stub resolver.
//!
//! A name that does not exist and a name without records are definite answers; SERVFAIL, time-outs and everything
//! else are not, and mail waits for them (never a bounce). The number of look-ups for one domain is bounded by
//! `mx.rs`, their time by the configuration.
//!
//! Exchangers are looked up at the same time, and one whose name servers say nothing is passed over like one that
//! cannot be reached: whoever runs the second exchanger of a domain could stop its mail otherwise.

use crate::config::Config;
use crate::error::Fault;
use crate::resolve::{Exchanger, Record, Resolver, Resolving, Route, Unresolved, plan};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail::Domain;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;
use tokio::time::Instant;

/// Addresses of one host that are kept.
const ADDRESSES_MAX: usize = 8;
/// For an answer that came without a time of its own.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);
/// For a route without the exchangers that could not be looked up: they are asked for again soon.
const LIFETIME_PARTIAL: Duration = Duration::from_secs(60);

/// Of nobody (RFC 5737, RFC 3849).
const FOREIGN: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Asks name servers; remembers nothing itself.
pub struct DnsResolver {
    resolver: TokioResolver,
    /// From the first question to the route, a little less than the caller waits.
    time: Duration,
    own: Vec<String>,
    /// Our own address for mail from others, if exchangers are spoken to on that port.
    own_door: Option<IpAddr>,
    /// Whether a socket can be bound to addresses of this host only. Not where `net.ipv4.ip_nonlocal_bind` is set, as
    /// hosts with floating addresses have it: there every exchanger would be ourselves.
    binding_tells: bool,
}

enum Found<T> {
    Some(T, Duration),
    /// The name is there, without such records.
    Nothing,
    NoSuchName,
}

impl DnsResolver {
    /// Asks the servers of the configuration, or those of the system if there are none.
    ///
    /// # Errors
    /// `Resolver` if the system's file of name servers cannot be read or the resolver cannot be made.
    pub fn new(config: &Config) -> Result<DnsResolver, Fault> {
        let builder = names::asking(&config.dns_servers).map_err(Fault::Resolver)?;
        let mut options = ResolverOpts::default();
        let limit = Duration::from_secs(config.resolve_seconds_max);
        // Two questions in vain leave time for what comes after them. Hickory does not count the first one.
        options.timeout = limit / 3;
        options.attempts = 1;
        // Routes are remembered by whoever asks. A cache here is counted in answers and not in octets: with the 8,192 of
        // hickory a tenant with a name server of its own could make it hold gigabytes.
        options.cache_size = 0;
        let resolver = builder.with_options(options).build().map_err(Fault::Resolver)?;
        let own = config.own_names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let own_door = config.own_door.filter(|door| door.port() == config.smtp_port).map(|door| door.ip());
        let binding_tells = FOREIGN.iter().all(|address| UdpSocket::bind((*address, 0)).is_err());
        if !binding_tells && own_door.is_some_and(|door| door.is_unspecified()) {
            tracing::warn!(
                "sockets can be bound to addresses of other hosts here (net.ipv4.ip_nonlocal_bind), so that an exchanger at \
                 our own door is known by its name only; name the address in listen.inbound"
            );
        }
        Ok(DnsResolver { resolver, time: limit * 9 / 10, own, own_door, binding_tells })
    }

    async fn route(&self, domain: &Domain) -> Result<Route, Unresolved> {
        let end = Instant::now() + self.time;
        let (records, mut lifetime, implicit) = match self.mx(domain, end).await? {
            Found::Some(records, lifetime) => (records, lifetime, false),
            Found::Nothing => (Vec::new(), LIFETIME_DEFAULT, true),
            Found::NoSuchName => return Err(Unresolved::NoSuchDomain),
        };
        let plan = plan(domain, records, &self.own)?;
        let (mut exchangers, mut trouble) = (Vec::new(), None);
        let found = join_all(plan.hosts.iter().map(|record| self.addresses(&record.host, end))).await;
        for (record, found) in plan.hosts.into_iter().zip(found) {
            match found {
                Ok(Found::Some(addresses, time)) => {
                    lifetime = lifetime.min(time);
                    exchangers.push(Exchanger {
                        host: record.host,
                        preference: record.preference,
                        addresses,
                    });
                }
                Ok(Found::Nothing | Found::NoSuchName) => {}
                Err(failure) => {
                    lifetime = lifetime.min(LIFETIME_PARTIAL);
                    // The first is the preferred one.
                    trouble.get_or_insert((record.preference, failure));
                }
            }
        }
        // The same rule as for our names: ourselves, and everything not preferred to us, would come back to us.
        let ours = exchangers.iter().filter(|one| one.addresses.iter().any(|address| self.is_own(*address)));
        if let Some(limit) = ours.map(|one| one.preference).min() {
            exchangers.retain(|one| one.preference < limit);
            // One that is preferred to us and not known now may be the way.
            trouble = trouble.filter(|(preference, _)| *preference < limit);
            if exchangers.is_empty() && trouble.is_none() {
                return Err(Unresolved::Loop);
            }
        }
        if !exchangers.is_empty() {
            return Ok(Route { site: plan.site, exchangers, lifetime });
        }
        // RFC 5321 §5.1: a domain without MX and without address has no mail; anything unclear waits.
        let definite = if implicit { Unresolved::NoSuchDomain } else { Unresolved::NoAddress };
        Err(trouble.map_or(definite, |(_, failure)| failure))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        match self.own_door {
            // Every address of this host: those are the ones that a socket can be bound to.
            Some(door) if door.is_unspecified() => {
                // A group of hosts can be bound to as well.
                self.binding_tells && !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok()
            }
            Some(door) => door == address,
            None => false,
        }
    }

    async fn mx(&self, domain: &Domain, end: Instant) -> Result<Found<Vec<Record>>, Unresolved> {
        let host = |name: String| name.trim_end_matches('.').to_ascii_lowercase();
        self.look_up(domain.as_str(), RecordType::MX, end, |data| match data {
            RData::MX(mx) => Some(Record { preference: mx.preference, host: host(mx.exchange.to_ascii()) }),
            _ => None,
        })
        .await
    }

    async fn addresses(&self, host: &str, end: Instant) -> Result<Found<Vec<IpAddr>>, Unresolved> {
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let (four, six) = tokio::join!(
            self.look_up(host, RecordType::A, end, address),
            self.look_up(host, RecordType::AAAA, end, address)
        );
        match (four, six) {
            (Ok(Found::Some(mut all, time)), Ok(Found::Some(six, other))) => {
                all.extend(six);
                Ok(Found::Some(all, time.min(other)))
            }
            // One family that answers is enough.
            (Ok(Found::Some(all, time)), _) | (_, Ok(Found::Some(all, time))) => Ok(Found::Some(all, time)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            (Ok(four), Ok(_)) => Ok(four),
        }
    }

    async fn look_up<T>(
        &self,
        name: &str,
        kind: RecordType,
        end: Instant,
        take: impl Fn(&RData) -> Option<T>,
    ) -> Result<Found<Vec<T>>, Unresolved> {
        // With the final dot no search list of the host is applied. As it stands: the rules of host names would refuse an
        // underscore, of which only the DNS can say whether there is such a name.
        let asked = Name::from_ascii(format!("{name}."));
        let asked =
            asked.map_err(|error| Unresolved::Temporary(format!("looking up {kind} of {name}: {error}")))?;
        let asked = self.resolver.lookup(asked, kind);
        let Ok(answer) = tokio::time::timeout_at(end, asked).await else {
            return Err(Unresolved::Temporary(format!("looking up {kind} of {name}: no answer in time")));
        };
        match answer {
            Ok(answer) => {
                let records = answer.answers().iter();
                let found: Vec<(T, u32)> =
                    records.filter_map(|record| Some((take(&record.data)?, record.ttl))).take(1000).collect();
                let Some(ttl) = found.iter().map(|(_, ttl)| *ttl).min() else { return Ok(Found::Nothing) };
                let limit = if kind == RecordType::MX { usize::MAX } else { ADDRESSES_MAX };
                let values = found.into_iter().map(|(value, _)| value).take(limit).collect();
                Ok(Found::Some(values, Duration::from_secs(u64::from(ttl))))
            }
            Err(error) if error.is_nx_domain() => Ok(Found::NoSuchName),
            Err(error) if error.is_no_records_found() && !failed(&error) => Ok(Found::Nothing),
            Err(error) => Err(Unresolved::Temporary(format!("looking up {kind} of {name}: {error}"))),
        }
    }
}

/// Whether "no records" hides a failing server: only NOERROR says that a name has none, and not if it only says who
/// else to ask (RFC 2308 §2.2): a server that is lame for the domain knows nothing of it.
fn failed(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            none.response_code != ResponseCode::NoError || (none.soa.is_none() && none.ns.is_some())
        }
        _ => true,
    }
}

impl Resolver for DnsResolver {
    fn resolve<'a>(&'a self, domain: &'a Domain) -> Resolving<'a> {
        Box::pin(self.route(domain))
    }
}
