//! Opening a journal that was left behind, however it was left.
//!
//! All segments are gone through. What is whole counts. Damage is copied to quarantine and skipped; no record, however
//! broken, keeps the journal from opening. Behind the last whole record of the last segment lies at most a group that
//! was being written when the process died and that nobody was told about: that is cut off (and copied, for it might
//! be damage after all).
//!
//! What may surprise: the last segment is written anew (`rewrite.rs`), for what was read of it may be in the page cache
//! only. Recovery changes nothing else, so a crash in it costs nothing, and doing it twice gives the same. A segment
//! that the disk does not give in whole is neither cut nor removed: the next start may be luckier.

use crate::body::read_accepted;
use crate::commit::Active;
use crate::disk::make_directory_durably;
use crate::journal::Shared;
use crate::ledger::{Ledger, Open, SegmentState};
use crate::quarantine::{Kept, Quarantine};
use crate::rewrite::write_anew;
use crate::segment::{self, Found, SEGMENT_HEADER, Scan, file_name, read_over_errors, segment_of};
use crate::{Accepted, Config, Disk, DiskFile, Fault, Position, Quarantined, Record, wire};
use mail::{MessageId, Timestamp};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

const CHUNK_OCTETS: u64 = 1 << 20;

/// What was found when the journal was opened.
pub struct Recovery {
    /// Messages with recipients that are not settled, oldest first.
    pub unsettled: UnsettledMessages,
    /// Messages all of whose recipients are settled, in the segments that are left.
    pub settled: u64,
    /// Records of a kind or version this program does not know.
    pub unknown: u64,
    pub quarantined: Vec<Quarantined>,
    pub torn: Option<Torn>,
    /// Where the log ended: follow from here to see what comes after `unsettled`.
    pub end: Position,
}

