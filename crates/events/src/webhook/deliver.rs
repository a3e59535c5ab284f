//! The deliverer: takes due calls from the table, makes them, writes down what came of them.
//!
//! Bounded twice: so many calls in all, so many to one endpoint; calls beyond that wait their turn. A claimed call
//! that is never answered for, because this process died, is due again when its lease ends; the receiver sees the
//! same `webhook-id`.

use super::call::{Answer, Caller};
use super::retry::pause_after;
use crate::Config;
use crate::start::SnapshotSource;
use database::{Database, WebhookDue, WebhookEnd, WebhookResult};
use mail::{Clock, EndpointId, Random, TenantId};
use registry::{Access, EndpointState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ACCESS: Access = Access::house("webhook delivery");
/// An endpoint that the registry of this node does not have yet; it is a second behind at most.
const UNKNOWN_ENDPOINT_PAUSE: Duration = Duration::from_secs(5);
/// Tries to write down a result before the lease is left to run out.
const RESULT_TRIES: u32 = 5;

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

/// The turns at each endpoint. Every call under way or waiting holds a clone, so the count of clones is the count of
/// calls, even if one of them panics.
type Turns = HashMap<EndpointId, Arc<Semaphore>>;

impl Deliverer {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut calls: JoinSet<()> = JoinSet::new();
        let mut turns = Turns::new();
        let mut poll = tokio::time::interval(Duration::from_millis(self.config.webhook_poll_ms));
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let told = Arc::clone(&self.told);
        // Whether the last answer of the table left something there: then a call that ends makes room for more.
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
            turns.retain(|_, turns| waiting(turns) > 0);
            let room = self.config.webhook_calls_max.saturating_sub(calls.len());
            // Asking for a handful at a time would cost a transaction for each call.
            if more && room * 4 >= self.config.webhook_calls_max {
                let due = self.due(room).await;
                more = !due.is_empty();
                due.into_iter().for_each(|call| self.begin(call, &mut calls, &mut turns));
            }
        }
        while let Some(ended) = calls.join_next().await {
            log_panic(ended);
        }
    }

    /// Claims up to `room` calls. None while the database is away: the poll asks again.
    async fn due(&self, room: usize) -> Vec<WebhookDue> {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let lease = self.config.webhook_lease();
        let due = self.database.webhook_due(&ACCESS, limit, lease).await;
        due.unwrap_or_else(|fault| {
            tracing::debug!(error = &fault as &dyn std::error::Error, "cannot fetch due webhook calls");
            Vec::new()
        })
    }

    fn begin(&mut self, due: WebhookDue, calls: &mut JoinSet<()>, turns: &mut Turns) {
        let limit = self.config.webhook_calls_per_endpoint_max;
        let turns = Arc::clone(turns.entry(due.endpoint).or_insert_with(|| Arc::new(Semaphore::new(limit))));
        let worker = Worker {
            database: self.database.clone(),
            clock: Arc::clone(&self.clock),
            caller: self.caller.clone(),
            snapshot: Arc::clone(&self.snapshot),
            random: self.random.fork(),
            jitter_percent: self.config.webhook_jitter_percent,
        };
        calls.spawn(async move {
            // The semaphore is never closed.
            if let Ok(_turn) = turns.acquire().await {
                worker.work(due).await;
            }
        });
    }
}

/// Calls that hold these turns, besides the map.
fn waiting(turns: &Arc<Semaphore>) -> usize {
    Arc::strong_count(turns) - 1
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a webhook call died");
    }
}

impl Worker {
    async fn work(mut self, due: WebhookDue) {
        let begun = self.clock.instant();
        let now = self.clock.timestamp();
        let endpoint = (self.snapshot)().endpoint(due.endpoint).cloned();
        let event = &due.event.event;
        let (answer, end) = match endpoint {
            None => (None, WebhookEnd::Again(now.saturating_add(UNKNOWN_ENDPOINT_PAUSE))),
            Some(endpoint) if endpoint.state != EndpointState::Active => (None, WebhookEnd::Failed),
            Some(endpoint) => {
                let answer = self.caller.call(&endpoint, event, now).await;
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
