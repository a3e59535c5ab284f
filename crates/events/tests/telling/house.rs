//! A house with one tenant: a database of its own, a journal on a temporary disk, and events started on demand.

use bytes::Bytes;
use database::{
    Database, EndpointNew, EventRow, Follower, Onboarded, Onboarding, OnboardingDefaults, PageRequest,
    PoolNew,
};
use database::{MessageRow, SnapshotHandle};
use events::{Config, EventsHandle, EventsParts};
use mail::{
    BodyKind, Class, ClassKind, Clock, Domain, EnhancedStatus, EventKind, ForwardPath, MessageId, Outcome,
    Random, Reply, ReversePath, Scope, SiteName, Timestamp, Verdict,
};
use registry::{Access, DisplayName, Plan, Slug};
use spool::{Accepted, Attempted, OutcomeRecord, RealDisk, RecipientRecord, Settled, Settlement, Spool};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::TestDatabase;
use tokio_util::sync::CancellationToken;

pub const ACCESS: Access = Access::house("test");

pub struct House {
    pub test: TestDatabase,
    pub tenant: Onboarded,
    pub spool: Spool,
    pub snapshot: Arc<SnapshotHandle>,
    random: Mutex<Random>,
    directory: tempfile::TempDir,
}

/// Events that run; `stop` ends them and waits.
pub struct Running {
    handle: EventsHandle,
    shutdown: CancellationToken,
}

