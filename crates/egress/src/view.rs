//! The dispatcher as operators and tenants see and stop it: the one reason why a message waits, holds by hand. Pure.

use crate::dispatch::Dispatcher;
use crate::record::Now;
use mail::{EgressPath, MessageId, PoolId, SiteName, TenantId};
use queue::control::{QueueView, Reason, WaitingView};
use queue::{Standing, TlsNeed};
use shaping::{Hold, PathView};

impl Dispatcher {
    /// Every recipient of `message` that is not settled; none if there is none.
    pub fn why(&self, message: MessageId, now: Now) -> Option<Vec<WaitingView>> {
        let places = self.queue.places(message);
        if places.is_empty() {
            return None;
        }
        let view = |place: queue::Place| {
            let (reason, until) = match place.standing {
                Standing::InFlight => (Reason::InFlight, None),
                Standing::TenantHeld => (Reason::TenantHeld, None),
                Standing::DomainHeld => (Reason::DomainSuspended, None),
                Standing::Ready => (Reason::Turn, None),
                Standing::Waiting(at) if place.entry.attempt == 0 => (Reason::NotBefore, Some(now.wall(at))),
                Standing::Waiting(at) => (Reason::Retry, Some(now.wall(at))),
                Standing::Closed(at) => {
                    (self.reason((place.pool, place.flow.tls, &place.site)), at.map(|at| now.wall(at)))
                }
                Standing::Aside(at) => {
                    (self.reason_aside(&place.site, place.flow.tenant, now), Some(now.wall(at)))
                }
            };
            WaitingView {
                message,
                recipient: place.entry.recipient,
                tenant: place.flow.tenant,
                stream: place.flow.stream,
                pool: place.pool,
                domain: place.domain.as_str().to_owned(),
                site: place.site.as_str().to_owned(),
                attempt: place.entry.attempt,
                reason,
                until,
                expires_at: now.wall(place.entry.expires),
            }
        };
        let mut views: Vec<_> = places.into_iter().map(view).collect();
        views.sort_by_key(|view| view.recipient);
        Some(views)
    }

    /// What is ready, by tenant, pool and site; the fullest first.
    pub fn queues(&self, limit: usize, now: Now) -> Vec<QueueView> {
        let view = |lane: queue::LanePlace| {
            let (reason, until) = match lane.standing {
                Standing::TenantHeld => (Some(Reason::TenantHeld), None),
                Standing::DomainHeld => (Some(Reason::DomainSuspended), None),
                Standing::Closed(at) => {
                    (Some(self.reason((lane.pool, lane.tls, &lane.site))), at.map(|at| now.wall(at)))
                }
                Standing::Aside(at) => {
                    (Some(self.reason_aside(&lane.site, lane.tenant, now)), Some(now.wall(at)))
                }
                Standing::Ready | Standing::Waiting(_) | Standing::InFlight => (None, None),
            };
            QueueView {
                tenant: lane.tenant,
                pool: lane.pool,
                site: lane.site.as_str().to_owned(),
                ready: u64::from(lane.ready),
                reason,
                until,
            }
        };
        self.queue.lanes(limit).into_iter().map(view).collect()
    }

    /// Every path that is remembered, as an operator may see it.
    pub fn paths(&self, now: Now) -> Vec<PathView> {
        self.ways.shaper.paths(now.instant).collect()
    }

    /// An operator suspends a path, or says anew until when and why.
    pub fn handle_hold(&mut self, path: &EgressPath, hold: Hold, now: Now) {
        let limits = match self.ways.sites.destination(&path.site) {
            Some(destination) => destination.limits,
            None => shaping::Limits::default(),
        };
        self.ways.shaper.hold(path, &limits, hold, now.instant);
        // It may end sooner than the last one, and what waits is told the new words.
        self.queue.wake_site(&path.site);
    }

    /// Ends the hold of a path, whoever set it.
    pub fn handle_resume(&mut self, path: &EgressPath, now: Now) {
        self.ways.shaper.resume(path, now.instant);
        self.queue.wake_site(&path.site);
    }

    /// Why a tenant steps aside at a site where others go on.
    fn reason_aside(&self, site: &SiteName, tenant: TenantId, now: Now) -> Reason {
        match self.ways.shaper.tenant_hold(site, tenant, now.instant) {
            Some(hold) => Reason::Held(hold.reason.clone()),
            None => Reason::Turn,
        }
    }

    fn reason(&self, (pool, tls, site): (PoolId, TlsNeed, &SiteName)) -> Reason {
        self.ways.reasons.get(&(pool, tls, site.clone())).cloned().unwrap_or(Reason::Turn)
    }
}
