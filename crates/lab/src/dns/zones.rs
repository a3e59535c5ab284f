//! What the lab's DNS knows, as a plain value: built-in names, published records, faults on purpose.
//!
//! No wire format and no socket; `server.rs` asks `answer`. Order of truth: a fault of the zone, published records,
//! built-in names, then the rule for everybody else: a domain of two labels below `example` or `test` receives mail
//! at the provider "plain", so that a test can write to any of them without preparing anything.

use super::record::{Data, Kind, Publication, PublicationError};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// Links of a CNAME chain that are put into one answer.
const CHAIN_LINKS_MAX: usize = 8;
/// Where lies lead: a loopback address on which nobody listens.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(127, 25, 255, 254);
/// The exchange of domains that nobody described.
pub const DEFAULT_EXCHANGE: &str = "mx.plain.example";

/// What a question gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The chain from the name that was asked to the data; the last owner has no data of that kind if nothing follows.
    Records(Vec<(String, Data)>),
    /// The name exists, the kind does not.
    NoData,
    /// NXDOMAIN.
    NoName,
    /// SERVFAIL.
    Trouble,
    /// No answer at all: the client runs into its time limit.
    Silence,
}

/// What a zone does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deception {
    /// Answers SERVFAIL.
    Servfail,
    /// Does not answer.
    Timeout,
    /// Answers with an address that leads nowhere.
    Lie,
}

/// Every name of the lab: those built in, those published, and what lies about them.
#[derive(Debug)]
pub struct Zones {
    built_in: HashMap<String, Vec<Data>>,
    built_in_faults: HashMap<String, Deception>,
    published: BTreeMap<(String, Kind), Vec<Data>>,
    faults: HashMap<String, Deception>,
    source_net: Ipv4Net,
    published_max: usize,
}

impl Zones {
    /// Knows the providers; peers within the net have names of their own.
    pub fn new(source_net: Ipv4Net, published_max: usize) -> Zones {
        Zones {
            built_in: HashMap::new(),
            built_in_faults: HashMap::new(),
            published: BTreeMap::new(),
            faults: HashMap::new(),
            source_net,
            published_max,
        }
    }

    /// A name that survives `reset`.
    pub fn build_in(&mut self, host: &str, data: Data) {
        let set = self.built_in.entry(host.to_owned()).or_default();
        if !set.contains(&data) {
            set.push(data);
        }
    }

    /// A name that does not exist, although a rule would make it.
    pub fn build_out(&mut self, host: &str) {
        self.built_in.insert(host.to_owned(), Vec::new());
    }

    /// A fault that `reset` brings back.
    pub fn build_in_fault(&mut self, zone: &str, deception: Deception) {
        self.built_in_faults.insert(zone.to_owned(), deception);
    }

    /// Publishes all or nothing, and says how many records. Records of one host and type that come together
    /// replace what was there: who corrects a DKIM key wants one record afterwards, not two.
    ///
    /// # Errors
    /// What [`Publication::parse`] errs with; `TooMany` if more than the limit would be published, with how
    /// many there are now.
    pub fn publish(&mut self, records: &[Publication]) -> Result<usize, PublicationError> {
        let parsed = records.iter().map(Publication::parse).collect::<Result<Vec<_>, _>>()?;
        let sets: BTreeSet<(String, Kind)> =
            parsed.iter().map(|(host, data)| (host.clone(), data.kind())).collect();
        let replaced: usize = sets.iter().filter_map(|set| self.published.get(set)).map(Vec::len).sum();
        if self.published_count() - replaced + parsed.len() > self.published_max {
            return Err(PublicationError::TooMany(self.published_count()));
        }
        self.published.retain(|set, _| !sets.contains(set));
        let count = parsed.len();
        for (host, data) in parsed {
            let set = self.published.entry((host, data.kind())).or_default();
            if !set.contains(&data) {
                set.push(data);
            }
        }
        Ok(count)
    }

