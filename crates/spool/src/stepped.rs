//! The journal in one thread: whoever opens it like this does the work of both its threads by hand, step by step.
//!
//! For simulations, where one seed decides what happens and in which order: what a group holds, what is written when
//! the power goes, what is removed before or after a reader came by. Everything else is the journal as it always is.
//! What may surprise: nothing moves between two steps, so a future of this journal that is not ready after a step
//! waits for another one; and reads run where they are asked for, because there is no thread to give them to.

use crate::commit::Writer;
use crate::loading::Loader;
use crate::shared::{Mode, Shared};
use crate::trim::Keeper;
use crate::{Config, Disk, Fault, Recovery, Spool};
use mail::Clock;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What the threads of the journal would do. Dropping it is what the end of the process is to them; the directory is
/// free then.
pub struct Steps {
    pub(crate) writer: Writer,
    pub(crate) keeper: Keeper,
    pub(crate) loader: Option<Loader>,
    pub(crate) _lock: Box<dyn Send + Sync>,
}

impl Spool {
    /// As `open`, but without threads. Blocking.
    ///
    /// # Errors
    /// As [`Spool::open`] does, but for threads.
    pub fn open_stepped(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Spool, Steps, Recovery), Fault> {
        let (spool, mut steps, recovery) = Spool::open_loading(config, disk, clock)?;
        while steps.load() {}
        Ok((spool, steps, recovery))
    }

    /// The same, and nothing is known yet of what waits from before. Whoever asks `Recovery` for it would wait for ever:
    /// `Steps::load` comes first.
    ///
    /// # Errors
    /// As [`Spool::open`] does, but for threads.
    pub fn open_loading(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Spool, Steps, Recovery), Fault> {
        Spool::open_as(Mode::Stepped, config, disk, clock)
    }
}

impl Spool {
    /// Takes nothing more; what is queued is still written by `Steps::commit`.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Steps {
    /// Looks through one more segment for what waits from before. False if all is known.
    pub fn load(&mut self) -> bool {
        self.loader = self.loader.take().and_then(Loader::step);
        self.loader.is_some()
    }

    /// Writes, syncs and answers one group. False if nothing waits.
    pub fn commit(&mut self) -> bool {
        self.writer.step()
    }

    /// Removes what can go and copies forward what is in the way of it.
    pub fn trim(&mut self) {
        let Steps { writer, keeper, .. } = self;
        keeper.step(&mut || {
            writer.step();
        });
    }
}

/// Runs a read on a blocking thread, or here if there is none. An error only when the runtime shuts down.
pub(crate) async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    job: impl FnOnce(&Arc<Shared>) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    begin(shared, job).ended().await
}

/// A read that goes on whether anybody waits for it or not: whoever keeps it can stop waiting and begin again.
pub(crate) enum Begun<T> {
    OnAThread(JoinHandle<Result<T, Fault>>),
    Done(Option<Result<T, Fault>>),
}

pub(crate) fn begin<T: Send + 'static>(
    shared: &Arc<Shared>,
    job: impl FnOnce(&Arc<Shared>) -> Result<T, Fault> + Send + 'static,
) -> Begun<T> {
    match shared.mode {
        Mode::Stepped => Begun::Done(Some(job(shared))),
        Mode::Threads => {
            let shared = Arc::clone(shared);
            Begun::OnAThread(tokio::task::spawn_blocking(move || job(&shared)))
        }
    }
}

impl<T> Begun<T> {
    /// What was read, once. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<T, Fault> {
        match self {
            Begun::OnAThread(job) => job.await.unwrap_or(Err(Fault::Closed)),
            Begun::Done(read) => read.take().unwrap_or(Err(Fault::Closed)),
        }
    }
}