impl House {
    pub async fn new(webhook: Option<String>) -> House {
        let test = TestDatabase::new().await;
        let pool = Slug::parse("default").unwrap();
        let new = PoolNew { name: pool.clone(), tenant: None, members: Vec::new(), platform_domain: None };
        test.database.pool_create(&ACCESS, &new).await.unwrap();
        let onboarding = Onboarding {
            name: DisplayName::parse("Client").unwrap(),
            domain: Domain::parse("news.client.example").unwrap(),
            plan: Plan::default(),
            pool: None,
            webhook: webhook.map(|url| EndpointNew { url, kinds: Vec::new() }),
        };
        let defaults =
            OnboardingDefaults { return_path_target: Domain::parse("rp.posthouse.example").unwrap(), pool };
        let tenant = test.database.tenant_onboard(&ACCESS, &onboarding, &defaults).await.unwrap();
        let (snapshot, _following) = Follower::start(test.database.clone(), &test.config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let spool = open_spool(&test, directory.path(), 64 << 20);
        let random = Mutex::new(Random::from_number(11));
        House { test, tenant, spool, snapshot, random, directory }
    }

    /// The same house after its disk was lost: an empty journal.
    pub fn with_new_journal(mut self) -> House {
        self.directory = tempfile::tempdir().unwrap();
        self.spool = open_spool(&self.test, self.directory.path(), 64 << 20);
        self
    }

    /// The journal of another node that shares the tables, empty.
    pub fn journal(&self, name: &str) -> (Spool, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let spool = open_spool(&self.test, directory.path(), 64 << 20);
        spool.set_name(name.to_owned());
        (spool, directory)
    }

    /// From now on this house is the node of the other journal; gives back its own.
    pub fn goes_over_to(&mut self, other: (Spool, tempfile::TempDir)) -> (Spool, tempfile::TempDir) {
        (std::mem::replace(&mut self.spool, other.0), std::mem::replace(&mut self.directory, other.1))
    }

    pub fn start(&self, config: Config) -> Running {
        self.start_on(self.test.database.clone(), config)
    }

    /// The same house after the journal was closed and opened again.
    pub async fn reopened(mut self) -> House {
        self.spool.shutdown().await.unwrap();
        self.spool = open_spool(&self.test, self.directory.path(), 64 << 20);
        self
    }

    /// The same with segments of a few messages each; all that waits is known then.
    pub async fn with_small_segments(mut self) -> House {
        self.spool.shutdown().await.unwrap();
        self.spool = open_spool(&self.test, self.directory.path(), 4_096);
        eventually(|| async { self.spool.status().loading.is_none().then_some(()) }).await;
        self
    }

    /// The file of a segment of the journal.
    pub fn segment(&self, number: u32) -> PathBuf {
        self.directory.path().join("spool").join(format!("{number:08x}.seg"))
    }

    /// With another way to the same tables.
    pub fn start_on(&self, database: Database, config: Config) -> Running {
        let snapshot = Arc::clone(&self.snapshot);
        let shutdown = CancellationToken::new();
        let parts = EventsParts {
            spool: self.spool.clone(),
            database,
            snapshot: Arc::new(move || snapshot.load()),
            noticed: self.snapshot.noticed(),
            clock: Arc::clone(&self.test.clock) as Arc<dyn Clock>,
            random: self.random.lock().unwrap().fork(),
            config,
        };
        Running { handle: events::start(parts, shutdown.clone()).unwrap(), shutdown }
    }

    pub fn now(&self) -> Timestamp {
        self.test.clock.timestamp()
    }

    /// Puts a message to these recipients into the journal.
    pub async fn accept(&self, recipients: &[&str]) -> MessageId {
        let message = MessageId::mint(self.now(), &mut self.random.lock().unwrap());
        let recipient = |text: &&str| RecipientRecord {
            forward_path: ForwardPath::parse(text).unwrap(),
            reverse_path: ReversePath::Null,
            notify: None,
            original: None,
        };
        let stream = &self.tenant.streams[1];
        let accepted = Accepted {
            message,
            tenant: self.tenant.tenant.id,
            stream: stream.id,
            domain: self.tenant.domain.id,
            credential: Some(self.tenant.credential.id),
            api_key: None,
            pool: stream.pool,
            accepted_at: self.now(),
            not_before: None,
            expires_at: self.now().saturating_add(Duration::from_secs(3600)),
            reverse_path: ReversePath::parse("bounce@news.client.example").unwrap(),
            message_id_header: "<1@news.client.example>".to_string(),
            subject: "Hello".to_string(),
            header_from: "anna@news.client.example".to_string(),
            tags: vec!["nov26\0".to_string()],
            metadata: vec![("order".to_string(), "77".to_string())],
            body_kind: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            envelope_id: None,
            recipients: recipients.iter().map(recipient).collect(),
            size: 5,
        };
        let committed = self.spool.intake().append(accepted, Bytes::from_static(b"hello")).await.unwrap();
        committed.message()
    }

    pub async fn defer(&self, message: MessageId, recipient: u32, attempt: u32, outcome: Outcome) {
        let record = OutcomeRecord::Attempted(Attempted {
            message,
            tenant: self.tenant.tenant.id,
            stream: self.tenant.streams[1].id,
            recipient,
            attempt,
            at: self.now(),
            outcome,
            source: None,
            site: SiteName::new("example.org"),
            next_at: self.now().saturating_add(Duration::from_secs(60)),
            duration_ms: 3,
            queued_ms: 4,
        });
        self.spool.outcomes().append_durable(vec![record]).await.unwrap();
    }

    pub async fn settle(&self, message: MessageId, recipient: u32, attempt: u32, settlement: Settlement) {
        let outcome = (attempt > 0).then(|| outcome(settlement));
        self.settle_with(message, recipient, attempt, settlement, outcome).await;
    }

    pub async fn settle_with(
        &self,
        message: MessageId,
        recipient: u32,
        attempt: u32,
        settlement: Settlement,
        outcome: Option<Outcome>,
    ) {
        let record = OutcomeRecord::Settled(Settled {
            message,
            tenant: self.tenant.tenant.id,
            stream: self.tenant.streams[1].id,
            recipient,
            attempt,
            at: self.now(),
            settlement,
            outcome,
            source: None,
            site: Some(SiteName::new("example.org")),
            duration_ms: 3,
            queued_ms: 4,
        });
        self.spool.outcomes().append_durable(vec![record]).await.unwrap();
    }

    /// All events of the tenant, oldest first.
    pub async fn events(&self) -> Vec<EventRow> {
        let page = PageRequest::new(Some(200), None).unwrap();
        self.test.database.event_list(&ACCESS, self.tenant.tenant.id, &page, None).await.unwrap().rows
    }

    /// Another tenant with so many endpoints and so many calls that are due, spread over them.
    pub async fn neighbour(&self, url: &str, endpoints: usize, calls: i32) {
        let onboarding = Onboarding {
            name: DisplayName::parse("Neighbour").unwrap(),
            domain: Domain::parse("news.neighbour.example").unwrap(),
            plan: Plan::default(),
            pool: None,
            webhook: None,
        };
        let target = Domain::parse("rp.posthouse.example").unwrap();
        let defaults =
            OnboardingDefaults { return_path_target: target, pool: Slug::parse("default").unwrap() };
        let tenant =
            self.test.database.tenant_onboard(&ACCESS, &onboarding, &defaults).await.unwrap().tenant.id;
        for _ in 0..endpoints {
            let new = EndpointNew { url: url.to_string(), kinds: Vec::new() };
            self.test.database.endpoint_create(&ACCESS, tenant, &new).await.unwrap();
        }
        let sql = "WITH p AS (SELECT id, row_number() OVER () AS n FROM endpoints WHERE tenant_id = $1),
                        e AS (INSERT INTO events (id, tenant_id, kind, at, data)
                              SELECT gen_random_uuid(), $1, 'message.delivered', to_timestamp(0), '{}'
                              FROM generate_series(1, $2) RETURNING id),
                        numbered AS (SELECT id, row_number() OVER () AS n FROM e)
                   INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, state, due_at, created_at)
                   SELECT p.id, numbered.id, $1, 'pending', to_timestamp(0), to_timestamp(0)
                   FROM numbered JOIN p ON p.n = 1 + numbered.n % $3";
        let admin = self.test.admin().await;
        admin.execute(sql, &[&tenant.uuid(), &calls, &(endpoints as i64)]).await.unwrap();
    }

