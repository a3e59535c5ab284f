//! The queue as one value: insert what waits, poll for what is next, settle it or let it try again.
//!
//! An entry waits for its time, then stands in the lane of its tenant at its outlet (pool × need × site), then is handed
//! out with a ticket that must come back. Outlets take turns; inside an outlet tenants take turns (`fairness.rs`).
//! Whether an outlet may send now is not decided here: `poll` asks the gate it is given, and remembers a no until
//! the time that was named or until `reopen_site`. So nothing is polled in vain and nothing ticks.
//!
//! A domain belongs to a site, at first to one of its own name, until `assign_site` moves it (`moves.rs`).
//!
//! Bounded by what is accepted: one slot a recipient (72 octets), 16 for its timer, about 10 to find its message.

use crate::due::Due;
use crate::fairness::TurnWait;
use crate::held::Held;
use crate::lane::{Lane, Opening, Outlet};
use crate::register::Register;
use crate::slot::{Entry, Flow, NONE, Slot, State, TlsNeed, low_ms};
use crate::turn::End;
use mail::rows::{ByMessage, Rows};
use mail::{Domain, Instant, MessageId, PoolId, SiteName, StreamId, TenantId};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Everything that waits, and whose turn it is. One owner, no locks.
#[derive(Default)]
pub struct Queue {
    pub(crate) slots: Rows<Slot>,
    pub(crate) due: Due,
    /// The recipient of each message that came last; the others are its siblings.
    messages: ByMessage,
    pub(crate) flows: Register<Flow, Course>,
    /// Each domain and its site.
    pub(crate) domains: Register<Domain, u32>,
    /// Each site and its outlets.
    pub(crate) sites: Register<SiteName, Vec<u32>>,
    /// By pool, need and site.
    pub(crate) outlets: Register<(PoolId, TlsNeed, u32), Outlet>,
    /// By outlet and tenant.
    pub(crate) lanes: Register<(u32, u32), Lane>,
    /// Bounded by the registry: a tenant is never forgotten.
    pub(crate) tenants: Vec<Tenant>,
    tenant_numbers: HashMap<TenantId, u32>,
    /// Open outlets with something in their ring.
    pub(crate) rotation: VecDeque<u32>,
    /// When outlets open by themselves; one time an outlet at most.
    pub(crate) wakeups: Due,
    /// When lanes that step aside stand in their ring again.
    pub(crate) resting: Due,
    /// Sending domains of which nothing is handed out.
    pub(crate) held: Held,
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
}

/// What is known of a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub tenant: u32,
    /// The pool that it leaves from at present.
    pub pool: PoolId,
}

pub(crate) struct Tenant {
    pub id: TenantId,
    pub weight: u32,
    pub held: bool,
    /// Lanes taken out of their rings while the tenant is held.
    pub parked: Vec<u32>,
}

/// Where an entry is for, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The pool to leave from, if nobody of its flow waits yet; else what `assign_pools` said last counts.
    pub pool: PoolId,
    /// Of the address; where it leads is `site`.
    pub domain: &'a Domain,
    /// Where the domain belongs, if nobody waits for it yet; else what `assign_site` said last counts.
    pub site: &'a SiteName,
}

/// The right to say what became of an entry that was handed out. Exactly one exists for it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an entry that is handed out must be settled, retried or given back"]
pub struct Ticket(pub(crate) u32);

/// An entry that was handed out.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Must come back.
    pub ticket: Ticket,
    /// As it was inserted, with one attempt more once it is retried.
    pub entry: Entry,
    /// Whose it is and what it asks for.
    pub flow: Flow,
    /// Of the address.
    pub domain: Domain,
    /// Where its domain belongs now.
    pub site: SiteName,
    /// How its lane waited for its turn; none if it was taken out of turn.
    pub turn: Option<TurnWait>,
    pub(crate) due_ms: u32,
}

impl Delivery {
    /// How long it has been due at `now`.
    pub fn waited(&self, now: Instant) -> Duration {
        let ms = low_ms(now).wrapping_sub(self.due_ms);
        // Looked at before it was due, by cancelling or expiry: it has not been waiting.
        Duration::from_millis(if ms > u32::MAX / 2 { 0 } else { u64::from(ms) })
    }
}

