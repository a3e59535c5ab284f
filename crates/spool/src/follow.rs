//! Followers: the log in order, for whoever wants to know what happened. They see committed records only.
//!
//! A follower at the end is served from the records the commit thread just wrote, without decoding anything; one
//! that is behind reads the segments. A follower is one cursor: two readers are two followers.
//!
//! What may surprise: what the disk does not give now is not damage. A follower stops before it and tries again, because
//! what it passes over comes late to whoever follows (`patience.rs`). If it lasts, a piece is quarantined, a segment that
//! cannot be opened is a gap, and either way it is owed (`owed.rs`): the segment is kept, and who follows is told when it
//! can be read. Want of descriptors or memory is waited for as long as it takes: the next segment would not be had either.

use crate::error::is_passing;
use crate::owed::Debts;
use crate::patience::{Again, Cause, Patience, Unread};
use crate::record::Logged;
use crate::segment::{self, Found, Scan};
use crate::shared::Shared;
use crate::stepped::{self, Begun};
use crate::trim::Place;
use crate::{Fault, Owed, Position, Record, Span, wire};
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
    /// A read that somebody began to wait for.
    begun: Option<Reading>,
    /// Before the next try at what could not be read.
    retry_at: Option<tokio::time::Instant>,
    /// Who is told when what was passed over can be read.
    debts: Option<Arc<Debts>>,
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
pub(crate) struct Told(Arc<Shared>);

impl Told {
    pub(crate) fn new(shared: &Arc<Shared>) -> Told {
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
        Follower {
            shared,
            tip,
            cursor: from,
            scan: None,
            begun: None,
            retry_at: None,
            debts: None,
            missed: None,
            patience,
            stopped: None,
            place,
        }
    }

    /// What it passes over from now on is owed there. Without, it is kept for somebody to mend.
    pub fn owed(&mut self) -> Owed {
        let debts = Debts::new(Arc::clone(&self.shared));
        self.debts = Some(Arc::clone(&debts));
        Owed::new(debts)
    }

    /// Reads on from `to`, where it was before. What is owed of there is passed over at once when it is met again: it was
    /// waited for, and is looked at by whoever it is owed to.
    pub fn go_back(&mut self, to: Position) {
        // What cannot be read again after all is waited for like anything else.
        self.patience = Patience::new(Duration::from_secs(self.shared.config.read_retry_seconds_max));
        (self.scan, self.begun, self.retry_at) = (None, None, None);
        self.go_to(to);
    }

