//! What is known of the recipient domains: their site, its profile and limits, or why there is none. Pure.
//!
//! A route is used until its records end; then it is looked up again while the old one still serves, so that a busy
//! site never pauses for DNS. A failed look-up is remembered for a while too, and everybody who comes meanwhile is
//! judged by it. The number of domains is bounded: beyond it those are forgotten whose records end first.

use crate::config::Config;
use crate::look_ups::Past;
use crate::resolve::{Route, Unresolved};
use mail::classify::{Profiles, Provider, TlsMode};
use mail::{Domain, Instant, SiteName};
use shaping::Limits;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A route with what applies on it.
#[derive(Debug)]
pub struct Destination {
    /// Site and exchangers.
    pub route: Route,
    /// Whose rules judge its answers.
    pub provider: Arc<str>,
    /// Connections, messages and rates.
    pub limits: Limits,
    /// What is asked of TLS there.
    pub tls: TlsMode,
    /// How long a connection is kept without work.
    pub idle: Duration,
    /// How long each answer is waited for.
    pub timeouts: smtp::Timeouts,
    /// How long a host whose TLS fails is spoken to in plain text.
    pub broken_tls: Duration,
}

/// What is known of a domain.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// Nothing yet; a look-up is under way.
    Pending,
    Destination(Arc<Destination>),
    Nowhere(Unresolved),
}

struct Row {
    known: Known,
    until: Instant,
    looking: bool,
}

pub(crate) struct Sites {
    domains: HashMap<Domain, Row>,
    /// Sites to domains of the same exchangers share one destination.
    shared: HashMap<SiteName, Arc<Destination>>,
    /// So many domains must be known before room is made again.
    look_again_at: usize,
    config: Arc<Config>,
}

/// Whether a look-up has to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUp {
    Start(Past),
    NotNow,
}

impl Sites {
    pub fn new(config: Arc<Config>) -> Sites {
        Sites { domains: HashMap::new(), shared: HashMap::new(), look_again_at: 0, config }
    }

    /// What is known of `domain` at `now`. The caller starts the look-up if told so.
    pub fn look(&mut self, domain: &Domain, now: Instant) -> (Known, LookUp) {
        if let Some(row) = self.domains.get_mut(domain) {
            if row.until > now || row.looking {
                return (row.known.clone(), LookUp::NotNow);
            }
            row.looking = true;
            let past = match row.known {
                Known::Nowhere(Unresolved::Temporary(_)) => Past::NoAnswer,
                Known::Nowhere(_) | Known::Destination(_) | Known::Pending => Past::Clear,
            };
            // An old route goes on serving; an old failure does not.
            if matches!(row.known, Known::Nowhere(_)) {
                row.known = Known::Pending;
            }
            return (row.known.clone(), LookUp::Start(past));
        }
        self.make_room(now);
        self.domains.insert(domain.clone(), Row { known: Known::Pending, until: now, looking: true });
        (Known::Pending, LookUp::Start(Past::Clear))
    }

    /// Where mail for `domain` stands in the queue.
    pub fn site_of(&self, domain: &Domain) -> SiteName {
        match self.domains.get(domain).map(|row| &row.known) {
            Some(Known::Destination(destination)) => destination.route.site.clone(),
            Some(Known::Pending | Known::Nowhere(_)) | None => SiteName::new(domain.as_str()),
        }
    }

    pub fn destination(&self, site: &SiteName) -> Option<&Arc<Destination>> {
        self.shared.get(site)
    }

    /// Takes the answer of a look-up and says where the domain belongs now.
    pub fn resolved(
        &mut self,
        domain: &Domain,
        answer: Result<Route, Unresolved>,
        profiles: &Profiles,
        now: Instant,
    ) -> SiteName {
        let (known, time) = match answer {
            Ok(route) => {
                let bounds = (self.config.route_seconds_min, self.config.route_seconds_max);
                let time = route
                    .lifetime
                    .clamp(Duration::from_secs(bounds.0), Duration::from_secs(bounds.1.max(bounds.0)));
                (Known::Destination(self.share(domain, route, profiles)), time)
            }
            Err(failure) => {
                let keep = matches!(failure, Unresolved::Temporary(_));
                let old = self.domains.get(domain).map(|row| row.known.clone());
                let time = Duration::from_secs(self.config.resolve_failure_seconds.max(1));
                match old {
                    // A resolver that is down must not stop mail whose route was good a minute ago.
                    Some(route @ Known::Destination(_)) if keep => (route, time),
                    Some(_) | None => (Known::Nowhere(failure), time),
                }
            }
        };
        self.domains.insert(domain.clone(), Row { known, until: now + time, looking: false });
        self.site_of(domain)
    }