/// What was cut off the end of the log: a group that was being written when the process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub position: Position,
    pub octets: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Unsettled {
    pub position: Position,
    pub accepted: Arc<Accepted>,
    /// The recipients that are still open.
    pub recipients: Vec<RecipientState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecipientState {
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// Attempts made so far.
    pub attempt: u32,
    /// When the last attempt said it is due again; none before the first attempt.
    pub next_at: Option<Timestamp>,
}

/// Reads the envelopes from the disk one at a time, so that a million waiting messages need no memory for them.
/// Blocking: go through it before serving, or on a blocking task.
pub struct UnsettledMessages {
    shared: Arc<Shared>,
    waiting: std::vec::IntoIter<(Position, MessageId, Open)>,
    attempts: Attempts,
}

/// The last attempt of each recipient that had one and is still open.
type Attempts = HashMap<MessageId, Vec<RecipientState>>;

impl UnsettledMessages {
    /// Messages left to go through.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for UnsettledMessages {
    type Item = Unsettled;

    /// A message that cannot be read is left out: it is in quarantine, and its segment stays.
    fn next(&mut self) -> Option<Unsettled> {
        loop {
            let (position, message, open) = self.waiting.next()?;
            let attempts = self.attempts.remove(&message).unwrap_or_default();
            let state = |recipient| {
                let known = attempts.iter().find(|state| state.recipient == recipient);
                known.copied().unwrap_or(RecipientState { recipient, attempt: 0, next_at: None })
            };
            match read_accepted(&self.shared, position) {
                Ok(accepted) => {
                    return Some(Unsettled {
                        position,
                        accepted,
                        recipients: open.iter().map(state).collect(),
                    });
                }
                Err(fault) => {
                    tracing::error!(%position, error = &fault as &dyn std::error::Error, "a waiting message cannot be read");
                }
            }
        }
    }
}

/// What `Spool::open` needs to go on.
pub(crate) struct Recovered {
    pub(crate) lock: Box<dyn Send + Sync>,
    pub(crate) quarantine: Quarantine,
    pub(crate) ledger: Ledger,
    pub(crate) active: Option<Active>,
    pub(crate) next_segment: u32,
    pub(crate) end: Position,
    pub(crate) report: Report,
}

pub(crate) struct Report {
    settled: u64,
    unknown: u64,
    torn: Option<Torn>,
    attempts: Attempts,
    end: Position,
}

impl Report {
    pub(crate) fn finish(self, shared: &Arc<Shared>) -> Recovery {
        let mut waiting: Vec<_> = {
            let ledger = shared.ledger();
            ledger.live.iter().map(|(message, live)| (live.position, *message, live.open.clone())).collect()
        };
        waiting.sort_unstable_by_key(|(position, ..)| *position);
        Recovery {
            unsettled: UnsettledMessages {
                shared: Arc::clone(shared),
                waiting: waiting.into_iter(),
                attempts: self.attempts,
            },
            settled: self.settled,
            unknown: self.unknown,
            quarantined: shared.quarantine.list(),
            torn: self.torn,
            end: self.end,
        }
    }
}

pub(crate) fn recover(config: &Config, disk: &Arc<dyn Disk>) -> Result<Recovered, Fault> {
    let directory = &config.directory;
    let fault = |source: io::Error| Fault::Directory { path: directory.clone(), source: Arc::new(source) };
    let quarantine = Quarantine::new(Arc::clone(disk), directory);
    make_directory_durably(&**disk, directory).map_err(fault)?;
    let lock = disk.lock(&directory.join("lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Fault::InUse(directory.clone()),
        _ => fault(error),
    })?;
    disk.make_directory(quarantine.directory()).map_err(fault)?;
    let names = disk.list(directory).map_err(fault)?;
    for unfinished in names.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(&directory.join(unfinished)).map_err(fault)?;
    }
    disk.sync_directory(directory).map_err(fault)?;
    let mut segments: Vec<u32> = names.iter().filter_map(|name| segment_of(name)).collect();
    segments.sort_unstable();
    let last = segments.last().copied();
    let mut reading = Reading::new(quarantine);
    let (mut active, mut end) = (None, Position::START);
    for segment in segments {
        let file =
            disk.open(&directory.join(file_name(segment))).map_err(|error| Fault::read(segment, error))?;
        if Some(segment) != last {
            reading.sealed_segment(segment, &file).map_err(|error| Fault::read(segment, error))?;
            continue;
        }
        let tail = reading.last_segment(segment, &file).map_err(|error| Fault::read(segment, error))?;
        end = Position::new(segment, tail.end() as u32);
        if let Tail::Ends(len) = tail {
            let file = write_anew(&**disk, directory, segment, &file, len)
                .map_err(|error| Fault::Rotate { segment, source: Arc::new(error) })?;
            active = Some(Active { segment, file, len, fresh: false });
        }
    }
    Ok(Recovered {
        lock,
        next_segment: last.map_or(1, |segment| segment + 1),
        end,
        active,
        report: Report {
            settled: reading.ledger.settled,
            unknown: reading.unknown,
            torn: reading.torn,
            attempts: reading.attempts,
            end,
        },
        ledger: reading.ledger,
        quarantine: reading.quarantine,
    })
}

/// How the last segment is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Written on from here.
    Ends(u64),
    /// The disk did not give all of it. It stays as it is: what looks like a torn end may be acknowledged mail, which
    /// another start may be able to read. The log goes on in the next segment.
    Unreadable(u64),
}

impl Tail {
    fn end(self) -> u64 {
        match self {
            Tail::Ends(end) | Tail::Unreadable(end) => end,
        }
    }
}

/// The state of the log as far as it was read.
struct Reading {
    quarantine: Quarantine,
    ledger: Ledger,
    attempts: Attempts,
    unknown: u64,
    torn: Option<Torn>,
}

impl Reading {
    fn new(quarantine: Quarantine) -> Reading {
        Reading { quarantine, ledger: Ledger::default(), attempts: Attempts::new(), unknown: 0, torn: None }
    }

    /// All of it was acknowledged: whatever cannot be read is damage.
    fn sealed_segment(&mut self, segment: u32, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        let octets = file.len()?.min(u64::from(u32::MAX));
        self.ledger.segments.insert(segment, SegmentState { octets, ..SegmentState::default() });
        self.check_header(segment, file);
        let mut scan = Scan::new(Arc::clone(file), Position::new(segment, 0), octets, segment::Bodies::Skip);
        while let Some(found) = scan.next()? {
            self.take(file, found);
        }
        if scan.met_read_errors() {
            self.keep_for_the_next_start(segment);
        }
        Ok(())
    }