    /// Removes published records: all of a host, or those of one kind. Built-in names stay.
    pub fn withdraw(&mut self, host: &str, kind: Option<Kind>) -> usize {
        let mut removed = 0;
        self.published.retain(|(owner, owned), set| {
            let goes = owner == host && kind.is_none_or(|kind| kind == *owned);
            removed += if goes { set.len() } else { 0 };
            !goes
        });
        removed
    }

    /// `None` heals the zone.
    pub fn deceive(&mut self, zone: &str, deception: Option<Deception>) {
        match deception {
            Some(deception) if self.faults.len() < self.published_max => {
                self.faults.insert(zone.to_owned(), deception);
            }
            Some(_) => {}
            None => {
                self.faults.remove(zone);
            }
        }
    }

    /// Zones that do something wrong, with what.
    pub fn faults(&self) -> impl Iterator<Item = (&str, Deception)> {
        self.faults.iter().map(|(zone, deception)| (zone.as_str(), *deception))
    }

    /// What was published since the last `reset`.
    pub fn published(&self) -> impl Iterator<Item = (&str, &Data)> {
        self.published.iter().flat_map(|((host, _), set)| set.iter().map(move |data| (host.as_str(), data)))
    }

    /// As at the start.
    pub fn reset(&mut self) {
        self.published.clear();
        self.faults.clear();
    }

    /// `kind` is `None` for a type that the lab has no data of. `name` is in the lab's form.
    pub fn answer(&self, name: &str, kind: Option<Kind>) -> Answer {
        match self.deception_of(name) {
            Some(Deception::Servfail) => return Answer::Trouble,
            Some(Deception::Timeout) => return Answer::Silence,
            Some(Deception::Lie) => return lie(name, kind),
            None => {}
        }
        let mut chain: Vec<(String, Data)> = Vec::new();
        let mut owner = name.to_owned();
        loop {
            let all = self.lookup(&owner);
            let wanted: Vec<Data> = all.iter().filter(|data| Some(data.kind()) == kind).cloned().collect();
            if !wanted.is_empty() {
                chain.extend(wanted.into_iter().map(|data| (owner.clone(), data)));
                return Answer::Records(chain);
            }
            let alias = all
                .iter()
                .find_map(|data| if let Data::Cname(target) = data { Some(target.clone()) } else { None });
            match alias {
                Some(target) if chain.len() < CHAIN_LINKS_MAX => {
                    chain.push((owner, Data::Cname(target.clone())));
                    owner = target;
                }
                Some(_) => return Answer::Records(chain),
                None if !chain.is_empty() => return Answer::Records(chain),
                None if all.is_empty() && !self.has_names_below(&owner) => return Answer::NoName,
                None => return Answer::NoData,
            }
        }
    }

    fn lookup(&self, owner: &str) -> Vec<Data> {
        let kinds = [Kind::A, Kind::Aaaa, Kind::Cname, Kind::Mx, Kind::Ptr, Kind::Txt];
        let published = |kind: Kind| self.published.get(&(owner.to_owned(), kind));
        let mut all: Vec<Data> = kinds.into_iter().filter_map(published).flatten().cloned().collect();
        let shadowed: Vec<Kind> = all.iter().map(Data::kind).collect();
        let built_in = self.built_in.get(owner).cloned().or_else(|| self.derived(owner)).unwrap_or_default();
        if !shadowed.contains(&Kind::Cname) {
            all.extend(built_in.into_iter().filter(|data| !shadowed.contains(&data.kind())));
        }
        all
    }