    fn share(&mut self, domain: &Domain, route: Route, profiles: &Profiles) -> Arc<Destination> {
        if let Some(known) = self.shared.get(&route.site)
            && known.route == route
        {
            return Arc::clone(known);
        }
        let hosts: Vec<&str> = route.exchangers.iter().map(|exchanger| exchanger.host.as_str()).collect();
        let provider: &Provider = profiles.provider_for(domain, &hosts);
        let is_other = provider.id == profiles.other().id;
        let number = profiles.providers().position(|known| known.id == provider.id);
        let family = number.filter(|_| !is_other).map(|number| number as u32);
        // Sites without a profile of their own go by what this node says.
        let own = |profile: Option<Duration>, node: u64| {
            profile.filter(|_| !is_other).unwrap_or(Duration::from_secs(node))
        };
        let destination = Arc::new(Destination {
            limits: self.config.path_limits(&provider.limits, family),
            provider: Arc::clone(&provider.id),
            tls: provider.tls,
            idle: own(provider.limits.idle, self.config.idle_seconds),
            timeouts: self.config.site_timeouts(&provider.limits),
            broken_tls: own(provider.limits.remember_broken_tls, self.config.broken_tls_seconds),
            route,
        });
        self.shared.insert(destination.route.site.clone(), Arc::clone(&destination));
        destination
    }

    /// All of them are gone through, so not for every domain that comes: an eighth at once, or as many more later. Those
    /// that are looked up stay, and are bounded by what waits.
    fn make_room(&mut self, now: Instant) {
        let most = self.config.domains_remembered_max;
        if self.domains.len() < most.max(self.look_again_at) {
            return;
        }
        let share = most / 8 + 1;
        self.domains.retain(|_, row| row.looking || row.until > now);
        let surplus = (self.domains.len() + share).saturating_sub(most);
        let mut ends: Vec<Instant> =
            self.domains.values().filter(|row| !row.looking).map(|row| row.until).collect();
        if surplus > 0 && surplus < ends.len() {
            // Whose records end first have been used longest.
            let (_, last, _) = ends.select_nth_unstable(surplus - 1);
            let (last, mut left) = (*last, surplus);
            self.domains.retain(|_, row| {
                let goes = !row.looking && row.until <= last && left > 0;
                left -= usize::from(goes);
                !goes
            });
        } else if surplus > 0 {
            self.domains.retain(|_, row| row.looking);
        }
        self.look_again_at = self.domains.len() + share;
        let domains = &self.domains;
        let used: std::collections::HashSet<SiteName> = domains
            .values()
            .filter_map(|row| match &row.known {
                Known::Destination(destination) => Some(destination.route.site.clone()),
                Known::Pending | Known::Nowhere(_) => None,
            })
            .collect();
        self.shared.retain(|site, _| used.contains(site));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::resolve::Exchanger;
    use std::sync::LazyLock;

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn route(host: &str) -> Route {
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        let exchangers = vec![Exchanger { host: host.to_owned(), preference: 10, addresses }];
        Route { site: SiteName::new(host), exchangers, lifetime: Duration::from_secs(120) }
    }

    fn sites(change: impl FnOnce(&mut Config)) -> Sites {
        let mut config = Config::default();
        change(&mut config);
        Sites::new(Arc::new(config))
    }

    fn answer(sites: &mut Sites, name: &str, answer: Result<Route, Unresolved>, now: Instant) -> SiteName {
        static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::shipped);
        sites.resolved(&domain(name), answer, &PROFILES, now)
    }

    #[test]
    fn a_domain_is_looked_up_once_however_many_ask() {
        let mut sites = sites(|_| {});
        assert_eq!(sites.look(&domain("a.example"), NOW).1, LookUp::Start(Past::Clear));
        assert_eq!(sites.look(&domain("a.example"), NOW).1, LookUp::NotNow);
        assert_eq!(sites.site_of(&domain("a.example")).as_str(), "a.example");
        assert_eq!(answer(&mut sites, "a.example", Ok(route("mx.example")), NOW).as_str(), "mx.example");
        let (known, look_up) = sites.look(&domain("a.example"), NOW);
        assert!(matches!(known, Known::Destination(_)) && look_up == LookUp::NotNow);
    }

