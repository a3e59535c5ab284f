//! Removing segments that nobody needs, oldest first, on a thread of its own.
//!
//! A segment goes when every message lying in it is settled, every reader is past it, it is not the one being
//! written, and every older one is gone. The order matters: the record that a message is settled lies behind the
//! message, and if it went first, a restart would deliver again. So each removal is made durable before the next.
//!
//! So that one message that waits for days does not keep all later segments, what waits in the oldest is copied to the
//! end of the log when the journal has become large and is mostly settled (`forward.rs`).

use crate::forward::{Copied, copy_forward};
use crate::ledger::Ledger;
use crate::segment::file_name;
use crate::shared::Shared;
use crate::{Config, Position};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Where a follower is, as long as it lives.
pub(crate) struct Place {
    shared: Arc<Shared>,
    number: u64,
    segment: u32,
}

impl Place {
    pub(crate) fn new(shared: Arc<Shared>, at: Position) -> Place {
        let mut state = shared.marks.lock();
        let number = state.next_follower;
        state.next_follower += 1;
        state.followers.insert(number, at.segment());
        drop(state);
        Place { shared, number, segment: at.segment() }
    }

    pub(crate) fn go_to(&mut self, position: Position) {
        if std::mem::replace(&mut self.segment, position.segment()) != position.segment() {
            self.shared.marks.follower(self.number, Some(position.segment()));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.marks.follower(self.number, None);
    }
}

/// The readers' marks, and the bell for the thread that removes.
pub(crate) struct Marks {
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    readers: BTreeMap<String, Position>,
    /// The segment each is in.
    followers: BTreeMap<u64, u32>,
    next_follower: u64,
    look: bool,
    /// The thread waits for the bell.
    resting: bool,
    closed: bool,
}

impl Marks {
    /// Readers that are expected hold everything until they report.
    pub(crate) fn new(expected: &[String]) -> Marks {
        let readers = expected.iter().map(|name| (name.clone(), Position::START)).collect();
        let state = State {
            readers,
            followers: BTreeMap::new(),
            next_follower: 0,
            look: true,
            resting: false,
            closed: false,
        };
        Marks { state: Mutex::new(state), bell: Condvar::new() }
    }

