//! The deliverer: takes due calls from the table, makes them, writes down what came of them.
//!
//! Whose call is next, and how many there may be of whom, is decided in `turns.rs`; this is the loop around it. A dead
//! receiver with a long queue keeps nobody else waiting.
//!
//! It is woken and does not poll: by the projector, by notices of the database, when a call ends and when one is due
//! (`looks.rs`). A slow look at the table is left for what another node claimed and never answered for.
//!
//! A claimed call that is never answered for, because this process died, is due again when its lease ends, too; the
//! receiver sees the same `webhook-id`.

use super::call::{Answer, Caller};
use super::looks::Looks;
use super::retry::pause_after;
use super::turns::{Health, Limits, Turns};
use crate::Config;
use crate::start::SnapshotSource;
use database::{Database, WebhookDue, WebhookEnd, WebhookResult};
use mail::{Clock, EndpointId, Random, TenantId, Timestamp};
use registry::{Access, EndpointState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

const ACCESS: Access = Access::house("webhook delivery");
/// An endpoint that the registry of this node does not have: it is a second behind, or the endpoint's secret does not
/// open and somebody has to mend it. So a call waits as long again as its event is old, within these.
const UNKNOWN_PAUSE_MIN: Duration = Duration::from_secs(5);
const UNKNOWN_PAUSE_MAX: Duration = Duration::from_secs(600);
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
    /// Counts what others say is new in the tables.
    pub noticed: watch::Receiver<u64>,
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

/// How a call came out.
struct Done {
    health: Health,
    /// When it is due again, if it is.
    due: Option<Timestamp>,
}

/// Calls under way, and whose each of them is, even if it panics.
#[derive(Default)]
struct Calls {
    tasks: JoinSet<Done>,
    endpoints: HashMap<Id, EndpointId>,
}

impl Deliverer {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut calls = Calls::default();
        let mut turns = Turns::new(self.limits());
        let mut looks = Looks::default();
        let mut poll = tokio::time::interval(Duration::from_millis(self.config.webhook_poll_ms));
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (told, clock) = (Arc::clone(&self.told), Arc::clone(&self.clock));
        loop {
            let over = tokio::select! {
                () = shutdown.cancelled() => break,
                _ = poll.tick() => true,
                () = looks.rest(&*clock) => true,
                // None when nobody is left to notice anything.
                Ok(()) = self.noticed.changed() => true,
                () = told.notified() => { turns.told(); false }
                Some(ended) = calls.tasks.join_next_with_id() => { calls.ended(ended, &mut turns, &mut looks); false }
            };
            if over {
                looks.forget(self.clock.timestamp());
                turns.told();
            }
            while let Some(ended) = calls.tasks.try_join_next_with_id() {
                calls.ended(ended, &mut turns, &mut looks);
            }
            self.begin(&mut calls, &mut turns);
            panics::place("webhook-deliverer");
            self.claim(&mut calls, &mut turns, &mut looks, &shutdown).await;
            metrics::gauge!("posthouse_webhook_calls", "state" => "under_way").set(turns.under_way() as f64);
            metrics::gauge!("posthouse_webhook_calls", "state" => "claimed").set(turns.waiting() as f64);
        }
        // Calls under way are finished; those that wait their turn stay in the table.
        turns.stop();
        while let Some(ended) = calls.tasks.join_next_with_id().await {
            calls.ended(ended, &mut turns, &mut looks);
        }
    }

    fn limits(&self) -> Limits {
        let lease = self.config.webhook_lease();
        Limits {
            calls_max: self.config.webhook_calls_max,
            calls_per_endpoint_max: self.config.webhook_calls_per_endpoint_max,
            lease,
            // The lease of a call may not end before the call does.
            patience: lease.saturating_sub(self.config.webhook_timeout() * 2),
        }
    }

    /// Claims what is due and there is room for, and asks when the next is due if that is not known. Never dropped half
    /// way: what was claimed would wait for the end of its lease.
    async fn claim(
        &mut self,
        calls: &mut Calls,
        turns: &mut Turns,
        looks: &mut Looks,
        shutdown: &CancellationToken,
    ) {
        // From before the claims: what becomes due between them and the question is not overlooked.
        let before = self.clock.timestamp();
        while let Some(wanted) = turns.wanted().filter(|_| !shutdown.is_cancelled()) {
            let due = match self.database.webhook_due(&ACCESS, &wanted).await {
                Ok(due) => due,
                Err(fault) => {
                    tracing::debug!(
                        error = &fault as &dyn std::error::Error,
                        "cannot fetch due webhook calls"
                    );
                    looks.failed(self.clock.timestamp());
                    Vec::new()
                }
            };
            if !due.is_empty() {
                looks.later(self.clock.timestamp().saturating_add(wanted.lease));
            }
            turns.claim(&wanted, due, self.clock.instant());
            self.begin(calls, turns);
        }
        if looks.is_known() || !turns.is_served() || shutdown.is_cancelled() {
            return;
        }
        match self.database.webhook_next(&ACCESS, before).await {
            Ok(next) => looks.asked(next),
            Err(fault) => {
                tracing::debug!(
                    error = &fault as &dyn std::error::Error,
                    "cannot ask for the next webhook call"
                );
                looks.failed(self.clock.timestamp());
            }
        }
    }

    fn begin(&mut self, calls: &mut Calls, turns: &mut Turns) {
        while let Some(due) = turns.next(self.clock.instant()) {
            let worker = Worker {
                database: self.database.clone(),
                clock: Arc::clone(&self.clock),
                caller: self.caller.clone(),
                snapshot: Arc::clone(&self.snapshot),
                random: self.random.fork(),
                jitter_percent: self.config.webhook_jitter_percent,
            };
            let endpoint = due.endpoint;
            let task = calls.tasks.spawn(worker.work(due));
            calls.endpoints.insert(task.id(), endpoint);
        }
    }
}

impl Calls {
    fn ended(&mut self, ended: Result<(Id, Done), JoinError>, turns: &mut Turns, looks: &mut Looks) {
        let (id, Done { health, due }) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a webhook call died");
                (error.id(), Done { health: Health::Silent, due: None })
            }
        };
        if let Some(due) = due {
            looks.later(due);
        }
        if let Some(endpoint) = self.endpoints.remove(&id) {
            turns.ended(endpoint, health);
        }
    }
}

impl Worker {
    async fn work(mut self, due: WebhookDue) -> Done {
        panics::place("webhook-call");
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
        let health = match answer {
            Some(Answer::Broken(_)) => Health::Silent,
            Some(Answer::Taken(_) | Answer::Gone | Answer::Refused(_)) | None => Health::Answers,
        };
        let due = match result.end {
            WebhookEnd::Again(at) | WebhookEnd::Later(at) => Some(at),
            WebhookEnd::Delivered | WebhookEnd::Failed => None,
        };
        Done { health, due }
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
