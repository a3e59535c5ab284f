//! The deliverer: takes due calls from the table, makes them, writes down what came of them.
//!
//! Bounded three times: calls under way in all, calls under way to one endpoint, and calls of one endpoint that are
//! held here for their turn. While an endpoint that answers has its hands full, nothing more is claimed: it will be
//! done in a moment. An endpoint that fails or is slow is not waited for: what is claimed beyond its share is let go
//! and is due again when its lease ends, so a dead receiver with a long queue keeps nobody else waiting.
//!
//! A claimed call that is never answered for, because this process died, is due again when its lease ends, too; the
//! receiver sees the same `webhook-id`.

use super::call::{Answer, Caller};
use super::retry::pause_after;
use crate::Config;
use crate::start::SnapshotSource;
use database::{Database, WebhookDue, WebhookEnd, WebhookResult};
use mail::{Clock, EndpointId, Random, TenantId};
use registry::{Access, EndpointState};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ACCESS: Access = Access::house("webhook delivery");
/// An endpoint that the registry of this node does not have: it is a second behind, or the endpoint's secret does not
/// open and somebody has to mend it. So a call waits as long again as its event is old, within these.
const UNKNOWN_PAUSE_MIN: Duration = Duration::from_secs(5);
const UNKNOWN_PAUSE_MAX: Duration = Duration::from_secs(600);
/// Tries to write down a result before the lease is left to run out.
const RESULT_TRIES: u32 = 5;
/// Calls of one endpoint that are held here, those under way included, for each that may be under way.
const HELD_PER_TURN: usize = 16;
/// An endpoint that takes longer to answer is not waited for.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Deliverer {
    pub database: Database,
    pub snapshot: SnapshotSource,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
    pub config: Config,
    pub caller: Caller,
    pub told: Arc<Notify>,
}

/// What a call needs besides the call itself.
struct Worker {
    database: Database,
    clock: Arc<dyn Clock>,
    caller: Caller,
    snapshot: SnapshotSource,
    random: Random,
    jitter_percent: u32,
}

/// One endpoint's share of the work. Every call under way or waiting holds a clone, so the count of clones is the
/// count of calls, even if one of them panics.
struct Share {
    turns: Semaphore,
    /// The last answer was none, or not a good one, or is late.
    unwell: AtomicBool,
}

type Shares = HashMap<EndpointId, Arc<Share>>;

impl Deliverer {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut calls: JoinSet<()> = JoinSet::new();
        let mut shares = Shares::new();
        let mut poll = tokio::time::interval(Duration::from_millis(self.config.webhook_poll_ms));
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let told = Arc::clone(&self.told);
        // Whether the last answer of the table left something there: then there may be more.
        let mut more = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = poll.tick() => more = true,
                () = told.notified() => more = true,
                Some(ended) = calls.join_next() => log_panic(ended),
            }
            while let Some(ended) = calls.try_join_next() {
                log_panic(ended);
            }
            // Never dropped half way: what was claimed would wait for the end of its lease.
            while more && !shutdown.is_cancelled() {
                let room = self.room(&mut shares);
                if room == 0 {
                    break;
                }
                let due = self.due(room).await;
                more = !due.is_empty();
                due.into_iter().for_each(|call| self.begin(call, &mut calls, &mut shares));
            }
        }
        // Calls under way are finished; those that wait their turn stay in the table.
        shares.values().for_each(|share| share.turns.close());
        while let Some(ended) = calls.join_next().await {
            log_panic(ended);
        }
    }

    /// How many calls may be claimed now. Shares without calls are forgotten.
    fn room(&self, shares: &mut Shares) -> usize {
        shares.retain(|_, share| held(share) > 0);
        let per_endpoint = self.config.webhook_calls_per_endpoint_max;
        let under_way: usize = shares.values().map(|share| held(share).min(per_endpoint)).sum();
        let room = self.config.webhook_calls_max.saturating_sub(under_way);
        let about_done =
            |share: &Arc<Share>| held(share) >= per_endpoint && !share.unwell.load(Ordering::Relaxed);
        // A handful at a time would cost a transaction for each call.
        if shares.values().any(about_done) || room * 4 < self.config.webhook_calls_max { 0 } else { room }
    }

    /// Claims up to `room` calls. None while the database is away: the poll asks again.
    async fn due(&self, room: usize) -> Vec<WebhookDue> {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let due = self.database.webhook_due(&ACCESS, limit, self.config.webhook_lease()).await;
        due.unwrap_or_else(|fault| {
            tracing::debug!(error = &fault as &dyn std::error::Error, "cannot fetch due webhook calls");
            Vec::new()
        })
    }

    fn begin(&mut self, due: WebhookDue, calls: &mut JoinSet<()>, shares: &mut Shares) {
        let limit = self.config.webhook_calls_per_endpoint_max;
        let new = || Arc::new(Share { turns: Semaphore::new(limit), unwell: AtomicBool::new(false) });
        let share = Arc::clone(shares.entry(due.endpoint).or_insert_with(new));
        if held(&share) > limit * HELD_PER_TURN {
            return;
        }
        let worker = Worker {
            database: self.database.clone(),
            clock: Arc::clone(&self.clock),
            caller: self.caller.clone(),
            snapshot: Arc::clone(&self.snapshot),
            random: self.random.fork(),
            jitter_percent: self.config.webhook_jitter_percent,
        };
        let patience = self.config.webhook_lease().saturating_sub(self.config.webhook_timeout() * 2);
        let claimed = self.clock.instant();
        calls.spawn(async move {
            let Ok(_turn) = share.turns.acquire().await else { return };
            // Its lease may end before the call does: whoever claims it next makes it.
            if worker.clock.instant().saturating_since(claimed) <= patience {
                worker.work(due, &share.unwell).await;
            }
        });
    }
}

