//! The small words of the tables as types: who is to blame, when to suppress, what to do, how fast.

use crate::{ClassKind, Scope};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a class means, one row of `config/classes.toml`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Meaning {
    /// Whether trying again can help, and what a tenant is told.
    pub kind: ClassKind,
    /// Who has to change something.
    pub blame: Blame,
    /// Whether the recipient goes on the suppression list.
    pub suppress: Suppress,
    /// How far it reaches: this recipient, the message, the path.
    pub scope: Scope,
    /// What shaping does.
    pub step: Step,
}

/// Whose doing it is; whose figures it counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The mailbox: it does not exist, is full, is switched off.
    Recipient,
    /// The tenant: its reputation, its domain, its list.
    Tenant,
    /// The message itself: its size, its content, its form.
    Message,
    /// The address we send from.
    Ip,
    /// The site: it is busy or broken.
    Remote,
    /// This house.
    Us,
}

/// When the recipient goes on the suppression list: `never`, `now`, `after:4/14` (four times in 14 days).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppress {
    /// It says nothing against the address.
    Never,
    /// The first time is enough.
    Now,
    /// Only when it was so again and again.
    After {
        /// Outcomes of this class for one address.
        times: u32,
        /// Within so many days.
        days: u32,
    },
}

/// First reaction of shaping to a confirmed signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Shaping goes on as before.
    None,
    /// `x0.5`: the rate times this, between 0 and 1.
    Multiply(f64),
    /// `pause:2h`: the path rests. Other sources of the pool have paths of their own, so mail goes on from those.
    Pause(Duration),
    /// `pause-tenant:4h`: this tenant's lane at the site rests, the path goes on.
    PauseTenant(Duration),
    /// `conn-1`: one connection less.
    ConnectionLess,
    /// `per-conn-learn`: the number of messages this connection took is the limit.
    LearnPerConnection,
}

/// How to try again where the reply alone would say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryHint {
    /// `slow`: with the last interval of the schedule at once.
    Slow,
    /// `after:5m`.
    After(Duration),
}

/// So many in a time: `100/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events, at least 1.
    pub count: u32,
    /// The time they are spread over: a second, a minute, an hour or a day.
    pub per: Duration,
}

/// A word of the tables that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct WordError {
    text: String,
    wanted: &'static str,
}

impl FromStr for Suppress {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Suppress, WordError> {
        let after = || {
            let (times, days) = text.strip_prefix("after:")?.split_once('/')?;
            Some(Suppress::After { times: positive(times)?, days: positive(days)? })
        };
        match text {
            "never" => Ok(Suppress::Never),
            "now" => Ok(Suppress::Now),
            _ => after().ok_or_else(|| word(text, "never, now or after:TIMES/DAYS")),
        }
    }
}

impl FromStr for Step {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Step, WordError> {
        let with_number = || {
            if let Some(factor) = text.strip_prefix('x') {
                let factor: f64 = factor.parse().ok()?;
                return (factor > 0.0 && factor < 1.0).then_some(Step::Multiply(factor));
            }
            match text.split_once(':')? {
                ("pause", time) => duration(time).map(Step::Pause),
                ("pause-tenant", time) => duration(time).map(Step::PauseTenant),
                _ => None,
            }
        };
        match text {
            "none" => Ok(Step::None),
            "conn-1" => Ok(Step::ConnectionLess),
            "per-conn-learn" => Ok(Step::LearnPerConnection),
            _ => with_number()
                .ok_or_else(|| word(text, "none, x0.5, pause:2h, pause-tenant:4h, conn-1 or per-conn-learn")),
        }
    }
}

impl FromStr for RetryHint {
    type Err = WordError;
    fn from_str(text: &str) -> Result<RetryHint, WordError> {
        match text {
            "slow" => Ok(RetryHint::Slow),
            _ => text
                .strip_prefix("after:")
                .and_then(duration)
                .map(RetryHint::After)
                .ok_or_else(|| word(text, "slow or after:5m")),
        }
    }
}

impl FromStr for Rate {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Rate, WordError> {
        let parse = || {
            let (count, unit) = text.split_once('/')?;
            let seconds = match unit {
                "s" => 1,
                "min" => 60,
                "h" => 3600,
                "day" => 86_400,
                _ => return None,
            };
            Some(Rate { count: positive(count)?, per: Duration::from_secs(seconds) })
        };
        parse().ok_or_else(|| word(text, "a rate such as 10/s, 100/min, 5/h or 1000/day"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            3600 => "h",
            _ => "day",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// `30s`, `15m`, `2h`, `3d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, WordError> {
    duration(text).ok_or_else(|| word(text, "a time such as 30s, 15m, 2h or 3d"))
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    positive(&text[..text.len() - 1]).map(|count| Duration::from_secs(u64::from(count) * seconds))
}

fn positive(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?.filter(|number| *number > 0)
}

fn word(text: &str, wanted: &'static str) -> WordError {
    WordError { text: text.to_string(), wanted }
}