/// What `poll` found to be next.
#[derive(Debug, PartialEq, Eq)]
pub enum Polled {
    /// The gate was open for this one.
    Deliver(Delivery),
    /// Its time is over; the gate was not asked.
    Expired(Delivery),
}

/// Who stands at the front of an outlet.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its pool at present.
    pub pool: PoolId,
    /// What its mail asks of the connection.
    pub tls: TlsNeed,
    /// Where it leads.
    pub site: &'a SiteName,
    /// Of the one recipient at the front.
    pub domain: &'a Domain,
    /// Whose turn it is there.
    pub tenant: TenantId,
    /// Of the one recipient at the front.
    pub stream: StreamId,
    /// Of the one recipient at the front.
    pub message: MessageId,
    /// Octets.
    pub octets: u32,
}

/// The answer to: may this outlet send now?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may: the entry is handed out.
    Open,
    /// Ask again then.
    Until(Instant),
    /// This tenant steps aside until then; the others go on.
    TenantUntil(Instant),
    /// Not before `reopen_site`.
    Shut,
}

/// What became of an entry that was to wait again.
#[derive(Debug, PartialEq, Eq)]
pub enum Retried {
    /// It waits for its time.
    Waiting,
    /// It was cancelled while in flight: settle it as that.
    Cancelled(Delivery),
}

impl Queue {
    /// Nothing waits.
    pub fn new() -> Queue {
        Queue::default()
    }

    /// Takes an entry that is due at `due`; if that is not after `now`, it stands in its lane at once, in the order
    /// of the calls.
    pub fn insert(&mut self, entry: Entry, flow: &Flow, to: Destination<'_>, due: Instant, now: Instant) {
        let tenant = self.tenant_number(flow.tenant);
        let flow = self.flows.acquire(flow, || Course { tenant, pool: to.pool });
        let domain = match self.domains.find(to.domain) {
            Some(number) => {
                self.domains.retain(number);
                number
            }
            None => {
                let site = self.sites.acquire(to.site, Vec::new);
                self.domains.acquire(to.domain, || site)
            }
        };
        let sibling = self.newest(entry.message);
        let number = self.slots.insert(Slot::new(entry, flow, domain, sibling, due));
        self.messages.insert(entry.message, number, |slot| self.slots[slot].message);
        if due <= now && entry.expires > now {
            self.make_ready(number, End::Back);
        } else {
            self.due.set(number, due.min(entry.expires));
        }
    }

    /// Every recipient that is not settled.
    pub fn len(&self) -> u64 {
        self.slots.len()
    }

