//! When to try again: growing steps with jitter, measured from the attempt before.
//!
//! The steps are those operators know from Postfix and PowerMTA: soon after the first failure (greylisting wants a
//! minute or five), then less and less often; the last step repeats until the mail expires. Jitter spreads what
//! failed together, so that a site that comes back is not met by everybody at once.

use mail::Random;
use std::time::Duration;

/// Delays between attempts, with chance in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    steps: Vec<Duration>,
    jitter_percent: u32,
}

impl Schedule {
    /// Each delay is moved by at most `jitter_percent` up or down. None if there is no step, or one of zero
    /// (that would be a loop, not a schedule), or if `jitter_percent` is 100 or more, which could make one of
    /// zero.
    pub fn new(steps: Vec<Duration>, jitter_percent: u32) -> Option<Schedule> {
        let valid = !steps.is_empty() && steps.iter().all(|step| !step.is_zero()) && jitter_percent < 100;
        valid.then_some(Schedule { steps, jitter_percent })
    }

    /// How long to wait after attempt number `attempt`, which counts from 1.
    pub fn delay(&self, attempt: u32, random: &mut Random) -> Duration {
        let index = (attempt.max(1) as usize - 1).min(self.steps.len() - 1);
        random.jitter(self.steps[index], self.jitter_percent)
    }
}

/// 1 min, 5 min, 15 min, 30 min, 1 h, 2 h, 4 h, 4 h, …; a fifth more or less.
impl Default for Schedule {
    fn default() -> Schedule {
        let minutes = [1, 5, 15, 30, 60, 120, 240];
        Schedule { steps: minutes.map(|m| Duration::from_secs(m * 60)).to_vec(), jitter_percent: 20 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_would_spin_cannot_be_made() {
        assert_eq!(Schedule::new(vec![], 0), None);
        assert_eq!(Schedule::new(vec![Duration::ZERO], 0), None);
        assert_eq!(Schedule::new(vec![Duration::from_secs(1)], 100), None);
    }

    #[test]
    fn the_steps_grow_and_the_last_one_repeats() {
        let steps = vec![Duration::from_secs(60), Duration::from_secs(300)];
        let schedule = Schedule::new(steps, 0).unwrap();
        let mut random = Random::from_number(1);
        let seconds: Vec<u64> = (0..5).map(|n| schedule.delay(n, &mut random).as_secs()).collect();
        assert_eq!(seconds, [60, 60, 300, 300, 300]);
    }

    #[test]
    fn what_failed_together_is_not_tried_together() {
        let (schedule, mut random) = (Schedule::default(), Random::from_number(2));
        let mut per_second = [0u32; 80];
        for _ in 0..10_000 {
            let delay = schedule.delay(1, &mut random).as_secs() as usize;
            assert!((48..=72).contains(&delay), "{delay}");
            per_second[delay] += 1;
        }
        assert!(per_second.iter().all(|count| *count <= 500), "no second gets more than a twentieth");
    }
}
