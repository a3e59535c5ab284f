//! Opening a journal that was left behind, however it was left.
//!
//! All segments are gone through. What is whole counts. Damage is copied to quarantine and skipped; no record, however
//! broken, keeps the journal from opening. Behind the last whole record of the last segment lies at most a group that
//! was being written when the process died and that nobody was told about: that is cut off (and copied, for it might
//! be damage after all).
//!
//! What may surprise: the last segment is written anew (`rewrite.rs`), for what was read of it may be in the page cache
//! only. Recovery changes nothing else, so a crash in it costs nothing, and doing it twice gives the same. A segment
//! that the disk does not give in whole is neither cut nor removed: the next start may be luckier. Want of descriptors or
//! memory is another matter: before the log is taken up it is a start that is refused, afterwards it is waited out.

use crate::body::read_accepted;
use crate::commit::Active;
use crate::disk::make_directory_durably;
use crate::error::is_passing;
use crate::ledger::Ledger;
use crate::owed::{Debts, Owed};
use crate::quarantine::Quarantine;
use crate::reading::{Reading, Tail};
use crate::rewrite::write_anew;
use crate::segment::{file_name, segment_of};
use crate::shared::Shared;
use crate::shortage::{Shortage, Waited};
use crate::{Accepted, Config, Disk, Fault, Position, Quarantined, Span};
use mail::{MessageId, Timestamp};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What was left behind in the journal. Finding it takes as long as reading all segments; whoever asks for a part that
/// is not known yet waits for it, blocking.
pub struct Recovery {
    /// Messages with recipients that are not settled, oldest first.
    pub unsettled: UnsettledMessages,
    /// Set if the process died while it wrote.
    pub torn: Option<Torn>,
    /// Where the log ended: follow from here to see what comes after `unsettled`.
    pub end: Position,
    shared: Arc<Shared>,
}

impl Recovery {
    pub(crate) fn new(shared: &Arc<Shared>, torn: Option<Torn>, end: Position) -> Recovery {
        let unsettled = UnsettledMessages::new(Arc::clone(shared), Of::TheStart, None);
        Recovery { unsettled, torn, end, shared: Arc::clone(shared) }
    }

    /// Messages all of whose recipients are settled, in the segments that are left.
    pub fn settled(&self) -> u64 {
        self.shared.loading.until_loaded().settled
    }

    /// Records of a kind or version this program does not know.
    pub fn unknown(&self) -> u64 {
        self.shared.loading.until_loaded().unknown
    }

    /// Pieces that could not be read, as far as the log was gone through.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.shared.loading.until_loaded();
        self.shared.quarantine.list()
    }
}

/// What was cut off the end of the log: a group that was being written when the process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// From here on it was cut.
    pub position: Position,
    /// How much was cut.
    pub octets: u64,
}

/// A message that waits, with those for whom it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsettled {
    /// Where it lies now.
    pub position: Position,
    /// Everything about it but its text.
    pub accepted: Arc<Accepted>,
    /// The recipients that are still open.
    pub recipients: Vec<RecipientState>,
}

/// How far an open recipient has come.
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
/// Blocking: go through it before serving, or on a blocking task. While there is no descriptor or memory to read one it
/// waits, until there is or the journal closes; then the rest waits for the next start.
pub struct UnsettledMessages {
    shared: Arc<Shared>,
    of: Of,
    /// Taken when it is known.
    waiting: Option<std::vec::IntoIter<(Position, MessageId)>>,
    debts: Option<Arc<Debts>>,
    shortage: Shortage,
}

enum Of {
    /// From before the start.
    TheStart,
    Spans(Vec<Span>),
}

impl UnsettledMessages {
    pub(crate) fn of(shared: &Arc<Shared>, spans: Vec<Span>, debts: &Arc<Debts>) -> UnsettledMessages {
        UnsettledMessages::new(Arc::clone(shared), Of::Spans(spans), Some(Arc::clone(debts)))
    }

    fn new(shared: Arc<Shared>, of: Of, debts: Option<Arc<Debts>>) -> UnsettledMessages {
        UnsettledMessages { shared, of, waiting: None, debts, shortage: Shortage::none() }
    }

    /// What the disk does not give now is owed to the reader, too.
    pub fn owed_by(mut self, owed: &Owed) -> UnsettledMessages {
        self.debts = Some(owed.debts());
        self
    }

    /// Messages left to go through.
    pub fn len(&self) -> usize {
        match (&self.waiting, &self.of) {
            (Some(waiting), _) => waiting.len(),
            (None, Of::TheStart) => self.shared.loading.until_loaded().waiting,
            (None, Of::Spans(spans)) => self.untold(spans).len(),
        }
    }

