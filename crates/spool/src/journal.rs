//! `Spool`: opening the journal, handing out the handles, shutting it down; and what its parts share.
//!
//! Three threads belong to it: `spool-commit` writes and syncs, `spool-trim` removes old segments, and `spool-load`
//! finds what waits from before and ends. Reads run on tokio's blocking threads.

use crate::body::Cache;
use crate::commit::Writer;
use crate::loaded::Loaded;
use crate::loading::{Loader, Loading, Progress};
use crate::queue::{End, Queue};
use crate::recent::Recent;
use crate::shared::{Mode, Shared, Tip};
use crate::stall::Stall;
use crate::stepped::Steps;
use crate::trim::{Keeper, Marks};
use crate::{
    Bodies, Config, Disk, Fault, Follower, Intake, Outcomes, Position, ReaderMark, Recovery, recover,
};
use bytes::Bytes;
use mail::Clock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The journal of this process. Cheap to clone; give out the narrower handles where they do.
#[derive(Clone)]
pub struct Spool {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// For `/ready` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Nothing can be written any more until a restart.
    pub sealed: bool,
    /// New mail is refused because free space fell to the reserve.
    pub full: bool,
    /// The disk has not finished what it was given that long ago, which is longer than `stall_ms_max`.
    pub stalled: Option<Duration>,
    /// Files of the journal.
    pub segments: usize,
    /// Of all segments.
    pub octets: u64,
    /// Messages with open recipients.
    pub unsettled: usize,
    /// Damaged pieces and unreadable segments found since the start.
    pub quarantined: usize,
    /// Segments that stay, and every later one with them, because they hold something that this program could not
    /// read or does not know: somebody has to look at them.
    pub pinned: usize,
    /// Segments that a reader passed over, or a part of them, and gets as soon as the disk gives them. They are among
    /// those that stay.
    pub owed: usize,
    /// Readers that wait before a piece which the disk does not give, and did not give a moment ago.
    pub readers_stopped: usize,
    /// What waits from before is still being found; mail is taken all the same.
    pub loading: Option<Progress>,
    /// Where the next record goes.
    pub end: Position,
}

/// Stops the threads when the last `Spool` goes; then the directory is free for another process.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    commit: JoinHandle<()>,
    trim: JoinHandle<()>,
    load: JoinHandle<()>,
    _lock: Box<dyn Send + Sync>,
}

