//! Sending domains that are held: their mail stands apart from the lanes, so that the rest of its tenant passes.
//!
//! A lane is one tenant's, whatever its mail is from; a gate that says no to its front would stop all of it. So what is
//! from a held domain is taken out of its lane when its turn comes (`turn.rs`), and stands in one list a domain until
//! the domain is resumed. It expires and is cancelled there as anywhere. While no domain is held, a turn costs one look
//! at an empty map. What may surprise: what stands in a list counts as ready, and what is not due yet is in no list.

use crate::queue::Queue;
use crate::slot::{NONE, Slot, State};
use crate::turn::End;
use mail::rows::Rows;
use mail::{DomainId, Instant};
use std::collections::{HashMap, HashSet};

/// The held domains and what stands apart for them.
#[derive(Default)]
pub(crate) struct Held {
    lists: HashMap<DomainId, List>,
}

/// Linked through the slots as those of a lane are.
struct List {
    head: u32,
    tail: u32,
}

impl Held {
    pub fn has(&self, domain: DomainId) -> bool {
        !self.lists.is_empty() && self.lists.contains_key(&domain)
    }

    /// Every slot that stands apart.
    pub fn slots<'a>(&'a self, slots: &'a Rows<Slot>) -> impl Iterator<Item = u32> {
        self.lists.values().flat_map(|list| {
            let first = (list.head != NONE).then_some(list.head);
            std::iter::successors(first, |slot| Some(slots[*slot].next).filter(|next| *next != NONE))
        })
    }

    fn link(&mut self, slots: &mut Rows<Slot>, (slot, domain): (u32, DomainId), end: &End) {
        let Some(list) = self.lists.get_mut(&domain) else { return };
        let (previous, next) = match end {
            End::Back => (list.tail, NONE),
            End::Front => (NONE, list.head),
        };
        (slots[slot].previous, slots[slot].next) = (previous, next);
        match previous {
            NONE => list.head = slot,
            previous => slots[previous].next = slot,
        }
        match next {
            NONE => list.tail = slot,
            next => slots[next].previous = slot,
        }
    }

    fn unlink(&mut self, slots: &mut Rows<Slot>, (slot, domain): (u32, DomainId)) {
        let Some(list) = self.lists.get_mut(&domain) else { return };
        let (previous, next) = (slots[slot].previous, slots[slot].next);
        match previous {
            NONE => list.head = next,
            previous => slots[previous].next = next,
        }
        match next {
            NONE => list.tail = previous,
            next => slots[next].previous = previous,
        }
    }
}

impl Queue {
    /// Nothing more that is from this domain is handed out until `resume_domain`; the other mail of its tenant is.
    /// Entries still expire.
    pub fn hold_domain(&mut self, domain: DomainId) {
        self.held.lists.entry(domain).or_insert(List { head: NONE, tail: NONE });
    }

    /// Its mail stands in its lanes again, behind what is there. Takes time by how much that is.
    pub fn resume_domain(&mut self, domain: DomainId) {
        let Some(List { head: mut slot, .. }) = self.held.lists.remove(&domain) else { return };
        while slot != NONE {
            let next = self.slots[slot].next;
            self.ready -= 1;
            self.make_ready(slot, End::Back);
            slot = next;
        }
    }

    /// Those that are held, in no order.
    pub fn domains_held(&self) -> Vec<DomainId> {
        self.held.lists.keys().copied().collect()
    }

    /// Those that something waits or is being sent from.
    pub fn sending_domains(&self) -> HashSet<DomainId> {
        self.flows.keys().map(|(_, flow)| flow.sending_domain).collect()
    }

    pub(crate) fn is_held(&self, slot: u32) -> bool {
        self.held.has(self.sending_domain(slot))
    }

    /// Puts a slot that is in no lane, and whose domain is held, into the list of its domain.
    pub(crate) fn park(&mut self, slot: u32, end: &End, expires: Instant) {
        let domain = self.sending_domain(slot);
        self.held.link(&mut self.slots, (slot, domain), end);
        self.slots[slot].state = State::Parked;
        self.ready += 1;
        self.due.set(slot, expires);
    }

    pub(crate) fn unpark(&mut self, slot: u32) {
        let domain = self.sending_domain(slot);
        self.held.unlink(&mut self.slots, (slot, domain));
        self.ready -= 1;
    }

    fn sending_domain(&self, slot: u32) -> DomainId {
        self.flows.key(self.slots[slot].flow).sending_domain
    }
}
