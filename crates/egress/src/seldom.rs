//! What goes wrong many times in the same way is said at first, and then seldom, with how often it was. Pure.
//!
//! For log lines about our own trouble that comes back with every retry of every message. Called by `loading.rs`.

use mail::Instant;
use std::time::Duration;

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(600);

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
    fn it_is_said_at_first_and_then_once_in_a_while_with_how_often_it_was() {
        let mut seldom = Seldom::default();
        let said: Vec<_> = (0..1_300)
            .filter_map(|second| {
                let times = seldom.happened(Instant::from_micros(second * 1_000_000))?;
                Some((second, times))
            })
            .collect();
        assert_eq!(said, [(0, 1), (600, 600), (1_200, 600)]);
    }
}
