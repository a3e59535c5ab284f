//! `Spool`: opening the journal, handing out the handles, shutting it down; and what its parts share.
//!
//! Two threads belong to it: `spool-commit` writes and syncs, `spool-trim` removes old segments. Reads run on
//! tokio's blocking threads.

use crate::body::Cache;
use crate::follow::Recent;
use crate::ledger::Ledger;
use crate::quarantine::Quarantine;
use crate::queue::{End, Entry, Queue};
use crate::record::Logged;
use crate::segment::file_name;
use crate::stepped::{Mode, Steps};
use crate::trim::Marks;
use crate::{
    Bodies, Config, Disk, DiskFile, Fault, Follower, Intake, Outcomes, Position, ReaderMark, Record,
    Recovery, recover,
};
use bytes::Bytes;
use mail::Clock;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, watch};

/// Open segment files kept for reading.
const OPEN_FILES_MAX: usize = 32;

/// The journal of this process. Cheap to clone; give out the narrower handles where they do.
#[derive(Clone)]
pub struct Spool {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// For `/ready` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub sealed: bool,
    /// New mail is refused because free space fell to the reserve.
    pub full: bool,
    pub segments: usize,
    pub octets: u64,
    /// Messages with open recipients.
    pub unsettled: usize,
    /// Damaged pieces and unreadable segments found since the start.
    pub quarantined: usize,
    /// Segments that stay, and every later one with them, because they hold something that this program could not
    /// read or does not know: somebody has to look at them.
    pub pinned: usize,
    pub end: Position,
}

/// How far readers may read, and whether more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) end: Position,
    pub(crate) ended: Option<End>,
}

pub(crate) struct Shared {
    pub(crate) mode: Mode,
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    /// For measuring only.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) queue: Queue,
    pub(crate) intake_turns: Arc<Semaphore>,
    pub(crate) outcome_turns: Arc<Semaphore>,
    pub(crate) quarantine: Quarantine,
    pub(crate) tip: watch::Sender<Tip>,
    pub(crate) marks: Marks,
    ledger: Mutex<Ledger>,
    cache: Mutex<Cache>,
    recent: Mutex<Recent>,
    files: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
    full: AtomicBool,
}

/// Stops the threads when the last `Spool` goes; then the directory is free for another process.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    commit: JoinHandle<()>,
    trim: JoinHandle<()>,
    _lock: Box<dyn Send + Sync>,
}

impl Spool {
    /// Takes the directory, recovers what is there and starts the threads. Blocking.
    pub fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Spool, Recovery), Fault> {
        let (spool, steps, recovery) = Spool::open_as(Mode::Threads, config, disk, clock)?;
        spool.threads.start(steps)?;
        Ok((spool, recovery))
    }

    pub(crate) fn open_as(
        mode: Mode,
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Spool, Steps, Recovery), Fault> {
        config.check()?;
        let started = clock.instant();
        let recovered = recover::recover(&config, &disk)?;
        let shared = Arc::new(Shared {
            mode,
            queue: Queue::default(),
            intake_turns: Arc::new(Semaphore::new(config.in_flight_octets_max as usize)),
            outcome_turns: Arc::new(Semaphore::new(config.outcomes_in_flight_max as usize)),
            quarantine: recovered.quarantine,
            tip: watch::Sender::new(Tip { end: recovered.end, ended: None }),
            marks: Marks::new(&config.readers),
            ledger: Mutex::new(recovered.ledger),
            cache: Mutex::new(Cache::new(config.body_cache_octets_max)),
            recent: Mutex::new(Recent::new(config.recent_records_max as usize)),
            files: Mutex::new(BTreeMap::new()),
            full: AtomicBool::new(false),
            clock: Arc::clone(&clock),
            config,
            disk,
        });
        let steps = Steps::new(&shared, (recovered.active, recovered.next_segment), recovered.lock);
        let recovery = recovered.report.finish(&shared);
        tracing::info!(
            unsettled = recovery.unsettled.len(),
            settled = recovery.settled,
            quarantined = recovery.quarantined.len(),
            duration_ms = clock.instant().saturating_since(started).as_millis() as u64,
            "the journal is open"
        );
        let threads = Arc::new(Threads { shared: Arc::clone(&shared), running: Mutex::new(None) });
        Ok((Spool { shared, threads }, steps, recovery))
    }

    /// The right to accept messages: for `ingress` only.
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }

    pub fn outcomes(&self) -> Outcomes {
        Outcomes(Arc::clone(&self.shared))
    }

    pub fn bodies(&self) -> Bodies {
        Bodies(Arc::clone(&self.shared))
    }

    /// Follows the log from a record or from a stored `Follower::position`.
    pub fn follow(&self, from: Position) -> Follower {
        Follower::new(Arc::clone(&self.shared), from)
    }

    /// The mark of a reader that segments wait for; asking again for a name goes on where it was.
    pub fn reader(&self, name: &str) -> ReaderMark {
        ReaderMark::new(Arc::clone(&self.shared), name)
    }

    pub async fn body(&self, position: Position) -> Result<Bytes, Fault> {
        self.bodies().body(position).await
    }

    pub fn sealed(&self) -> bool {
        self.shared.tip.borrow().ended == Some(End::Sealed)
    }

    /// Returns when the journal has sealed itself: the process must stop and start again.
    pub async fn until_sealed(&self) {
        let mut tip = self.shared.tip.subscribe();
        // The sender lives in `self.shared`, so this cannot fail while we wait.
        drop(tip.wait_for(|tip| tip.ended == Some(End::Sealed)).await);
    }

    pub fn status(&self) -> Status {
        self.shared.look_at_space();
        self.shared.measure();
        let tip = *self.shared.tip.borrow();
        let ledger = self.shared.ledger();
        Status {
            sealed: tip.ended == Some(End::Sealed),
            full: self.shared.is_full(),
            segments: ledger.segments.len(),
            octets: ledger.octets(),
            unsettled: ledger.unsettled(),
            quarantined: self.shared.quarantine.len(),
            pinned: ledger.pinned(),
            end: tip.end,
        }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns when everything that can be removed now is removed.
    #[cfg(test)]
    pub(crate) fn until_trimmed(&self) {
        self.shared.marks.until_at_rest();
    }

    /// Writes and syncs what is queued, refuses what comes later, stops the threads. Returns when all is durable.
    pub async fn shutdown(&self) -> Result<(), Fault> {
        let threads = Arc::clone(&self.threads);
        // A panic in there was reported when it happened; what counts is whether the journal is whole.
        drop(tokio::task::spawn_blocking(move || threads.stop()).await);
        if self.sealed() { Err(Fault::Sealed) } else { Ok(()) }
    }
}

