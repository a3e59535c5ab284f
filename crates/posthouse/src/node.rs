//! One node, assembled: the keepers first, then the way out, then the telling, the doors last.
//!
//! Nothing is decided here; this file says in which order things start and stop, and gives each its parts. They stop
//! in the order in which mail flows: doors, API, way out, telling, journal. Roles: the journal lies on this node's
//! disk, so everything but the API runs wherever the journal is.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::delivery::{cancel_source, delivery, why_source};
use crate::exit::Failure;
use crate::front::Front;
use crate::housekeeping::Housekeeping;
use crate::keepers::Keepers;
use crate::key_fit::KeyLoss;
use crate::memory;
use crate::readiness::{self, Sources};
use crate::secrets::{Secrets, session_keys};
use crate::sections::{api_config, door_addresses, egress_config, events_config};
use crate::signals::Signals;
use crate::told::told_source;
use crate::usage::restored_usage;
use crate::{listening, nofile, telemetry};
use anyhow::Context;
use database::{Database, SnapshotHandle};
use ingress::{Addresses, Ingress, IngressHandle, Listeners, Submission};
use mail::{Clock, Random};
use metrics_exporter_prometheus::PrometheusHandle;
use registry::Generation;
use spool::Spool;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long webhook calls under way may go on at the end; they are durable and made again.
const EVENTS_WAIT: Duration = Duration::from_secs(5);

/// What a node is made of.
pub struct NodeParts {
    pub config: Config,
    pub secrets: Secrets,
    pub clock: Arc<SystemClock>,
    pub random: Random,
    pub metrics: PrometheusHandle,
    /// Files of the certificate of the doors.
    pub chain: PathBuf,
    pub key: PathBuf,
    pub with_api: bool,
    /// Whether a master key that opens nothing is a mistake.
    pub key_loss: KeyLoss,
}

/// A node at work.
pub struct Node {
    pub database: Database,
    pub snapshots: Arc<SnapshotHandle>,
    pub addresses: Addresses,
    pub http: SocketAddr,
    pub with_api: bool,
    pub spool: Spool,
    doors: IngressHandle,
    delivery: JoinHandle<()>,
    events: JoinHandle<()>,
    api: JoinHandle<()>,
    watch: Option<JoinHandle<()>>,
    housekeeping: JoinHandle<()>,
    follower: JoinHandle<()>,
    stop: Stop,
}

/// Who is told to stop, in this order.
#[derive(Default)]
struct Stop {
    doors: CancellationToken,
    egress: CancellationToken,
    events: CancellationToken,
    /// Cancelled when a worker ended before it was told to.
    died: CancellationToken,
}

impl Node {
    /// Whatever can fail is made first, and mail moves only when nothing is left to fail or to wait for: a start that
    /// is given up leaves no delivery in flight.
    pub async fn start(mut parts: NodeParts) -> anyhow::Result<Node> {
        memory::fit(&mut parts.config).map_err(Failure::Configuration)?;
        nofile::fit(&mut parts.config);
        let tls = ingress::Tls::load(&parts.chain, &parts.key, &parts.config.ingress.tls)
            .await
            .map_err(|error| Failure::Configuration(format!("{:#}", anyhow::Error::from(error))))?;
        let counter = if parts.with_api { Some(Counter::prepare(&parts.config)?) } else { None };
        let front = Front::bind(&parts.config).await?;
        let keepers = Keepers::open(&mut parts).await?;
        let stop = Stop::default();
        let submission = start_submission(&mut parts, &keepers, &stop.doors).await?;
        let listeners = Listeners::bind(door_addresses(&parts.config)?)
            .map_err(|fault| cannot_listen(&parts.config, fault))?;
        let events_parts = events_parts(&mut parts, &keepers);
        let Keepers { database, snapshots, follower, source, spool, recovery } = keepers;
        let http = front.address();
        let listener = front.hand_over().await?;
        let events = events::start(events_parts, stop.events.clone()).context("cannot start events")?;
        let (egress, delivery) =
            start_egress(&mut parts, &spool, recovery, (&source, snapshots.changed()), &stop.egress)?;
        let events = watched(stop.events.clone(), stop.died.clone(), events.stopped());
        let delivery = watched(stop.egress.clone(), stop.died.clone(), told(delivery));
        let door_parts =
            ingress::IngressParts { submission: submission.clone(), tls: Some(tls), returned: None };
        let doors =
            Ingress::start(door_parts, listeners, stop.doors.clone()).context("cannot open the doors")?;
        let housekeeping = housekeeping(&parts, (&database, &spool), &submission, &egress);
        let sources = sources(&spool, &snapshots, &stop);
        drop(tokio::spawn(readiness::keep_telling(Arc::clone(&sources), stop.doors.clone())));
        let mut watch = None;
        let served = match counter {
            Some(Counter { config, dns: [dns, watch_dns], tokens }) => {
                let watcher =
                    api::DomainWatch::new(database.clone(), watch_dns, parts.clock.clone(), &config);
                watch = Some(kept_watch(watcher, &stop.doors));
                let told = told_source(database.clone(), spool.clone());
                let way = (submission, egress);
                let state = api_state(&mut parts, (config, dns, tokens), (&database, told), sources, way);
                tokio::spawn(api::serve(listener, state, stop.doors.clone()))
            }
            None => {
                let config = api_config(&parts.config);
                let vitals = vitals(&mut parts, sources, &config);
                tokio::spawn(api::serve_vitals(listener, config, vitals, stop.doors.clone()))
            }
        };
        let served = async { ended("api", served.await) };
        let api = watched(stop.doors.clone(), stop.died.clone(), served);
        // Ends with the process: samples are folded into their buckets although nobody may ever ask for them.
        drop(kept_metrics(&parts.metrics, &stop.events));
        let housekeeping = kept_housekeeping(housekeeping, &stop.doors);
        let addresses = doors.addresses();
        Ok(Node {
            database,
            snapshots,
            addresses,
            http,
            with_api: parts.with_api,
            spool,
            doors,
            delivery,
            events,
            api,
            watch,
            housekeeping,
            follower,
            stop,
        })
    }
}

