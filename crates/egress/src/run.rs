//! The shell around the Dispatcher: reads the journal, runs sessions and look-ups, writes outcomes, keeps time.
//!
//! One loop owns the dispatcher. It performs what the dispatcher wants, waits for whatever comes first, and hands it
//! in. Outcomes are appended before anything else is looked at, so a journal that does not keep up slows down picking
//! and nothing else. What the journal could not give for a while comes when it can. When the journal refuses outcomes the
//! loop ends: sending on would send twice after a restart.

use crate::config::Config;
use crate::dispatch::{Action, Dispatcher, Event, Order};
use crate::error::Fault;
use crate::handle::{EgressHandle, REQUESTS_MAX, Request};
use crate::measured::{self, Gauges};
use crate::record::Now;
use crate::recovery::Recovery;
use crate::resolve::{Resolver, Route, Unresolved};
use crate::session::{self, Surroundings, Word};
use crate::sessions::AHEAD;
use crate::tls::Tls;
use mail::classify::Profiles;
use mail::{Clock, Domain, Random};
use registry::{Generation, Snapshot};
use spool::{
    Bodies, Completion, Follower, Outcomes, Owed, Position, Record, Span, Unsettled, UnsettledMessages,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Events of sessions that may wait; each session has a few at most.
const EVENTS_MAX: usize = 4096;
/// Records read from the journal at a time.
const BATCH_MAX: usize = 512;

/// What egress is made of.
pub struct EgressParts {
    /// Limits and times.
    pub config: Config,
    /// Providers, rules and classes.
    pub profiles: Arc<Profiles>,
    /// The registry as it is now.
    pub snapshot: Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    /// Wakes when there is a newer one.
    pub changed: watch::Receiver<Generation>,
    /// From the journal's recovery.
    pub unsettled: UnsettledMessages,
    /// From where the recovery ended.
    pub follower: Follower,
    /// Where outcomes are made durable.
    pub outcomes: Outcomes,
    /// Where the text of a message is read when its turn has come.
    pub bodies: Bodies,
    /// From a domain to its exchangers.
    pub resolver: Arc<dyn Resolver>,
    /// Wall time and measured time.
    pub clock: Arc<dyn Clock>,
    /// For jitter; the simulator gives it a seed.
    pub random: Random,
}

/// Starts delivering. The task ends after `shutdown` when what was being sent is through, or with a fault.
///
/// # Errors
/// At once: `Config` as [`Config::check`] says, `Roots` if the file `tls_roots` is there and cannot be
/// opened, `Tls` if the library cannot be set up. The task: `Outcomes` if the journal takes no more outcomes,
/// `Journal` if it cannot be followed, `Recovery` if what waits from before could not be read to its end.
pub fn start(
    parts: EgressParts,
    shutdown: CancellationToken,
) -> Result<(EgressHandle, JoinHandle<Result<(), Fault>>), Fault> {
    parts.config.check().map_err(Fault::Config)?;
    measured::prepare();
    let config = Arc::new(parts.config);
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let (requests_in, requests) = mpsc::channel(REQUESTS_MAX);
    let snapshot = (parts.snapshot)();
    let around = Arc::new(Surroundings {
        tls: Tls::new(&config)?,
        config: Arc::clone(&config),
        clock: Arc::clone(&parts.clock),
        bodies: parts.bodies,
        events: events_in,
        broken_tls: Mutex::default(),
        unreadable: Mutex::default(),
        short: Mutex::default(),
    });
    let now = parts.clock.instant();
    let dispatcher = Dispatcher::new(config, parts.profiles, Arc::clone(&snapshot), parts.random, now);
    let mut follower = parts.follower;
    let owed = follower.owed();
    let recovery = Recovery::begin(parts.unsettled.owed_by(&owed));
    let run = Run {
        dispatcher,
        around,
        snapshot: parts.snapshot,
        changed: parts.changed,
        registry_lives: true,
        known: snapshot,
        resolver: parts.resolver,
        outcomes: parts.outcomes,
        sessions: JoinSet::new(),
        orders: HashMap::new(),
        tasks: HashMap::new(),
        proofs: HashMap::new(),
        look_ups: JoinSet::new(),
        shutdown,
        drain_by: None,
        following: true,
        recovery: Some(recovery),
        given_again: Vec::new(),
        gauges: Gauges::default(),
    };
    let task = tokio::spawn(run.run(follower, owed, events, requests));
    Ok((EgressHandle { requests: requests_in }, task))
}

struct Run {
    dispatcher: Dispatcher,
    around: Arc<Surroundings>,
    snapshot: Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>,
    changed: watch::Receiver<Generation>,
    /// Somebody is there who may announce another snapshot.
    registry_lives: bool,
    known: Arc<Snapshot>,
    resolver: Arc<dyn Resolver>,
    outcomes: Outcomes,
    sessions: JoinSet<()>,
    orders: HashMap<u64, mpsc::Sender<Order>>,
    tasks: HashMap<tokio::task::Id, u64>,
    /// Who waits for the record of which order, between its report and its record.
    proofs: HashMap<u64, oneshot::Sender<()>>,
    look_ups: JoinSet<(Domain, Result<Route, Unresolved>)>,
    shutdown: CancellationToken,
    drain_by: Option<tokio::time::Instant>,
    following: bool,
    /// What waited before this start, or what could not be read for a while, one after the other.
    recovery: Option<Recovery>,
    given_again: Vec<Span>,
    gauges: Gauges,
}

impl Run {
    async fn run(
        mut self,
        mut follower: Follower,
        mut owed: Owed,
        mut events: mpsc::Receiver<Word>,
        mut requests: mpsc::Receiver<Request>,
    ) -> Result<(), Fault> {
        let mut event_batch = Vec::with_capacity(BATCH_MAX);
        loop {
            self.look_at_snapshot();
            let measure = self.gauges.tell(self.dispatcher.queue.totals(), self.orders.len());
            panics::place("dispatcher");
            let now = self.now();
            self.dispatcher.handle_timeout(now);
            self.act().await?;
            if self.dispatcher.is_drained() {
                return Ok(());
            }
            let sleep = sleep_until(self.due(measure));
            let draining = self.drain_by.is_some();
            let hungry = !draining && self.dispatcher.queue.len() < self.around.config.waiting_max;
            tokio::select! {
                _ = events.recv_many(&mut event_batch, BATCH_MAX) => {
                    let now = self.now();
                    for word in event_batch.drain(..) {
                        self.take_word(word, now);
                    }
                }
                batch = follower.next_batch(BATCH_MAX), if hungry && self.following => self.take_records(batch)?,
                found = next_of(&mut self.recovery), if hungry && self.recovery.is_some() => {
                    self.take_recovered(found?, &owed);
                }
                given = owed.given_again(), if !draining => {
                    self.given_again.extend(given);
                    self.recover_again(&owed);
                }
                Some(found) = self.look_ups.join_next(), if !self.look_ups.is_empty() => self.take_look_up(found),
                Some(ended) = self.sessions.join_next_with_id(), if !self.sessions.is_empty() => self.take_end(ended),
                Some(request) = requests.recv() => self.answer(request),
                changed = self.changed.changed(), if self.registry_lives => self.registry_lives = changed.is_ok(),
                () = self.shutdown.cancelled(), if !draining => {
                    let limit = Duration::from_secs(self.around.config.drain_seconds_max);
                    self.drain_by = Some(tokio::time::Instant::now() + limit);
                    self.dispatcher.handle_drain();
                }
                () = sleep => {
                    if self.drain_by.is_some_and(|by| by <= tokio::time::Instant::now()) {
                        tracing::warn!(sessions = self.orders.len(), "sessions are cut off at shutdown");
                        // What they have told already is written: it would be sent again otherwise.
                        let now = self.now();
                        while let Ok(word) = events.try_recv() {
                            self.take_word(word, now);
                        }
                        return self.act().await;
                    }
                }
            }
        }
    }

    fn now(&self) -> Now {
        let clock = &self.around.clock;
        Now { instant: clock.instant(), timestamp: clock.timestamp() }
    }

    /// When the loop has something to do though nothing comes in.
    fn due(&self, measure: Option<tokio::time::Instant>) -> Option<tokio::time::Instant> {
        let now = self.around.clock.instant();
        let next = self.dispatcher.poll_timeout();
        let due = next.map(|at| tokio::time::Instant::now() + at.saturating_since(now));
        [due, measure, self.drain_by].into_iter().flatten().min()
    }

    fn look_at_snapshot(&mut self) {
        let snapshot = (self.snapshot)();
        if !Arc::ptr_eq(&snapshot, &self.known) {
            self.known = Arc::clone(&snapshot);
            self.dispatcher.handle_snapshot(snapshot);
        }
    }

    /// Performs actions in their order; outcomes go to the journal together at the end.
    async fn act(&mut self) -> Result<(), Fault> {
        let mut completions = Vec::new();
        while let Some(action) = self.dispatcher.poll_action() {
            match action {
                Action::Record { record, order } => {
                    measured::count(&record);
                    let proof = order.and_then(|order| self.proofs.remove(&order));
                    completions.push(Completion { record, proof });
                }
                Action::Resolve(domain) => self.look_up(domain),
                Action::Connect(job) => {
                    let (orders_in, orders) = mpsc::channel(AHEAD);
                    let session = job.session;
                    self.orders.insert(session, orders_in);
                    let task = self.sessions.spawn(session::run(job, orders, Arc::clone(&self.around)));
                    self.tasks.insert(task.id(), session);
                }
                Action::Deliver { session, order } => {
                    // A session that has just ended gives back what it did not take.
                    if let Some(orders) = self.orders.get(&session) {
                        let _ = orders.try_send(order);
                    }
                }
                Action::Close(session) => drop(self.orders.remove(&session)),
            }
        }
        // Whoever waits for a record that there is not going to be is told by the end of the sender.
        self.proofs.clear();
        if completions.is_empty() {
            return Ok(());
        }
        self.outcomes.append(completions).await.map_err(Fault::Outcomes)
    }

    fn look_up(&mut self, domain: Domain) {
        let resolver = Arc::clone(&self.resolver);
        let limit = Duration::from_secs(self.around.config.resolve_seconds_max);
        self.look_ups.spawn(async move {
            // A bug in there costs this answer and not the dispatcher.
            let resolving = panics::caught(async {
                panics::place("look-up");
                resolver.resolve(&domain).await
            });
            let nothing = |why: &str| Err(Unresolved::Temporary(why.to_owned()));
            let answer = match tokio::time::timeout(limit, resolving).await {
                Ok(Some(answer)) => answer,
                Ok(None) => nothing("the look-up failed here"),
                Err(_) => nothing("no answer in time"),
            };
            (domain, answer)
        });
    }

    fn take_look_up(&mut self, found: Result<(Domain, Result<Route, Unresolved>), tokio::task::JoinError>) {
        let now = self.now();
        match found {
            Ok((domain, answer)) => self.dispatcher.handle_resolved(&domain, answer, now),
            Err(error) => unreachable!("a look-up neither panics nor is it cancelled: {error}"),
        }
    }

    fn take_word(&mut self, Word { event, proof }: Word, now: Now) {
        if let (Event::Done { order, .. }, Some(proof)) = (&event, proof) {
            self.proofs.insert(*order, proof);
        }
        self.take_event(event, now);
    }

    fn take_event(&mut self, event: Event, now: Now) {
        if let Event::Closed { session } = &event {
            self.orders.remove(session);
        }
        self.dispatcher.handle_event(event, now);
    }

    /// A session that ended by itself has said so; one that panicked has not.
    fn take_end(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = ended.as_ref().map_or_else(|error| error.id(), |(id, ())| *id);
        let session = self.tasks.remove(&id);
        if let (Err(error), Some(session)) = (ended, session) {
            tracing::error!(%error, "a session ended by a bug");
            let now = self.now();
            self.take_event(Event::Closed { session }, now);
        }
    }

    fn take_records(
        &mut self,
        batch: Result<Vec<(Position, Arc<Record>)>, spool::Fault>,
    ) -> Result<(), Fault> {
        let now = self.now();
        match batch {
            Ok(records) => {
                for (position, record) in records {
                    if let Record::Accepted(accepted) = &*record {
                        self.dispatcher.handle_accepted(position.as_u64(), accepted, now);
                    }
                }
            }
            Err(spool::Fault::Closed) => self.following = false,
            Err(fault @ spool::Fault::Gap { .. }) => {
                tracing::error!(error = %fault, "part of the journal is gone")
            }
            Err(fault) => return Err(Fault::Journal(fault)),
        }
        Ok(())
    }

    fn take_recovered(&mut self, found: Vec<Unsettled>, owed: &Owed) {
        if found.is_empty() {
            self.recovery = None;
            return self.recover_again(owed);
        }
        let now = self.now();
        for one in found {
            let position = one.position.as_u64();
            self.dispatcher.handle_recovered(position, &one.accepted, &one.recipients, now);
        }
    }

    /// Fetches what could not be read before, when what waited before this start is through. The follower has told none
    /// of it.
    fn recover_again(&mut self, owed: &Owed) {
        if self.recovery.is_none() && !self.given_again.is_empty() {
            let mut spans = std::mem::take(&mut self.given_again);
            spans.sort_unstable_by_key(|span| span.from);
            self.recovery = Some(Recovery::begin(owed.unsettled(spans)));
        }
    }

    /// Nobody may be waiting for the answer any more.
    fn answer(&mut self, request: Request) {
        let now = self.now();
        let dispatcher = &mut self.dispatcher;
        match request {
            Request::Why(message, answer) => drop(answer.send(dispatcher.why(message, now))),
            Request::Queues(limit, answer) => drop(answer.send(dispatcher.queues(limit, now))),
            Request::Totals(answer) => drop(answer.send(dispatcher.queue.totals())),
            Request::Paths(answer) => drop(answer.send(dispatcher.paths(now))),
            Request::Holds(tenant, answer) => drop(answer.send(dispatcher.queue.holds(tenant))),
            Request::Cancel(message, answer) => {
                let waiting = |message| self.outcomes.waiting(message);
                let _ = answer.send(dispatcher.handle_cancel(message, &waiting, now));
            }
            Request::Hold(path, hold, answer) => {
                dispatcher.handle_hold(&path, hold, now);
                let _ = answer.send(());
            }
            Request::Resume(path, answer) => {
                dispatcher.handle_resume(&path, now);
                let _ = answer.send(());
            }
        }
    }
}

async fn next_of(recovery: &mut Option<Recovery>) -> Result<Vec<Unsettled>, Fault> {
    match recovery {
        Some(recovery) => recovery.next().await,
        None => std::future::pending().await,
    }
}

/// The one timer. For ever, if nothing is due: everything else wakes the loop by itself.
async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