    fn last_segment(&mut self, segment: u32, file: &Arc<dyn DiskFile>) -> io::Result<Tail> {
        let octets = file.len()?.min(u64::from(u32::MAX));
        self.ledger.segments.insert(segment, SegmentState::default());
        let mut scan = Scan::new(Arc::clone(file), Position::new(segment, 0), octets, segment::Bodies::Check);
        let mut end = SEGMENT_HEADER.len() as u64;
        // Damage is only damage if a whole record follows; else it is the torn end.
        let mut damaged: Vec<Found> = Vec::new();
        while let Some(found) = scan.next()? {
            match found {
                Found::Damage { .. } => damaged.push(found),
                Found::Frame { .. } => {
                    damaged.drain(..).for_each(|found| self.take(file, found));
                    self.take(file, found);
                    end = u64::from(scan.position().offset());
                }
            }
        }
        if scan.met_read_errors() {
            damaged.drain(..).for_each(|found| self.take(file, found));
            self.ledger.segments.entry(segment).or_default().octets = octets;
            self.keep_for_the_next_start(segment);
            return Ok(Tail::Unreadable(octets));
        }
        if octets > end {
            self.cut(file, Torn { position: Position::new(segment, end as u32), octets: octets - end });
        }
        if let Some(state) = self.ledger.segments.get_mut(&segment) {
            state.octets = end;
        }
        Ok(Tail::Ends(end))
    }

    fn cut(&mut self, file: &Arc<dyn DiskFile>, torn: Torn) {
        tracing::warn!(position = %torn.position, octets = torn.octets, "the journal ends in an unfinished write; it is cut off");
        if !is_zero(&**file, &torn) {
            self.quarantine.keep_torn(&**file, torn.position, torn.octets);
        }
        self.torn = Some(torn);
    }

    fn check_header(&mut self, segment: u32, file: &Arc<dyn DiskFile>) {
        let mut header = [0; SEGMENT_HEADER.len()];
        read_over_errors(&**file, &mut header, 0);
        if header != *SEGMENT_HEADER {
            self.quarantine.keep(&**file, Position::new(segment, 0), header.len() as u64);
        }
    }

    fn take(&mut self, file: &Arc<dyn DiskFile>, found: Found) {
        match found {
            Found::Damage { position, octets } => {
                if self.quarantine.keep(&**file, position, octets) == Kept::NotCopied {
                    self.pin(position);
                }
            }
            Found::Frame { position, header, meta } => match wire::decode(header.kind, header.version, &meta)
            {
                Some(record) => self.apply(position, &record),
                None => {
                    self.quarantine.keep(&**file, position, header.len());
                    self.pin(position);
                }
            },
        }
    }

    fn apply(&mut self, position: Position, record: &Record) {
        match record {
            Record::Attempted(attempted) if self.ledger.live.contains_key(&attempted.message) => {
                let state = RecipientState {
                    recipient: attempted.recipient,
                    attempt: attempted.attempt,
                    next_at: Some(attempted.next_at),
                };
                let states = self.attempts.entry(attempted.message).or_default();
                match states.iter_mut().find(|known| known.recipient == state.recipient) {
                    Some(known) => *known = state,
                    None => states.push(state),
                }
            }
            // An attempt on a message that went with its segment.
            Record::Attempted(_) => {}
            Record::Unknown { kind, .. } => {
                self.unknown += 1;
                if *kind < wire::KIND_DISPENSABLE {
                    self.pin(position);
                }
            }
            Record::Accepted(_) | Record::Settled(_) => {
                if self.ledger.apply(position, record).is_some()
                    && let Some(message) = record.message()
                {
                    self.attempts.remove(&message);
                }
            }
        }
    }

    /// There may be mail in it that nobody knows of now.
    fn keep_for_the_next_start(&mut self, segment: u32) {
        tracing::error!(segment, "the disk does not give all of a segment; it is kept as it is");
        self.pin(Position::new(segment, 0));
    }

    fn pin(&mut self, position: Position) {
        self.ledger.segments.entry(position.segment()).or_default().pinned = true;
    }
}

/// A file system often leaves zeros where a write did not arrive; they need no copy.
fn is_zero(file: &dyn DiskFile, torn: &Torn) -> bool {
    let mut done = 0;
    let mut chunk = Vec::new();
    while done < torn.octets {
        chunk.resize((torn.octets - done).min(CHUNK_OCTETS) as usize, 0);
        read_over_errors(file, &mut chunk, u64::from(torn.position.offset()) + done);
        if chunk.iter().any(|octet| *octet != 0) {
            return false;
        }
        done += chunk.len() as u64;
    }
    true
}
