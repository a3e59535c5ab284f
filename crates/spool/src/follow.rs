//! Followers: the log in order, for whoever wants to know what happened. They see committed records only.
//!
//! A follower at the end is served from the records the commit thread just wrote, without decoding anything; one
//! that is behind reads the segments. A follower is one cursor: two readers are two followers.
//!
//! What may surprise: what the disk does not give now is not damage. A follower stops before it and tries again, because
//! what it passed over would be lost to whoever follows (`patience.rs`). If it lasts, a piece is quarantined, a segment
//! that cannot be opened is a gap, and either way the segment is kept for somebody to mend.

use crate::error::is_passing;
use crate::patience::{Again, PAUSE_MIN, Patience, Unread};
use crate::record::Logged;
use crate::segment::{self, Found, Scan};
use crate::shared::Shared;
use crate::trim::Place;
use crate::{Fault, Position, Record, stepped, wire};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Reads the log in order, committed records only.
pub struct Follower {
    shared: Arc<Shared>,
    tip: watch::Receiver<crate::shared::Tip>,
    cursor: Position,
    /// The segment being read, when not served from memory.
    scan: Option<Scan>,
    missed: Option<Missed>,
    patience: Patience,
    /// The disk does not give what comes next, and not for the first time.
    stopped: Option<Told>,
    /// No segment from here on is copied forward under its eyes.
    place: Place,
}

/// What was gone before it could be read. Messages of there that wait still lie in the log as copies, and for this
/// follower they are new.
#[derive(Debug, Clone, Copy)]
struct Missed {
    from: Position,
    to: Position,
    /// Copies behind this were made after the follower came by.
    until: Position,
}

/// Counts as long as it lives.
struct Told(Arc<Shared>);

impl Told {
    fn new(shared: &Arc<Shared>) -> Told {
        shared.stopped_followers.fetch_add(1, Ordering::Relaxed);
        Told(Arc::clone(shared))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.stopped_followers.fetch_sub(1, Ordering::Relaxed);
    }
}

