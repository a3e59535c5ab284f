//! A clock that stands still until the test moves it.

use mail::{Clock, Instant, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Begins on 2026-11-23 at noon UTC.
const START_MILLIS: i64 = 1_795_435_200_000;

/// Wall time and measured time that stand still until a test moves them.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// At the moment when every test begins.
    pub fn new() -> Arc<ManualClock> {
        Arc::new(ManualClock::default())
    }

    /// Moves both, at once and together.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn timestamp(&self) -> Timestamp {
        let passed = self.0.load(Ordering::SeqCst) / 1000;
        Timestamp::from_millis(START_MILLIS + passed as i64)
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }
}
