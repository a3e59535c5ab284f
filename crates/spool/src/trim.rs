//! Removing segments that nobody needs, oldest first, on a thread of its own.
//!
//! A segment goes when every message accepted in it is settled, every reader is past it, it is not the one being
//! written, and every older one is gone. The order matters: the record that a message is settled lies behind the
//! message, and if it went first, a restart would deliver again. So each removal is made durable before the next.
//! What this costs: one message that waits for days keeps all later segments.

use crate::Position;
use crate::journal::Shared;
use crate::segment::file_name;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far one named reader has come; segments behind all readers can go.
pub struct ReaderMark {
    shared: Arc<Shared>,
    name: String,
}

impl ReaderMark {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> ReaderMark {
        let mark = ReaderMark { shared, name: name.to_owned() };
        mark.past(Position::START);
        mark
    }

    /// Everything before `position` (a `Follower::position`) has been dealt with for good. Never goes back.
    pub fn past(&self, position: Position) {
        self.shared.marks.past(&self.name, position);
    }
}

/// The readers' marks, and the bell for the thread that removes.
pub(crate) struct Marks {
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    readers: BTreeMap<String, Position>,
    look: bool,
    /// The thread waits for the bell.
    resting: bool,
    closed: bool,
}

impl Marks {
    /// Readers that are expected hold everything until they report.
    pub(crate) fn new(expected: &[String]) -> Marks {
        let readers = expected.iter().map(|name| (name.clone(), Position::START)).collect();
        Marks {
            state: Mutex::new(State { readers, look: true, resting: false, closed: false }),
            bell: Condvar::new(),
        }
    }

    fn past(&self, name: &str, position: Position) {
        let mut state = self.lock();
        let before = match state.readers.get_mut(name) {
            Some(mark) => std::mem::replace(mark, position.max(*mark)),
            None => {
                state.readers.insert(name.to_owned(), position);
                position
            }
        };
        // Only the step into another segment can free one.
        if position.segment() > before.segment() {
            state.look = true;
            self.bell.notify_all();
        }
    }

    pub(crate) fn look_again(&self) {
        let mut state = self.lock();
        if !state.look {
            state.look = true;
            self.bell.notify_all();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    /// Waits until something changed; the segment that no reader needs anything before, or None at the end.
    fn wait(&self) -> Option<u32> {
        let mut state = self.lock();
        state.resting = true;
        self.bell.notify_all();
        let state = self.bell.wait_while(state, |state| !state.look && !state.closed);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        (state.look, state.resting) = (false, false);
        let needed = state.readers.values().map(|mark| mark.segment()).min().unwrap_or(u32::MAX);
        (!state.closed).then_some(needed)
    }

    /// Returns when the thread has done all there is to do.
    #[cfg(test)]
    pub(crate) fn until_at_rest(&self) {
        let busy = |state: &mut State| state.look || !(state.resting || state.closed);
        drop(self.bell.wait_while(self.lock(), busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Keeper(Arc<Shared>);

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Keeper {
        Keeper(shared)
    }

    pub(crate) fn run(self) {
        while let Some(needed) = self.0.marks.wait() {
            while let Some(segment) = self.removable(needed) {
                if let Err(error) = self.remove(segment) {
                    // Tried again when something else is settled; until then nothing younger goes.
                    tracing::warn!(segment, %error, "cannot remove a segment");
                    break;
                }
            }
        }
    }

    /// The oldest segment, if it can go.
    fn removable(&self, needed: u32) -> Option<u32> {
        let ledger = self.0.ledger();
        let (segment, state) = ledger.segments.iter().next()?;
        let active = ledger.segments.keys().next_back()?;
        (segment != active && *segment < needed && state.open == 0 && !state.pinned).then_some(*segment)
    }

    fn remove(&self, segment: u32) -> io::Result<()> {
        let directory = &self.0.config.directory;
        match self.0.disk.remove(&directory.join(file_name(segment))) {
            // An earlier try got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        self.0.disk.sync_directory(directory)?;
        self.0.ledger().segments.remove(&segment);
        self.0.forget_file(segment);
        tracing::debug!(segment, "segment removed");
        Ok(())
    }
}
