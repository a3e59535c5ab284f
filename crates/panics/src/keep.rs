//! A task that is begun anew after a panic.
//!
//! What may surprise: the pause grows while it panics again and again, since the same record or row may be waiting for it;
//! and it never gives up, since mail goes on meanwhile and somebody is looking for the bug.

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Before it is begun anew, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A task that ran for so long is well again.
const WELL: Duration = Duration::from_secs(60);

/// Runs what `begin` makes until that ends by itself, or until `stop` after a panic.
pub fn keep<F>(
    task: &'static str,
    stop: CancellationToken,
    mut begin: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let mut pause = PAUSE_FIRST;
        let begun_anew = metrics::counter!("posthouse_tasks_begun_anew_total", "task" => task);
        // A figure that is not there cannot be watched: it begins with 0.
        begun_anew.increment(0);
        loop {
            let began = Instant::now();
            // What it had is dropped with it: nothing half done is seen by the next one.
            if AssertUnwindSafe(begin()).catch_unwind().await.is_ok() {
                return;
            }
            begun_anew.increment(1);
            pause = if began.elapsed() >= WELL { PAUSE_FIRST } else { pause };
            tracing::error!(task, pause_ms = pause.as_millis() as u64, "a task panicked and is begun anew");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    })
}

/// What came of it; none if it panicked.
pub async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(future).catch_unwind().await.ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_anew_with_growing_pauses_until_it_ends() {
        let (count, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
        let counted = Arc::clone(&count);
        let kept = keep("test", CancellationToken::new(), move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move { assert_eq!(number, 3, "a bug") }
        });
        kept.await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 4);
        assert_eq!(began.elapsed().as_millis() / 100, 1 + 2 + 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ran_well_for_long_is_begun_anew_at_once() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let began = Instant::now();
        let kept = keep("test", CancellationToken::new(), move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(WELL).await;
                assert_eq!(number, 3, "a bug");
            }
        });
        kept.await.unwrap();
        let pauses = began.elapsed() - WELL * 4;
        assert!(pauses < PAUSE_FIRST * 4, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stop_nothing_is_begun() {
        let stop = CancellationToken::new();
        stop.cancel();
        let mut count = 0;
        keep("test", stop, move || {
            count += 1;
            async move { assert!(count > 1, "a bug") }
        })
        .await
        .unwrap();
    }
}
