//! Where the delivery at the front of an outlet can go now: an open connection, a new one, or nowhere yet. Pure.
//!
//! The order of the questions is the order of the reasons that `why` shows: is the site known, has the pool an
//! address, does shaping allow it. A refusal is kept per outlet as the one reason, until the outlet opens again.

use crate::config::Config;
use crate::look_ups::LookUps;
use crate::resolve::Route;
use crate::sessions::{LARGE, Sessions};
use crate::sites::{Destination, Known, LookUp, Sites};
use crate::source;
use crate::trouble::Cause;
use mail::classify::Profiles;
use mail::{Domain, EgressPath, Instant, PoolId, Random, SiteName};
use queue::control::Reason;
use queue::{Candidate, Gate, TlsNeed};
use registry::{EgressSource, Snapshot};
use shaping::{Barrier, NotBefore, Permit, Shaper};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Reasons that are kept; beyond that all are dropped and found anew.
const REASONS_MAX: usize = 100_000;

/// A site that waits for somebody else's connection is looked at again after this time at the latest: the one that
/// was fed in its stead may have had no use for it.
const STARVED_LOOK: Duration = Duration::from_secs(2);

/// How long no connection is opened after one for which we had no descriptor or memory; then one is tried.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// Long enough for the next delivery to the same site, if there is one.
const STARVED_PATIENCE: Duration = Duration::from_millis(200);

/// Sites in the order in which they were refused, each once.
#[derive(Default)]
pub(crate) struct Starved {
    order: VecDeque<SiteName>,
    known: HashSet<SiteName>,
}

/// What a delivery is sent by.
pub(crate) enum Placement {
    Session(u64),
    Connect {
        permit: Permit,
        source: Arc<EgressSource>,
        destination: Arc<Destination>,
        tls: TlsNeed,
    },
    /// No connection is needed to know what comes of it.
    Judge(Cause),
}

/// Everything that decides where a delivery goes.
pub(crate) struct Ways {
    pub sites: Sites,
    pub shaper: Shaper,
    pub sessions: Sessions,
    pub snapshot: Arc<Snapshot>,
    pub profiles: Arc<Profiles>,
    pub config: Arc<Config>,
    pub random: Random,
    /// Domains to look up.
    pub look_ups: LookUps,
    /// Sites that wait for a connection of this process (none), or of their provider.
    pub starved: HashMap<Option<u32>, Starved>,
    pub reasons: HashMap<(PoolId, TlsNeed, SiteName), Reason>,
    pub wants_connection: bool,
    /// There is nothing to open a connection with, and at this time it is tried whether there is.
    pub short_until: Option<Instant>,
    /// Paths whose connections are all taken by mail that needs less of them than the mail that was refused.
    pub wants_checked: Vec<EgressPath>,
}

impl Ways {
    pub fn place(&mut self, candidate: &Candidate<'_>, now: Instant) -> Result<Placement, Gate> {
        let destination = match self.destination(candidate, now) {
            Known::Destination(destination) => destination,
            Known::Nowhere(why) => return Ok(Placement::Judge(Cause::Unresolved(why))),
            Known::Pending => return self.refuse(candidate, Reason::Resolving, Gate::Shut),
        };
        if candidate.tls == TlsNeed::RequireTls && !is_vouched_for(candidate.domain, &destination.route) {
            return Ok(Placement::Judge(Cause::Unvouched));
        }
        let sources = source::choose(&self.snapshot, candidate.pool, &mut self.random);
        if sources.is_empty() {
            let reason = match source::has_any(&self.snapshot, candidate.pool) {
                true => Reason::SourcesHeld,
                false => Reason::NoSource,
            };
            return self.refuse(candidate, reason, Gate::Shut);
        }
        let mut barrier: Option<NotBefore> = None;
        let mut aside: Option<NotBefore> = None;
        let mut reachable = false;
        for source in sources {
            if !reaches(&source, &destination.route) {
                continue;
            }
            reachable = true;
            let path = EgressPath { source: source.name.clone(), site: destination.route.site.clone() };
            if let Err(found) = self.shaper.check_tenant(&path, candidate.tenant, now) {
                aside = Some(sooner(aside, found));
                continue;
            }
            if candidate.octets >= LARGE && self.would_crowd(&path, now) {
                let barrier = NotBefore { barrier: Barrier::Window, at: Some(now + STARVED_LOOK) };
                aside = Some(sooner(aside, barrier));
                continue;
            }
            match self.way(&path, candidate.tls, &source, &destination, now) {
                Ok(placement) => return Ok(placement),
                Err(found) => {
                    self.want_checked(path, candidate.tls, &found.barrier);
                    barrier = Some(sooner(barrier, found));
                }
            }
        }
        if !reachable {
            return Ok(Placement::Judge(Cause::NoCommonFamily));
        }
        let Some(barrier) = barrier else {
            let until = aside.and_then(|aside| aside.at);
            return Err(until.map_or(Gate::Shut, Gate::TenantUntil));
        };
        let gate = match aside {
            None => barrier.at.map_or(Gate::Shut, Gate::Until),
            // What stands in the way on one path is this tenant's alone: others may have that path, so it lets them pass.
            Some(aside) => {
                let times = [aside.at, barrier.at].into_iter().flatten();
                Gate::TenantUntil(times.min().unwrap_or(now + STARVED_LOOK))
            }
        };
        let reason = match barrier.barrier {
            Barrier::Held(why) => Reason::Held(why),
            Barrier::Dead => Reason::Held(Barrier::Dead.sentence()),
            limit @ (Barrier::Window
            | Barrier::Site
            | Barrier::Family
            | Barrier::ConnectionRate
            | Barrier::MessageRate) => Reason::Limit(limit.sentence()),
        };
        self.refuse(candidate, reason, gate)
    }

