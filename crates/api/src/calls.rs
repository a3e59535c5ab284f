//! Calls that are finished whoever goes away: how many there may be, which keys they hold, and who waits for them at
//! shutdown.
//!
//! Only calls with an `Idempotency-Key` are tasks of their own (`idempotency.rs`); everything else ends with its
//! connection. Nothing is decided here. `server.rs` waits for what is still at work when the connections are gone.

use crate::in_flight::{InFlight, Turn};
use crate::problem::Problem;
use registry::Access;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Calls {
    turns: InFlight,
    tasks: TaskTracker,
    /// Owner and key of each that is at work; at most as many as there are turns.
    running: Arc<Mutex<HashSet<Name>>>,
}

type Name = (String, String);

/// A call at work: nobody else in this process may do it meanwhile, whatever became of its lease.
#[derive(Debug)]
pub struct Running {
    name: Name,
    all: Arc<Mutex<HashSet<Name>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        names(&self.all).remove(&self.name);
    }
}

fn names(all: &Mutex<HashSet<Name>>) -> MutexGuard<'_, HashSet<Name>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    pub fn new(calls_max: usize) -> Calls {
        Calls { turns: InFlight::new(calls_max), tasks: TaskTracker::new(), running: Arc::default() }
    }

    /// None if a call with this key of this owner is at work here.
    pub fn run(&self, owner: &str, key: &str) -> Option<Running> {
        let name = (owner.to_owned(), key.to_owned());
        let is_new = names(&self.running).insert(name.clone());
        is_new.then(|| Running { name, all: Arc::clone(&self.running) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_by_one_call_at_a_time_and_free_when_that_ends() {
        let calls = Calls::new(4);
        let first = calls.run("key_1", "k");
        assert!(first.is_some() && calls.run("key_1", "k").is_none());
        assert!(calls.run("key_2", "k").is_some() && calls.run("key_1", "l").is_some());
        drop(first);
        assert!(calls.run("key_1", "k").is_some());
    }
}
