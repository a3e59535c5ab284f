//! Calls that are finished whoever goes away: how many there may be, and who waits for them at shutdown.
//!
//! Only calls with an `Idempotency-Key` are tasks of their own (`idempotency.rs`); everything else ends with its
//! connection. Nothing is decided here. `server.rs` waits for what is still at work when the connections are gone.

use crate::in_flight::{InFlight, Turn};
use crate::problem::Problem;
use registry::Access;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Calls {
    turns: InFlight,
    tasks: TaskTracker,
}

impl Calls {
    pub fn new(calls_max: usize) -> Calls {
        Calls { turns: InFlight::new(calls_max), tasks: TaskTracker::new() }
    }

    /// Room for one more of this caller, if there is any.
    pub fn turn(&self, access: &Access) -> Result<Turn, Problem> {
        self.turns.turn(access)
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