    fn way(
        &mut self,
        path: &EgressPath,
        tls: TlsNeed,
        source: &Arc<EgressSource>,
        destination: &Arc<Destination>,
        now: Instant,
    ) -> Result<Placement, NotBefore> {
        if let Some(session) = self.sessions.with_room(path, tls) {
            self.shaper.admit_message(path, &destination.limits, now)?;
            return Ok(Placement::Session(session));
        }
        let short = self.short_until.filter(|until| *until > now);
        if short.is_some() || self.sessions.len() >= self.config.connections_max {
            self.wants_connection = true;
            self.starve(None, &path.site);
            let at = short.unwrap_or(now + STARVED_LOOK);
            return Err(NotBefore { barrier: Barrier::Window, at: Some(at) });
        }
        let permit = match self.shaper.admit(path, &destination.limits, now) {
            Err(NotBefore { barrier: Barrier::Family, .. }) => {
                self.starve(destination.limits.family.map(|family| family.number), &path.site);
                return Err(NotBefore { barrier: Barrier::Family, at: Some(now + STARVED_LOOK) });
            }
            admitted => admitted?,
        };
        self.short_until = self.short_until.map(|_| now + SHORT_PAUSE);
        let (source, destination) = (Arc::clone(source), Arc::clone(destination));
        Ok(Placement::Connect { permit, source, destination, tls })
    }

    /// What a new connection says of what we have to connect with. While that is nothing, whatever is open goes on
    /// being used, and one that rests makes way.
    pub fn learn_of_shortage(&mut self, cause: &Cause, now: Instant) {
        // Nothing was connected, so nothing is known.
        if *cause == Cause::Crowded {
            return;
        }
        let short = *cause == Cause::Shortage;
        if short {
            crate::measured::fell_short();
        }
        self.short_until = short.then(|| now + SHORT_PAUSE);
    }

    /// Whether one more large message would take the last connection of the path. It may keep it for minutes, and no
    /// turn helps small mail that finds no connection: one of several is always left for that.
    fn would_crowd(&self, path: &EgressPath, now: Instant) -> bool {
        let window = self.shaper.window(path, now).unwrap_or(u32::MAX) as usize;
        window >= 2 && self.sessions.large_on(path) + 1 >= window
    }

    /// Sessions for other mail never end while there is some; mail with REQUIRETLS would wait for ever.
    fn want_checked(&mut self, path: EgressPath, tls: TlsNeed, barrier: &Barrier) {
        let taken = matches!(barrier, Barrier::Window | Barrier::Site | Barrier::Family);
        if taken && tls == TlsNeed::RequireTls {
            self.wants_checked.push(path);
        }
    }

    /// A connection of the family is free again: the site that waits longest for one.
    pub fn feed(&mut self, family: Option<u32>) -> Option<SiteName> {
        let list = self.starved.get_mut(&family)?;
        let site = list.order.pop_front()?;
        list.known.remove(&site);
        if list.order.is_empty() {
            self.starved.remove(&family);
        }
        Some(site)
    }

    /// How long a connection without work is kept: hardly, while others wait for one like it.
    pub fn patience(&self, destination: &Destination) -> Duration {
        let family = destination.limits.family.map(|family| family.number);
        let starving = [None, family].iter().any(|key| self.starved.contains_key(key));
        if starving { STARVED_PATIENCE.min(destination.idle) } else { destination.idle }
    }

    fn starve(&mut self, family: Option<u32>, site: &SiteName) {
        let list = self.starved.entry(family).or_default();
        if list.known.insert(site.clone()) {
            list.order.push_back(site.clone());
        }
    }

    fn destination(&mut self, candidate: &Candidate<'_>, now: Instant) -> Known {
        let (known, look_up) = self.sites.look(candidate.domain, now);
        if let LookUp::Start(past) = look_up {
            self.look_ups.want(candidate.tenant, candidate.domain.clone(), past);
        }
        known
    }

    fn refuse(&mut self, candidate: &Candidate<'_>, reason: Reason, gate: Gate) -> Result<Placement, Gate> {
        if self.reasons.len() >= REASONS_MAX {
            self.reasons.clear();
        }
        self.reasons.insert((candidate.pool, candidate.tls, candidate.site.clone()), reason);
        Err(gate)
    }
}

/// Whether a good certificate of an exchanger proves that the mail is where it belongs. RFC 8689 §4.2.1 wants the
/// look-up of the exchangers vouched for by DNSSEC or by MTA-STS, and we have neither. What needs no look-up to be
/// believed is a host that lies within the domain itself: whoever lies in the DNS has no certificate for that.
fn is_vouched_for(domain: &Domain, route: &Route) -> bool {
    let own = |host: &str| Domain::parse(host).is_ok_and(|host| host.is_within(domain));
    route.exchangers.iter().all(|exchanger| own(&exchanger.host))
}

fn reaches(source: &EgressSource, route: &Route) -> bool {
    let addresses = route.exchangers.iter().flat_map(|exchanger| &exchanger.addresses);
    addresses.into_iter().any(|address| source::same_family(source.address, *address))
}

/// Of two refusals the one that ends first; one that ends at no known time ends by an event, which opens all.
fn sooner(known: Option<NotBefore>, found: NotBefore) -> NotBefore {
    match known {
        Some(known) if found.at.is_none() || known.at.is_some_and(|at| Some(at) <= found.at) => known,
        Some(_) | None => found,
    }
}