type Batch = Vec<(Position, Arc<Record>)>;

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, from: Position) -> Follower {
        let tip = shared.tip.subscribe();
        let place = Place::new(Arc::clone(&shared), from);
        let patience = Patience::new(Duration::from_secs(shared.config.read_retry_seconds_max));
        Follower { shared, tip, cursor: from, scan: None, missed: None, patience, stopped: None, place }
    }

    /// At least one and at most `max` records; waits for them. `Fault::Gap` once if segments are gone, then goes on
    /// behind the gap; `Fault::Closed` or `Fault::Sealed` when no more will come and everything was read.
    /// Cancel safe: nothing is skipped when the future is dropped.
    pub async fn next_batch(&mut self, max: usize) -> Result<Batch, Fault> {
        loop {
            let tip = *self.tip.borrow_and_update();
            self.missed = self.missed.filter(|missed| self.cursor < missed.until);
            if self.cursor > tip.end {
                // The cursor is of a journal that is not this one any more.
                return Err(self.gap(Position::START, tip.end));
            }
            if self.cursor == tip.end {
                if let Some(end) = tip.ended {
                    return Err(end.into());
                }
                // The sender lives in `self.shared`.
                drop(self.tip.changed().await);
                continue;
            }
            let max = max.max(1);
            // Memory holds no copies.
            let recent = match self.missed {
                Some(_) => None,
                None => self.shared.recent().batch(self.cursor, tip.end, max),
            };
            if let Some((batch, cursor)) = recent {
                self.scan = None;
                self.go_to(cursor);
                return Ok(batch);
            }
            let batch = self.read(tip.end, max).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Where the next batch begins: what a cursor stores.
    pub fn position(&self) -> Position {
        self.cursor
    }

    /// Whether the disk does not give what comes next. It is asked again whenever the next batch is asked for.
    pub fn is_stopped(&self) -> bool {
        self.patience.is_stopped()
    }

    async fn read(&mut self, end: Position, max: usize) -> Result<Batch, Fault> {
        let scan = self.scan.take();
        let unread = self.patience.unread(self.cursor, self.shared.clock.instant());
        let task = Task { cursor: self.cursor, end, max, missed: self.missed, unread };
        let read = stepped::read(&self.shared, move |shared| read_batch(shared, scan, task));
        match read.await {
            Ok((batch, scan, cursor)) => {
                if self.cursor == Position::START && cursor.segment() > 1 {
                    self.missed = Some(Missed { from: self.cursor, to: cursor, until: end });
                }
                self.scan = scan;
                self.go_to(cursor);
                Ok(batch)
            }
            Err(Fault::Gap { resumes_at, .. }) => Err(self.gap(resumes_at, end)),
            Err(Fault::Read { segment, source }) if is_passing(&source) => {
                tracing::warn!(segment, error = %source, "a segment cannot be opened now; reading it again in a moment");
                tokio::time::sleep(PAUSE_MIN).await;
                Ok(Vec::new())
            }
            Err(fault @ Fault::Read { .. }) if unread == Unread::Stop => {
                tokio::time::sleep(self.stop(&fault)).await;
                Ok(Vec::new())
            }
            Err(Fault::Read { segment, source }) => Err(self.pass_over(segment, &source, end)),
            Err(fault) => Err(fault),
        }
    }

    /// Says when to try again.
    fn stop(&mut self, fault: &Fault) -> Duration {
        let Again { after, lasts } = self.patience.stop(self.cursor, self.shared.clock.instant());
        if lasts && self.stopped.is_none() {
            let error = fault as &dyn std::error::Error;
            tracing::warn!(position = %self.cursor, error, "a piece of the journal cannot be read; a reader waits before it");
            self.stopped = Some(Told::new(&self.shared));
        }
        after
    }

    /// The rest of a segment that cannot be opened at all.
    fn pass_over(&mut self, segment: u32, error: &io::Error, end: Position) -> Fault {
        self.shared.quarantine.list_segment(segment, error);
        let next = {
            let mut ledger = self.shared.ledger();
            ledger.pin(segment);
            ledger.segments.range(segment + 1..).next().map(|(next, _)| Position::beginning_of(*next))
        };
        // The ledger may know of a segment that the tip does not show yet.
        self.gap(next.map_or(end, |next| next.min(end)), end)
    }

    fn go_to(&mut self, cursor: Position) {
        if self.cursor != cursor {
            self.stopped = None;
        }
        self.patience.go_to(cursor, self.shared.clock.instant());
        self.cursor = cursor;
        self.place.go_to(cursor);
    }

    fn gap(&mut self, resumes_at: Position, end: Position) -> Fault {
        let from = self.cursor;
        self.missed = Some(Missed { from, to: resumes_at, until: end });
        self.scan = None;
        self.go_to(resumes_at);
        Fault::Gap { from, resumes_at }
    }
}

struct Task {
    cursor: Position,
    end: Position,
    max: usize,
    missed: Option<Missed>,
    unread: Unread,
}

/// Reads on from `cursor` in one segment. The batch may be empty when only the cursor moved.
fn read_batch(
    shared: &Shared,
    scan: Option<Scan>,
    Task { cursor, end, max, missed, unread }: Task,
) -> Result<(Batch, Option<Scan>, Position), Fault> {
    let segment = cursor.segment();
    let (next, octets) = {
        let ledger = shared.ledger();
        let next = ledger.segments.range(segment + 1..).next().map(|(number, _)| *number);
        // One that recovery could not open is passed over: it is in quarantine, and the rest must be told.
        let readable = ledger.segments.get(&segment).filter(|state| !state.unreadable);
        (next, readable.map(|state| state.octets))
    };
    let Some(octets) = octets else {
        let resumes_at = Position::beginning_of(next.unwrap_or(end.segment()));
        // From the start means from the oldest there is.
        let nothing_missing = cursor == Position::START;
        return if nothing_missing {
            Ok((Vec::new(), None, resumes_at))
        } else {
            Err(Fault::Gap { from: cursor, resumes_at })
        };
    };
    let octets = if segment == end.segment() { u64::from(end.offset()) } else { octets };
    let file = match shared.file(segment) {
        Ok(file) => file,
        // One that was removed a moment ago is gone from the ledger in the next.
        Err(error) => return Err(Fault::read(segment, error)),
    };
    let reusable = scan.filter(|scan| scan.position() == cursor);
    let mut scan =
        reusable.unwrap_or_else(|| Scan::new(Arc::clone(&file), cursor, octets, segment::Bodies::Skip));
    scan.extend(octets);
    let mut batch = Vec::new();
    while batch.len() < max {
        match scan.next().map_err(|error| Fault::read(segment, error))? {
            Some(Found::Frame { position, header, meta }) => {
                match wire::decode(header.kind, header.version, &meta) {
                    Some(logged) => batch.extend(told(logged, missed).map(|record| (position, record))),
                    None => shared.set_aside(&*file, position, header.len()),
                }
            }
            // Zeros stand where the disk gave nothing. What is behind them is read anew with the piece.
            Some(Found::Damage { position, .. }) if scan.met_read_errors() && unread == Unread::Stop => {
                if batch.is_empty() && position == cursor {
                    return Err(Fault::read(segment, io::Error::other("a piece of it cannot be read")));
                }
                return Ok((batch, None, position));
            }
            Some(Found::Damage { position, octets }) => {
                shared.set_aside(&*file, position, octets);
                if scan.met_read_errors() {
                    // Not damage, as far as anybody knows: another start may read it.
                    shared.ledger().pin(segment);
                }
            }
            // The ledger may know of a segment that the tip does not show yet.
            None => match next.filter(|_| segment < end.segment()) {
                Some(next) => return Ok((batch, None, Position::beginning_of(next))),
                None => break,
            },
        }
    }
    let cursor = scan.position();
    Ok((batch, Some(scan), cursor))
}

/// What a follower is told of a frame. A copy is nothing new, unless the follower has missed what it repeats.
fn told(logged: Logged, missed: Option<Missed>) -> Option<Arc<Record>> {
    match logged {
        Logged::Record(record) => Some(record),
        Logged::Moved(moved) => {
            let is_news = missed.is_some_and(|missed| missed.from <= moved.from && moved.from < missed.to);
            is_news.then(|| Arc::new(Record::Accepted(Arc::clone(&moved.accepted))))
        }
    }
}

/// The records written last, in order and without holes.
pub(crate) struct Recent {
    records: VecDeque<(Position, Arc<Record>)>,
    end: Position,
    records_max: usize,
}

impl Recent {
    pub(crate) fn new(records_max: usize) -> Recent {
        Recent { records: VecDeque::new(), end: Position::START, records_max }
    }

    pub(crate) fn extend(&mut self, group: impl Iterator<Item = (Position, Arc<Record>)>, end: Position) {
        self.records.extend(group);
        self.end = end;
        let surplus = self.records.len().saturating_sub(self.records_max);
        self.records.drain(..surplus);
    }

    /// Up to `max` records from `cursor` on and before `end`, and where they end; None if memory does not reach back
    /// that far.
    fn batch(&self, cursor: Position, end: Position, max: usize) -> Option<(Batch, Position)> {
        if self.records.front().is_none_or(|(oldest, _)| *oldest > cursor) {
            return None;
        }
        let from = self.records.partition_point(|(position, _)| *position < cursor);
        let to = self.records.partition_point(|(position, _)| *position < end).min(from.saturating_add(max));
        if from >= to {
            return None;
        }
        let batch = self.records.range(from..to).cloned().collect();
        let next = self.records.get(to).map_or(self.end, |(position, _)| *position);
        Some((batch, next))
    }
}