    #[test]
    fn an_old_route_serves_until_the_new_one_is_there_and_while_the_dns_is_down() {
        let mut sites = sites(|_| {});
        answer(&mut sites, "a.example", Ok(route("mx.example")), NOW);
        let later = NOW + Duration::from_secs(121);
        let (known, look_up) = sites.look(&domain("a.example"), later);
        assert!(matches!(known, Known::Destination(_)) && look_up == LookUp::Start(Past::Clear));
        let failure = || Err(Unresolved::Temporary("SERVFAIL".to_owned()));
        assert_eq!(answer(&mut sites, "a.example", failure(), later).as_str(), "mx.example");
        // A definite answer is believed.
        assert_eq!(answer(&mut sites, "a.example", Err(Unresolved::NullMx), later).as_str(), "a.example");
        assert!(matches!(sites.look(&domain("a.example"), later).0, Known::Nowhere(Unresolved::NullMx)));
    }

    #[test]
    fn a_failure_is_remembered_for_a_while_and_then_looked_up_anew() {
        let mut sites = sites(|config| config.resolve_failure_seconds = 60);
        answer(&mut sites, "a.example", Err(Unresolved::NoSuchDomain), NOW);
        let early = NOW + Duration::from_secs(59);
        assert!(matches!(sites.look(&domain("a.example"), early), (Known::Nowhere(_), LookUp::NotNow)));
        let later = NOW + Duration::from_secs(60);
        assert!(matches!(
            sites.look(&domain("a.example"), later),
            (Known::Pending, LookUp::Start(Past::Clear))
        ));
        // What had no answer is told from what had one.
        answer(&mut sites, "a.example", Err(Unresolved::Temporary("SERVFAIL".to_owned())), later);
        let later = later + Duration::from_secs(60);
        assert_eq!(sites.look(&domain("a.example"), later).1, LookUp::Start(Past::NoAnswer));
    }

    #[test]
    fn the_memory_of_domains_is_bounded() {
        let mut sites = sites(|config| config.domains_remembered_max = 100);
        for number in 0..1_000 {
            let name = format!("d{number}.example");
            sites.look(&domain(&name), NOW);
            answer(&mut sites, &name, Ok(route(&format!("mx{number}.example"))), NOW);
        }
        assert!((80..=100).contains(&sites.domains.len()) && sites.shared.len() <= 200);
        assert!(sites.domains.contains_key(&domain("d999.example")));
        // The same again, of which nothing is known before the end.
        for number in 0..1_000 {
            sites.look(&domain(&format!("e{number}.example")), NOW);
        }
        assert!(sites.domains.values().filter(|row| row.looking).count() == 1_000, "each is asked for");
        let later = NOW + Duration::from_secs(100_000);
        for number in 0..1_000 {
            answer(&mut sites, &format!("e{number}.example"), Ok(route("mx.example")), later);
        }
        for number in 0..200 {
            sites.look(&domain(&format!("f{number}.example")), later);
        }
        assert!(sites.domains.len() <= 400, "{}", sites.domains.len());
    }

    #[test]
    fn the_provider_comes_from_the_exchangers_and_brings_its_limits() {
        let mut sites = sites(|_| {});
        answer(&mut sites, "workspace.example", Ok(route("aspmx.l.google.com")), NOW);
        let (Known::Destination(known), _) = sites.look(&domain("workspace.example"), NOW) else {
            panic!("it is known")
        };
        assert_eq!(
            (&*known.provider, known.limits.window.limit, known.tls),
            ("google", 5, TlsMode::Required)
        );
    }
    #[test]
    fn the_times_of_a_profile_go_before_those_of_the_node() {
        let generic = include_str!("../../../config/providers/generic.toml");
        let slow = r#"
            id = "slow"
            label = "Slow"
            evidence = ["assumed"]
            match = { mx_suffix = [".slow.example"], probe = [] }
            limits = { data_timeout = "7s", data_dot_timeout = "8s", remember_broken_tls = "1h", connection_failures_before_delay = 2 }
        "#;
        let classes = include_str!("../../../config/classes.toml");
        let profiles = Profiles::load(&[generic, slow], classes).unwrap();
        let mut sites = sites(|config| config.broken_tls_seconds = 60);
        let mut known = |name: &str, host| {
            sites.resolved(&domain(name), Ok(route(host)), &profiles, NOW);
            match sites.look(&domain(name), NOW).0 {
                Known::Destination(known) => known,
                Known::Pending | Known::Nowhere(_) => panic!("it is known"),
            }
        };
        let own = known("a.example", "mx.slow.example");
        assert_eq!((own.timeouts.data_seconds, own.timeouts.final_seconds), (7, 8));
        assert_eq!((own.timeouts.mail_seconds, own.broken_tls.as_secs()), (300, 3600));
        assert_eq!(own.limits.window.failures_max, 2);
        // RFC 5321 §4.5.3.2.6: giving up on the final dot too early sends twice.
        let other = known("b.example", "mx.b.example");
        assert_eq!((&other.timeouts, other.broken_tls.as_secs()), (&smtp::Timeouts::default(), 60));
    }
}