    /// Nothing waits and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next thing to do at `now`, if any. `gate` is asked about the front of each open outlet in turn.
    pub fn poll(&mut self, now: Instant, gate: &mut dyn FnMut(&Candidate<'_>) -> Gate) -> Option<Polled> {
        loop {
            let (expired, more) = self.wake(now);
            if let Some(slot) = expired {
                return Some(Polled::Expired(self.hand_out(slot)));
            }
            while let Some(outlet) = self.rotation.pop_front() {
                self.outlets.value_mut(outlet).listed = false;
                let Some((lane, slot, kind)) = self.front(outlet) else { continue };
                match gate(&self.candidate(slot)) {
                    Gate::Open => return Some(Polled::Deliver(self.serve(outlet, lane, slot, kind))),
                    Gate::TenantUntil(at) if at > now => self.step_aside(outlet, lane, at),
                    Gate::Until(at) if at > now => {
                        self.outlets.value_mut(outlet).opening = Opening::Until(at);
                        self.wakeups.set(outlet, at);
                    }
                    // A time that is over already must not spin: look again when something changes.
                    Gate::Until(_) | Gate::TenantUntil(_) | Gate::Shut => {
                        self.outlets.value_mut(outlet).opening = Opening::Shut;
                    }
                }
            }
            if !more {
                return None;
            }
        }
    }

    /// When `poll` may have something new, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if !self.rotation.is_empty() {
            return Some(Instant::ZERO);
        }
        let times = [&self.due, &self.wakeups, &self.resting];
        times.into_iter().filter_map(Due::first).map(|(at, _)| at).min()
    }

    /// It is over: delivered, failed, expired, cancelled.
    pub fn settle(&mut self, ticket: Ticket) {
        self.in_flight -= 1;
        self.forget(ticket.0);
    }

    /// An attempt was made and it shall be made again at `due`, or expire before that.
    pub fn retry(&mut self, mut delivery: Delivery, due: Instant) -> Retried {
        let number = delivery.ticket.0;
        let slot = &mut self.slots[number];
        slot.attempt = slot.attempt.saturating_add(1);
        delivery.entry.attempt = u32::from(slot.attempt);
        if slot.state == State::InFlightCancelled {
            return Retried::Cancelled(delivery);
        }
        slot.state = State::Waiting;
        slot.due_ms = low_ms(due);
        self.in_flight -= 1;
        let at = due.min(slot.expires);
        self.due.set(number, at);
        Retried::Waiting
    }

    /// No attempt was made: it goes back to the front of its lane.
    pub fn give_back(&mut self, delivery: Delivery) -> Retried {
        let number = delivery.ticket.0;
        if self.slots[number].state == State::InFlightCancelled {
            return Retried::Cancelled(delivery);
        }
        self.in_flight -= 1;
        self.make_ready(number, End::Front);
        Retried::Waiting
    }

    /// Takes every recipient of `message` out. Those in flight come back as `Retried::Cancelled`, if at all.
    pub fn cancel(&mut self, message: MessageId) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut slot = self.newest(message);
        while slot != NONE {
            match self.slots[slot].state {
                State::Waiting | State::Ready | State::Parked => taken.push(self.hand_out(slot)),
                State::InFlight => self.slots[slot].state = State::InFlightCancelled,
                State::InFlightCancelled => {}
            }
            slot = self.slots[slot].sibling;
        }
        taken
    }

    /// A tenant's share against others, 1 to 100.
    pub fn set_weight(&mut self, tenant: TenantId, weight: u32) {
        let tenant = self.tenant_number(tenant);
        self.tenants[tenant as usize].weight = weight;
    }

    /// Nothing more of this tenant is handed out until `resume_tenant`. Entries still expire.
    pub fn hold_tenant(&mut self, tenant: TenantId) {
        let tenant = self.tenant_number(tenant);
        self.tenants[tenant as usize].held = true;
    }

    /// Its lanes take their turns again.
    pub fn resume_tenant(&mut self, tenant: TenantId) {
        let tenant = self.tenant_number(tenant);
        self.tenants[tenant as usize].held = false;
        for lane in std::mem::take(&mut self.tenants[tenant as usize].parked) {
            let outlet = self.lanes.value(lane).outlet;
            self.join(outlet, lane);
            self.list(outlet);
        }
    }

    fn candidate(&self, slot: u32) -> Candidate<'_> {
        let row = &self.slots[slot];
        let flow = self.flows.key(row.flow);
        Candidate {
            pool: self.flows.value(row.flow).pool,
            tls: flow.tls,
            site: self.sites.key(*self.domains.value(row.domain)),
            domain: self.domains.key(row.domain),
            tenant: flow.tenant,
            stream: flow.stream,
            message: row.message,
            octets: row.octets,
        }
    }

    /// The recipient of `message` that came last, or `NONE`.
    pub(crate) fn newest(&self, message: MessageId) -> u32 {
        self.messages.find(message, |slot| self.slots[slot].message).unwrap_or(NONE)
    }

    fn forget(&mut self, slot: u32) {
        let Slot { message, sibling, flow, domain, .. } = self.slots[slot];
        let first = self.newest(message);
        if first != slot {
            let mut before = first;
            while self.slots[before].sibling != slot {
                before = self.slots[before].sibling;
            }
            self.slots[before].sibling = sibling;
        } else if sibling == NONE {
            self.messages.remove(message, |slot| self.slots[slot].message);
        } else {
            self.messages.insert(message, sibling, |slot| self.slots[slot].message);
        }
        self.slots.remove(slot);
        self.flows.release(flow);
        if let Some(site) = self.domains.release(domain) {
            self.sites.release(site);
        }
    }

    fn tenant_number(&mut self, id: TenantId) -> u32 {
        *self.tenant_numbers.entry(id).or_insert_with(|| {
            self.tenants.push(Tenant { id, weight: 1, held: false, parked: Vec::new() });
            (self.tenants.len() - 1) as u32
        })
    }
}