/// Calls that hold this share, besides the map.
fn held(share: &Arc<Share>) -> usize {
    Arc::strong_count(share) - 1
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a webhook call died");
    }
}

impl Worker {
    async fn work(mut self, due: WebhookDue, unwell: &AtomicBool) {
        let begun = self.clock.instant();
        let now = self.clock.timestamp();
        let endpoint = (self.snapshot)().endpoint(due.endpoint).cloned();
        let event = &due.event.event;
        // The table said active when it handed the call out; the two will agree in a moment, and it waits till then.
        let endpoint = endpoint.filter(|endpoint| endpoint.state == EndpointState::Active);
        let (answer, end) = match endpoint {
            None => {
                let pause = now.saturating_since(event.timestamp).clamp(UNKNOWN_PAUSE_MIN, UNKNOWN_PAUSE_MAX);
                (None, WebhookEnd::Later(now.saturating_add(pause)))
            }
            Some(endpoint) => {
                let caller = self.caller.clone();
                let call = caller.call(&endpoint, event, now);
                tokio::pin!(call);
                let answer = match tokio::time::timeout(SLOW, &mut call).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        unwell.store(true, Ordering::Relaxed);
                        call.await
                    }
                };
                unwell.store(!matches!(answer, Answer::Taken(_)), Ordering::Relaxed);
                let end = self.end(&answer, due.attempts.saturating_add(1));
                (Some(answer), end)
            }
        };
        let took = self.clock.instant().saturating_since(begun);
        metrics::counter!("posthouse_webhook_calls_total", "result" => answer.as_ref().map_or("skipped", Answer::word))
            .increment(1);
        metrics::histogram!("posthouse_webhook_call_seconds").record(took.as_secs_f64());
        let result = WebhookResult {
            endpoint: due.endpoint,
            event: event.id,
            end,
            status: answer.as_ref().and_then(Answer::status),
            error: answer
                .as_ref()
                .map_or(Some("the endpoint is not active"), Answer::sentence)
                .map(str::to_string),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        self.write_down(&result).await;
        if answer == Some(Answer::Gone) {
            self.disable(due.endpoint, event.tenant).await;
        }
    }

    fn end(&mut self, answer: &Answer, tries: u32) -> WebhookEnd {
        match answer {
            Answer::Taken(_) => WebhookEnd::Delivered,
            Answer::Gone => WebhookEnd::Failed,
            Answer::Refused(_) | Answer::Broken(_) => {
                match pause_after(tries, self.jitter_percent, &mut self.random) {
                    Some(pause) => WebhookEnd::Again(self.clock.timestamp().saturating_add(pause)),
                    None => WebhookEnd::Failed,
                }
            }
        }
    }

    /// A result that is lost costs a repetition; worth a few tries.
    async fn write_down(&self, result: &WebhookResult) {
        for attempt in 1..=RESULT_TRIES {
            match self.database.webhook_done(&ACCESS, std::slice::from_ref(result)).await {
                Ok(()) => return,
                Err(fault) if fault.is_passing() && attempt < RESULT_TRIES => {
                    tokio::time::sleep(Duration::from_millis(200) * attempt).await;
                }
                Err(fault) => {
                    tracing::warn!(
                        error = &fault as &dyn std::error::Error,
                        endpoint.id = %result.endpoint,
                        "the result of a webhook call is lost; it will be repeated"
                    );
                    return;
                }
            }
        }
    }

    async fn disable(&self, endpoint: EndpointId, tenant: TenantId) {
        match self.database.endpoint_disable(&ACCESS, tenant, endpoint, "the receiver answered 410").await {
            Ok(()) => {
                tracing::info!(tenant.id = %tenant, endpoint.id = %endpoint, "an endpoint said 410 and is disabled")
            }
            Err(fault) => tracing::warn!(
                error = &fault as &dyn std::error::Error,
                tenant.id = %tenant,
                endpoint.id = %endpoint,
                "an endpoint that said 410 could not be disabled; its next call will try again"
            ),
        }
    }
}