async fn start_submission(
    parts: &mut NodeParts,
    keepers: &Keepers,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Submission>> {
    let usage = restored_usage(&keepers.database, &keepers.spool, parts.clock.timestamp(), stop).await?;
    Submission::start(ingress::SubmissionParts {
        intake: keepers.spool.intake(),
        snapshot: keepers.source.clone(),
        usage,
        token_key: Arc::new(parts.secrets.return_paths()),
        clock: parts.clock.clone(),
        random: parts.random.fork(),
        hostname: parts.config.node.hostname.clone(),
        config: parts.config.ingress.clone(),
    })
    .context("cannot start the signing threads")
}

fn events_parts(parts: &mut NodeParts, keepers: &Keepers) -> events::EventsParts {
    events::EventsParts {
        spool: keepers.spool.clone(),
        database: keepers.database.clone(),
        snapshot: keepers.source.clone(),
        noticed: keepers.snapshots.noticed(),
        clock: parts.clock.clone(),
        random: parts.random.fork(),
        config: events_config(&parts.config),
    }
}

/// What the API needs and may not get.
struct Counter {
    config: api::Config,
    /// One for requests, one for the domains that are watched.
    dns: [api::DnsChecker; 2],
    tokens: api::TokenKeys,
}

impl Counter {
    fn prepare(config: &Config) -> anyhow::Result<Counter> {
        let tokens = session_keys(config)?;
        let config = api_config(config);
        let dns = || api::DnsChecker::new(&config).context("cannot set up name lookups");
        let dns = [dns()?, dns()?];
        Ok(Counter { config, dns, tokens })
    }
}

fn sources(spool: &Spool, snapshots: &Arc<SnapshotHandle>, stop: &Stop) -> Arc<Sources> {
    Arc::new(Sources {
        spool: spool.clone(),
        snapshots: Arc::clone(snapshots),
        died: stop.died.clone(),
        stopping: stop.doors.clone(),
    })
}

fn api_state(
    parts: &mut NodeParts,
    (config, dns, tokens): (api::Config, api::DnsChecker, api::TokenKeys),
    (database, told): (&Database, api::Told),
    sources: Arc<Sources>,
    (submission, egress): (Arc<Submission>, egress::EgressHandle),
) -> api::AppState {
    api::AppState {
        dns,
        config,
        database: database.for_callers(),
        snapshots: Arc::clone(&sources.snapshots),
        submission,
        tokens,
        clock: parts.clock.clone(),
        random: parts.random.fork(),
        metrics: telemetry::rendering(&parts.metrics, &parts.config, Arc::clone(&sources)),
        readiness: Arc::new(move || sources.look()),
        delivery: delivery(egress.clone(), parts.clock.clone()),
        why: why_source(egress.clone()),
        cancel: cancel_source(egress),
        told,
    }
}

/// What a node without the API answers.
fn vitals(parts: &mut NodeParts, sources: Arc<Sources>, config: &api::Config) -> api::Vitals {
    api::Vitals {
        clock: parts.clock.clone(),
        random: Arc::new(Mutex::new(parts.random.fork())),
        metrics: telemetry::rendering(&parts.metrics, &parts.config, Arc::clone(&sources)),
        readiness: Arc::new(move || sources.look()),
        request_max: Duration::from_secs(config.request_seconds_max),
    }
}

impl Node {
    /// Returns when we are asked to stop, or with the reason when the node cannot go on.
    pub async fn until_the_end(&self, signals: &mut Signals) -> anyhow::Result<()> {
        tokio::select! {
            signal = signals.recv() => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            // A worker ended although nobody told it to: mail must not go on piling up.
            () = self.stop.died.cancelled() => Err(Failure::Unavailable(
                "delivery, events or API ended by themselves; the log says why. Nothing that was acknowledged is lost: \
                 start again"
                    .to_owned(),
            )
            .into()),
            () = self.spool.until_sealed() => Err(Failure::Unavailable(
                "the journal is sealed after a failed write or sync; nothing that was acknowledged is lost. Look at \
                 the disk, then start again"
                    .to_owned(),
            )
            .into()),
        }
    }

    /// Stops everything in the order in which mail flows. Bounded by the drain times of the configuration. Errs if not all
    /// of what became of the mail could be written down.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.doors.cancel();
        self.doors.finished().await;
        ended("api", self.api.await);
        ended("housekeeping", self.housekeeping.await);
        if let Some(watch) = self.watch {
            ended("domain watch", watch.await);
        }
        self.stop.egress.cancel();
        ended("delivery", self.delivery.await);
        self.stop.events.cancel();
        if tokio::time::timeout(EVENTS_WAIT, self.events).await.is_err() {
            tracing::warn!("webhook calls were cut off; they are made again after the next start");
        }
        self.follower.abort();
        let Err(fault) = self.spool.shutdown().await else { return Ok(()) };
        tracing::error!(error = &fault as &dyn std::error::Error, "the journal did not close cleanly");
        Err(Failure::Unavailable(format!(
            "the journal did not close cleanly: {fault}. Nothing that was acknowledged is lost, but the last deliveries could \
             not be written down, and what they carried is sent again after the next start. Look at the disk of the \
             journal first"
        ))
        .into())
    }
}

