//! Calls that are finished whoever goes away: how many there may be, which of them is at work, and who waits for them at
//! shutdown.
//!
//! Only calls with an `Idempotency-Key` are tasks of their own (`idempotency.rs`); everything else ends with its
//! connection. Nothing is decided here. `server.rs` waits for what is still at work when the connections are gone.

use crate::in_flight::{InFlight, Turn};
use crate::problem::Problem;
use registry::Access;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Calls {
    turns: InFlight,
    tasks: TaskTracker,
    /// The line of each that is at work or waits for its twin; at most as many as there are turns.
    lines: Arc<Mutex<Lines>>,
}

/// Owner, key and fingerprint: what makes two calls twins.
type Name = (String, String, [u8; 32]);
type Line = Arc<tokio::sync::Mutex<()>>;
/// Each with how many are in it.
type Lines = HashMap<Name, (Line, usize)>;

/// A call at work: none of its twins is at work in this process meanwhile, whatever became of its lease.
#[derive(Debug)]
pub struct Running {
    // Given back first, so that whoever comes when the line is gone finds nobody at work.
    _turn: OwnedMutexGuard<()>,
    _place: Place,
}

/// Being in the line of a call.
#[derive(Debug)]
struct Place {
    name: Name,
    line: Line,
    all: Arc<Mutex<Lines>>,
}

impl Place {
    fn take(all: &Arc<Mutex<Lines>>, name: Name) -> Place {
        let mut lines = lines(all);
        let (line, count) = lines.entry(name.clone()).or_default();
        *count += 1;
        Place { name, line: Arc::clone(line), all: Arc::clone(all) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lines(&self.all);
        if let Some((_, count)) = all.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.name);
            }
        }
    }
}

fn lines(all: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    pub fn new(calls_max: usize) -> Calls {
        Calls { turns: InFlight::new(calls_max), tasks: TaskTracker::new(), lines: Arc::default() }
    }

    /// Returns when no twin of this call is at work here any more, in the order in which they came.
    pub async fn run(&self, owner: &str, key: &str, fingerprint: [u8; 32]) -> Running {
        let place = Place::take(&self.lines, (owner.to_owned(), key.to_owned(), fingerprint));
        let turn = Arc::clone(&place.line).lock_owned().await;
        Running { _turn: turn, _place: place }
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
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn twins_are_at_work_one_after_the_other_and_others_at_once() {
        let calls = Calls::new(4);
        let run = |owner, key, hash| calls.run(owner, key, [hash; 32]);
        let first = run("key_1", "k", 1).await;
        let others = [run("key_2", "k", 1).await, run("key_1", "l", 1).await, run("key_1", "k", 2).await];
        let (mut second, mut third) = (Box::pin(run("key_1", "k", 1)), Box::pin(run("key_1", "k", 1)));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "it came later");
        drop((second.await, others));
        drop(third.await);
        assert!(lines(&calls.lines).is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_no_longer_leaves_nothing_behind() {
        let calls = Calls::new(4);
        let first = calls.run("key_1", "k", [1; 32]).await;
        let waiting = || Box::pin(calls.run("key_1", "k", [1; 32]));
        assert!(waiting().as_mut().now_or_never().is_none());
        assert_eq!(lines(&calls.lines).len(), 1);
        let mut next = waiting();
        assert!(next.as_mut().now_or_never().is_none());
        // It is its turn when it goes.
        drop(first);
        drop(next);
        assert!(lines(&calls.lines).is_empty());
    }
}
