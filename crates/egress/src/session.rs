//! One session with a site: opened at the first exchanger that answers, fed with deliveries until it ends.
//!
//! The task tells the dispatcher what came of each order and, last, that it is over; it decides nothing about the
//! recipient. TLS that fails is tried again in plain text at the same host, once, where the profile does not require it,
//! and the host is remembered (RFC 7435: opportunistic means that mail is not lost over it). A bug that panics costs the
//! order in hand and the connection, and says nothing of the site. For a message with REQUIRETLS each host is tried until
//! one has a certificate that is good and passes the demand on (RFC 8689 §4.2.1).

use crate::config::Config;
use crate::connect::{connect, is_allowed};
use crate::dispatch::{Event, Job, Order, Report};
use crate::link::{Link, Step};
use crate::loading::load;
use crate::seldom::Seldom;
use crate::targets::targets;
use crate::tls::{Tls, server_name};
use crate::trouble::{Cause, Circumstances};
use mail::classify::TlsMode;
use mail::{Clock, Instant, Timestamp};
use queue::TlsNeed;
use smtp::client::{Break, BreakKind, ClientConfig, ClientTls, Failure, Missing, Stage, Transaction};
use spool::Bodies;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Hosts that one attempt speaks to beyond their greeting.
const VISITS_MAX: u32 = 2;
/// Hosts whose TLS is remembered as broken.
const BROKEN_TLS_MAX: usize = 10_000;

/// What all sessions share.
pub(crate) struct Surroundings {
    pub config: Arc<Config>,
    pub clock: Arc<dyn Clock>,
    pub bodies: Bodies,
    pub tls: Tls,
    pub events: mpsc::Sender<Word>,
    /// Until when a host is spoken to in plain text.
    pub broken_tls: Mutex<HashMap<String, Instant>>,
    /// Messages that could not be read, and such as we had no descriptor or memory for.
    pub unreadable: Mutex<Seldom>,
    pub short: Mutex<Seldom>,
}

impl Surroundings {
    /// How often it has happened, if that is to be said.
    pub fn seldom(&self, what: &Mutex<Seldom>) -> Option<u64> {
        what.lock().unwrap_or_else(PoisonError::into_inner).happened(self.clock.instant())
    }
}

/// What a session tells the dispatcher, and who wants to hear when the record of it is durable.
pub(crate) struct Word {
    pub event: Event,
    pub proof: Option<oneshot::Sender<()>>,
}

/// An open session and how it came about.
struct Opened {
    link: Link,
    at: Circumstances,
}

struct NotOpened {
    cause: Cause,
    at: Circumstances,
}

/// From the first order to the end of the connection.
pub(crate) async fn run(job: Job, mut orders: mpsc::Receiver<Order>, around: Arc<Surroundings>) {
    let session = job.session;
    // The dispatcher opens a session for a delivery, which follows at once.
    if let Some(first) = orders.recv().await {
        let started = Started::now(&around);
        match load_and_begin(&job, first, &around).await {
            Begun::Failed(failed) => {
                started.tell(session, first, (failed.cause, false), failed.at, &around).await;
            }
            Begun::Answered { mut opened, cause, usable, since } => {
                let at = opened.at.clone();
                if let Some(proof) = since.tell(session, first, (cause, usable), at, &around).await {
                    opened.link.hold(proof);
                }
                if usable {
                    serve(&mut opened, session, &mut orders, &around).await;
                }
                // Its place is not free before that: the next connection would make one more copy in doubt.
                opened.link.released().await;
            }
        }
    }
    let _ = around.events.send(Word { event: Event::Closed { session }, proof: None }).await;
}

/// What came of the first order.
enum Begun {
    Failed(Box<NotOpened>),
    Answered { opened: Box<Opened>, cause: Cause, usable: bool, since: Started },
}

/// The message comes first: a connection that waits for it is one that the site holds open for nothing.
async fn load_and_begin(job: &Job, first: Order, around: &Surroundings) -> Begun {
    let not_opened = |cause| Begun::Failed(Box::new(NotOpened { cause, at: nowhere(job) }));
    let begun = panics::caught(async {
        panics::place("delivery");
        match load(first, around).await {
            Ok(transaction) => begin(job, transaction, first.expires, around).await,
            Err(cause) => not_opened(cause),
        }
    });
    begun.await.unwrap_or_else(|| not_opened(Cause::Bug))
}

/// Before any host was spoken to.
fn nowhere(job: &Job) -> Circumstances {
    Circumstances { egress: Some(job.source.address), tls_need: job.tls, ..Circumstances::default() }
}

