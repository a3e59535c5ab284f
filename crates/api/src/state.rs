//! What every handler holds: the keepers that were handed in, and what the API keeps for itself.
//!
//! `AppState` is made by the binary (or a test) and is all that the API knows of the rest of the house; `Api` wraps it
//! together with the published document. Nothing here is global: two APIs run in one process.

use crate::calls::Calls;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::dns::DnsChecker;
use crate::expected::Operations;
use crate::in_flight::InFlight;
use crate::limit::RequestRate;
use crate::problem::Problem;
use crate::schema::Schemas;
use crate::token::TokenKeys;
use axum::extract::FromRef;
use bytes::Bytes;
use database::{Database, SnapshotHandle};
use futures_util::future::BoxFuture;
use ingress::Submission;
use mail::{Clock, MessageId, Random, Timestamp};
use queue::control::WaitingView;
use registry::{Snapshot, Throttle};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Passwords hashed at the same time.
const HASHES_MAX: usize = 4;

/// Answers why a message waits: one view per recipient that is still in a queue. None if there is no queue here.
pub type Why = Arc<dyn Fn(MessageId) -> BoxFuture<'static, Option<Vec<WaitingView>>> + Send + Sync>;

/// Takes a message back from the queue: how many recipients it took. None if there is no queue here.
pub type Cancel = Arc<dyn Fn(MessageId) -> BoxFuture<'static, Option<usize>> + Send + Sync>;

/// Returns when everything that was accepted before it was asked is in the tables.
pub type Told = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Whether this node can do its work, and if not, why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Empty means ready.
    pub reasons: Vec<Reason>,
    /// None as long as the journal is not open.
    pub journal: Option<Journal>,
}

/// How the journal of a node is. None of it keeps mail from being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Journal {
    /// How much of it was looked through for what waits from before, 0 to 99; null when all is known. New mail is accepted
    /// meanwhile, older mail leaves when all is known.
    #[schema(maximum = 99)]
    pub loading_percent: Option<u8>,
    /// Damaged pieces found since the start. They were copied aside and are not sent.
    pub quarantined: usize,
    /// Segments that are kept because something in them cannot be read.
    pub segments_pinned: usize,
    /// Those of them that could not be read for a while, in whole or in part: their mail leaves and their events are told as
    /// soon as the disk gives them.
    pub segments_owed: usize,
}

/// Why a node is not ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Reason {
    /// Stable, made for programs.
    #[schema(value_type = String, example = "journal_sealed")]
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
}

/// What the binary hands to the API.
pub struct AppState {
    /// Limits and times.
    pub config: Config,
    /// Tables; not asked on the path of a message.
    pub database: Database,
    /// The registry as it is now.
    pub snapshots: Arc<SnapshotHandle>,
    /// What accepts a message; shared with the SMTP door.
    pub submission: Arc<Submission>,
    /// For people who have logged in.
    pub tokens: TokenKeys,
    /// For the records of sending domains.
    pub dns: DnsChecker,
    /// Wall time and measured time.
    pub clock: Arc<dyn Clock>,
    /// For ids, keys and tokens.
    pub random: Random,
    /// What `/ready` says.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics of the process as Prometheus reads them.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What is known of delivery on this node.
    pub delivery: Delivery,
    /// Why a recipient waits.
    pub why: Why,
    /// Takes mail back.
    pub cancel: Cancel,
    /// How far telling has come.
    pub told: Told,
}

/// What a node tells about itself, with the API or without: all that `/health`, `/ready` and `/metrics` need. Cheap to clone.
#[derive(Clone)]
pub struct Vitals {
    /// Wall time and measured time.
    pub clock: Arc<dyn Clock>,
    /// For the ids of requests.
    pub random: Arc<Mutex<Random>>,
    /// What `/ready` says.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics of the process as Prometheus reads them.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// How long a request may take.
    pub request_max: Duration,
}

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    app: AppState,
    vitals: Vitals,
    random: Arc<Mutex<Random>>,
    rate: Mutex<RequestRate>,
    logins: Mutex<Throttle>,
    hashing: Semaphore,
    requests: InFlight,
    calls: Calls,
    schemas: Schemas,
    operations: Operations,
    document: Bytes,
    docs: Bytes,
}

