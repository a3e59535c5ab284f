//! Time of a simulated world: what will happen when, and the two clocks that everybody reads.
//!
//! Nothing waits: the clock goes from one entry of the agenda to the next. Entries of one moment happen in the order in
//! which they were made. Wall time can jump, measured time cannot.

use crate::network::Side;
use mail::{Clock, Domain, Instant, Timestamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// 2026-11-23T09:14:09.120Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_425_249_120);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A client wants to be rid of this letter.
    Submit(usize),
    /// The front packet of a line reaches that side.
    Arrive(u64, Side),
    /// The machine at that side of a line may be out of time.
    Alarm(u64, Side),
    /// A site answers the open question.
    Answer(u64),
    /// What came of opening a connection for a session of this life of the house.
    Opened(u64, u64),
    Resolved(u64, Domain),
    /// Work for a life of the house: sign, commit, dispatch, look around.
    Sign(u64),
    Commit(u64),
    Dispatch(u64),
    Look(u64),
    /// The time for an orderly end is over.
    Stop(u64),
    /// A planned fault, by its place in the plan, begins or ends.
    Begin(usize),
    End(usize),
    Restart,
}

#[derive(Default)]
pub struct Agenda {
    entries: BTreeMap<(Instant, u64), Happening>,
    made: u64,
}

impl Agenda {
    pub fn add(&mut self, at: Instant, happening: Happening) {
        self.made += 1;
        self.entries.insert((at, self.made), happening);
    }

    pub fn pop(&mut self, until: Instant) -> Option<(Instant, Happening)> {
        let entry = self.entries.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), happening) = entry.remove_entry();
        Some((at, happening))
    }
}

/// Set by the world only.
#[derive(Default)]
pub struct SimClock {
    micros: AtomicU64,
    /// What wall time is off by.
    jumped_ms: AtomicI64,
}

impl SimClock {
    pub fn set(&self, now: Instant) {
        self.micros.store(now.as_micros(), Ordering::Relaxed);
    }

    pub fn jump(&self, millis: i64) {
        self.jumped_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn timestamp(&self) -> Timestamp {
        let measured = START.saturating_add(Duration::from_micros(self.micros.load(Ordering::Relaxed)));
        Timestamp::from_millis(measured.as_millis() + self.jumped_ms.load(Ordering::Relaxed))
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.micros.load(Ordering::Relaxed))
    }
}
