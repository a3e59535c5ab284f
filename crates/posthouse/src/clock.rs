//! The one reader of wall time and of measured time in the house.
//!
//! Everybody else is handed a `mail::Clock`, so that tests and the simulator can invent time. Measured time counts
//! from the start of this process. For tests of a host whose clock is wrong, a build with fail points moves wall time by
//! as many milliseconds as `POSTHOUSE_CLOCK_SHIFT_MS` says.

use mail::{Clock, Instant, Timestamp};
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

pub struct SystemClock {
    start: StdInstant,
    shift_ms: i64,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn new() -> SystemClock {
        SystemClock { start: StdInstant::now(), shift_ms: shift_ms() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn timestamp(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis.saturating_add(self.shift_ms))
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// Nothing at all in what is shipped.
#[cfg(not(feature = "fail-points"))]
const fn shift_ms() -> i64 {
    0
}

#[cfg(feature = "fail-points")]
fn shift_ms() -> i64 {
    std::env::var("POSTHOUSE_CLOCK_SHIFT_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