    /// Names that follow a rule instead of being listed.
    fn derived(&self, owner: &str) -> Option<Vec<Data>> {
        if let Some(reversed) = owner.strip_suffix(".in-addr.arpa") {
            let mut octets: Vec<&str> = reversed.split('.').collect();
            octets.reverse();
            let address: Ipv4Addr = octets.join(".").parse().ok()?;
            let inside = self.source_net.contains(&address);
            return inside.then(|| vec![Data::Ptr(source_host(address))]);
        }
        if let Some(dashed) = owner.strip_prefix("out-").and_then(|rest| rest.strip_suffix(".sources.test")) {
            let address: Ipv4Addr = dashed.replace('-', ".").parse().ok()?;
            return self.source_net.contains(&address).then(|| vec![Data::A(address)]);
        }
        let (label, top) = owner.split_once('.')?;
        let open = matches!(top, "example" | "test") && !label.starts_with('_');
        open.then(|| vec![Data::Mx(10, DEFAULT_EXCHANGE.to_owned())])
    }

    /// An empty non-terminal exists too (RFC 8020).
    fn has_names_below(&self, owner: &str) -> bool {
        let below = |name: &str| name.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'));
        self.published.keys().any(|(name, _)| below(name)) || self.built_in.keys().any(|name| below(name))
    }

    fn deception_of(&self, name: &str) -> Option<Deception> {
        let mut zone = name;
        loop {
            if let Some(deception) = self.faults.get(zone).or_else(|| self.built_in_faults.get(zone)) {
                return Some(*deception);
            }
            zone = zone.split_once('.')?.1;
        }
    }

    fn published_count(&self) -> usize {
        self.published.values().map(Vec::len).sum()
    }
}

/// The name that belongs to an egress source, both ways.
fn source_host(address: Ipv4Addr) -> String {
    format!("out-{}.sources.test", address.to_string().replace('.', "-"))
}

