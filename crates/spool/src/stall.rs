//! How long the disk has been busy with one group of records.
//!
//! The commit thread says when it begins and when it is done; everybody else may ask at any moment without waiting for
//! it, which is the point: while a disk is silent that thread is silent, too.

use mail::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds of the clock at which the group was begun, plus one; 0 while there is none.
#[derive(Debug, Default, Clone)]
pub(crate) struct Stall(Arc<AtomicU64>);

/// Until it is dropped the commit thread is busy.
pub(crate) struct AtWork(Stall);

impl Stall {
    #[must_use = "it is over when this is dropped"]
    pub(crate) fn begin(&self, now: Instant) -> AtWork {
        self.0.store(now.as_micros().saturating_add(1), Ordering::Relaxed);
        AtWork(self.clone())
    }

    /// How long the group under way has taken so far.
    pub(crate) fn lasts(&self, now: Instant) -> Option<Duration> {
        let begun = self.0.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_since(Instant::from_micros(begun)))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_beginning_of_a_group_to_its_end() {
        let (stall, at) = (Stall::default(), Instant::from_micros);
        assert_eq!(stall.lasts(at(5)), None);
        let at_work = stall.begin(at(0));
        assert_eq!(stall.lasts(at(1_500_000)), Some(Duration::from_millis(1_500)));
        drop(at_work);
        assert_eq!(stall.lasts(at(1_500_000)), None);
    }
}
