//! Followers: the log in order, for whoever wants to know what happened. They see committed records only.
//!
//! A follower at the end is served from the records the commit thread just wrote, without decoding anything; one
//! that is behind reads the segments. A follower is one cursor: two readers are two followers.

use crate::journal::Shared;
use crate::segment::{self, Found, Scan};
use crate::{Fault, Position, Record, wire};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads the log in order, committed records only.
pub struct Follower {
    shared: Arc<Shared>,
    tip: watch::Receiver<crate::journal::Tip>,
    cursor: Position,
    /// The segment being read, when not served from memory.
    scan: Option<Scan>,
}

type Batch = Vec<(Position, Arc<Record>)>;

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, from: Position) -> Follower {
        let tip = shared.tip.subscribe();
        Follower { shared, tip, cursor: from, scan: None }
    }

    /// At least one and at most `max` records; waits for them. `Fault::Gap` once if segments are gone, then goes on
    /// behind the gap; `Fault::Closed` or `Fault::Sealed` when no more will come and everything was read.
    /// Cancel safe: nothing is skipped when the future is dropped.
    pub async fn next_batch(&mut self, max: usize) -> Result<Batch, Fault> {
        loop {
            let tip = *self.tip.borrow_and_update();
            if self.cursor > tip.end {
                // The cursor is of a journal that is not this one any more.
                return Err(self.gap(Position::START));
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
            let recent = self.shared.recent().batch(self.cursor, tip.end, max);
            if let Some((batch, cursor)) = recent {
                self.cursor = cursor;
                self.scan = None;
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

    async fn read(&mut self, end: Position, max: usize) -> Result<Batch, Fault> {
        let (shared, scan, cursor) = (Arc::clone(&self.shared), self.scan.take(), self.cursor);
        let read = tokio::task::spawn_blocking(move || read_batch(&shared, scan, cursor, end, max));
        // The task ends unfinished only when the runtime shuts down.
        match read.await.unwrap_or(Err(Fault::Closed)) {
            Ok((batch, scan, cursor)) => {
                self.cursor = cursor;
                self.scan = scan;
                Ok(batch)
            }
            Err(Fault::Gap { resumes_at, .. }) => Err(self.gap(resumes_at)),
            Err(fault) => Err(fault),
        }
    }

    fn gap(&mut self, resumes_at: Position) -> Fault {
        let from = std::mem::replace(&mut self.cursor, resumes_at);
        self.scan = None;
        Fault::Gap { from, resumes_at }
    }
}

/// Reads on from `cursor` in one segment. The batch may be empty when only the cursor moved.
fn read_batch(
    shared: &Shared,
    scan: Option<Scan>,
    cursor: Position,
    end: Position,
    max: usize,
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
        // Removed a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Fault::Gap { from: cursor, resumes_at: Position::beginning_of(segment + 1) });
        }
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
                    Some(record) => batch.push((position, Arc::new(record))),
                    None => {
                        shared.quarantine.keep(&*file, position, header.len());
                    }
                }
            }
            Some(Found::Damage { position, octets }) => {
                shared.quarantine.keep(&*file, position, octets);
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