fn lie(name: &str, kind: Option<Kind>) -> Answer {
    let data = match kind {
        Some(Kind::A) => Data::A(NOWHERE),
        Some(Kind::Cname) => Data::Cname("wrong.liar.example".into()),
        Some(Kind::Mx) => Data::Mx(10, "mx.liar.example".into()),
        Some(Kind::Ptr) => Data::Ptr("wrong.liar.example".into()),
        Some(Kind::Txt) => Data::Txt("v=lie1; this is not what was published".into()),
        Some(Kind::Aaaa) | None => return Answer::NoData,
    };
    Answer::Records(vec![(name.to_owned(), data)])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zones() -> Zones {
        let mut zones = Zones::new("127.30.0.0/16".parse().unwrap(), 5);
        zones.build_in("gmail.com", Data::Mx(5, "mx.google.com".into()));
        zones.build_in("mx.google.com", Data::A(Ipv4Addr::new(127, 25, 1, 1)));
        zones
    }

    fn txt(host: &str, value: &str) -> Publication {
        Publication { host: host.into(), kind: "TXT".into(), value: value.into(), priority: None }
    }

    fn cname(host: &str, value: &str) -> Publication {
        Publication { host: host.into(), kind: "CNAME".into(), value: value.into(), priority: None }
    }

    #[test]
    fn one_bad_record_publishes_nothing() {
        let mut zones = zones();
        let good = txt("a.b.example", "x");
        let bad = Publication { kind: "HINFO".into(), ..good.clone() };
        assert!(zones.publish(&[good, bad]).is_err());
        assert_eq!(zones.answer("a.b.example", Some(Kind::Txt)), Answer::NoName);
    }

    #[test]
    fn the_limit_of_published_records_holds() {
        let mut zones = zones();
        let many: Vec<_> = (0..6).map(|i| txt(&format!("h{i}.b.example"), "x")).collect();
        assert!(matches!(zones.publish(&many), Err(PublicationError::TooMany(0))));
        assert_eq!(zones.publish(&many[..5]), Ok(5));
        assert_eq!(zones.publish(&many[1..5]), Ok(4), "what is replaced takes no room");
        assert!(zones.publish(&many[5..]).is_err());
    }

    #[test]
    fn faults_reach_every_name_of_the_zone_and_heal() {
        let mut zones = zones();
        zones.deceive("google.com", Some(Deception::Servfail));
        assert_eq!(zones.answer("mx.google.com", Some(Kind::A)), Answer::Trouble);
        zones.deceive("google.com", Some(Deception::Timeout));
        assert_eq!(zones.answer("mx.google.com", Some(Kind::A)), Answer::Silence);
        zones.deceive("google.com", Some(Deception::Lie));
        assert_eq!(
            zones.answer("mx.google.com", Some(Kind::A)),
            Answer::Records(vec![("mx.google.com".into(), Data::A(NOWHERE))])
        );
        zones.deceive("google.com", None);
        assert!(matches!(zones.answer("mx.google.com", Some(Kind::A)), Answer::Records(_)));
        assert!(matches!(zones.answer("notgoogle.com", Some(Kind::A)), Answer::NoName));
    }

    #[test]
    fn a_name_without_that_kind_is_not_a_missing_name() {
        let zones = zones();
        assert_eq!(zones.answer("gmail.com", Some(Kind::Txt)), Answer::NoData);
        assert_eq!(zones.answer("gmail.com", None), Answer::NoData);
        assert_eq!(zones.answer("google.com", Some(Kind::A)), Answer::NoData, "an empty non-terminal");
        assert_eq!(zones.answer("gmial.com", Some(Kind::Mx)), Answer::NoName);
        assert_eq!(zones.answer("_dmarc.client.example", Some(Kind::Txt)), Answer::NoName);
    }

    #[test]
    fn published_records_replace_their_set_and_are_withdrawn_alone() {
        let mut zones = zones();
        zones.publish(&[txt("client.example", "wrong")]).unwrap();
        zones.publish(&[txt("client.example", "right"), txt("client.example", "v=spf1 -all")]).unwrap();
        let Answer::Records(found) = zones.answer("client.example", Some(Kind::Txt)) else {
            unreachable!("published")
        };
        assert_eq!(found.len(), 2);
        assert!(
            matches!(zones.answer("client.example", Some(Kind::Mx)), Answer::Records(_)),
            "the default exchange stays"
        );
        assert_eq!(zones.withdraw("client.example", Some(Kind::Cname)), 0);
        assert_eq!(zones.withdraw("client.example", None), 2);
        assert_eq!(zones.answer("client.example", Some(Kind::Txt)), Answer::NoData);
    }

    #[test]
    fn an_alias_is_followed_and_a_loop_ends() {
        let mut zones = zones();
        zones
            .publish(&[
                cname("rp.client.example", "rp.posthouse.test"),
                txt("rp.posthouse.test", "v=spf1 ip4:127.30.0.1 -all"),
            ])
            .unwrap();
        let Answer::Records(chain) = zones.answer("rp.client.example", Some(Kind::Txt)) else {
            unreachable!("published")
        };
        assert_eq!(chain.len(), 2);
        zones
            .publish(&[cname("one.loop.test", "two.loop.test"), cname("two.loop.test", "one.loop.test")])
            .unwrap();
        let Answer::Records(chain) = zones.answer("one.loop.test", Some(Kind::A)) else {
            unreachable!("published")
        };
        assert_eq!(chain.len(), CHAIN_LINKS_MAX);
    }

    #[test]
    fn sources_have_names_both_ways() {
        let zones = zones();
        let host = "out-127-30-0-9.sources.test".to_owned();
        assert_eq!(
            zones.answer("9.0.30.127.in-addr.arpa", Some(Kind::Ptr)),
            Answer::Records(vec![("9.0.30.127.in-addr.arpa".into(), Data::Ptr(host.clone()))])
        );
        assert_eq!(
            zones.answer(&host, Some(Kind::A)),
            Answer::Records(vec![(host, Data::A(Ipv4Addr::new(127, 30, 0, 9)))])
        );
        assert_eq!(zones.answer("1.2.0.192.in-addr.arpa", Some(Kind::Ptr)), Answer::NoName);
    }
}
