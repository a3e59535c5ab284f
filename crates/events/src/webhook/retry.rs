//! When a call that failed is tried again: the schedule of Standard Webhooks, each pause spread a little.

use mail::Random;
use std::time::Duration;

/// Pause before each try, the first included; about three days in all.
const PAUSES: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// The pause after `tries` tries; none when the last was made.
pub(crate) fn pause_after(tries: u32, jitter_percent: u32, random: &mut Random) -> Option<Duration> {
    PAUSES.get(tries as usize).map(|pause| random.jitter(*pause, jitter_percent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ten_tries_are_made_and_no_more() {
        let mut random = Random::from_number(1);
        assert_eq!(pause_after(10, 10, &mut random), None);
        assert_eq!(pause_after(u32::MAX, 10, &mut random), None);
        let pauses: Vec<_> = (0..10).map(|tries| pause_after(tries, 0, &mut random).unwrap()).collect();
        assert_eq!(pauses, PAUSES);
        let moved = pause_after(1, 10, &mut random).unwrap();
        assert!(moved >= Duration::from_millis(4_500) && moved <= Duration::from_millis(5_500));
    }
}
