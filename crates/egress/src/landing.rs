//! What follows from an attempt, for the session that made it and for the recipient: settled, tried again, or as if it had not been made. Pure.
//!
//! The second half of the Dispatcher. Every delivery that left the queue comes back through `land` or `give_back`,
//! exactly once; its record is asked for before the queue forgets or re-schedules it.

use crate::dispatch::{Action, Dispatcher, Report};
use crate::record::{Now, Timing, attempted, settled};
use crate::sessions::FAST;
use crate::trouble::{Cause, Circumstances, Judged, Next, judge};
use mail::EgressPath;
use mail::classify::RetryHint;
use queue::{Delivery, Retried};
use shaping::{Feedback, Hold, Signal};
use spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

/// How a delivery that landed had gone out.
pub(crate) struct Flown {
    pub path: EgressPath,
    /// Whose rules judge its answers: what is known of the domain may be forgotten meanwhile.
    pub provider: Arc<str>,
    /// From being due until it was given to its session.
    pub queued: Duration,
    pub order: u64,
}

impl Dispatcher {
    pub(crate) fn done(&mut self, session: u64, order: u64, mut report: Report, now: Now) {
        let Some(row) = self.ways.sessions.session_mut(session) else { return };
        let Some(index) = row.orders.iter().position(|flying| flying.order == order) else { return };
        let Some(flying) = row.orders.remove(index) else { return };
        report.at.carried = row.done;
        row.done += 1;
        // It says itself when it is over.
        row.closing |= !report.usable;
        row.unused = report.cause.came_before_connecting(&report.at);
        row.fast = report.duration < FAST && matches!(report.cause, Cause::Delivered(_));
        let (path, empty, destination) =
            (row.path.clone(), row.orders.is_empty(), Arc::clone(&row.destination));
        if report.cause == Cause::Crowded {
            crate::measured::crowded();
        }
        if report.at.carried == 0 {
            self.ways.learn_of_shortage(&report.cause, now.instant);
        }
        let queued = flying.delivery.waited(flying.since);
        let room = self.ways.sessions.unload(&path, &flying);
        let provider = Arc::clone(&destination.provider);
        let flown = Flown { path: path.clone(), provider, queued, order };
        self.land(flying.delivery, Some(flown), report, now);
        let worn = self.is_worn(session, now);
        match empty {
            true if worn || self.draining => self.close(session),
            true => self.ways.sessions.rest(session, now.instant + self.ways.patience(&destination)),
            false => {}
        }
        self.ways.sessions.list(session);
        match room {
            true => self.queue.wake_site(&path.site),
            false => self.queue.reopen_site(&path.site),
        }
    }

    pub(crate) fn closed(&mut self, session: u64, now: Now) {
        let Some(row) = self.ways.sessions.remove(session) else { return };
        if row.done == 0 {
            // It ended without a word: whatever it was, the path does not work.
            self.ways.shaper.learn(&row.path, Signal::Feedback(Feedback::Gone), now.instant);
        }
        let mut room = false;
        for flying in row.orders.into_iter().rev() {
            room |= self.ways.sessions.unload(&row.path, &flying);
            self.came_back(flying.delivery.flow.tenant);
            self.give_back(flying.delivery, now);
        }
        match row.unused {
            true => self.ways.shaper.give_back(row.permit, now.instant),
            false => self.ways.shaper.release(row.permit, now.instant),
        }
        match room {
            true => self.queue.wake_site(&row.path.site),
            false => self.queue.reopen_site(&row.path.site),
        }
        let family = row.destination.limits.family.map(|family| family.number);
        for site in [None, family].into_iter().filter_map(|key| self.ways.feed(key)) {
            self.queue.reopen_site(&site);
        }
    }

    /// Whether a session has carried what its site takes over one connection, as far as that is known by now.
    fn is_worn(&mut self, session: u64, now: Now) -> bool {
        let Some(row) = self.ways.sessions.session_mut(session) else { return false };
        if let Some(known) = self.ways.shaper.messages_per_connection(&row.path, now.instant) {
            row.messages_max = row.messages_max.min(known);
        }
        row.given >= row.messages_max
    }

    /// Judges an attempt and does what follows. `flown` is none if no connection was needed.
    pub(crate) fn land(&mut self, delivery: Delivery, flown: Option<Flown>, report: Report, now: Now) {
        self.came_back(delivery.flow.tenant);
        let mut at = report.at;
        let known = || self.ways.sites.destination(&delivery.site).map(|known| &known.provider);
        at.provider = flown.as_ref().map(|flown| &flown.provider).or_else(known).cloned();
        let judged = judge(&report.cause, &at, &self.ways.profiles);
        let queued = flown.as_ref().map_or_else(|| delivery.waited(now.instant), |flown| flown.queued);
        let source = flown.as_ref().map(|flown| flown.path.source.clone());
        let ended = report.started.saturating_add(report.duration);
        let timing = Timing { source, at: ended, duration: report.duration, queued };
        if let Some(Flown { path, .. }) = &flown {
            self.ways.shaper.learn(path, judged.signal.clone(), now.instant);
            if let Some(time) = judged.tenant_pause {
                let reason = judged.outcome.reply.as_ref().map(mail::Reply::to_line).unwrap_or_default();
                let hold = Hold { until: Some(now.instant + time), reason };
                self.ways.shaper.hold_tenant(path, delivery.flow.tenant, hold, now.instant);
            }
        }
        match judged.next {
            Next::GiveBack => self.give_back(delivery, now),
            Next::Settle(settlement) => {
                let attempts = delivery.entry.attempt + 1;
                let record = settled(&delivery, attempts, settlement, Some(judged), timing);
                let order = flown.filter(|_| report.cause.needs_proof()).map(|flown| flown.order);
                self.actions.push_back(Action::Record { record, order });
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
            None => self.schedule.delay(attempt, random),
        };
        let due = (now.instant + delay).min(delivery.entry.expires);
        let record = attempted(&delivery, judged, timing, now.wall(due));
        self.actions.push_back(Action::Record { record, order: None });
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
        self.actions.push_back(Action::Record { record, order: None });
        self.queue.settle(delivery.ticket);
    }

    pub(crate) fn settle_cancelled(&mut self, delivery: Delivery, now: Now) {
        let timing =
            Timing { source: None, at: now.timestamp, duration: Duration::ZERO, queued: Duration::ZERO };
        let attempts = delivery.entry.attempt;
        let record = settled(&delivery, attempts, Settlement::Cancelled, None, timing);
        self.actions.push_back(Action::Record { record, order: None });
        self.queue.settle(delivery.ticket);
    }
}
