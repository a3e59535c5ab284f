//! A few threads for the work that would hold up a network thread: hashing bodies and signing with RSA (0.3 ms).
//!
//! Tenants take turns, so that one with five hundred messages here delays another's by one job a thread. The queue has a
//! limit: who hands in more work waits, and so does the client whose message it is; nobody may fill it alone. A job
//! whose session has gone is not begun. Dropping the pool lets the threads finish what they have begun and end.
//!
//! Called by `submission.rs` with the whole of `prepare.rs` as one job, so that a message changes threads once.

use crate::error::Fault;
use registry::{Party, Ring, Shares};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// The pool.
pub struct Signers {
    queue: Arc<Queue>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// Told when a place becomes free.
    freed: Notify,
}

struct State {
    jobs: Ring<Party, VecDeque<Job>>,
    places: Shares,
    closed: bool,
}

impl State {
    fn next_job(&mut self) -> Option<Job> {
        self.jobs.next(|_, jobs| jobs.pop_front().into())
    }
}

/// A place in the queue; free again when the job is done or given up.
struct PlaceInQueue {
    queue: Arc<Queue>,
    party: Party,
}

impl Drop for PlaceInQueue {
    fn drop(&mut self) {
        self.queue.lock().places.give_back(self.party, 1);
        self.queue.freed.notify_waiters();
    }
}

impl Signers {
    /// `threads` of 0 means one per processor. Errs if the system gives no thread.
    pub fn start(threads: usize, queue_max: usize) -> Result<Signers, Fault> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let queue = Queue::new(queue_max);
        let mut signers = Signers { queue: Arc::clone(&queue), threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let thread =
                std::thread::Builder::new().name(format!("sign-{number}")).spawn(move || queue.work());
            signers.threads.push(thread.map_err(|source| Fault::Thread { number, source })?);
        }
        Ok(signers)
    }

    /// None of its own: `step` does the work. For simulations, where everything happens in one thread.
    pub fn stepped(queue_max: usize) -> Signers {
        Signers { queue: Queue::new(queue_max), threads: Vec::new() }
    }

    /// Does one job, here. False if none waits.
    pub fn step(&self) -> bool {
        let job = self.queue.lock().next_job();
        job.map(|job| job()).is_some()
    }

    /// Runs `job`, which is `party`'s, on one of the threads and gives back what it gave. Errs if the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        party: Party,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let place = self.place(party).await;
        let (answer, wait) = oneshot::channel();
        let job = Box::new(move || {
            if !answer.is_closed() {
                // The session may have gone meanwhile; then nobody wants the answer.
                let _ = answer.send(job());
            }
            drop(place);
        });
        self.queue.push(party, job);
        // A job that panicked dropped its sender: that message fails, the thread goes on.
        wait.await.map_err(|_| Fault::SigningStopped)
    }

    /// Waits for a place. Who comes back to an empty queue finds one, so nobody waits for ever.
    async fn place(&self, party: Party) -> PlaceInQueue {
        loop {
            let freed = self.queue.freed.notified();
            if self.queue.lock().places.take(party, 1).is_ok() {
                return PlaceInQueue { queue: Arc::clone(&self.queue), party };
            }
            freed.await;
        }
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
    fn new(queue_max: usize) -> Arc<Queue> {
        // The first half of the places is everybody's, so two are the least with which anything moves.
        let state =
            State { jobs: Ring::default(), places: Shares::new(queue_max.max(2) as u64), closed: false };
        Arc::new(Queue { state: Mutex::new(state), work: Condvar::new(), freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, party: Party, job: Job) {
        self.lock().jobs.line(party).push_back(job);
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
            if let Some(job) = state.next_job() {
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
    use mail::{Random, TenantId, Timestamp};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    const ME: Party = Party::Strangers;

    fn tenant(number: u64) -> Party {
        Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut Random::from_number(number)))
    }

    /// A thread of the pool that is busy until the sender is dropped.
    async fn occupy(signers: &Arc<Signers>) -> SyncSender<()> {
        let (gate, closed): (SyncSender<()>, Receiver<()>) = sync_channel(0);
        let (begun, begins) = oneshot::channel();
        let signers = Arc::clone(signers);
        tokio::spawn(async move {
            let job = move || {
                let _ = begun.send(());
                let _ = closed.recv();
            };
            signers.run(ME, job).await
        });
        begins.await.unwrap();
        gate
    }

    #[tokio::test]
    async fn a_job_that_panics_fails_alone() {
        let signers = Signers::start(1, 4).unwrap();
        assert!(signers.run(ME, || panic!("on purpose")).await.is_err());
        assert_eq!(signers.run(ME, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn tenants_take_turns_however_much_one_hands_in() {
        let signers = Arc::new(Signers::start(1, 1_000).unwrap());
        let gate = occupy(&signers).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut jobs = Vec::new();
        for (name, count) in [('a', 300), ('b', 3)] {
            for _ in 0..count {
                let (signers, order) = (Arc::clone(&signers), Arc::clone(&order));
                let job = move || order.lock().unwrap().push(name);
                jobs.push(tokio::spawn(async move { signers.run(tenant(name as u64), job).await }));
            }
        }
        while signers.queue.lock().places.used() < 304 {
            tokio::task::yield_now().await;
        }
        drop(gate);
        for job in jobs {
            job.await.unwrap().unwrap();
        }
        let order: String = order.lock().unwrap().iter().collect();
        assert!(order.starts_with("ababab"), "{}", &order[..12]);
    }

    #[tokio::test]
    async fn the_queue_has_a_limit_nobody_fills_it_alone_and_who_left_costs_nothing() {
        let signers = Arc::new(Signers::start(1, 8).unwrap());
        let gate = occupy(&signers).await;
        let begun = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..10)
            .map(|_| {
                let (signers, begun) = (Arc::clone(&signers), Arc::clone(&begun));
                let job = move || begun.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move { signers.run(tenant(1), job).await })
            })
            .collect();
        while signers.queue.lock().places.used() < 4 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!(signers.queue.lock().places.used(), 4, "three of one tenant, one at work");
        let other = Arc::clone(&signers);
        let other = tokio::spawn(async move { other.run(tenant(2), || 2).await });
        while signers.queue.lock().places.used() < 5 {
            tokio::task::yield_now().await;
        }
        // All sessions of the first end before their turn.
        for job in jobs {
            job.abort();
            // Asking is not having ended: the thread must not be let go before that.
            assert!(job.await.unwrap_err().is_cancelled());
        }
        drop(gate);
        assert_eq!(other.await.unwrap().unwrap(), 2);
        assert_eq!(signers.run(ME, || 1).await.unwrap(), 1);
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }
}
