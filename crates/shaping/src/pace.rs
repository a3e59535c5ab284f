//! So many in a time, spread evenly: the generic cell rate algorithm (ITU-T I.371) with a set burst.
//!
//! A counter per hour would let a whole hour's share go in one second, twice around the full hour. Here each event
//! is due one interval after the one before, and may come early by the burst. One number is the whole state, and it
//! cannot drift: intervals add up exactly.

use mail::Instant;
use std::time::Duration;

/// `count` in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events, at least 1.
    pub count: u32,
    /// The time that they are spread over.
    pub per: Duration,
}

/// An event that was counted, in case that it does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    at: Instant,
    /// What it took by the rate of that time.
    interval_ns: u128,
}

/// When the next event may come. Time goes in with each question.
#[derive(Debug, Clone)]
pub struct Pace {
    rate: Rate,
    burst: u32,
    /// When the next event would be due if everybody kept to the rate, in nanoseconds after `Instant::ZERO`.
    due_ns: u128,
}

impl Rate {
    /// None for a rate that lets nothing through or everything at once.
    pub fn new(count: u32, per: Duration) -> Option<Rate> {
        (count > 0 && !per.is_zero()).then_some(Rate { count, per })
    }

    /// How many go into `time`.
    pub fn within(self, time: Duration) -> u32 {
        let count = u128::from(self.count) * time.as_nanos() / self.per.as_nanos().max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn interval_ns(self) -> u128 {
        self.per.as_nanos() / u128::from(self.count.max(1))
    }
}

impl Pace {
    /// `burst` events may come at once after a quiet time; at least one can.
    pub fn new(rate: Rate, burst: u32) -> Pace {
        Pace { rate, burst: burst.max(1), due_ns: 0 }
    }

    /// Whether an event may happen at `now`.
    ///
    /// # Errors
    /// The first time at which it may, which is later than `now`.
    pub fn check(&self, now: Instant) -> Result<(), Instant> {
        let early_ns = self.rate.interval_ns() * u128::from(self.burst - 1);
        let allowed_ns = self.due_ns.saturating_sub(early_ns);
        if allowed_ns <= nanos(now) { Ok(()) } else { Err(instant(allowed_ns)) }
    }

    /// Counts an event, whether it was allowed or not.
    pub fn count(&mut self, now: Instant) -> Counted {
        let interval_ns = self.rate.interval_ns();
        self.due_ns = self.due_ns.max(nanos(now)) + interval_ns;
        Counted { at: now, interval_ns }
    }

    /// What was counted did not happen. Of its interval, whatever the rate is by now, only that part is given back which
    /// time has not: all of it would let one more happen than without it.
    pub fn give_back(&mut self, counted: Counted, now: Instant) {
        let passed_ns = nanos(now).saturating_sub(nanos(counted.at));
        self.due_ns = self.due_ns.saturating_sub(counted.interval_ns.saturating_sub(passed_ns));
    }

    /// From now on at this rate. What was sent already still counts.
    pub fn set_rate(&mut self, rate: Rate, burst: u32) {
        self.rate = rate;
        self.burst = burst.max(1);
    }

    /// As it was set.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

fn nanos(now: Instant) -> u128 {
    u128::from(now.as_micros()) * 1000
}

/// Rounded up: an event that is asked for at that time is allowed.
fn instant(ns: u128) -> Instant {
    Instant::from_micros(u64::try_from(ns.div_ceil(1000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Takes whatever is allowed between `from` and `until`, always at the first moment it may.
    fn greedy(pace: &mut Pace, from: Instant, until: Instant) -> Vec<Instant> {
        let (mut now, mut taken) = (from, Vec::new());
        while now < until {
            match pace.check(now) {
                Ok(()) => {
                    pace.count(now);
                    taken.push(now);
                }
                Err(at) => {
                    assert!(at > now, "a refusal names a later time");
                    now = at;
                }
            }
        }
        taken
    }

    #[test]
    fn a_rate_of_nothing_cannot_be_made() {
        assert_eq!(Rate::new(0, Duration::from_secs(1)), None);
        assert_eq!(Rate::new(1, Duration::ZERO), None);
    }

    #[test]
    fn over_an_hour_the_rate_is_exact_and_the_burst_is_too() {
        let mut pace = Pace::new(Rate::new(7, Duration::from_secs(1)).unwrap(), 20);
        let start = Instant::from_micros(5_000_000);
        let taken = greedy(&mut pace, start, start + Duration::from_secs(3600));
        assert_eq!(taken.iter().filter(|at| **at == start).count(), 20);
        let expected = 7 * 3600 + 19;
        assert!(taken.len().abs_diff(expected) <= 1, "{} instead of {expected}", taken.len());
    }

    #[test]
    fn without_a_burst_a_rate_by_the_hour_is_spread_over_the_hour() {
        let mut pace = Pace::new(Rate::new(120, Duration::from_secs(3600)).unwrap(), 1);
        let taken = greedy(&mut pace, Instant::ZERO, Instant::ZERO + Duration::from_secs(300));
        assert_eq!(taken.len(), 10);
        assert!(taken.windows(2).all(|pair| pair[1].saturating_since(pair[0]) == Duration::from_secs(30)));
    }

    #[test]
    fn what_did_not_happen_takes_no_turn_and_makes_none() {
        let second = Duration::from_secs(1);
        let start = Instant::ZERO + Duration::from_secs(86_400);
        let new = || Pace::new(Rate::new(1, second).unwrap(), 3);
        let mut pace = new();
        for _ in 0..100 {
            let counted = pace.count(start);
            pace.give_back(counted, start);
        }
        assert_eq!(greedy(&mut pace, start, start + Duration::from_micros(1)).len(), 3);
        // However late it is given back, no more happens than if it had never been counted, up to any time.
        for late_ms in (0..5_000).step_by(100) {
            let (mut pace, mut without) = (new(), new());
            let now = start + Duration::from_millis(late_ms);
            let counted = pace.count(start);
            let mut taken = greedy(&mut pace, start, now);
            pace.give_back(counted, now);
            taken.extend(greedy(&mut pace, now, start + 10 * second));
            let expected = greedy(&mut without, start, start + 10 * second);
            assert!(taken.len() <= expected.len(), "{late_ms} ms late");
            assert!(
                taken.iter().zip(&expected).all(|(taken, expected)| taken >= expected),
                "{late_ms} ms late"
            );
        }
    }

    #[test]
    fn what_was_counted_at_another_rate_gives_back_what_it_took() {
        let start = Instant::ZERO + Duration::from_secs(86_400);
        let rate = |seconds| Rate::new(1, Duration::from_secs(seconds)).unwrap();
        for (before, after) in [(1, 60), (60, 1)] {
            let mut pace = Pace::new(rate(before), 1);
            pace.count(start);
            let counted = pace.count(start);
            pace.set_rate(rate(after), 1);
            pace.give_back(counted, start);
            assert_eq!(
                pace.check(start),
                Err(start + Duration::from_secs(before)),
                "{before} s to {after} s"
            );
        }
    }

    #[test]
    fn a_quiet_day_saves_up_no_more_than_the_burst() {
        let mut pace = Pace::new(Rate::new(1, Duration::from_secs(1)).unwrap(), 3);
        let later = Instant::ZERO + Duration::from_secs(86_400);
        assert_eq!(greedy(&mut pace, later, later + Duration::from_micros(1)).len(), 3);
    }
}
