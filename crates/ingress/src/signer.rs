//! A few threads for the work that would hold up a network thread: hashing bodies and signing with RSA (0.3 ms).
//!
//! The queue has a limit: who hands in more work waits, and so does the client whose message it is. A job whose
//! session has gone is not begun. Dropping the pool lets the threads finish what they have begun and end.
//!
//! Called by `submission.rs` with the whole of `prepare.rs` as one job, so that a message changes threads once.

use crate::error::Fault;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
pub struct Signers {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Signers {
    /// `threads` of 0 means one per processor.
    pub fn start(threads: usize, queue_max: usize) -> Result<Signers, Fault> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let queue = Arc::new(Queue::default());
        let mut signers = Signers {
            queue: Arc::clone(&queue),
            places: Arc::new(Semaphore::new(queue_max.clamp(1, Semaphore::MAX_PERMITS))),
            threads: Vec::with_capacity(threads),
        };
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let thread =
                std::thread::Builder::new().name(format!("sign-{number}")).spawn(move || queue.work());
            signers.threads.push(thread.map_err(|source| Fault::Thread { number, source })?);
        }
        Ok(signers)
    }

    /// Runs `job` on one of the threads and gives back what it gave.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Fault::SigningStopped)?;
        let (answer, wait) = oneshot::channel();
        self.queue.push(Box::new(move || {
            if !answer.is_closed() {
                // The session may have gone meanwhile; then nobody wants the answer.
                let _ = answer.send(job());
            }
            drop(place);
        }));
        // A job that panicked dropped its sender: that message fails, the thread goes on.
        wait.await.map_err(|_| Fault::SigningStopped)
    }
}

impl Drop for Signers {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.work.notify_all();
    }
}

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.work.notify_one();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a signing job panicked; its message was not accepted");
            }
        }
    }

    /// The next job; none once the pool is closed and everything is done.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_job_that_panics_fails_alone() {
        let signers = Signers::start(1, 4).unwrap();
        assert!(signers.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(signers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_queue_has_a_limit_and_who_left_costs_nothing() {
        let signers = Arc::new(Signers::start(1, 2).unwrap());
        let begun = Arc::new(AtomicUsize::new(0));
        let (gate, closed_gate) = std::sync::mpsc::sync_channel::<()>(0);
        let closed_gate = Arc::new(Mutex::new(closed_gate));
        let jobs: Vec<_> = (0..10)
            .map(|_| {
                let (signers, begun, gate) = (signers.clone(), begun.clone(), closed_gate.clone());
                tokio::spawn(async move {
                    let job = move || {
                        begun.fetch_add(1, Ordering::SeqCst);
                        // Until the other end is dropped.
                        let _ = gate.lock().unwrap().recv();
                    };
                    signers.run(job).await
                })
            })
            .collect();
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(signers.places.available_permits(), 0);
        assert!(signers.queue.lock().jobs.len() <= 1);
        // One is at work behind the gate, nine sessions end before their turn.
        for job in &jobs {
            job.abort();
        }
        drop(gate);
        assert_eq!(signers.run(|| 1).await.unwrap(), 1);
        assert!(begun.load(Ordering::SeqCst) <= 2);
    }
}