    fn follower(&self, number: u64, segment: Option<u32>) {
        let mut state = self.lock();
        match segment {
            Some(segment) => drop(state.followers.insert(number, segment)),
            None => drop(state.followers.remove(&number)),
        }
        state.look = true;
        self.bell.notify_all();
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

    /// Waits until something changed; what is needed then, or None at the end.
    fn wait(&self) -> Option<Needed> {
        let mut state = self.lock();
        state.resting = true;
        self.bell.notify_all();
        let state = self.bell.wait_while(state, |state| !state.look && !state.closed);
        state.unwrap_or_else(PoisonError::into_inner).needed()
    }

    /// The same without waiting: None also if nothing changed.
    fn look_now(&self) -> Option<Needed> {
        let mut state = self.lock();
        if state.look { state.needed() } else { None }
    }

    /// Sleeps, unless the journal ends.
    pub(crate) fn rest(&self, time: Duration) {
        if !time.is_zero() {
            drop(self.bell.wait_timeout_while(self.lock(), time, |state| !state.closed));
        }
    }

    /// Returns when the thread has done all there is to do.
    #[cfg(test)]
    pub(crate) fn until_at_rest(&self) {
        let busy = |state: &mut State| !state.closed && (state.look || !state.resting);
        drop(self.bell.wait_while(self.lock(), busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn needed(&mut self) -> Option<Needed> {
        (self.look, self.resting) = (false, false);
        let by_readers = self.readers.values().map(|mark| mark.segment()).min().unwrap_or(u32::MAX);
        let by_followers = self.followers.values().copied().min().unwrap_or(u32::MAX);
        (!self.closed).then_some(Needed { by_readers, by_followers })
    }
}

/// What the trim thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until something changes.
    Rest,
    Remove(u32),
    CopyForward(u32),
}

/// What segments are needed for by those who read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Readers' marks: nothing from here on is removed.
    by_readers: u32,
    /// Live followers: nothing from here on is copied forward, for they have not met its messages yet.
    by_followers: u32,
}

/// The oldest segment decides: it goes, it is made to go, or it stays and every younger one with it.
pub(crate) fn next_step(ledger: &Ledger, needed: Needed, config: &Config) -> Step {
    let Some((segment, state)) = ledger.segments.first_key_value() else { return Step::Rest };
    let written = ledger.segments.last_key_value().is_some_and(|(youngest, _)| youngest == segment);
    if written || !ledger.complete || state.stays() || *segment >= needed.by_readers {
        return Step::Rest;
    }
    if state.open == 0 {
        return Step::Remove(*segment);
    }
    let octets = ledger.octets();
    let worth_it = octets > config.copy_forward_octets_min
        && ledger.open_octets() * 100 <= octets * u64::from(config.copy_forward_live_percent_max);
    if worth_it && !state.stuck && *segment < needed.by_followers {
        return Step::CopyForward(*segment);
    }
    Step::Rest
}

pub(crate) struct Keeper(Arc<Shared>);

/// Why the thread stops looking until the bell rings again, or for good.
enum Pause {
    UntilTheBell,
    ForGood,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Keeper {
        Keeper(shared)
    }

    pub(crate) fn run(self) {
        while let Some(needed) = self.0.marks.wait() {
            panics::place("journal-trim");
            self.work_and_measure(needed, &mut || {});
        }
    }

    /// What has to be done now. `commit` has what was queued written.
    pub(crate) fn step(&self, commit: &mut dyn FnMut()) {
        if let Some(needed) = self.0.marks.look_now() {
            self.work_and_measure(needed, commit);
        }
    }

    fn work_and_measure(&self, needed: Needed, commit: &mut dyn FnMut()) {
        let pause = self.work(needed, commit);
        self.0.measure();
        match pause {
            Pause::UntilTheBell => {}
            Pause::ForGood => self.0.marks.close(),
        }
    }

    fn work(&self, needed: Needed, commit: &mut dyn FnMut()) -> Pause {
        loop {
            let step = next_step(&self.0.ledger(), needed, &self.0.config);
            match step {
                Step::Rest => return Pause::UntilTheBell,
                Step::Remove(segment) => match self.remove(segment) {
                    Ok(()) => {}
                    Err(Unremoved::StillThere(error)) => {
                        // Tried again when something else is settled; until then nothing younger goes.
                        tracing::warn!(segment, %error, "cannot remove a segment");
                        return Pause::UntilTheBell;
                    }
                    Err(Unremoved::NotDurable(error)) => {
                        // As with any failed sync, a later success would prove nothing. If a younger segment went and
                        // this one came back, what is settled would be delivered again.
                        tracing::error!(segment, %error, "a removal cannot be made durable; nothing is removed until the next start");
                        return Pause::ForGood;
                    }
                },
                Step::CopyForward(segment) => match copy_forward(&self.0, segment, commit) {
                    Copied::All => tracing::debug!(segment, "what waited in a segment was copied forward"),
                    Copied::Stuck => {
                        tracing::warn!(
                            segment,
                            "a message cannot be copied forward; its segment stays until it is settled"
                        );
                        self.0.ledger().segments.entry(segment).or_default().stuck = true;
                    }
                    Copied::NotNow => return Pause::UntilTheBell,
                },
            }
        }
    }

    fn remove(&self, segment: u32) -> Result<(), Unremoved> {
        let directory = &self.0.config.directory;
        match self.0.disk.remove(&directory.join(file_name(segment))) {
            // An earlier try got this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(Unremoved::StillThere)?,
        }
        self.0.disk.sync_directory(directory).map_err(Unremoved::NotDurable)?;
        self.0.ledger().segments.remove(&segment);
        self.0.forget_file(segment);
        metrics::counter!("posthouse_spool_segments_removed_total").increment(1);
        tracing::debug!(segment, "segment removed");
        Ok(())
    }
}

enum Unremoved {
    StillThere(io::Error),
    NotDurable(io::Error),
}
