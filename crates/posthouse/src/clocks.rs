//! Whether this host's clock can be right: was it ever set, and does it agree with PostgreSQL's?
//!
//! Signatures (DKIM t=, x=), tokens, the times of retries and of events, limits a day and the end of what is kept all go
//! by it. Clocks that differ are told, at a start and by the doctor, and end nothing: which of the two is wrong is not
//! known here, and mail that goes with a wrong date is better than none. Only a clock from before this program was made
//! refuses a start, since every certificate, token and id would be wrong. What may surprise: PostgreSQL on the same host
//! has the same clock and can show nothing.

use crate::exit::Failure;
use database::{Clocks, Database};
use mail::Timestamp;
use std::fmt;

/// 2026-01-01: no posthouse is older.
const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// What hosts with NTP never reach, and what nothing in the house is sensitive to yet.
const APART_MS_MAX: u64 = 5_000;
/// What to do about a clock that was never set.
pub const SET: &str =
    "set the clock and keep it (`timedatectl set-ntp true`, or chrony): ids, signatures and retries use it";
/// What to do about two that differ.
pub const ALIGN: &str = "look at both hosts with `timedatectl` (or `chronyc tracking`), set the clock that is wrong and keep it \
                         (`timedatectl set-ntp true`, or chrony): signatures, tokens, retries and events go by it";

/// Two clocks that differ by more than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    ours: Timestamp,
    theirs: Timestamp,
    /// Positive if this host's is ahead.
    ahead_ms: i64,
}

/// None if they agree, as far as the way between them lets one know.
pub fn apart(clocks: &Clocks) -> Option<Apart> {
    let Clocks { ours, theirs, round_trip } = *clocks;
    let ahead_ms = ours.as_millis().saturating_sub(theirs.as_millis());
    let doubt_ms = u64::try_from(round_trip.as_millis() / 2).unwrap_or(u64::MAX);
    let is_certain = ahead_ms.unsigned_abs() > APART_MS_MAX.saturating_add(doubt_ms);
    is_certain.then_some(Apart { ours, theirs, ahead_ms })
}

/// Whether anybody ever set the clock.
pub fn is_set(now: Timestamp) -> bool {
    now >= EPOCH
}

/// Errs if a start would make things of a time that cannot be.
pub fn expect_set(now: Timestamp) -> Result<(), Failure> {
    match is_set(now) {
        true => Ok(()),
        false => Err(Failure::Unavailable(format!("{}; {SET}", unset(now)))),
    }
}

/// The clock is from before this program, as a sentence.
pub fn unset(now: Timestamp) -> String {
    format!("the clock says {now}, which is before this program was made")
}

/// Says so in the log if the clocks differ. A comparison that cannot be made is no reason to end a start.
pub async fn tell(database: &Database) {
    match database.clocks().await.map(|clocks| apart(&clocks)) {
        Ok(None) => {}
        Ok(Some(apart)) => {
            let Apart { ours, theirs, ahead_ms } = apart;
            tracing::warn!(%ours, %theirs, ahead_ms, "{apart}; {ALIGN}");
        }
        Err(fault) => {
            tracing::warn!(error = &fault as &dyn std::error::Error, "the clocks could not be compared");
        }
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Apart { ours, theirs, ahead_ms } = self;
        let seconds = ahead_ms.unsigned_abs() as f64 / 1_000.0;
        let side = if *ahead_ms > 0 { "ahead" } else { "behind" };
        write!(f, "this host's clock says {ours}, PostgreSQL's {theirs}: this host is {seconds:.1} s {side}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: i64 = 1_795_425_249_120;

    fn judged(ahead_ms: i64, round_trip: Duration) -> Option<String> {
        let (ours, theirs) = (Timestamp::from_millis(NOW + ahead_ms), Timestamp::from_millis(NOW));
        apart(&Clocks { ours, theirs, round_trip }).map(|apart| apart.to_string())
    }

    #[test]
    fn clocks_that_differ_are_told_with_both_times_and_the_side() {
        let ahead = judged(3_600_000, Duration::from_millis(2)).unwrap();
        assert_eq!(
            ahead,
            "this host's clock says 2026-11-23T10:14:09.120Z, PostgreSQL's 2026-11-23T09:14:09.120Z: this host is \
             3600.0 s ahead"
        );
        let behind = judged(-90_500, Duration::ZERO).unwrap();
        assert!(behind.ends_with("this host is 90.5 s behind"), "{behind}");
    }

    #[test]
    fn what_the_way_may_have_done_is_not_held_against_a_clock() {
        assert_eq!(judged(5_000, Duration::ZERO), None);
        assert!(judged(5_001, Duration::ZERO).is_some() && judged(-5_001, Duration::ZERO).is_some());
        assert_eq!(judged(-5_900, Duration::from_secs(2)), None);
        assert!(judged(6_001, Duration::from_secs(2)).is_some());
        assert_eq!(judged(i64::MIN, Duration::MAX), None, "nothing overflows");
    }

    #[test]
    fn a_clock_from_before_the_program_ends_a_start_with_what_to_do() {
        let before = Timestamp::from_millis(EPOCH.as_millis() - 1);
        let refused = expect_set(before).unwrap_err().to_string();
        assert!(refused.contains("2025-12-31T23:59:59.999Z") && refused.contains("timedatectl"), "{refused}");
        assert!(expect_set(EPOCH).is_ok());
    }
}
