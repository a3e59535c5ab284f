//! The one reader of wall time and of measured time in the house.
//!
//! Everybody else is handed a `mail::Clock`, so that tests and the simulator can invent time. Measured time counts
//! from the start of this process.

use mail::{Clock, Instant, Timestamp};
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

pub struct SystemClock {
    start: StdInstant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn new() -> SystemClock {
        SystemClock { start: StdInstant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn timestamp(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
