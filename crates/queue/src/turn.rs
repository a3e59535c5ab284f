//! How entries move: from their time into a lane, from the lane's front to whoever sends them.
//!
//! The inner half of `queue.rs`: outlets come and go with their lanes, lanes come and go with what is ready in them,
//! and both are cleaned up only when their turn comes. Nothing here asks the gate.

use crate::fairness::{Turns, cost_of_turn, grant};
use crate::lane::{Lane, Opening, Outlet};
use crate::queue::{Course, Delivery, Queue, Ticket};
use crate::slot::{Flow, NONE, State, TlsNeed, Urgency};
use mail::{Instant, PoolId};
use std::collections::VecDeque;

/// Entries that become due in one call before something is picked: keeps a single `poll` short.
const DUE_PER_POLL: u32 = 64;

pub(crate) enum End {
    Front,
    Back,
}

impl Queue {
    /// Moves timers on: at most `DUE_PER_POLL` of them, or one that expired. Says whether more are left.
    pub(crate) fn wake(&mut self, now: Instant) -> (Option<u32>, bool) {
        while let Some((_, outlet)) = self.wakeups.first().filter(|(at, _)| *at <= now) {
            self.open(outlet);
        }
        while let Some((_, lane)) = self.resting.first().filter(|(at, _)| *at <= now) {
            self.step_back(lane);
        }
        for _ in 0..DUE_PER_POLL {
            match self.due.first() {
                Some((at, slot)) if at <= now => {
                    if self.slots[slot].expires <= now {
                        return (Some(slot), true);
                    }
                    self.make_ready(slot, End::Back);
                }
                _ => return (None, false),
            }
        }
        (None, true)
    }

    /// The lane and slot whose turn it is. Cleans the ring on the way: empty lanes go, held tenants and what is from
    /// held domains are parked, entries whose domain moved go to their new site.
    pub(crate) fn front(&mut self, outlet: u32) -> Option<(u32, u32, Urgency)> {
        loop {
            let row = self.outlets.get(outlet)?;
            let (lane_number, site) = (*row.ring.front()?, row.site);
            let lane = self.lanes.value_mut(lane_number);
            let tenant = &mut self.tenants[lane.tenant as usize];
            match lane.head() {
                None => {
                    self.outlets.value_mut(outlet).ring.pop_front();
                    self.retire(lane_number);
                }
                Some(_) if tenant.held => {
                    tenant.parked.push(lane_number);
                    self.outlets.value_mut(outlet).ring.pop_front();
                }
                Some((slot, _)) if *self.domains.value(self.slots[slot].domain) != site => {
                    self.unlink(slot);
                    self.make_ready(slot, End::Back);
                }
                Some((slot, _)) if self.held.has(self.flows.key(self.slots[slot].flow).sending_domain) => {
                    self.unlink(slot);
                    self.park(slot, &End::Back, self.slots[slot].expires);
                }
                Some((slot, kind)) => {
                    if lane.credit <= 0 {
                        let grant = grant(tenant.weight);
                        lane.credit += grant;
                        self.outlets.value_mut(outlet).turns.granted(grant);
                    }
                    if lane.credit > 0 {
                        return Some((lane_number, slot, kind));
                    }
                    self.outlets.value_mut(outlet).ring.rotate_left(1);
                }
            }
        }
    }

    pub(crate) fn serve(&mut self, outlet: u32, lane: u32, slot: u32, kind: Urgency) -> Delivery {
        let cost = cost_of_turn(self.slots[slot].octets) as i32;
        let row = self.lanes.value_mut(lane);
        row.credit -= cost;
        row.served(kind);
        let (spent, credit, since) = (row.credit <= 0, row.credit, row.since);
        let weight = self.tenants[row.tenant as usize].weight;
        let place = self.outlets.value_mut(outlet);
        let wait = place.turns.waited(since);
        place.turns.charged(cost);
        let since = place.turns.since(place.ring.len(), credit, grant(weight));
        self.lanes.value_mut(lane).since = since;
        let mut delivery = self.hand_out(slot);
        delivery.turn = Some(wait);
        if self.lanes.value(lane).len == 0 {
            self.outlets.value_mut(outlet).ring.pop_front();
            self.retire(lane);
        } else if spent {
            self.outlets.value_mut(outlet).ring.rotate_left(1);
        }
        if self.outlets.get(outlet).is_some() {
            self.list(outlet);
        }
        delivery
    }

    /// Takes the lane at the front of `outlet` out of its ring until `at`. It keeps what it has, credit included.
    pub(crate) fn step_aside(&mut self, outlet: u32, lane: u32, at: Instant) {
        self.outlets.value_mut(outlet).ring.pop_front();
        self.resting.set(lane, at);
        self.list(outlet);
    }

