//! A resolver that knows what it was told: for tests and simulations, with the same reading of MX records as DNS.

use crate::resolve::{Exchanger, Record, Resolver, Resolving, Route, Unresolved, plan};
use mail::Domain;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Domains and hosts as a test wants them.
#[derive(Default)]
pub struct TableResolver {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    mx: HashMap<String, Vec<Record>>,
    addresses: HashMap<String, Vec<IpAddr>>,
    failing: HashMap<String, String>,
    own: Vec<String>,
    asked: u64,
}

impl TableResolver {
    /// Knows no domain.
    pub fn new() -> TableResolver {
        TableResolver::default()
    }

    /// Adds an MX record.
    pub fn mx(&self, domain: &str, preference: u16, host: &str) -> &TableResolver {
        let record = Record { preference, host: host.to_owned() };
        self.with(|tables| tables.mx.entry(domain.to_owned()).or_default().push(record))
    }

    /// Adds an address record.
    pub fn address(&self, host: &str, address: IpAddr) -> &TableResolver {
        self.with(|tables| tables.addresses.entry(host.to_owned()).or_default().push(address))
    }

    /// Look-ups of `domain` fail for now; an empty text ends that.
    pub fn fail(&self, domain: &str, why: &str) -> &TableResolver {
        self.with(|tables| match why {
            "" => drop(tables.failing.remove(domain)),
            _ => drop(tables.failing.insert(domain.to_owned(), why.to_owned())),
        })
    }

    /// Says that a host is this house, so that loops are found (RFC 5321 §5.1).
    pub fn own_name(&self, name: &str) -> &TableResolver {
        self.with(|tables| tables.own.push(name.to_owned()))
    }

    /// Look-ups so far.
    pub fn asked(&self) -> u64 {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    fn with(&self, change: impl FnOnce(&mut Tables)) -> &TableResolver {
        change(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner));
        self
    }
}

impl Tables {
    fn resolve(&mut self, domain: &Domain) -> Result<Route, Unresolved> {
        self.asked += 1;
        if let Some(why) = self.failing.get(domain.as_str()) {
            return Err(Unresolved::Temporary(why.clone()));
        }
        let records = self.mx.get(domain.as_str()).cloned().unwrap_or_default();
        let implicit = records.is_empty();
        let plan = plan(domain, records, &self.own)?;
        let exchanger = |record: &Record| {
            let addresses = self.addresses.get(&record.host).cloned().unwrap_or_default();
            Exchanger { host: record.host.clone(), preference: record.preference, addresses }
        };
        let exchangers: Vec<_> =
            plan.hosts.iter().map(exchanger).filter(|exchanger| !exchanger.addresses.is_empty()).collect();
        match (exchangers.is_empty(), implicit) {
            (true, true) => Err(Unresolved::NoSuchDomain),
            (true, false) => Err(Unresolved::NoAddress),
            (false, _) => Ok(Route { site: plan.site, exchangers, lifetime: Duration::from_secs(300) }),
        }
    }
}

impl Resolver for TableResolver {
    fn resolve<'a>(&'a self, domain: &'a Domain) -> Resolving<'a> {
        let answer = self.tables.lock().unwrap_or_else(PoisonError::into_inner).resolve(domain);
        Box::pin(async move { answer })
    }
}