impl Spool {
    /// Takes the directory, finds the end of the log and starts the threads. Blocking, for as long as the last segment
    /// takes to read; mail can be accepted then. What waits from before is found meanwhile and comes from `Recovery`.
    ///
    /// # Errors
    /// `Config` for a limit that cannot work, `InUse` if another process has the directory, `Directory` if it
    /// cannot be made, locked, listed or synced or a thread cannot be started, `Read` if there is no
    /// descriptor or memory to open a segment, `Rotate` if the last one cannot be written anew. What is
    /// damaged is no error, it is in quarantine.
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
        let recovered = recover::take_up(&config, &disk)?;
        let segments = recovered.segments.len();
        let shared = Arc::new(Shared {
            mode,
            queue: Queue::default(),
            intake_turns: Arc::new(Semaphore::new(config.in_flight_octets_max as usize)),
            outcome_turns: Arc::new(Semaphore::new(config.outcomes_in_flight_max as usize)),
            quarantine: recovered.quarantine,
            loading: Loading::new(recovered.segments.len()),
            tip: watch::Sender::new(Tip { end: recovered.end, ended: None }),
            marks: Marks::new(&config.readers),
            ledger: Mutex::new(recovered.ledger),
            cache: Mutex::new(Cache::new(config.body_cache_octets_max)),
            recent: Mutex::new(Recent::new(config.recent_records_max as usize)),
            files: Mutex::new(BTreeMap::new()),
            name: OnceLock::new(),
            full: AtomicBool::new(false),
            lost: OnceLock::new(),
            stopped_followers: AtomicUsize::new(0),
            stall: Stall::default(),
            loaded: Loaded::new(config.loaded_octets_max),
            clock,
            config,
            disk,
        });
        let writer = Writer::new(Arc::clone(&shared), recovered.active, recovered.next_segment);
        let keeper = Keeper::new(Arc::clone(&shared));
        let loader = Loader::new(Arc::clone(&shared), recovered.segments, recovered.last);
        let steps = Steps { writer, keeper, loader: Some(loader), _lock: recovered.lock };
        let recovery = Recovery::new(&shared, recovered.torn, recovered.end);
        tracing::info!(segments, end = %recovered.end, "the journal is open; what waits in it is being read");
        let threads = Arc::new(Threads { shared: Arc::clone(&shared), running: Mutex::new(None) });
        Ok((Spool { shared, threads }, steps, recovery))
    }

    /// The right to accept messages: for `ingress` only.
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }

    /// Where outcomes are handed in.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes(Arc::clone(&self.shared))
    }

    /// Where texts are read.
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

    /// Header section and body of the message at a position.
    ///
    /// # Errors
    /// As [every read](Bodies#errors).
    pub async fn body(&self, position: Position) -> Result<Bytes, Fault> {
        self.bodies().body(position).await
    }

    /// A write or a sync has failed; nothing can be written any more until a restart.
    pub fn sealed(&self) -> bool {
        self.shared.tip.borrow().ended == Some(End::Sealed)
    }

    /// Returns when the journal has sealed itself: the process must stop and start again.
    pub async fn until_sealed(&self) {
        let mut tip = self.shared.tip.subscribe();
        // The sender lives in `self.shared`, so this cannot fail while we wait.
        drop(tip.wait_for(|tip| tip.ended == Some(End::Sealed)).await);
    }

    /// For metrics and for `/ready`; costs a lock.
    pub fn status(&self) -> Status {
        self.shared.look_at_space();
        self.shared.measure();
        let tip = *self.shared.tip.borrow();
        let ledger = self.shared.ledger();
        Status {
            sealed: tip.ended == Some(End::Sealed),
            full: self.shared.is_full(),
            stalled: self.shared.stalled(),
            segments: ledger.segments.len(),
            octets: ledger.octets(),
            unsettled: ledger.unsettled(),
            quarantined: self.shared.quarantine.len(),
            pinned: ledger.pinned(),
            owed: ledger.owed(),
            readers_stopped: self.shared.stopped_followers.load(Ordering::Relaxed),
            loading: self.shared.loading.progress(),
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

    /// The name of this journal among those that are told into the same tables; empty if it is the only one.
    pub fn name(&self) -> &str {
        self.shared.name.get().map_or("", String::as_str)
    }

    /// Gives it its name, before anybody reads it. The first one stays.
    pub fn set_name(&self, name: String) {
        self.shared.name.get_or_init(|| name);
    }

    /// Writes and syncs what is queued, refuses what comes later, stops the threads. Returns when all is durable.
    ///
    /// # Errors
    /// `Sealed` if the journal is, from before or by a failure in here: what was queued may be lost. `Full`, or
    /// `Rotate` for want of descriptors or memory, if there was no room for the last completion records: what they say
    /// is delivered goes out again after the next start.
    pub async fn shutdown(&self) -> Result<(), Fault> {
        let threads = Arc::clone(&self.threads);
        // A panic in there was reported when it happened; what counts is whether the journal is whole.
        drop(tokio::task::spawn_blocking(move || threads.stop()).await);
        if self.sealed() {
            return Err(Fault::Sealed);
        }
        self.shared.lost.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }
}

impl Threads {
    fn start(&self, Steps { writer, keeper, loader, _lock }: Steps) -> Result<(), Fault> {
        let running = Running {
            commit: thread("spool-commit", move || writer.run(), &self.shared)?,
            trim: thread("spool-trim", move || keeper.run(), &self.shared)?,
            load: thread("spool-load", move || loader.map_or((), Loader::run), &self.shared)?,
            _lock,
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    fn stop(&self) {
        self.shared.close();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { commit, trim, load, _lock }) = running {
            let panicked = commit.join().is_err() | trim.join().is_err() | load.join().is_err();
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
    let seal_on_panic = SealOnPanic(Arc::clone(shared));
    let body = move || {
        body();
        drop(seal_on_panic);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
        shared.close();
        Fault::Directory { path: shared.config.directory.clone(), source: Arc::new(source) }
    })
}

/// What any of the threads does can be done by no other: the journal is sealed, so that the process ends and begins anew.
struct SealOnPanic(Arc<Shared>);

impl Drop for SealOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.seal();
        }
    }
}