    pub(crate) fn step_back(&mut self, lane: u32) {
        self.resting.remove(lane);
        let outlet = self.lanes.value(lane).outlet;
        self.outlets.value_mut(outlet).ring.push_back(lane);
        self.list(outlet);
    }

    pub(crate) fn hand_out(&mut self, slot: u32) -> Delivery {
        match self.slots[slot].state {
            State::Ready => self.unlink(slot),
            State::Parked => self.unpark(slot),
            State::Waiting | State::InFlight | State::InFlightCancelled => {}
        }
        self.due.remove(slot);
        self.in_flight += 1;
        let row = &mut self.slots[slot];
        row.state = State::InFlight;
        Delivery {
            ticket: Ticket(slot),
            entry: row.entry(),
            flow: *self.flows.key(row.flow),
            domain: self.domains.key(row.domain).clone(),
            site: self.sites.key(*self.domains.value(row.domain)).clone(),
            turn: None,
            due_ms: row.due_ms,
        }
    }

    pub(crate) fn make_ready(&mut self, slot: u32, end: End) {
        let row = &self.slots[slot];
        let (expires, Flow { urgency, tls, sending_domain, .. }) = (row.expires, *self.flows.key(row.flow));
        if self.held.has(sending_domain) {
            return self.park(slot, &end, expires);
        }
        let Course { tenant, pool } = *self.flows.value(row.flow);
        let site = *self.domains.value(row.domain);
        let outlet = match self.outlets.find(&(pool, tls, site)) {
            Some(outlet) => outlet,
            None => self.found_outlet(pool, tls, site),
        };
        let lane = match self.lanes.find(&(outlet, tenant)) {
            Some(lane) => lane,
            None => {
                self.outlets.retain(outlet);
                let lane = self.lanes.acquire(&(outlet, tenant), || Lane::new(outlet, tenant));
                self.join(outlet, lane);
                lane
            }
        };
        match end {
            End::Back => self.lanes.value_mut(lane).push_back(&mut self.slots, slot, urgency),
            End::Front => self.lanes.value_mut(lane).push_front(&mut self.slots, slot, urgency),
        }
        self.slots[slot].lane = lane;
        self.slots[slot].state = State::Ready;
        self.ready += 1;
        self.due.set(slot, expires);
        self.list(outlet);
    }

    /// A lane comes into the ring of its outlet, behind all others.
    pub(crate) fn join(&mut self, outlet: u32, lane: u32) {
        let row = self.lanes.value_mut(lane);
        let weight = self.tenants[row.tenant as usize].weight;
        let place = self.outlets.value_mut(outlet);
        place.turns.join();
        place.ring.push_back(lane);
        row.since = place.turns.since(place.ring.len(), row.credit, grant(weight));
    }

    /// A new outlet. It belongs to its lanes: the first one is made right after, the last one takes it along.
    fn found_outlet(&mut self, pool: PoolId, tls: TlsNeed, site: u32) -> u32 {
        self.sites.retain(site);
        let make = || Outlet {
            pool,
            tls,
            site,
            ring: VecDeque::new(),
            turns: Turns::default(),
            opening: Opening::Open,
            listed: false,
        };
        let outlet = self.outlets.acquire(&(pool, tls, site), make);
        self.outlets.disown(outlet);
        let outlets = self.sites.value_mut(site);
        match tls {
            TlsNeed::AsSite => outlets.push(outlet),
            // Seldom and hard to please: it is the first to be asked when the site is open again.
            TlsNeed::RequireTls => outlets.insert(0, outlet),
        }
        outlet
    }

    fn retire(&mut self, lane: u32) {
        let Some(lane) = self.lanes.release(lane) else { return };
        if let Some(outlet) = self.outlets.release(lane.outlet) {
            self.wakeups.remove(lane.outlet);
            self.sites.value_mut(outlet.site).retain(|known| *known != lane.outlet);
            self.sites.release(outlet.site);
        }
    }

    pub(crate) fn unlink(&mut self, slot: u32) {
        let row = &self.slots[slot];
        let (lane, urgency) = (row.lane, self.flows.key(row.flow).urgency);
        self.lanes.value_mut(lane).unlink(&mut self.slots, slot, urgency);
        self.slots[slot].lane = NONE;
        self.ready -= 1;
    }

    pub(crate) fn open(&mut self, outlet: u32) {
        self.outlets.value_mut(outlet).opening = Opening::Open;
        self.wakeups.remove(outlet);
        self.list(outlet);
    }

    pub(crate) fn list(&mut self, outlet: u32) {
        let row = self.outlets.value_mut(outlet);
        if row.opening == Opening::Open && !row.listed && !row.ring.is_empty() {
            row.listed = true;
            self.rotation.push_back(outlet);
        }
    }
}