    fn next_waiting(&mut self) -> Option<(Position, MessageId)> {
        if self.waiting.is_none() {
            let waiting = match &self.of {
                Of::TheStart => self.shared.loading.take_waiting(),
                Of::Spans(spans) => self.untold(spans),
            };
            self.waiting = Some(waiting.into_iter());
        }
        self.waiting.as_mut()?.next()
    }

    fn untold(&self, spans: &[Span]) -> Vec<(Position, MessageId)> {
        self.debts.as_ref().map(|debts| debts.untold(spans)).unwrap_or_default()
    }

    /// A message that cannot be read: owed if it may be read later, else left out.
    fn leave(&self, message: MessageId, position: Position, fault: &Fault) {
        let error = fault as &dyn std::error::Error;
        let span = self.shared.ledger().span(message);
        match (fault, &self.debts, span) {
            (Fault::Read { .. }, Some(debts), Some(span)) => {
                tracing::warn!(%position, error, "a waiting message cannot be read now; it is read again later");
                debts.add_message(message, span);
            }
            _ => tracing::error!(%position, error, "a waiting message cannot be read"),
        }
    }

    /// Waits until there is something to read with. `Fault::Closed` if the journal closes before.
    fn read(&mut self, position: Position) -> Result<Arc<Accepted>, Fault> {
        loop {
            match read_accepted(&self.shared, position) {
                Err(fault) if fault.is_passing() => {
                    if self.shortage.wait(&self.shared, position, &fault) == Waited::Closed {
                        return Err(Fault::Closed);
                    }
                }
                read => {
                    self.shortage.is_over();
                    return read;
                }
            }
        }
    }

    /// None is left to go through.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for UnsettledMessages {
    type Item = Unsettled;

    /// A message that cannot be read is left out: it is in quarantine and its segment stays, or it is owed.
    fn next(&mut self) -> Option<Unsettled> {
        loop {
            let (position, message) = self.next_waiting()?;
            let read = self.read(position);
            // Taken back in the meantime.
            let Some((_, recipients)) = self.shared.ledger().waiting(message) else { continue };
            match read {
                Ok(accepted) => {
                    self.debts.iter().for_each(|debts| debts.told(message));
                    return Some(Unsettled { position, accepted, recipients });
                }
                Err(Fault::Closed) => {
                    self.waiting = Some(Vec::new().into_iter());
                    return None;
                }
                Err(fault) => self.leave(message, position, &fault),
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
        Err(error) if is_passing(&error) => return Err(Fault::read(segment, error)),
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
pub(crate) struct TakenUp {
    pub(crate) lock: Box<dyn Send + Sync>,
    pub(crate) quarantine: Arc<Quarantine>,
    /// Knows the segments and nothing of what is in them.
    pub(crate) ledger: Ledger,
    /// The segments that are read from now on, oldest first; without the one that the log goes on in.
    pub(crate) segments: Vec<u32>,
    /// The segment that the log goes on in, and up to where it was there before.
    pub(crate) last: Option<(u32, u64)>,
    pub(crate) active: Option<Active>,
    pub(crate) next_segment: u32,
    pub(crate) torn: Option<Torn>,
    pub(crate) end: Position,
}

/// Finds the end of the log and makes it one to write on at.
pub(crate) fn take_up(config: &Config, disk: &Arc<dyn Disk>) -> Result<TakenUp, Fault> {
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
    let mut reading = Reading::new(Arc::new(quarantine));
    for segment in segments.iter().filter(|segment| Some(**segment) != last) {
        let opened = disk.open(&directory.join(file_name(*segment)));
        match opened.and_then(|file| file.len()) {
            Ok(len) => reading.note_segment(*segment, len),
            // Set aside it would be missing for as long as this process lives.
            Err(error) if is_passing(&error) => return Err(Fault::read(*segment, error)),
            Err(error) => reading.unreadable_segment(*segment, &error),
        }
    }
    let (end, active) = match last {
        Some(last) => take_up_last_segment(&**disk, directory, last, &mut reading)?,
        None => (Position::START, None),
    };
    if active.is_some() {
        segments.pop();
    }
    Ok(TakenUp {
        lock,
        next_segment: last.map_or(1, |segment| segment + 1),
        end,
        segments,
        last: active.as_ref().map(|active| (active.segment, active.len)),
        active,
        torn: reading.torn,
        ledger: reading.ledger.segments_only(),
        quarantine: reading.quarantine,
    })
}