    /// At least one and at most `max` records (at least one if `max` is 0); waits for them.
    /// Cancel safe: nothing is skipped when the future is dropped, and a read that was begun goes on for the next call.
    ///
    /// # Errors
    /// `Gap` once if segments are gone or one was passed over because it cannot be opened; the next call goes
    /// on behind it. If the cursor lies beyond the end, so is of another journal, `Gap` leads back to the
    /// start. `Closed` or `Sealed` when no more will come and everything was read; `Closed` also if the
    /// runtime shuts down. What the disk does not give is no error: it is waited for and then passed over.
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
                None if self.begun.is_some() => None,
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
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
            self.retry_at = None;
        }
        let reading = match &mut self.begun {
            Some(reading) => reading,
            None => {
                let unread = self.unread();
                let (scan, task) =
                    (self.scan.take(), Task { cursor: self.cursor, end, max, missed: self.missed, unread });
                let read = stepped::begin(&self.shared, move |shared| read_batch(shared, scan, task));
                self.begun.insert(Reading { read, end, unread })
            }
        };
        let (end, unread) = (reading.end, reading.unread);
        let read = reading.read.ended().await;
        self.begun = None;
        match read {
            Ok(read) => {
                let read = read.at_most(max);
                read.passed.into_iter().for_each(|span| self.owe(span));
                if self.cursor == Position::START && read.cursor.segment() > 1 {
                    self.missed = Some(Missed { from: self.cursor, to: read.cursor, until: end });
                }
                self.scan = read.scan;
                self.go_to(read.cursor);
                Ok(read.batch)
            }
            Err(Fault::Gap { resumes_at, .. }) => {
                let segment = self.cursor.segment();
                let there = self.shared.ledger().segments.contains_key(&segment);
                if there {
                    self.owe(Span { from: self.cursor, to: resumes_at });
                }
                Err(self.gap(resumes_at, end))
            }
            Err(fault) => match unreadable(&fault) {
                None => Err(fault),
                Some((segment, source)) if unread == Unread::PassOver && !is_passing(source) => {
                    Err(self.pass_over(segment, source, end))
                }
                Some((_, source)) => {
                    let cause = if is_passing(source) { Cause::Shortage } else { Cause::Disk };
                    let after = self.stop(&fault, cause);
                    self.retry_at = Some(tokio::time::Instant::now() + after);
                    Ok(Vec::new())
                }
            },
        }
    }

    fn unread(&mut self) -> Unread {
        let is_owed = self.debts.as_ref().is_some_and(|debts| debts.has(self.cursor));
        match is_owed {
            true => Unread::PassOver,
            false => self.patience.unread(self.cursor, self.shared.clock.instant()),
        }
    }

    /// Says when to try again.
    fn stop(&mut self, fault: &Fault, cause: Cause) -> Duration {
        let Again { after, lasts } = self.patience.stop(self.cursor, cause, self.shared.clock.instant());
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
            let ledger = self.shared.ledger();
            ledger.segments.range(segment + 1..).next().map(|(next, _)| Position::beginning_of(*next))
        };
        // The ledger may know of a segment that the tip does not show yet.
        let to = next.map_or(end, |next| next.min(end));
        self.owe(Span { from: self.cursor, to });
        self.gap(to, end)
    }

    /// It was not given, and not damaged as far as anybody knows.
    fn owe(&self, span: Span) {
        match &self.debts {
            Some(debts) => debts.meet(span),
            None => self.shared.ledger().pin(span.from.segment()),
        }
    }

    fn go_to(&mut self, cursor: Position) {
        if self.cursor != cursor {
            self.stopped = None;
        }
        self.patience.go_to(cursor);
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

/// A read under way, and what it was begun with.
struct Reading {
    read: Begun<Ahead>,
    end: Position,
    unread: Unread,
}

/// What was read. The batch may be empty when only the cursor moved.
struct Ahead {
    batch: Batch,
    scan: Option<Scan>,
    cursor: Position,
    /// What the disk did not give of it.
    passed: Vec<Span>,
}

impl Ahead {
    fn at(cursor: Position) -> Ahead {
        Ahead { batch: Vec::new(), scan: None, cursor, passed: Vec::new() }
    }

    /// It was begun for somebody who wanted more: the rest is read again.
    fn at_most(mut self, max: usize) -> Ahead {
        if let Some((rest, _)) = self.batch.get(max) {
            (self.cursor, self.scan) = (*rest, None);
            self.passed.retain(|span| span.from < *rest);
            self.batch.truncate(max);
        }
        self
    }
}

/// The segment that could not be read, if that is what happened.
fn unreadable(fault: &Fault) -> Option<(u32, &io::Error)> {
    match fault {
        Fault::Read { segment, source } => Some((*segment, &**source)),
        _ => None,
    }
}

/// Reads on from `cursor` in one segment.
fn read_batch(
    shared: &Shared,
    scan: Option<Scan>,
    Task { cursor, end, max, missed, unread }: Task,
) -> Result<Ahead, Fault> {
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
            Ok(Ahead::at(resumes_at))
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
    let mut ahead = Ahead::at(cursor);
    while ahead.batch.len() < max {
        match scan.next().map_err(|error| Fault::read(segment, error))? {
            Some(Found::Frame { position, header, meta }) => {
                match wire::decode(header.kind, header.version, &meta) {
                    Some(logged) => {
                        let missed = missed.filter(|missed| position < missed.until);
                        ahead.batch.extend(told(logged, missed).map(|record| (position, record)));
                    }
                    None => shared.set_aside(&*file, position, header.len()),
                }
            }
            // Zeros stand where the disk gave nothing. What is behind them is read anew with the piece.
            Some(Found::Damage { position, .. }) if scan.met_read_errors() && unread == Unread::Stop => {
                if ahead.batch.is_empty() && position == cursor {
                    return Err(Fault::read(segment, io::Error::other("a piece of it cannot be read")));
                }
                return Ok(Ahead { cursor: position, ..ahead });
            }
            Some(Found::Damage { position, octets }) => {
                shared.set_aside(&*file, position, octets);
                if scan.met_read_errors() {
                    ahead.passed.push(Span { from: position, to: scan.position() });
                }
            }
            // The ledger may know of a segment that the tip does not show yet.
            None => match next.filter(|_| segment < end.segment()) {
                Some(next) => return Ok(Ahead { cursor: Position::beginning_of(next), ..ahead }),
                None => break,
            },
        }
    }
    Ok(Ahead { cursor: scan.position(), scan: Some(scan), ..ahead })
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
