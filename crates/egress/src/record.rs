//! Outcomes as journal records. Pure: both clocks are an argument.

use crate::trouble::Judged;
use mail::{Instant, SourceName, Timestamp};
use queue::Delivery;
use spool::{Attempted, OutcomeRecord, Settled, Settlement};
use std::time::Duration;

/// The same moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For measuring.
    pub instant: Instant,
    /// For writing down.
    pub timestamp: Timestamp,
}

/// From where and when an attempt was made and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timing {
    /// None when no connection was needed.
    pub source: Option<SourceName>,
    /// When it ended.
    pub at: Timestamp,
    pub duration: Duration,
    pub queued: Duration,
}

impl Now {
    /// A time of the queue as wall time.
    pub fn wall(&self, at: Instant) -> Timestamp {
        queue::control::wall_time(at, self.instant, self.timestamp)
    }

    /// A wall time as a time of the queue; what is over is now.
    pub fn measured(&self, at: Timestamp) -> Instant {
        self.instant + at.saturating_since(self.timestamp)
    }

    /// A wall time that is over as a time of the queue; what is to come is now.
    pub fn past(&self, at: Timestamp) -> Instant {
        let ago = self.timestamp.saturating_since(at);
        Instant::from_micros(self.instant.as_micros().saturating_sub(ago.as_micros() as u64))
    }
}

pub(crate) fn attempted(
    delivery: &Delivery,
    judged: Judged,
    timing: Timing,
    next_at: Timestamp,
) -> OutcomeRecord {
    OutcomeRecord::Attempted(Attempted {
        message: delivery.entry.message,
        tenant: delivery.flow.tenant,
        stream: delivery.flow.stream,
        recipient: delivery.entry.recipient,
        attempt: delivery.entry.attempt + 1,
        at: timing.at,
        outcome: judged.outcome,
        source: timing.source,
        site: delivery.site.clone(),
        next_at,
        duration_ms: millis(timing.duration),
        queued_ms: millis(timing.queued),
    })
}

/// `judged` is none when no site was asked.
pub(crate) fn settled(
    delivery: &Delivery,
    attempts: u32,
    settlement: Settlement,
    judged: Option<Judged>,
    timing: Timing,
) -> OutcomeRecord {
    OutcomeRecord::Settled(Settled {
        message: delivery.entry.message,
        tenant: delivery.flow.tenant,
        stream: delivery.flow.stream,
        recipient: delivery.entry.recipient,
        attempt: attempts,
        at: timing.at,
        settlement,
        outcome: judged.map(|judged| judged.outcome),
        source: timing.source,
        site: Some(delivery.site.clone()),
        duration_ms: millis(timing.duration),
        queued_ms: millis(timing.queued),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