impl Threads {
    fn start(&self, Steps { writer, keeper, _lock }: Steps) -> Result<(), Fault> {
        let commit = thread("spool-commit", move || writer.run(), &self.shared)?;
        let trim = thread("spool-trim", move || keeper.run(), &self.shared)?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { commit, trim, _lock });
        Ok(())
    }

    fn stop(&self) {
        self.shared.close();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { commit, trim, _lock }) = running {
            let panicked = commit.join().is_err() | trim.join().is_err();
            if panicked {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, Fault> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
        shared.close();
        Fault::Directory { path: shared.config.directory.clone(), source: Arc::new(source) }
    })
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
        let mut settled = Vec::new();
        let trim = {
            let mut ledger = self.ledger();
            let rotated = !ledger.segments.contains_key(&end.segment());
            for (entry, position) in group.iter().zip(positions) {
                settled.extend(ledger.apply(*position, entry.frame.len(), &entry.logged));
            }
            ledger.segments.entry(end.segment()).or_default().octets = u64::from(end.offset());
            rotated || ledger.oldest_is_done()
        };
        let records = group.iter().zip(positions).filter_map(|(entry, position)| match &entry.logged {
            Logged::Record(record) => Some((*position, record, entry)),
            Logged::Moved(_) => None,
        });
        {
            let mut cache = self.cache();
            for (position, record, entry) in records.clone() {
                if let Record::Accepted(accepted) = &**record {
                    cache.insert(position, Arc::clone(accepted), entry.frame.body.clone());
                }
            }
            settled.iter().for_each(|position| cache.remove(*position));
        }
        self.recent().extend(records.map(|(position, record, _)| (position, Arc::clone(record))), end);
        self.keep_open(end.segment(), file);
        self.tip.send_modify(|tip| tip.end = end);
        if trim {
            self.marks.look_again();
        }
        metrics::counter!("posthouse_spool_records_total").increment(group.len() as u64);
    }

    pub(crate) fn measure(&self) {
        let (segments, octets, open_octets, unsettled, pinned) = {
            let ledger = self.ledger();
            let (octets, open_octets) = (ledger.octets(), ledger.open_octets());
            (ledger.segments.len(), octets, open_octets, ledger.unsettled(), ledger.pinned())
        };
        metrics::gauge!("posthouse_spool_segments").set(segments as f64);
        metrics::gauge!("posthouse_spool_segments_pinned").set(pinned as f64);
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