/// Opens a session and makes the first delivery. A host that greets and then breaks off before it can have the message
/// must not hide the others: the next one is tried, once. One that refuses is believed, for all of the site. A host may take
/// minutes to say that it is ready; what has expired by then is not begun.
async fn begin(job: &Job, transaction: Transaction, expires: Instant, around: &Surroundings) -> Begun {
    let mut failed = Box::new(NotOpened { cause: Cause::NoCommonFamily, at: nowhere(job) });
    let limit = around.config.addresses_per_attempt_max;
    let exchangers = &job.destination.route.exchangers;
    let mut hosts = targets(exchangers, job.source.address, job.session, limit).into_iter();
    for visit in 1.. {
        let left = hosts.by_ref().take_while(|_| around.clock.instant() < expires);
        let Some(mut opened) = open(job, left, &mut failed, around).await else { break };
        if around.clock.instant() >= expires {
            opened.link.quit().await;
            failed = Box::new(NotOpened { cause: Cause::Expired, at: opened.at });
            break;
        }
        let since = Started::now(around);
        let (cause, usable) = deliver(&mut opened.link, transaction.clone(), around).await;
        if broke_off(&cause) && visit < VISITS_MAX && hosts.len() > 0 {
            failed = Box::new(NotOpened { cause, at: opened.at });
            continue;
        }
        return Begun::Answered { opened: Box::new(opened), cause, usable, since };
    }
    Begun::Failed(failed)
}

/// Whether the session ended without an answer, and without the message.
fn broke_off(cause: &Cause) -> bool {
    matches!(cause, Cause::Failed(Failure::Broken(Break { maybe_delivered: false, .. })))
}

async fn serve(opened: &mut Opened, session: u64, orders: &mut mpsc::Receiver<Order>, around: &Surroundings) {
    opened.at.warm = true;
    loop {
        let order = tokio::select! {
            biased;
            next = orders.recv() => match next {
                Some(next) => next,
                None => return opened.link.quit().await,
            },
            () = opened.link.ended() => return,
        };
        let started = Started::now(around);
        let delivered = panics::caught(async {
            panics::place("delivery-warm");
            match load(order, around).await {
                Ok(transaction) => deliver(&mut opened.link, transaction, around).await,
                Err(cause) => (cause, true),
            }
        });
        // How far it came with the site nobody knows: the connection is of no more use.
        let (cause, usable) = delivered.await.unwrap_or((Cause::Bug, false));
        let at = opened.at.clone();
        if let Some(proof) = started.tell(session, order, (cause, usable), at, around).await {
            opened.link.hold(proof);
        }
        if !usable {
            return;
        }
    }
}

/// One transaction, measured. Says what came of it and whether another may follow.
async fn deliver(link: &mut Link, transaction: Transaction, around: &Surroundings) -> (Cause, bool) {
    let began = around.clock.instant();
    let (cause, usable) = transact(link, transaction).await;
    let took = around.clock.instant().saturating_since(began);
    measured("transaction", word(matches!(cause, Cause::Delivered(_))), took);
    (cause, usable)
}

async fn transact(link: &mut Link, transaction: Transaction) -> (Cause, bool) {
    link.deliver(transaction);
    loop {
        match link.next().await {
            Step::Report(mut report) => {
                let cause = match report.results.pop() {
                    Some(Ok(reply)) => Cause::Delivered(reply),
                    Some(Err(failure)) => Cause::Failed(failure),
                    None => lost(),
                };
                return (cause, report.session_usable);
            }
            Step::Closed | Step::OpeningFailed(_) => return (lost(), false),
            Step::StartTls | Step::Ready => {}
        }
    }
}

/// What a part of an attempt took.
fn measured(stage: &'static str, result: &'static str, took: Duration) {
    metrics::histogram!("posthouse_egress_stage_seconds", "stage" => stage, "result" => result)
        .record(took.as_secs_f64());
}

const fn word(done: bool) -> &'static str {
    if done { "done" } else { "failed" }
}

fn lost() -> Cause {
    let broken = Break { stage: Stage::Mail, kind: BreakKind::Eof, maybe_delivered: false };
    Cause::Failed(Failure::Broken(broken))
}

/// Tries what is left of `hosts` until a session is open. If none opens, `failed` has what counts most.
async fn open(
    job: &Job,
    hosts: impl Iterator<Item = (&str, IpAddr)>,
    failed: &mut NotOpened,
    around: &Surroundings,
) -> Option<Opened> {
    for (host, address) in hosts {
        match open_at(job, host, address, around).await {
            Ok(opened) => return Some(opened),
            Err(cause) if counts_more(&cause, &failed.cause) => {
                failed.cause = cause;
                failed.at.mx = Some(host.to_owned());
            }
            Err(_) => {}
        }
    }
    None
}

/// Whether what came of one host is to be judged, instead of what came of those before.
fn counts_more(found: &Cause, known: &Cause) -> bool {
    let lacks = |cause: &Cause| matches!(cause, Cause::Failed(Failure::Missing(Missing::RequireTls)));
    if lacks(found) {
        // That a host does not pass REQUIRETLS on is the end only if no other one might have.
        return lacks(known) || matches!(known, Cause::NoCommonFamily);
    }
    // What a site said is worth more than that another host did not answer.
    let said = matches!(known, Cause::Failed(_)) && !lacks(known);
    !(said && matches!(found, Cause::NoConnection(_)))
}

