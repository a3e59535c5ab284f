//! The two tasks, started together and stopped together.

use crate::project::Projector;
use crate::webhook::call::Caller;
use crate::webhook::deliver::Deliverer;
use crate::{Config, Fault};
use database::Database;
use mail::{Clock, Random};
use registry::Snapshot;
use spool::Spool;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the registry of this node is found.
pub type SnapshotSource = Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// What telling is made of.
pub struct EventsParts {
    /// What is read.
    pub spool: Spool,
    /// Where rows go.
    pub database: Database,
    /// Endpoints and their secrets, as they are now.
    pub snapshot: SnapshotSource,
    /// Counts what is said to be new in the tables: the registry, or calls that somebody asked for.
    pub noticed: watch::Receiver<u64>,
    /// Wall time and measured time.
    pub clock: Arc<dyn Clock>,
    /// For jitter and for ids.
    pub random: Random,
    /// Limits and times.
    pub config: Config,
}

/// Both tasks. They stop after the token they were started with is cancelled.
#[must_use = "the tasks are waited for with `stopped`"]
pub struct EventsHandle {
    projector: JoinHandle<()>,
    deliverer: JoinHandle<()>,
    shutdown: CancellationToken,
}

/// Starts projecting and delivering. Later trouble is retried and logged.
///
/// # Errors
/// `Config` with the first mistake of the configuration; `Resolver` if no resolver can be made of its name
/// servers; `Client` if the HTTP client cannot be made, such as without roots of TLS.
pub fn start(mut parts: EventsParts, shutdown: CancellationToken) -> Result<EventsHandle, Fault> {
    parts.config.check()?;
    let caller = Caller::new(&parts.config)?;
    let wake = Arc::new(Notify::new());
    // Both go on from what is in the tables, so after a panic they begin anew: the one at its cursor, the other with
    // what is due; calls that were under way are due when their lease has ended.
    let (told, stop) = (Arc::clone(&wake), shutdown.clone());
    let (spool, database, snapshot) = (parts.spool, parts.database.clone(), Arc::clone(&parts.snapshot));
    let (clock, config) = (Arc::clone(&parts.clock), parts.config.clone());
    let projector = panics::keep("projector", shutdown.clone(), move || {
        let (snapshot, clock) = (Arc::clone(&snapshot), Arc::clone(&clock));
        let told = Arc::clone(&told);
        Projector::new(spool.clone(), database.clone(), snapshot, clock, config.clone(), told)
            .run(stop.clone())
    });
    let stop = shutdown.clone();
    let deliverer = panics::keep("webhook deliverer", shutdown.clone(), move || {
        let deliverer = Deliverer {
            database: parts.database.clone(),
            snapshot: Arc::clone(&parts.snapshot),
            clock: Arc::clone(&parts.clock),
            random: parts.random.fork(),
            config: parts.config.clone(),
            caller: caller.clone(),
            told: Arc::clone(&wake),
            noticed: parts.noticed.clone(),
        };
        deliverer.run(stop.clone())
    });
    Ok(EventsHandle { projector, deliverer, shutdown })
}

impl EventsHandle {
    /// Waits until both tasks have ended as they were told to; calls that are under way are finished within their
    /// timeout. Returns at once when one ends before it was told: the other is no use alone.
    pub async fn stopped(self) {
        let (mut projector, mut deliverer) = (self.projector, self.deliverer);
        let first = tokio::select! {
            ended = &mut projector => ("projector", ended),
            ended = &mut deliverer => ("webhook deliverer", ended),
        };
        report(first.0, first.1);
        if !self.shutdown.is_cancelled() {
            tracing::error!(task = first.0, "a task of events ended by itself");
            return;
        }
        match first.0 {
            "projector" => report("webhook deliverer", deliverer.await),
            _ => report("projector", projector.await),
        }
    }

    /// Whether both tasks still run.
    pub fn is_running(&self) -> bool {
        !self.projector.is_finished() && !self.deliverer.is_finished()
    }
}

fn report(task: &'static str, outcome: Result<(), tokio::task::JoinError>) {
    if let Err(error) = outcome {
        tracing::error!(error = &error as &dyn std::error::Error, task, "a task of events died");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::time::Duration;

    fn handle(
        projector: impl Future<Output = ()> + Send + 'static,
        deliverer: impl Future<Output = ()> + Send + 'static,
        shutdown: &CancellationToken,
    ) -> EventsHandle {
        EventsHandle {
            projector: tokio::spawn(projector),
            deliverer: tokio::spawn(deliverer),
            shutdown: shutdown.clone(),
        }
    }

    #[tokio::test]
    async fn whichever_task_ends_by_itself_is_noticed_although_the_other_goes_on() {
        let shutdown = CancellationToken::new();
        for dead in [
            handle(ready(()), pending(), &shutdown),
            handle(pending(), ready(()), &shutdown),
            handle(async { panic!("a bug") }, pending(), &shutdown),
            handle(pending(), async { panic!("a bug") }, &shutdown),
        ] {
            tokio::time::timeout(Duration::from_secs(5), dead.stopped()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn after_a_stop_both_are_waited_for() {
        for slow in ["projector", "deliverer"] {
            let shutdown = CancellationToken::new();
            shutdown.cancel();
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let ends = async { drop(ended.await) };
            let both = match slow {
                "projector" => handle(ends, ready(()), &shutdown),
                _ => handle(ready(()), ends, &shutdown),
            };
            let mut stopped = std::pin::pin!(both.stopped());
            for _ in 0..100 {
                tokio::select! {
                    biased;
                    () = &mut stopped => panic!("the {slow} is not waited for"),
                    () = tokio::task::yield_now() => {}
                }
            }
            drop(end);
            tokio::time::timeout(Duration::from_secs(5), stopped).await.unwrap();
        }
    }
}
