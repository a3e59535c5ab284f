//! Calls that are finished whoever goes away: how many there may be, and who waits for them at shutdown.
//!
//! Only calls with an `Idempotency-Key` are tasks of their own (`idempotency.rs`); everything else ends with its
//! connection. Nothing is decided here. `server.rs` waits for what is still at work when the connections are gone.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Calls {
    turns: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Calls {
    pub fn new(calls_max: usize) -> Calls {
        Calls { turns: Arc::new(Semaphore::new(calls_max)), tasks: TaskTracker::new() }
    }

    /// Room for one more, if there is any. Nobody waits for it: a client that is told can come back.
    pub fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    pub fn spawn<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn(call)
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns when nothing is at work any more. To be called when no connection can bring new calls.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Calls({} at work)", self.len())
    }
}