    /// Waits until there are so many events, and gives their kinds.
    pub async fn kinds(&self, count: usize) -> Vec<EventKind> {
        eventually(|| async { (self.events().await.len() >= count).then_some(()) }).await;
        self.events().await.iter().map(|row| row.event.kind).collect()
    }

    pub async fn message(&self, message: MessageId) -> MessageRow {
        self.test.database.message_fetch(&ACCESS, self.tenant.tenant.id, message).await.unwrap()
    }
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.handle.stopped().await;
    }

    /// Returns when they end although nobody told them to.
    pub async fn died(self) {
        let dying = tokio::time::timeout(Duration::from_secs(15), self.handle.stopped());
        dying.await.expect("they go on");
    }

    pub fn is_running(&self) -> bool {
        self.handle.is_running()
    }
}

fn open_spool(test: &TestDatabase, directory: &Path, segment_octets_max: u32) -> Spool {
    let directory = directory.join("spool");
    let config = spool::Config {
        directory,
        reserve_octets: 0,
        segment_octets_max,
        read_retry_seconds_max: 1,
        ..spool::Config::default()
    };
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    Spool::open(config, Arc::new(RealDisk), clock).unwrap().0
}

/// What a site said when a recipient ended like this.
fn outcome(settlement: Settlement) -> Outcome {
    if settlement == Settlement::Delivered {
        return answered(250, "delivered", Verdict::Delivered, ClassKind::Soft);
    }
    answered(550, "recipient.unknown", Verdict::Failed, ClassKind::Hard)
}

pub fn answered(code: u16, class: &str, verdict: Verdict, kind: ClassKind) -> Outcome {
    Outcome {
        verdict,
        class: Class::stored(class),
        kind,
        scope: Scope::Recipient,
        stage: "rcpt",
        reply: Some(Reply::new(code, Some(EnhancedStatus::new((code / 100) as u8, 1, 1)), "so they say")),
        trouble: None,
        status: None,
        rule: None,
        mx: Some("mx1.example.org".to_string()),
        egress: Some("192.0.2.25".parse().unwrap()),
        tls: Some("TLSv1.3".to_string()),
        provider: "other".into(),
    }
}

/// Asks again until there is an answer; a minute is a failure.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        loop {
            again.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it did not happen within 60 s")
}
