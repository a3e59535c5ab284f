//! What the way out counts and says about its work: metrics and debug lines. Decides nothing.
//!
//! Called by the shell for every record and by the Dispatcher for every turn and every shortage. The names are those of
//! docs/OPERATING.md.

use queue::control::QueueTotals;
use spool::OutcomeRecord;
use std::time::Duration;
use tokio::time::Instant;

/// How often the figures are told while they change.
const TELL: Duration = Duration::from_secs(1);

/// The figures of the queue and the number of sessions, as they were told last, and when.
#[derive(Default)]
pub(crate) struct Gauges(Option<((QueueTotals, usize), Instant)>);

impl Gauges {
    /// Once a second while they change, for the metrics. Says when what changed since is told.
    pub fn tell(&mut self, totals: QueueTotals, sessions: usize) -> Option<Instant> {
        let now = Instant::now();
        match self.0 {
            Some((told, _)) if told == (totals, sessions) => return None,
            Some((_, at)) if now < at + TELL => return Some(at + TELL),
            Some(_) | None => {}
        }
        metrics::gauge!("posthouse_queue_recipients", "state" => "waiting").set(totals.waiting as f64);
        metrics::gauge!("posthouse_queue_recipients", "state" => "ready").set(totals.ready as f64);
        metrics::gauge!("posthouse_queue_recipients", "state" => "in_flight").set(totals.in_flight as f64);
        metrics::gauge!("posthouse_queue_lanes").set(totals.lanes as f64);
        metrics::gauge!("posthouse_egress_sessions").set(sessions as f64);
        self.0 = Some(((totals, sessions), now));
        None
    }
}

/// Of every record, before it goes to the journal.
pub(crate) fn count(record: &OutcomeRecord) {
    match record {
        OutcomeRecord::Attempted(attempted) => {
            metrics::counter!("posthouse_egress_deferred_total").increment(1);
            first_attempt(attempted.attempt, attempted.queued_ms);
            tracing::debug!(
                tenant.id = %attempted.tenant,
                message.id = %attempted.message,
                recipient = attempted.recipient,
                site = %attempted.site,
                attempt = attempted.attempt,
                class = %attempted.outcome.class,
                duration_ms = attempted.duration_ms,
                "recipient deferred"
            );
        }
        OutcomeRecord::Settled(settled) => {
            first_attempt(settled.attempt, settled.queued_ms);
            tracing::debug!(
                tenant.id = %settled.tenant,
                message.id = %settled.message,
                recipient = settled.recipient,
                site = settled.site.as_ref().map(tracing::field::display),
                attempt = settled.attempt,
                class = settled.outcome.as_ref().map(|outcome| tracing::field::display(&outcome.class)),
                duration_ms = settled.duration_ms,
                settlement = settled.settlement.as_str(),
                "recipient settled"
            );
            metrics::counter!("posthouse_egress_settled_total", "settlement" => settled.settlement.as_str())
                .increment(1);
        }
    }
}

/// What other tenants sent while this one waited, over what fairness allows them: never above 1.
pub(crate) fn took_turn(delivery: &queue::Delivery) {
    if let Some(turn) = delivery.turn {
        metrics::histogram!("posthouse_sched_wait_vs_bound").record(turn.octets as f64 / turn.bound as f64);
    }
}

/// From being accepted, or due, to the first attempt.
fn first_attempt(attempt: u32, queued_ms: u64) {
    if attempt == 1 {
        metrics::histogram!("posthouse_queued_seconds")
            .record(Duration::from_millis(queued_ms).as_secs_f64());
    }
}

/// A connection could not be opened for want of a descriptor or of memory. The operator has to act.
pub(crate) fn fell_short() {
    metrics::counter!("posthouse_egress_shortages_total").increment(1);
}

/// Present from the start, so that the first one is an increase.
pub(crate) fn prepare() {
    metrics::counter!("posthouse_egress_timeouts_total", "stage" => "connect").increment(0);
}

/// A site did not do its part in time, and is waited for no longer.
pub(crate) fn ran_out(stage: &'static str) {
    metrics::counter!("posthouse_egress_timeouts_total", "stage" => stage).increment(1);
}

/// A message was given back because too much is on its way already for it to be held in memory.
pub(crate) fn crowded() {
    metrics::counter!("posthouse_egress_crowded_total").increment(1);
}
