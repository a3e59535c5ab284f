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
use crate::ledger::Ledger;
use crate::quarantine::Quarantine;
use crate::reading::{Reading, Tail};
use crate::rewrite::write_anew;
use crate::segment::{file_name, segment_of};
use crate::{Accepted, Config, Disk, Fault, Position, Quarantined};
use mail::{MessageId, Timestamp};
use std::io;
use std::path::Path;
use std::sync::Arc;

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
    waiting: std::vec::IntoIter<(Position, MessageId)>,
}

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
            let (position, message) = self.waiting.next()?;
            // Taken back in the meantime.
            let Some((_, recipients)) = self.shared.ledger().waiting(message) else { continue };
            match read_accepted(&self.shared, position) {
                Ok(accepted) => return Some(Unsettled { position, accepted, recipients }),
                Err(fault) => {
                    tracing::error!(%position, error = &fault as &dyn std::error::Error, "a waiting message cannot be read");
                }
            }
        }
    }
}

/// Reads the last segment and makes it the one to write on in, unless the disk does not give it.
fn take_up_last_segment(
    disk: &dyn Disk,
    directory: &Path,
    segment: u32,
    reading: &mut Reading,
) -> Result<(Position, Option<Active>), Fault> {
    let opened = disk.open(&directory.join(file_name(segment)));
    let read = opened.and_then(|file| Ok((reading.last_segment(segment, &file)?, file)));
    let (len, file) = match read {
        Ok((Tail::Ends(len), file)) => (len, file),
        Ok((Tail::Unreadable(len), _)) => return Ok((Position::new(segment, len as u32), None)),
        Err(error) => {
            reading.unreadable_segment(segment, &error);
            return Ok((Position::beginning_of(segment + 1), None));
        }
    };
    let file = write_anew(disk, directory, segment, &file, len)
        .map_err(|error| Fault::Rotate { segment, source: Arc::new(error) })?;
    let active = Active { segment, file, len, fresh: false };
    Ok((Position::new(segment, len as u32), Some(active)))
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
    end: Position,
}

impl Report {
    pub(crate) fn finish(self, shared: &Arc<Shared>) -> Recovery {
        let waiting = shared.ledger().in_order().into_iter();
        Recovery {
            unsettled: UnsettledMessages { shared: Arc::clone(shared), waiting },
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
    let last = segments.pop();
    let mut reading = Reading::new(quarantine);
    for segment in segments {
        let opened = disk.open(&directory.join(file_name(segment)));
        if let Err(error) = opened.and_then(|file| reading.sealed_segment(segment, &file)) {
            reading.unreadable_segment(segment, &error);
        }
    }
    let (end, active) = match last {
        Some(last) => take_up_last_segment(&**disk, directory, last, &mut reading)?,
        None => (Position::START, None),
    };
    reading.ledger.forget_old_places();
    Ok(Recovered {
        lock,
        next_segment: last.map_or(1, |segment| segment + 1),
        end,
        active,
        report: Report { settled: reading.ledger.settled, unknown: reading.unknown, torn: reading.torn, end },
        ledger: reading.ledger,
        quarantine: reading.quarantine,
    })
}
