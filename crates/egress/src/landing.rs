//! What follows from an attempt: settled, tried again, or as if it had not been made. Pure.
//!
//! The second half of the Dispatcher. Every delivery that left the queue comes back through `land` or `give_back`,
//! exactly once; its record is written before the queue forgets or re-schedules it.

use crate::dispatch::{Action, Dispatcher, Report};
use crate::record::{Now, Timing, attempted, settled};
use crate::trouble::{Cause, Circumstances, Judged, Next, judge};
use mail::EgressPath;
use mail::classify::RetryHint;
use queue::{Delivery, Retried};
use spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

impl Dispatcher {
    /// Judges an attempt and does what follows. `path` is none if no connection was needed.
    pub(crate) fn land(
        &mut self,
        delivery: Delivery,
        path: Option<(EgressPath, Duration)>,
        report: Report,
        now: Now,
    ) {
        self.came_back(delivery.flow.tenant);
        let mut at = report.at;
        at.provider = self.ways.sites.destination(&delivery.site).map(|known| Arc::clone(&known.provider));
        let judged = judge(&report.cause, &at, &self.ways.profiles);
        let queued = path.as_ref().map_or_else(|| delivery.waited(now.instant), |(_, queued)| *queued);
        let source = path.as_ref().map(|(path, _)| path.source.clone());
        let timing = Timing { source, at: report.started, duration: report.duration, queued };
        if let Some((path, _)) = &path {
            self.ways.shaper.learn(path, judged.signal.clone(), now.instant);
        }
        match judged.next {
            Next::GiveBack => self.give_back(delivery, now),
            Next::Settle(settlement) => {
                let attempts = delivery.entry.attempt + 1;
                let record = settled(&delivery, attempts, settlement, Some(judged), timing);
                self.actions.push_back(Action::Record(record));
                self.queue.settle(delivery.ticket);
            }
            Next::Retry(hint) => self.retry(delivery, judged, hint, timing, now),
        }
    }

    fn retry(
        &mut self,
        delivery: Delivery,
        judged: Judged,
        hint: Option<RetryHint>,
        timing: Timing,
        now: Now,
    ) {
        let attempt = delivery.entry.attempt + 1;
        let random = &mut self.ways.random;
        let delay = match hint {
            Some(RetryHint::Slow) => self.schedule.delay(u32::MAX, random),
            // Never later than the schedule's slowest step: that is what the operator is ready to wait.
            Some(RetryHint::After(time)) => {
                random.jitter(time, 10).min(self.schedule.delay(u32::MAX, random))
            }
            Some(RetryHint::NextSource | RetryHint::Ipv4) | None => self.schedule.delay(attempt, random),
        };
        let due = (now.instant + delay).min(delivery.entry.expires);
        self.actions.push_back(Action::Record(attempted(&delivery, judged, timing, now.wall(due))));
        if let Retried::Cancelled(delivery) = self.queue.retry(delivery, due) {
            self.settle_cancelled(delivery, now);
        }
    }

    pub(crate) fn give_back(&mut self, delivery: Delivery, now: Now) {
        if let Retried::Cancelled(delivery) = self.queue.give_back(delivery) {
            self.settle_cancelled(delivery, now);
        }
    }

    pub(crate) fn expire(&mut self, delivery: Delivery, now: Now) {
        let judged = judge(&Cause::Expired, &Circumstances::default(), &self.ways.profiles);
        let timing = Timing {
            source: None,
            at: now.timestamp,
            duration: Duration::ZERO,
            queued: delivery.waited(now.instant),
        };
        let attempts = delivery.entry.attempt;
        let record = settled(&delivery, attempts, Settlement::Expired, Some(judged), timing);
        self.actions.push_back(Action::Record(record));
        self.queue.settle(delivery.ticket);
    }

    pub(crate) fn settle_cancelled(&mut self, delivery: Delivery, now: Now) {
        let timing =
            Timing { source: None, at: now.timestamp, duration: Duration::ZERO, queued: Duration::ZERO };
        let attempts = delivery.entry.attempt;
        let record = settled(&delivery, attempts, Settlement::Cancelled, None, timing);
        self.actions.push_back(Action::Record(record));
        self.queue.settle(delivery.ticket);
    }
}
