//! What the parts of the journal share: the queue of the commit thread, the ledger, the caches, the end of the log.
//!
//! Each piece has a lock of its own and no method holds two at a time. The commit thread alone publishes what is new;
//! everybody else reads.

use crate::body::Cache;
use crate::ledger::Ledger;
use crate::loaded::Loaded;
use crate::loading::Loading;
use crate::quarantine::{Kept, Quarantine};
use crate::queue::{End, Entry, Queue};
use crate::recent::Recent;
use crate::record::Logged;
use crate::segment::file_name;
use crate::stall::Stall;
use crate::trim::Marks;
use crate::{Config, Disk, DiskFile, Fault, Position, Record};
use mail::Clock;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Open segment files kept for reading.
const OPEN_FILES_MAX: usize = 32;

/// How far readers may read, and whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) end: Position,
    pub(crate) ended: Option<End>,
}

/// Who does the writing, removing and reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Threads,
    /// Whoever opened it, by hand (`stepped.rs`).
    Stepped,
}

pub(crate) struct Shared {
    pub(crate) mode: Mode,
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    /// For measuring, for how long a reader waits before what it cannot read, and for how long the cache keeps what
    /// nobody sends; nothing that is written depends on it.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) queue: Queue,
    pub(crate) intake_turns: Arc<Semaphore>,
    pub(crate) outcome_turns: Arc<Semaphore>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) loading: Loading,
    pub(crate) tip: watch::Sender<Tip>,
    pub(crate) marks: Marks,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) cache: Mutex<Cache>,
    pub(crate) recent: Mutex<Recent>,
    pub(crate) files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
    /// Set by whoever shares tables with other journals.
    pub(crate) name: OnceLock<String>,
    pub(crate) full: AtomicBool,
    /// Why completion records were lost at the end: then none that comes later is written, so that a durable one vouches
    /// for all before it.
    pub(crate) lost: OnceLock<Fault>,
    /// Readers that stand before a piece which the disk does not give, or which we have no descriptor or memory to read.
    pub(crate) stopped_followers: AtomicUsize,
    pub(crate) stall: Stall,
    pub(crate) loaded: Arc<Loaded>,
}

impl Shared {
    /// An error if nothing more is taken.
    pub(crate) fn ended(&self) -> Result<(), Fault> {
        self.tip.borrow().ended.map_or(Ok(()), |end| Err(end.into()))
    }

    /// No new entries; what is queued is written.
    pub(crate) fn close(&self) {
        self.queue.end(End::Closed);
        self.intake_turns.close();
        self.outcome_turns.close();
        self.marks.close();
        self.loading.close();
    }

    /// Nothing is written or acknowledged from here on, and nothing removed: if a sync failed, none proves anything
    /// any more. Readers keep what is committed.
    pub(crate) fn seal(&self) {
        self.marks.close();
        self.queue.end(End::Sealed);
        self.tip.send_modify(|tip| tip.ended = Some(End::Sealed));
        self.intake_turns.close();
        self.outcome_turns.close();
        metrics::gauge!("posthouse_spool_sealed").set(1.0);
    }

    /// The commit thread has written its last.
    pub(crate) fn ended_for_good(&self) {
        self.tip.send_modify(|tip| tip.ended = tip.ended.or(Some(End::Closed)));
    }

    /// A group is durable: the ledger knows it, the caches hold it, then readers may see it.
    pub(crate) fn publish(
        &self,
        group: &[Entry],
        positions: &[Position],
        end: Position,
        file: &Arc<dyn DiskFile>,
    ) {
        let mut unwanted = Vec::new();
        let trim = {
            let mut ledger = self.ledger();
            let rotated = !ledger.segments.contains_key(&end.segment());
            for (entry, position) in group.iter().zip(positions) {
                unwanted.extend(ledger.apply(*position, entry.frame.len(), &entry.logged));
            }
            ledger.segments.entry(end.segment()).or_default().octets = u64::from(end.offset());
            rotated || ledger.oldest_is_done()
        };
        let records = group.iter().zip(positions).filter_map(|(entry, position)| match &entry.logged {
            Logged::Record(record) => Some((*position, record, entry)),
            Logged::Moved(_) => None,
        });
        {
            let now = self.clock.instant();
            let mut cache = self.cache();
            for (position, record, entry) in records.clone() {
                if let Record::Accepted(accepted) = &**record {
                    cache.insert(position, Arc::clone(accepted), entry.frame.body.clone(), now);
                }
            }
            unwanted.iter().for_each(|position| cache.remove(*position));
            cache.expire(now);
        }
        self.recent().extend(records.map(|(position, record, _)| (position, Arc::clone(record))), end);
        self.keep_open(end.segment(), file);
        self.tip.send_modify(|tip| tip.end = end);
        if trim {
            self.marks.look_again();
        }
        metrics::counter!("posthouse_spool_records_total").increment(group.len() as u64);
    }

    /// Copies a damaged piece to quarantine; if that cannot be done, its segment stays.
    pub(crate) fn set_aside(&self, file: &dyn DiskFile, position: Position, octets: u64) {
        if self.quarantine.keep(file, position, octets) == Kept::NotCopied {
            self.ledger().pin(position.segment());
        }
    }

    pub(crate) fn measure(&self) {
        let (segments, octets, open_octets, unsettled, pinned, owed) = {
            let ledger = self.ledger();
            let (octets, open_octets) = (ledger.octets(), ledger.open_octets());
            (ledger.segments.len(), octets, open_octets, ledger.unsettled(), ledger.pinned(), ledger.owed())
        };
        let stopped = self.stopped_followers.load(Ordering::Relaxed);
        metrics::gauge!("posthouse_spool_readers_stopped").set(stopped as f64);
        metrics::gauge!("posthouse_spool_segments").set(segments as f64);
        metrics::gauge!("posthouse_spool_segments_pinned").set(pinned as f64);
        metrics::gauge!("posthouse_spool_segments_owed").set(owed as f64);
        metrics::gauge!("posthouse_spool_octets", "of" => "segments").set(octets as f64);
        metrics::gauge!("posthouse_spool_octets", "of" => "waiting_messages").set(open_octets as f64);
        metrics::gauge!("posthouse_spool_waiting_messages").set(unsettled as f64);
    }

    /// Up to where a segment holds committed records; 0 if none.
    pub(crate) fn committed_octets(&self, segment: u32) -> u64 {
        self.ledger().segments.get(&segment).map_or(0, |state| state.octets)
    }

    /// The file of a segment, for reading.
    pub(crate) fn file(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.files().get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&self.config.directory.join(file_name(segment)))?;
        self.keep_open(segment, &file);
        Ok(file)
    }

    fn keep_open(&self, segment: u32, file: &Arc<dyn DiskFile>) {
        let mut files = self.files();
        if files.contains_key(&segment) {
            return;
        }
        while files.len() >= OPEN_FILES_MAX {
            files.pop_first();
        }
        files.insert(segment, Arc::clone(file));
    }

    pub(crate) fn forget_file(&self, segment: u32) {
        self.files().remove(&segment);
    }

    /// A disk that cannot say how much is free will say so when it is written to.
    pub(crate) fn look_at_space(&self) {
        let free = self.disk.free_octets(&self.config.directory).unwrap_or(u64::MAX);
        self.full.store(free < self.config.reserve_octets, Ordering::Relaxed);
    }

    /// How long the commit thread has been busy with one group, if that is longer than the disk may take.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        let limit = Duration::from_millis(self.config.stall_ms_max);
        self.stall.lasts(self.clock.instant()).filter(|lasts| *lasts >= limit)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn set_full(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<dyn DiskFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
