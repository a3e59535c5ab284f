//! What a load run found out: counts and latencies, by connection and in all.

use crate::client::Answer;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Latencies up to ten minutes in microseconds, three digits.
const LATENCY_MAX: u64 = 600_000_000;

/// What a load client saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadFigures {
    /// Offered; accepted and refused together.
    pub messages: u64,
    /// With a positive reply to the end of data.
    pub accepted: u64,
    /// With a negative reply to any of its commands.
    pub refused: u64,
    /// Connections that broke or could not be opened.
    pub failures: u64,
    /// Of accepted messages.
    pub octets: u64,
    /// As asked for.
    pub connections: usize,
    /// From the first connection to the last reply.
    pub seconds: f64,
    /// Accepted ones.
    pub messages_per_second: f64,
    /// Of accepted messages.
    pub octets_per_second: f64,
    /// From MAIL to the last reply.
    pub latency_ms: Latency,
    /// How often each code was the answer.
    pub replies: BTreeMap<u16, u64>,
    /// The first refusal and the first failure, to see what is wrong.
    pub first_refusal: Option<String>,
    /// In the client's words.
    pub first_failure: Option<String>,
}

/// In milliseconds; percentiles to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// The average.
    pub mean: f64,
    /// Half took no longer.
    pub p50: f64,
    /// Nine in ten took no longer.
    pub p90: f64,
    /// 99 in a hundred took no longer.
    pub p99: f64,
    /// 999 in a thousand took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// What one connection found out.
pub(super) struct Tally {
    latencies: Histogram<u64>,
    accepted: u64,
    refused: u64,
    failures: u64,
    octets: u64,
    replies: BTreeMap<u16, u64>,
    first_refusal: Option<String>,
    first_failure: Option<String>,
}

impl Tally {
    pub fn new() -> Tally {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        Tally {
            latencies: latencies.unwrap_or_else(|_| unreachable!("the bounds are constants and valid")),
            accepted: 0,
            refused: 0,
            failures: 0,
            octets: 0,
            replies: BTreeMap::new(),
            first_refusal: None,
            first_failure: None,
        }
    }

    pub fn record(&mut self, answer: Answer, took: Duration, octets: usize) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LATENCY_MAX);
        self.latencies.saturating_record(micros.clamp(1, LATENCY_MAX));
        *self.replies.entry(answer.code).or_default() += 1;
        if answer.is_positive() {
            self.accepted += 1;
            self.octets += octets as u64;
        } else {
            self.refused += 1;
            self.first_refusal.get_or_insert(answer.text);
        }
    }

    pub fn fail(&mut self, what: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(what);
    }

    pub fn merge(&mut self, other: Tally) {
        // Same bounds: nothing can be out of range.
        let _ = self.latencies.add(&other.latencies);
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.failures += other.failures;
        self.octets += other.octets;
        for (code, count) in other.replies {
            *self.replies.entry(code).or_default() += count;
        }
        self.first_refusal = self.first_refusal.take().or(other.first_refusal);
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    pub fn figures(self, connections: usize, seconds: f64) -> LoadFigures {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let quantile = |q: f64| ms(self.latencies.value_at_quantile(q));
        let per_second = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let none = self.latencies.is_empty();
        LoadFigures {
            messages: self.accepted + self.refused,
            accepted: self.accepted,
            refused: self.refused,
            failures: self.failures,
            octets: self.octets,
            connections,
            seconds,
            messages_per_second: per_second(self.accepted),
            octets_per_second: per_second(self.octets),
            latency_ms: Latency {
                min: if none { 0.0 } else { ms(self.latencies.min()) },
                mean: if none { 0.0 } else { self.latencies.mean() / 1_000.0 },
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: ms(self.latencies.max()),
            },
            replies: self.replies,
            first_refusal: self.first_refusal,
            first_failure: self.first_failure,
        }
    }
}

impl fmt::Display for LoadFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_ms;
        writeln!(
            f,
            "accepted   {:>10}   {:.1}/s over {:.2} s, {} connections",
            self.accepted, self.messages_per_second, self.seconds, self.connections
        )?;
        writeln!(f, "refused    {:>10}", self.refused)?;
        writeln!(f, "failures   {:>10}", self.failures)?;
        writeln!(f, "octets     {:>10}   {:.1} MB/s", self.octets, self.octets_per_second / 1e6)?;
        write!(
            f,
            "latency ms {:>10.2} p50   {:.2} p90   {:.2} p99   {:.2} p99.9   {:.2} max",
            latency.p50, latency.p90, latency.p99, latency.p999, latency.max
        )?;
        for (name, text) in [("refusal", &self.first_refusal), ("failure", &self.first_failure)] {
            if let Some(text) = text {
                write!(f, "\nfirst {name}: {text}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_sent_gives_figures_without_nonsense() {
        let figures = Tally::new().figures(1, 0.0);
        assert_eq!(
            (figures.messages_per_second, figures.latency_ms.min, figures.latency_ms.mean),
            (0.0, 0.0, 0.0)
        );
    }
}
