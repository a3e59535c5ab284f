//! When the table of webhook calls has something due again, as far as is known. A plain value.
//!
//! The deliverer learns of new calls by being told, and of retries by making them. So it asks the table for the next due
//! time only when what it knew is over, and not at all while nothing waits. What may surprise: a claim counts as something
//! to come, at the end of its lease, because a result may be lost; mostly there is nothing to do then.

use mail::{Clock, Timestamp};
use std::time::Duration;

/// After a fault of the database.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Between two looks: a receiver that fails quickly has retries due all the time.
const REST: Duration = Duration::from_millis(100);

/// What is known of the time until the next call is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// The earliest that is known.
    due: Option<Timestamp>,
    /// Nothing in the table is due earlier that was not claimed.
    is_known: bool,
    /// When the table was looked at last because something was due.
    looked_at: Option<Timestamp>,
}

impl Looks {
    /// What was known is over, or may be: the table is looked at now.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        *self = Looks { looked_at: Some(now), ..Looks::default() };
    }

    /// Whether to ask the table, once it has given all that is due.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// The table said when the next is due.
    pub(crate) fn asked(&mut self, next: Option<Timestamp>) {
        (self.due, self.is_known) = (next, true);
    }

    /// The database is away: again in a moment.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.asked(Some(now.saturating_add(AWAY_PAUSE)));
    }

    /// One more will be due then.
    pub(crate) fn later(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Until the next look, with a rest behind the last one; none while there is nothing to look for.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        // Since then less than no time has passed if the clock was set back.
        let rested = self.looked_at.map_or(REST, |at| now.saturating_since(at));
        self.due.map(|due| due.saturating_since(now).max(REST.saturating_sub(rested)))
    }

    /// Returns when the next look is due, by a clock that may be set meanwhile.
    pub(crate) async fn rest(&self, clock: &dyn Clock) {
        match self.wait(clock.timestamp()) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Instant;

    /// Goes with the paused time of the runtime.
    #[derive(Debug)]
    struct Paused(tokio::time::Instant);

    impl Clock for Paused {
        fn instant(&self) -> Instant {
            Instant::from_micros(self.0.elapsed().as_micros() as u64)
        }

        fn timestamp(&self) -> Timestamp {
            Timestamp::from_millis(self.0.elapsed().as_millis() as i64)
        }
    }

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn an_idle_house_has_nothing_to_look_for_and_does_not_ask_twice() {
        let mut looks = Looks::default();
        assert!(!looks.is_known());
        looks.asked(None);
        assert_eq!((looks.is_known(), looks.wait(at(0))), (true, None));
    }

    #[test]
    fn the_earliest_counts_whoever_tells_of_it_and_a_time_that_is_over_is_now() {
        let mut looks = Looks::default();
        looks.asked(Some(at(100)));
        looks.later(at(300));
        assert_eq!(looks.wait(at(0)), Some(Duration::from_secs(100)));
        looks.later(at(5));
        assert_eq!(looks.wait(at(1)), Some(Duration::from_secs(4)));
        assert_eq!(looks.wait(at(9)), Some(Duration::ZERO));
        looks.forget(at(9));
        assert_eq!((looks.is_known(), looks.wait(at(9))), (false, None));
        looks.later(at(8));
        assert_eq!(looks.wait(at(9)), Some(REST), "retries that are due all the time");
        assert_eq!(
            (looks.wait(at(10)), looks.wait(at(2))),
            (Some(Duration::ZERO), Some(Duration::from_secs(6)))
        );
    }

    #[test]
    fn a_database_that_is_away_is_asked_again_and_not_at_once() {
        let mut looks = Looks::default();
        looks.failed(at(1));
        assert_eq!((looks.is_known(), looks.wait(at(1))), (true, Some(AWAY_PAUSE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_is_looked_for_when_it_is_due_and_not_a_moment_later() {
        let clock = Paused(tokio::time::Instant::now());
        let mut looks = Looks::default();
        looks.asked(Some(at(3_600)));
        looks.later(at(5));
        looks.rest(&clock).await;
        let late = clock.timestamp().saturating_since(at(5));
        assert!(clock.timestamp() >= at(5) && late <= Duration::from_millis(2), "{late:?} late");
        looks.asked(None);
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, looks.rest(&clock)).await.is_err(), "it looked for nothing");
    }
}
