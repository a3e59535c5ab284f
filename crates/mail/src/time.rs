//! Wall time and measured time as plain numbers, so that a simulator can invent both.
//!
//! `Timestamp` is what we write down and show (UTC, milliseconds). `Instant` is what we measure with (microseconds
//! since some start that is nobody's business): it never jumps. Only an implementation of `Clock` reads a real
//! clock; the binary has one.

use std::fmt;
use std::time::Duration;

/// Wall time: milliseconds since 1970-01-01T00:00:00Z. Prints as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// Measured time: microseconds since an arbitrary start. Two of them from the same clock can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(u64);

/// Where time comes from. Real in the binary, set by hand in tests and simulations.
pub trait Clock: Send + Sync {
    /// UTC. May jump, when somebody sets the clock.
    fn timestamp(&self) -> Timestamp;
    /// Since some start. Never goes back.
    fn instant(&self) -> Instant;
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Timestamp = Timestamp(0);

    /// Milliseconds since 1970; negative before it.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since 1970; negative before it.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Days since 1970-01-01, UTC: the key of per-day limits.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }

    /// To the millisecond; stays at the end of time.
    pub fn saturating_add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The date as RFC 5322 §3.3 writes it, in UTC: `Mon, 23 Nov 2026 09:14:09 +0000`.
    pub fn to_rfc5322(self) -> String {
        self.to_jiff().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// Parses RFC 3339 with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Timestamp(t.as_millisecond()))
    }

    /// For printing and for SQL.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// What is finer than a millisecond is cut off.
    pub fn from_jiff(time: jiff::Timestamp) -> Timestamp {
        Timestamp(time.as_millisecond())
    }
}

impl Instant {
    /// The start of measuring.
    pub const ZERO: Instant = Instant(0);

    /// Microseconds since the start.
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| {
            serde::de::Error::custom("not a time as RFC 3339 writes it, such as 2026-11-23T09:14:09Z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_shown_in_utc_with_milliseconds() {
        let time = Timestamp::from_millis(1_795_425_249_120);
        assert_eq!(time.to_string(), "2026-11-23T09:14:09.120Z");
        assert_eq!(time.to_rfc5322(), "Mon, 23 Nov 2026 09:14:09 +0000");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-23T10:14:09.120+01:00"), Some(time));
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn arithmetic_at_the_ends_saturates() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last.saturating_add(Duration::from_secs(1)), last);
        assert_eq!(Timestamp::UNIX_EPOCH.saturating_since(last), Duration::ZERO);
        assert_eq!(Instant::ZERO.saturating_since(Instant::from_micros(1)), Duration::ZERO);
        assert!(!last.to_string().is_empty());
    }
}