async fn open_at(job: &Job, host: &str, address: IpAddr, around: &Surroundings) -> Result<Opened, Cause> {
    if !is_allowed(address, &around.config) {
        return Err(Cause::NoConnection(format!("{address} is not an address that mail may be sent to")));
    }
    let now = around.clock.instant();
    let mode = tls_mode(job);
    let known_broken = || {
        let broken = around.broken_tls.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get(host).is_some_and(|until| *until > now)
    };
    let tls = match mode {
        TlsMode::Opportunistic if known_broken() => ClientTls::Never,
        TlsMode::Opportunistic => ClientTls::Opportunistic,
        TlsMode::Required | TlsMode::RequiredUnverified => ClientTls::Required,
    };
    match open_as(job, host, address, tls, around).await {
        Err(Cause::Failed(Failure::Broken(Break { kind: BreakKind::TlsFailed, .. })))
            if tls == ClientTls::Opportunistic =>
        {
            tracing::debug!(site = %job.destination.route.site, "TLS failed; going on in plain text");
            remember_broken(host, now + job.destination.broken_tls, now, around);
            open_as(job, host, address, ClientTls::Never, around).await
        }
        result => result,
    }
}

async fn open_as(
    job: &Job,
    host: &str,
    address: IpAddr,
    tls: ClientTls,
    around: &Surroundings,
) -> Result<Opened, Cause> {
    let (config, timeouts) = (&around.config, &job.destination.timeouts);
    let target = SocketAddr::new(address, config.smtp_port);
    let begun = around.clock.instant();
    let connected = connect(job.source.address, target, config).await;
    measured("connect", word(connected.is_ok()), around.clock.instant().saturating_since(begun));
    let stream = connected?;
    let mut client = ClientConfig::new(job.source.ehlo.as_str(), tls);
    client.timeouts = timeouts.clone();
    let mut link = Link::new(stream, client, Arc::clone(&around.clock));
    let mut at = Circumstances {
        mx: Some(host.to_owned()),
        egress: Some(job.source.address),
        tls_need: job.tls,
        ..Circumstances::default()
    };
    loop {
        match link.next().await {
            Step::StartTls => {
                let limit = timeouts.at(Stage::StartTls);
                let connector = around.tls.connector(tls_mode(job));
                let begun = around.clock.instant();
                at.tls = link.start_tls(connector, server_name(host), limit).await;
                measured("tls", word(at.tls.is_some()), around.clock.instant().saturating_since(begun));
            }
            Step::Ready if job.tls == TlsNeed::RequireTls && !link.offers_require_tls() => {
                link.quit().await;
                return Err(Cause::Failed(Failure::Missing(Missing::RequireTls)));
            }
            Step::Ready => return Ok(Opened { link, at }),
            // Without TLS nobody offers REQUIRETLS.
            Step::OpeningFailed(Failure::Missing(Missing::StartTls)) if job.tls == TlsNeed::RequireTls => {
                return Err(Cause::Failed(Failure::Missing(Missing::RequireTls)));
            }
            Step::OpeningFailed(failure) => return Err(Cause::Failed(failure)),
            Step::Closed | Step::Report(_) => return Err(lost()),
        }
    }
}

/// What is remembered of the host's TLS does not matter for mail with REQUIRETLS.
fn tls_mode(job: &Job) -> TlsMode {
    match job.tls {
        TlsNeed::AsSite => job.destination.tls,
        TlsNeed::RequireTls => TlsMode::Required,
    }
}

fn remember_broken(host: &str, until: Instant, now: Instant, around: &Surroundings) {
    let mut broken = around.broken_tls.lock().unwrap_or_else(PoisonError::into_inner);
    if broken.len() >= BROKEN_TLS_MAX {
        broken.retain(|_, until| *until > now);
    }
    if broken.len() < BROKEN_TLS_MAX {
        broken.insert(host.to_owned(), until);
    }
}

/// When an attempt began.
struct Started {
    timestamp: Timestamp,
    instant: Instant,
}

impl Started {
    fn now(around: &Surroundings) -> Started {
        Started { timestamp: around.clock.timestamp(), instant: around.clock.instant() }
    }

    /// Says what came of an order. Returns what has to be waited for before another message is ended.
    async fn tell(
        self,
        session: u64,
        order: Order,
        (cause, usable): (Cause, bool),
        at: Circumstances,
        around: &Surroundings,
    ) -> Option<oneshot::Receiver<()>> {
        let duration = around.clock.instant().saturating_since(self.instant);
        let (proof, proven) = cause.needs_proof().then(oneshot::channel).unzip();
        let report = Report { cause, at, started: self.timestamp, duration, usable };
        let event = Event::Done { session, order: order.number, report };
        // If nobody listens any more the process is going down, and the journal knows what is open.
        let _ = around.events.send(Word { event, proof }).await;
        proven
    }
}