type Delivery = JoinHandle<Result<(), egress::Fault>>;

fn start_egress(
    parts: &mut NodeParts,
    spool: &Spool,
    recovery: spool::Recovery,
    (snapshot, changed): (&ingress::SnapshotSource, watch::Receiver<Generation>),
    stop: &CancellationToken,
) -> anyhow::Result<(egress::EgressHandle, Delivery)> {
    let config = egress_config(&parts.config);
    let resolver = egress::resolve::DnsResolver::new(&config).context("cannot set up name lookups")?;
    let egress_parts = egress::EgressParts {
        config,
        profiles: Arc::new(mail::classify::Profiles::shipped()),
        snapshot: snapshot.clone(),
        changed,
        unsettled: recovery.unsettled,
        follower: spool.follow(recovery.end),
        outcomes: spool.outcomes(),
        bodies: spool.bodies(),
        resolver: Arc::new(resolver),
        clock: parts.clock.clone(),
        random: parts.random.fork(),
    };
    egress::start(egress_parts, stop.clone()).context("cannot start delivery")
}

fn housekeeping(
    parts: &NodeParts,
    (database, spool): (&Database, &Spool),
    submission: &Arc<Submission>,
    egress: &egress::EgressHandle,
) -> Housekeeping {
    Housekeeping {
        database: database.clone(),
        spool: spool.clone(),
        egress: egress.clone(),
        submission: Arc::clone(submission),
        clock: parts.clock.clone(),
        config: parts.config.housekeeping.clone(),
    }
}

fn kept_watch(watcher: api::DomainWatch, stop: &CancellationToken) -> JoinHandle<()> {
    let (watcher, told) = (Arc::new(watcher), stop.clone());
    panics::keep("domain watch", stop.clone(), move || Arc::clone(&watcher).run(told.clone()))
}

fn kept_metrics(metrics: &PrometheusHandle, stop: &CancellationToken) -> JoinHandle<()> {
    let (metrics, told) = (metrics.clone(), stop.clone());
    panics::keep("metrics", stop.clone(), move || telemetry::keep_up(metrics.clone(), told.clone()))
}

fn kept_housekeeping(housekeeping: Housekeeping, stop: &CancellationToken) -> JoinHandle<()> {
    let (housekeeping, told) = (Arc::new(housekeeping), stop.clone());
    panics::keep("housekeeping", stop.clone(), move || Arc::clone(&housekeeping).run(told.clone()))
}

/// Waits for a worker; one that ends before it was told to is the end of the node.
fn watched(
    told: CancellationToken,
    died: CancellationToken,
    worker: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        worker.await;
        if !told.is_cancelled() {
            died.cancel();
        }
    })
}

/// The end of delivery, in the log if it is not the one we asked for.
async fn told(delivery: Delivery) {
    match delivery.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "delivery ended with a fault");
        }
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "delivery died"),
    }
}

fn ended(name: &'static str, outcome: Result<(), tokio::task::JoinError>) {
    if let Err(error) = outcome {
        tracing::error!(error = &error as &dyn std::error::Error, task = name, "a task died");
    }
}

/// An error of our surroundings with all its causes, as one sentence and exit code 69.
pub fn unavailable(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    Failure::Unavailable(format!("{what}: {:#}", anyhow::Error::from(error))).into()
}

/// The door that cannot be opened, by the key that names it.
fn cannot_listen(config: &Config, fault: ingress::Fault) -> anyhow::Error {
    let ingress::Fault::Listen { address, source } = &fault else {
        return unavailable("cannot listen", fault);
    };
    let keys = [
        ("listen.submission", &config.listen.submission),
        ("listen.submissions", &config.listen.submissions),
        ("listen.inbound", &config.listen.inbound),
    ];
    // Two doors at one address: the later one is in the way.
    let key = keys.iter().rev().find(|(_, text)| text.parse() == Ok(*address));
    listening::failure(key.map_or("listen", |(key, _)| key), *address, source).into()
}
