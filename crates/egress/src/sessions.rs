//! The connections as the dispatcher sees them: which path, what they carry, which one can take more. Pure.
//!
//! A connection that is fast gets a few deliveries ahead, so that it never waits for us between two transactions; a
//! slow one gets one at a time, so that nothing waits behind it while others are free, and so does one that carries a
//! large message. Idle ones are used last in,
//! first out: what is too many ages and is closed.

use crate::sites::Destination;
use mail::{EgressPath, Instant};
use queue::{Delivery, TlsNeed};
use registry::Tally;
use shaping::Permit;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Deliveries that a fast connection is given at once.
pub(crate) const AHEAD: usize = 4;
/// From this many octets on a message is large: it may keep its connection for minutes.
pub(crate) const LARGE: u32 = 1024 * 1024;
/// A transaction below this is fast.
pub(crate) const FAST: Duration = Duration::from_millis(100);

pub(crate) struct Session {
    pub path: EgressPath,
    pub permit: Permit,
    pub destination: Arc<Destination>,
    /// Whose mail it was opened for.
    pub tls: TlsNeed,
    pub orders: VecDeque<Flying>,
    /// Deliveries that it may be given in all.
    pub messages_max: u32,
    /// Deliveries given in all.
    pub given: u32,
    /// Deliveries that came back in all.
    pub done: u32,
    pub fast: bool,
    /// No connection was opened for it, and none will be.
    pub unused: bool,
    /// Takes nothing more; a close is under way.
    pub closing: bool,
    /// Set while it has nothing to do: when it is closed for that.
    pub idle_until: Option<Instant>,
    /// In a list of sessions with room.
    listed: bool,
}

/// A delivery that a session has.
pub(crate) struct Flying {
    pub order: u64,
    pub delivery: Delivery,
    pub since: Instant,
}

impl Flying {
    pub fn is_large(&self) -> bool {
        self.delivery.entry.octets >= LARGE
    }
}

#[derive(Default)]
pub(crate) struct Sessions {
    rows: HashMap<u64, Session>,
    /// Large messages that are under way, per path.
    large: Tally<EgressPath>,
    /// Sessions that may have room, per path; checked when they are taken.
    room: HashMap<EgressPath, Vec<u64>>,
    /// The same of sessions that were opened for mail with REQUIRETLS.
    room_checked: HashMap<EgressPath, Vec<u64>>,
    idle: BinaryHeap<Reverse<(Instant, u64)>>,
    next: u64,
}

impl Session {
    fn has_room(&self) -> bool {
        let ahead = self.fast && !self.orders.iter().any(Flying::is_large);
        let places = if ahead { AHEAD } else { 1 };
        !self.closing && self.orders.len() < places && self.given < self.messages_max
    }
}

impl Sessions {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn open(&mut self, permit: Permit, destination: Arc<Destination>, tls: TlsNeed) -> u64 {
        self.next += 1;
        let session = Session {
            path: permit.path().clone(),
            messages_max: permit.messages(),
            permit,
            destination,
            tls,
            orders: VecDeque::with_capacity(AHEAD),
            given: 0,
            done: 0,
            fast: false,
            unused: false,
            closing: false,
            idle_until: None,
            listed: false,
        };
        self.rows.insert(self.next, session);
        self.next
    }

    /// Gives a session a delivery.
    pub fn load(&mut self, id: u64, flying: Flying) {
        let Some(row) = self.rows.get_mut(&id) else { unreachable!("session {id} was just found") };
        if flying.is_large() {
            self.large.add(row.path.clone());
        }
        row.given += 1;
        row.idle_until = None;
        row.orders.push_back(flying);
    }

    /// Takes a delivery back. Says whether that made room for another large message.
    pub fn unload(&mut self, path: &EgressPath, flying: &Flying) -> bool {
        if !flying.is_large() {
            return false;
        }
        self.large.remove(path);
        true
    }

    /// Large messages under way on `path`.
    pub fn large_on(&self, path: &EgressPath) -> usize {
        self.large.of(path)
    }

    pub fn session_mut(&mut self, id: u64) -> Option<&mut Session> {
        self.rows.get_mut(&id)
    }

    pub fn remove(&mut self, id: u64) -> Option<Session> {
        self.rows.remove(&id)
    }

    pub fn ids(&self) -> Vec<u64> {
        self.rows.keys().copied().collect()
    }

    /// A session on `path` that can take a delivery now. It stays listed. Mail with REQUIRETLS is given to a session
    /// that was opened for such mail only; other mail may ride along there.
    pub fn with_room(&mut self, path: &EgressPath, tls: TlsNeed) -> Option<u64> {
        let own = match tls {
            TlsNeed::AsSite => room_in(&mut self.room, &mut self.rows, path),
            TlsNeed::RequireTls => None,
        };
        own.or_else(|| room_in(&mut self.room_checked, &mut self.rows, path))
    }

    /// A session that could make way for one with checked TLS on the same path: the one with the least to do. None
    /// while such a one is closing already.
    pub fn to_yield(&self, path: &EgressPath) -> Option<u64> {
        let others = || self.rows.iter().filter(|(_, row)| row.tls == TlsNeed::AsSite && row.path == *path);
        if others().any(|(_, row)| row.closing) {
            return None;
        }
        others().min_by_key(|(id, row)| (row.orders.len(), **id)).map(|(id, _)| *id)
    }

    /// Lists a session that may have room again.
    pub fn list(&mut self, id: u64) {
        let Some(session) = self.rows.get_mut(&id) else { return };
        if session.has_room() && !session.listed {
            session.listed = true;
            let room = match session.tls {
                TlsNeed::AsSite => &mut self.room,
                TlsNeed::RequireTls => &mut self.room_checked,
            };
            room.entry(session.path.clone()).or_default().push(id);
        }
    }

    /// The session has nothing to do, and is closed if that is still so at `until`.
    pub fn rest(&mut self, id: u64, until: Instant) {
        let Some(session) = self.rows.get_mut(&id) else { return };
        session.idle_until = Some(until);
        self.idle.push(Reverse((until, id)));
    }

    pub fn next_idle(&self) -> Option<Instant> {
        self.idle.peek().map(|Reverse((at, _))| *at)
    }

    /// A session that has rested long enough to be closed.
    pub fn take_idle(&mut self, now: Instant) -> Option<u64> {
        while let Some(Reverse((at, id))) = self.idle.peek().copied() {
            if at > now {
                return None;
            }
            self.idle.pop();
            if self.rested(id).is_some_and(|rested| rested <= at) {
                return Some(id);
            }
        }
        None
    }

    /// The session that has rested longest, however long that is: makes room for a busier site.
    pub fn take_oldest_idle(&mut self) -> Option<u64> {
        while let Some(Reverse((at, id))) = self.idle.pop() {
            if self.rested(id).is_some_and(|until| until == at) {
                return Some(id);
            }
        }
        None
    }

    /// When the present rest of a session ends; none if it works.
    fn rested(&self, id: u64) -> Option<Instant> {
        self.rows.get(&id).filter(|session| !session.closing)?.idle_until
    }
}

fn room_in(
    room: &mut HashMap<EgressPath, Vec<u64>>,
    rows: &mut HashMap<u64, Session>,
    path: &EgressPath,
) -> Option<u64> {
    let list = room.get_mut(path)?;
    while let Some(id) = list.last().copied() {
        match rows.get_mut(&id) {
            Some(session) if session.has_room() => return Some(id),
            Some(session) => session.listed = false,
            None => {}
        }
        list.pop();
    }
    room.remove(path);
    None
}
