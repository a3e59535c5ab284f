//! Looking at the queue without changing it: where a message stands, what each lane holds, totals.
//!
//! Read by whoever owns the queue, who knows why an outlet is closed and turns this into the views of `control.rs`.

use crate::control::QueueTotals;
use crate::lane::Opening;
use crate::queue::Queue;
use crate::slot::{Entry, Flow, NONE, Slot, State, TlsNeed};
use mail::{Domain, Instant, MessageId, PoolId, SiteName, TenantId};
use std::collections::HashMap;

/// Where one recipient stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Due at that time.
    Waiting(Instant),
    /// In a lane; the outlet is asked in turn.
    Ready,
    /// In a lane whose outlet is closed, until then if that is known.
    Closed(Option<Instant>),
    /// In a lane whose tenant is held.
    TenantHeld,
    /// Due, and what it is from is held.
    DomainHeld,
    /// In a lane that steps aside until then.
    Aside(Instant),
    /// Handed out, and its outcome not known.
    InFlight,
}

/// Where one recipient stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As it was inserted.
    pub entry: Entry,
    /// Whose it is and what it asks for.
    pub flow: Flow,
    /// The pool that it leaves from at present.
    pub pool: PoolId,
    /// Of the address.
    pub domain: Domain,
    /// Where its domain belongs now.
    pub site: SiteName,
    /// What it waits for.
    pub standing: Standing,
}

/// Where a lane stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanePlace {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it leaves from at present.
    pub pool: PoolId,
    /// What its mail asks of the connection.
    pub tls: TlsNeed,
    /// Where it leads.
    pub site: SiteName,
    /// Recipients that are due.
    pub ready: u32,
    /// What its front waits for.
    pub standing: Standing,
}

impl Queue {
    /// Every recipient of `message` that is not settled.
    pub fn places(&self, message: MessageId) -> Vec<Place> {
        let mut places = Vec::new();
        let mut number = self.newest(message);
        while number != NONE {
            let slot = &self.slots[number];
            let standing = match slot.state {
                State::Waiting => Standing::Waiting(self.due.at(number).unwrap_or(slot.expires)),
                State::Parked => Standing::DomainHeld,
                State::Ready if self.is_held(number) => Standing::DomainHeld,
                State::Ready => self.lane_standing(slot.lane),
                State::InFlight | State::InFlightCancelled => Standing::InFlight,
            };
            places.push(Place {
                entry: slot.entry(),
                flow: *self.flows.key(slot.flow),
                pool: self.flows.value(slot.flow).pool,
                domain: self.domains.key(slot.domain).clone(),
                site: self.sites.key(*self.domains.value(slot.domain)).clone(),
                standing,
            });
            number = slot.sibling;
        }
        places.reverse();
        places
    }

    /// The lanes that hold something, and likewise what stands apart from them, at most `limit`, the fullest first.
    pub fn lanes(&self, limit: usize) -> Vec<LanePlace> {
        let mut places = self.lanes_in_turn(limit);
        places.extend(self.lanes_apart());
        places.sort_by_key(|place| std::cmp::Reverse(place.ready));
        places.truncate(limit);
        places
    }

    /// What is from held domains, as the lanes that it would stand in.
    fn lanes_apart(&self) -> impl Iterator<Item = LanePlace> {
        let mut counts: HashMap<_, u32> = HashMap::new();
        for slot in self.held.slots(&self.slots) {
            let Slot { flow, domain, .. } = self.slots[slot];
            let course = self.flows.value(flow);
            let lane = (course.tenant, course.pool, self.flows.key(flow).tls, *self.domains.value(domain));
            *counts.entry(lane).or_default() += 1;
        }
        counts.into_iter().map(|((tenant, pool, tls, site), ready)| LanePlace {
            tenant: self.tenants[tenant as usize].id,
            pool,
            tls,
            site: self.sites.key(site).clone(),
            ready,
            standing: Standing::DomainHeld,
        })
    }

    fn lanes_in_turn(&self, limit: usize) -> Vec<LanePlace> {
        let numbers = self.lanes.keys().map(|(number, _)| (number, self.lanes.value(number)));
        let mut lanes: Vec<_> = numbers.filter(|(_, lane)| lane.len > 0).collect();
        lanes.sort_unstable_by_key(|(_, lane)| std::cmp::Reverse(lane.len));
        lanes.truncate(limit);
        let place = |(number, lane): &(u32, &crate::lane::Lane)| {
            let outlet = self.outlets.value(lane.outlet);
            let tenant = &self.tenants[lane.tenant as usize];
            let standing = self.lane_standing(*number);
            let site = self.sites.key(outlet.site).clone();
            LanePlace {
                tenant: tenant.id,
                pool: outlet.pool,
                tls: outlet.tls,
                site,
                ready: lane.len,
                standing,
            }
        };
        lanes.iter().map(place).collect()
    }

    /// Whether anything of a tenant waits or is being sent.
    pub fn holds(&self, tenant: TenantId) -> bool {
        self.flows.keys().any(|(_, flow)| flow.tenant == tenant)
    }

    /// In constant time; a lane counts until its turn shows that it is empty.
    pub fn totals(&self) -> QueueTotals {
        let waiting = self.len() - self.ready - self.in_flight;
        QueueTotals { waiting, ready: self.ready, in_flight: self.in_flight, lanes: self.lanes.len() }
    }

    fn lane_standing(&self, number: u32) -> Standing {
        let lane = self.lanes.value(number);
        if self.tenants[lane.tenant as usize].held {
            return Standing::TenantHeld;
        }
        let standing = || standing(self.outlets.value(lane.outlet).opening);
        self.resting.at(number).map_or_else(standing, Standing::Aside)
    }
}

fn standing(opening: Opening) -> Standing {
    match opening {
        Opening::Open => Standing::Ready,
        Opening::Until(at) => Standing::Closed(Some(at)),
        Opening::Shut => Standing::Closed(None),
    }
}