/// What is made from the routes once: the document, the reference, the rules for bodies.
#[derive(Debug)]
pub struct Published {
    pub document: Bytes,
    pub docs: Bytes,
    pub schemas: Schemas,
    pub operations: Operations,
}

impl Api {
    pub fn new(mut app: AppState, published: Published) -> Api {
        let config = &app.config;
        let rate = RequestRate::new(
            config.requests_per_second,
            config.tenant_requests_per_second,
            config.rate_entries_max,
        );
        let logins = Throttle::new(config.login.clone());
        let request_max = Duration::from_secs(config.request_seconds_max);
        let random = Arc::new(Mutex::new(app.random.fork()));
        let vitals = Vitals {
            clock: Arc::clone(&app.clock),
            random: Arc::clone(&random),
            readiness: Arc::clone(&app.readiness),
            metrics: Arc::clone(&app.metrics),
            request_max,
        };
        Api(Arc::new(Inner {
            vitals,
            random,
            rate: Mutex::new(rate),
            logins: Mutex::new(logins),
            hashing: Semaphore::new(HASHES_MAX),
            requests: InFlight::new(app.config.requests_in_flight_max),
            calls: Calls::new(app.config.idempotent_calls_max),
            schemas: published.schemas,
            operations: published.operations,
            document: published.document,
            docs: published.docs,
            app,
        }))
    }

    pub fn config(&self) -> &Config {
        &self.0.app.config
    }

    pub fn database(&self) -> &Database {
        &self.0.app.database
    }

    pub fn snapshots(&self) -> &SnapshotHandle {
        &self.0.app.snapshots
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.app.snapshots.load()
    }

    pub fn submission(&self) -> &Arc<Submission> {
        &self.0.app.submission
    }

    pub fn tokens(&self) -> &TokenKeys {
        &self.0.app.tokens
    }

    pub fn dns(&self) -> &DnsChecker {
        &self.0.app.dns
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.0.app.clock
    }

    pub fn now(&self) -> Timestamp {
        self.0.app.clock.timestamp()
    }

    pub fn delivery(&self) -> &Delivery {
        &self.0.app.delivery
    }

    pub fn cancel(&self, message: MessageId) -> BoxFuture<'static, Option<usize>> {
        (self.0.app.cancel)(message)
    }

    pub fn why(&self, message: MessageId) -> BoxFuture<'static, Option<Vec<WaitingView>>> {
        (self.0.app.why)(message)
    }

    pub fn told(&self) -> BoxFuture<'static, ()> {
        (self.0.app.told)()
    }

    /// Passwords that are being hashed now: 19 MiB each, so their number is bounded.
    pub fn hashing(&self) -> &Semaphore {
        &self.0.hashing
    }

    /// Requests that are being answered.
    pub fn requests(&self) -> &InFlight {
        &self.0.requests
    }

    /// Calls that go on although their client may be gone.
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    pub fn operations(&self) -> &Operations {
        &self.0.operations
    }

    pub fn schemas(&self) -> &Schemas {
        &self.0.schemas
    }

    pub fn document(&self) -> Bytes {
        self.0.document.clone()
    }

    pub fn docs(&self) -> Bytes {
        self.0.docs.clone()
    }

    /// A generator of its own for one piece of work: nobody holds the lock while drawing.
    pub fn random(&self) -> Random {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    pub fn with_rate<T>(&self, work: impl FnOnce(&mut RequestRate) -> T) -> T {
        work(&mut self.0.rate.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn with_logins<T>(&self, work: impl FnOnce(&mut Throttle) -> T) -> T {
        work(&mut self.0.logins.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api(…)")
    }
}

/// What can be answered from memory although a fault came back.
pub fn trouble(what: &'static str, fault: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(what, fault, "a request could not be answered");
    Problem::unavailable()
}

impl FromRef<Api> for Vitals {
    fn from_ref(api: &Api) -> Vitals {
        api.0.vitals.clone()
    }
}
