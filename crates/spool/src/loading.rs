//! Finding what waits from before, while the journal already takes mail.
//!
//! A record that settles a message lies behind it, often in the last segment, so nothing can be handed out before all
//! is read; but what is accepted now needs none of it. This thread reads all segments, oldest first, into a ledger of
//! its own and joins it with the one that the commit thread keeps. Until then nothing is removed or copied.
//!
//! What may surprise: a segment that cannot be read for want of descriptors or memory is not left out; the thread stands
//! still before it and tries again (`shortage.rs`). And it ends early when the journal is closed, and whoever waits for
//! it then gets nothing.

use crate::Position;
use crate::error::is_passing;
use crate::reading::{Begun, Reading};
use crate::segment::file_name;
use crate::shared::Shared;
use crate::shortage::{Shortage, Waited};
use mail::{Instant, MessageId};
use std::io;
use std::iter::Peekable;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Segments read, and to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// So far.
    pub segments_read: usize,
    /// In all.
    pub segments: usize,
}

impl Progress {
    /// Below 100 until all is known: the segment that is written in comes last and is not counted.
    pub fn percent(self) -> u8 {
        (self.segments_read * 100 / (self.segments + 1)).min(99) as u8
    }
}

/// What was found, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) settled: u64,
    pub(crate) unknown: u64,
    pub(crate) waiting: usize,
}

/// How far the thread is, for those who wait for it.
pub(crate) struct Loading {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    progress: Progress,
    /// All is read, or never will be.
    loaded: Option<Loaded>,
    waiting: Vec<(Position, MessageId)>,
    /// Nobody stands still before what cannot be read.
    closed: bool,
}

impl Loading {
    pub(crate) fn new(segments: usize) -> Loading {
        let progress = Progress { segments_read: 0, segments };
        let state = State { progress, loaded: None, waiting: Vec::new(), closed: false };
        Loading { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// None when there is nothing to wait for any more.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let state = self.lock();
        state.loaded.is_none().then_some(state.progress)
    }

    pub(crate) fn until_loaded(&self) -> Loaded {
        let state = self.changed.wait_while(self.lock(), |state| state.loaded.is_none());
        state.unwrap_or_else(PoisonError::into_inner).loaded.unwrap_or_default()
    }

    /// The messages that wait from before, in the order of the log; given once.
    pub(crate) fn take_waiting(&self) -> Vec<(Position, MessageId)> {
        self.until_loaded();
        std::mem::take(&mut self.lock().waiting)
    }

    /// The journal closes: nobody may wait on, and the thread stops at the next segment.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.end();
    }

    /// Waits so long, or until the journal closes.
    pub(crate) fn pause(&self, time: Duration) -> Waited {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !state.closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed { Waited::Closed } else { Waited::TryAgain }
    }

    fn end(&self) {
        self.lock().loaded.get_or_insert_default();
        self.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        self.lock().loaded.is_some()
    }

    fn step(&self) {
        self.lock().progress.segments_read += 1;
    }

    fn finish(&self, loaded: Loaded, waiting: Vec<(Position, MessageId)>) {
        let mut state = self.lock();
        if state.loaded.is_none() {
            (state.loaded, state.waiting) = (Some(loaded), waiting);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Loader {
    shared: Arc<Shared>,
    segments: Peekable<std::vec::IntoIter<u32>>,
    last: Option<(u32, u64)>,
    reading: Reading,
    started: Instant,
    shortage: Shortage,
    /// What was read in part.
    begun: Option<Begun>,
    /// The segment that the last step could not read for want of descriptors or memory.
    short: Option<(u32, io::Error)>,
}

impl Loader {
    pub(crate) fn new(shared: Arc<Shared>, segments: Vec<u32>, last: Option<(u32, u64)>) -> Loader {
        let (reading, started) = (Reading::new(Arc::clone(&shared.quarantine)), shared.clock.instant());
        let segments = segments.into_iter().peekable();
        Loader {
            shared,
            segments,
            last,
            reading,
            started,
            shortage: Shortage::none(),
            begun: None,
            short: None,
        }
    }

    pub(crate) fn run(self) {
        let shared = Arc::clone(&self.shared);
        // Whatever ends this thread, nobody waits for it for ever.
        let _end = EndOnDrop(&shared.loading);
        let mut loader = Some(self);
        while let Some(more) = loader {
            loader = more.step().map(Loader::rested);
        }
    }

    /// After a step that fell short it is time for another one.
    fn rested(mut self) -> Loader {
        if let Some((segment, error)) = self.short.take() {
            // The next step sees whether the journal is closed.
            self.shortage.wait(&self.shared, Position::beginning_of(segment), &error);
        }
        self
    }

    /// Reads one segment, if there are descriptors and memory for it; behind the last there is no more to do.
    pub(crate) fn step(mut self) -> Option<Loader> {
        if self.shared.loading.has_ended() {
            return None;
        }
        let Some(segment) = self.segments.peek().copied() else { return self.finish() };
        match self.read(segment, None) {
            Err(error) if is_passing(&error) => return Some(self.fell_short(segment, error)),
            Err(error) => self.reading.unreadable_segment(segment, &error),
            Ok(()) => {}
        }
        self.shortage.is_over();
        self.segments.next();
        self.shared.loading.step();
        Some(self)
    }

    fn fell_short(self, segment: u32, error: io::Error) -> Loader {
        Loader { short: Some((segment, error)), ..self }
    }

    fn finish(mut self) -> Option<Loader> {
        if let Some((segment, end)) = self.last
            && let Err(error) = self.read(segment, Some(end))
        {
            if is_passing(&error) {
                return Some(self.fell_short(segment, error));
            }
            // It was read a moment ago and is written on, so it cannot be set aside: better to begin again.
            tracing::error!(segment, %error, "the last segment cannot be read any more");
            self.shared.seal();
            self.shared.loading.end();
            return None;
        }
        let Loader { shared, reading: Reading { ledger, unknown, .. }, started, .. } = self;
        let waiting = ledger.in_order();
        let loaded = Loaded { settled: ledger.settled, unknown, waiting: waiting.len() };
        shared.ledger().complete_with(ledger);
        let took = shared.clock.instant().saturating_since(started);
        tracing::info!(
            unsettled = loaded.waiting,
            settled = loaded.settled,
            quarantined = shared.quarantine.len(),
            duration_ms = took.as_millis() as u64,
            "all that waits in the journal is known"
        );
        shared.marks.look_again();
        shared.loading.finish(loaded, waiting);
        None
    }

    /// To the end of it, or until there is nothing to read with.
    fn read(&mut self, segment: u32, end: Option<u64>) -> io::Result<()> {
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let file = self.shared.disk.open(&self.shared.config.directory.join(file_name(segment)))?;
                match end {
                    Some(end) => Reading::beginning_of_active(segment, file, end),
                    None => self.reading.sealed_segment(segment, file)?,
                }
            }
        };
        let read = self.reading.go_on(&mut begun);
        self.begun = read.as_ref().is_err_and(is_passing).then_some(begun);
        read
    }
}

struct EndOnDrop<'a>(&'a Loading);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
