//! A lane: what one tenant has ready at one outlet, as two lists through the slots. An outlet is a pool at a site.
//!
//! Limits of a site are per address we send from, and a pool is the set of addresses a stream may use; so lanes that
//! compete for the same connections are those of one pool at one site. Lanes exist only while something is ready.

use crate::fairness::{Ring, Since, Turns};
use crate::slot::{NONE, Slot, TlsNeed, Urgency};
use mail::rows::Rows;
use mail::{Instant, PoolId};

#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    pub head: u32,
    pub tail: u32,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub outlet: u32,
    pub tenant: u32,
    /// Octets this tenant may still send in this round; below zero after a large message.
    pub credit: i32,
    pub len: u32,
    /// When it began to wait for its turn.
    pub since: Since,
    lists: [List; 2],
    last_served: Urgency,
}

/// Whether an outlet takes part in the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// In the rotation, or empty.
    Open,
    Until(Instant),
    /// Until somebody reopens the site.
    Shut,
}

#[derive(Debug)]
pub(crate) struct Outlet {
    pub pool: PoolId,
    pub tls: TlsNeed,
    pub site: u32,
    pub ring: Ring,
    pub turns: Turns,
    pub opening: Opening,
    /// Already in the rotation.
    pub listed: bool,
}

impl Lane {
    pub fn new(outlet: u32, tenant: u32) -> Lane {
        let empty = List { head: NONE, tail: NONE };
        Lane {
            outlet,
            tenant,
            credit: 0,
            len: 0,
            since: Since::default(),
            lists: [empty; 2],
            last_served: Urgency::Bulk,
        }
    }

    /// The slot whose turn it is: the kind that was not served last, if it has something.
    pub fn head(&self) -> Option<(u32, Urgency)> {
        let order = match self.last_served {
            Urgency::Bulk => [Urgency::Prompt, Urgency::Bulk],
            Urgency::Prompt => [Urgency::Bulk, Urgency::Prompt],
        };
        order.into_iter().map(|kind| (self.lists[kind.index()].head, kind)).find(|(head, _)| *head != NONE)
    }

    /// The first slot of one kind, or `NONE`.
    pub fn first(&self, kind: Urgency) -> u32 {
        self.lists[kind.index()].head
    }

    pub fn served(&mut self, kind: Urgency) {
        self.last_served = kind;
    }

    pub fn push_back(&mut self, slots: &mut Rows<Slot>, slot: u32, kind: Urgency) {
        let list = &mut self.lists[kind.index()];
        slots[slot].previous = list.tail;
        slots[slot].next = NONE;
        match list.tail {
            NONE => list.head = slot,
            tail => slots[tail].next = slot,
        }
        list.tail = slot;
        self.len += 1;
    }

    pub fn push_front(&mut self, slots: &mut Rows<Slot>, slot: u32, kind: Urgency) {
        let list = &mut self.lists[kind.index()];
        slots[slot].previous = NONE;
        slots[slot].next = list.head;
        match list.head {
            NONE => list.tail = slot,
            head => slots[head].previous = slot,
        }
        list.head = slot;
        self.len += 1;
    }

    pub fn unlink(&mut self, slots: &mut Rows<Slot>, slot: u32, kind: Urgency) {
        let list = &mut self.lists[kind.index()];
        let (previous, next) = (slots[slot].previous, slots[slot].next);
        match previous {
            NONE => list.head = next,
            previous => slots[previous].next = next,
        }
        match next {
            NONE => list.tail = previous,
            next => slots[next].previous = previous,
        }
        self.len -= 1;
    }
}
