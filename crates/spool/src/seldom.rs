//! What goes wrong again with every try is said at first, and then seldom, with how often it was. Pure.
//!
//! For the log line of a full disk: whoever makes room finds the other lines, and sees that it is not over. Called by
//! `commit.rs`.

use mail::Instant;
use std::time::Duration;

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// It happened once more. How often since it was said last, if it is to be said now.
    pub fn happened(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now.saturating_since(said) < PAUSE) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_times_a_second_is_said_at_first_and_then_every_ten_seconds_with_how_often_it_was() {
        let mut seldom = Seldom::default();
        let said: Vec<_> = (0..100)
            .filter_map(|quarter| {
                let times = seldom.happened(Instant::from_micros(quarter * 250_000))?;
                Some((quarter, times))
            })
            .collect();
        assert_eq!(said, [(0, 1), (40, 40), (80, 40)]);
    }
}
