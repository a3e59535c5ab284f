//! The one timer of a session, moved as seldom as possible.
//!
//! A session's deadline moves with every command, nearly always away from now. Setting a timer anew each time would
//! take the lock of the runtime's timer wheel for every read, so a timer that is set for an earlier time is left alone:
//! when it fires early, the machine does nothing and it is set again.

use mail::Instant;
use std::pin::Pin;
use tokio::time::Sleep;

#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it fires.
    set_for: Option<Instant>,
}

impl Timer {
    /// Fires at `deadline` or before; never without one.
    pub fn set(&mut self, deadline: Option<Instant>, now: Instant) {
        let Some(deadline) = deadline else { return };
        if self.set_for.is_some_and(|set_for| set_for <= deadline) {
            return;
        }
        let at = tokio::time::Instant::now() + deadline.saturating_since(now);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.set_for = Some(deadline);
    }

    /// Waits until it fires; for ever if it was not set. It has to be set again then.
    pub async fn fired(&mut self) {
        match (&mut self.sleep, self.set_for) {
            (Some(sleep), Some(_)) => sleep.await,
            _ => std::future::pending().await,
        }
        self.set_for = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    async fn fires_within(timer: &mut Timer, millis: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(millis), timer.fired()).await.is_ok()
    }

    #[tokio::test]
    async fn a_timer_that_was_never_set_never_fires() {
        let mut timer = Timer::default();
        timer.set(None, at(0));
        assert!(!fires_within(&mut timer, 20).await);
    }

    #[tokio::test]
    async fn it_fires_at_the_earlier_time_and_must_be_set_again() {
        let mut timer = Timer::default();
        timer.set(Some(at(60_000)), at(0));
        timer.set(Some(at(20)), at(0));
        timer.set(Some(at(90_000)), at(0));
        assert!(fires_within(&mut timer, 2_000).await);
        assert!(!fires_within(&mut timer, 20).await);
        timer.set(Some(at(40)), at(20));
        assert!(fires_within(&mut timer, 2_000).await);
    }
}
