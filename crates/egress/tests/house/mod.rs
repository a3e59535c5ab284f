//! A house with a real journal and a real way out, and sites on loopback that do as they are told.
//!
//! Every site has an address of its own below 127/8 and they share one port, as mail exchangers share port 25. The
//! resolver is a table. Time is real and short.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod disk;
pub mod metrics;
mod registry;
pub mod site;

use ::registry::{Generation, Snapshot, TenantStatus};
use bytes::Bytes;
use disk::SlowDisk;
use egress::resolve::TableResolver;
use egress::{Config, EgressHandle, EgressParts};
use mail::classify::Profiles;
use mail::{
    BodyKind, Clock, DomainId, ForwardPath, Instant, MessageId, PoolId, Random, ReversePath, SourceId,
    StreamId, TenantId, Timestamp,
};
use spool::{Accepted, Attempted, Follower, RecipientRecord, Record, Settled, Spool};
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const START: i64 = 1_795_425_249_120;

/// Real time on a made-up date.
pub struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(START + self.0.elapsed().as_millis() as i64)
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(1_000_000 + self.0.elapsed().as_micros() as u64)
    }
}

pub struct House {
    pub resolver: Arc<TableResolver>,
    running: Running,
    pub clock: Arc<TestClock>,
    pub tenant: TenantId,
    registry: Arc<Registry>,
    stream: StreamId,
    pool: PoolId,
    config: Config,
    spool: spool::Config,
    profiles: Arc<Profiles>,
    random: Random,
    directory: tempfile::TempDir,
    pub disk: SlowDisk,
    /// Whom it trusts, if that was chosen.
    roots: Option<tempfile::NamedTempFile>,
}

struct Running {
    spool: Spool,
    follower: Follower,
    handle: EgressHandle,
    task: JoinHandle<Result<(), egress::Fault>>,
    shutdown: CancellationToken,
}

/// What the journal says about a recipient.
#[derive(Debug)]
pub enum Told {
    Attempted(Attempted),
    Settled(Settled),
}

impl House {
    pub async fn new(port: u16) -> House {
        House::with(port, |_| {}).await
    }

    pub async fn with(port: u16, change: impl FnOnce(&mut Config)) -> House {
        House::with_profiles(port, Profiles::shipped(), change).await
    }

    pub async fn with_profiles(port: u16, profiles: Profiles, change: impl FnOnce(&mut Config)) -> House {
        House::with_all(port, profiles, change, spool::Config::default()).await
    }

    /// Trusts this root, or nobody, and connects to loopback although it is not in the lab: there nobody is checked.
    pub async fn trusting(port: u16, root: &str) -> House {
        let mut roots = tempfile::NamedTempFile::new().unwrap();
        roots.write_all(root.as_bytes()).unwrap();
        // A file without a certificate would be a mistake.
        let path = if root.is_empty() { "/nonexistent/roots.pem".into() } else { roots.path().to_owned() };
        let house = House::with(port, |config| {
            config.lab_loopback_only = false;
            config.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
            config.tls_roots = path;
            config.retry_seconds = vec![600];
        })
        .await;
        House { roots: Some(roots), ..house }
    }

    /// With another journal than usual; what a test may not choose of it is overwritten.
    pub async fn with_spool(port: u16, spool: spool::Config, change: impl FnOnce(&mut Config)) -> House {
        House::with_all(port, Profiles::shipped(), change, spool).await
    }

    async fn with_all(
        port: u16,
        profiles: Profiles,
        change: impl FnOnce(&mut Config),
        spool: spool::Config,
    ) -> House {
        let mut config = Config {
            smtp_port: port,
            lab_loopback_only: true,
            retry_seconds: vec![1],
            retry_jitter_percent: 0,
            resolve_failure_seconds: 1,
            ..Config::default()
        };
        config.limits.connections_per_minute = Some(0);
        config.limits.messages_per_second = Some(0);
        change(&mut config);
        let clock = Arc::new(TestClock(tokio::time::Instant::now()));
        let mut random = Random::from_number(4);
        let now = clock.timestamp();
        let tenant = TenantId::mint(now, &mut random);
        let (stream, pool) = (StreamId::mint(now, &mut random), PoolId::mint(now, &mut random));
        let source = SourceId::mint(now, &mut random);
        let registry =
            registry::registry(tenant, stream, pool, (source, site::address(1)), TenantStatus::Active);
        let registry = Arc::new(Registry::new(registry));
        let (directory, profiles) = (tempfile::tempdir().unwrap(), Arc::new(profiles));
        let (resolver, disk) = (Arc::new(TableResolver::new()), SlowDisk::default());
        let around = (&resolver, &profiles, &disk);
        let running = start((&config, &spool), &directory, &clock, &registry, around, random.fork());
        House {
            resolver,
            running,
            clock,
            tenant,
            registry,
            stream,
            pool,
            config,
            spool,
            profiles,
            random,
            directory,
            disk,
            roots: None,
        }
    }

    /// Stops everything in order and starts again from what is on the disk.
    pub async fn restart(mut self) -> House {
        self.running.stop().await;
        let random = self.random.fork();
        let around = (&self.resolver, &self.profiles, &self.disk);
        self.running =
            start((&self.config, &self.spool), &self.directory, &self.clock, &self.registry, around, random);
        self
    }

    /// Starts again without having stopped: what egress had in hand is gone.
    pub async fn crash(mut self) -> House {
        self.running.task.abort();
        let _ = (&mut self.running.task).await;
        self.running.spool.shutdown().await.unwrap();
        let random = self.random.fork();
        let around = (&self.resolver, &self.profiles, &self.disk);
        self.running =
            start((&self.config, &self.spool), &self.directory, &self.clock, &self.registry, around, random);
        self
    }

    pub fn handle(&self) -> &EgressHandle {
        &self.running.handle
    }

    /// Changes the status of the one tenant, as the registry's follower would.
    pub fn set_status(&self, status: TenantStatus) {
        let source = self.source();
        self.set_registry(registry::registry(self.tenant, self.stream, self.pool, source, status));
    }

    /// Mail leaves from this address from now on.
    pub fn set_source(&self, address: IpAddr) {
        let (source, active) = ((self.source().0, address), TenantStatus::Active);
        self.set_registry(registry::registry(self.tenant, self.stream, self.pool, source, active));
    }

    fn source(&self) -> (SourceId, IpAddr) {
        let snapshot = self.registry.now();
        let source = snapshot.sources().next().unwrap();
        (source.id, source.address)
    }

    fn set_registry(&self, registry: Snapshot) {
        self.registry.change(registry);
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.timestamp()
    }

    pub fn route(&self, domain: &str, preference: u16, host: &str, address: IpAddr) {
        self.resolver.mx(domain, preference, host).address(host, address);
    }

    pub async fn send(&mut self, recipients: &[&str]) -> MessageId {
        self.send_with(recipients, |_| {}).await
    }

    pub async fn send_with(&mut self, recipients: &[&str], change: impl FnOnce(&mut Accepted)) -> MessageId {
        let body =
            Bytes::from_static(b"From: a@client.example\r\nSubject: hello\r\n\r\n.dots\r\nare kept\r\n");
        self.send_body(recipients, body, change).await
    }

    pub async fn send_body(
        &mut self,
        recipients: &[&str],
        body: Bytes,
        change: impl FnOnce(&mut Accepted),
    ) -> MessageId {
        let now = self.clock.timestamp();
        let message = MessageId::mint(now, &mut self.random);
        let reverse_path = |number| ReversePath::parse(&format!("b+{number}@rp.client.example")).unwrap();
        let recipient = |(number, text): (usize, &&str)| RecipientRecord {
            forward_path: ForwardPath::parse(text).unwrap(),
            reverse_path: reverse_path(number),
            notify: None,
            original: None,
        };
        let mut accepted = Accepted {
            message,
            tenant: self.tenant,
            stream: self.stream,
            domain: DomainId::mint(now, &mut self.random),
            credential: None,
            api_key: None,
            pool: self.pool,
            accepted_at: now,
            not_before: None,
            expires_at: now.saturating_add(Duration::from_secs(3600)),
            reverse_path: reverse_path(0),
            message_id_header: "<1@client.example>".to_owned(),
            subject: "hello".to_owned(),
            header_from: "a@client.example".to_owned(),
            tags: vec![],
            metadata: vec![],
            body_kind: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            envelope_id: None,
            recipients: recipients.iter().enumerate().map(recipient).collect(),
            size: body.len() as u64,
        };
        change(&mut accepted);
        let _committed = self.running.spool.intake().append(accepted, body).await.unwrap();
        message
    }

    /// Segments of which egress has passed over something that the disk does not give.
    pub fn segments_owed(&self) -> usize {
        self.running.spool.status().owed
    }

    /// The next thing that the journal says came of any recipient.
    pub async fn told(&mut self) -> Told {
        let wait = Duration::from_secs(15);
        loop {
            let batch = tokio::time::timeout(wait, self.running.follower.next_batch(1))
                .await
                .expect("nothing happens")
                .unwrap();
            match batch.into_iter().next().map(|(_, record)| (*record).clone()) {
                Some(Record::Attempted(attempted)) => return Told::Attempted(attempted),
                Some(Record::Settled(settled)) => return Told::Settled(settled),
                Some(Record::Accepted(_) | Record::Unknown { .. }) | None => {}
            }
        }
    }

    pub async fn settled(&mut self) -> Settled {
        match self.told().await {
            Told::Settled(settled) => settled,
            Told::Attempted(attempted) => panic!("it was only attempted: {attempted:?}"),
        }
    }

    pub async fn attempted(&mut self) -> Attempted {
        match self.told().await {
            Told::Attempted(attempted) => attempted,
            Told::Settled(settled) => panic!("it was settled: {settled:?}"),
        }
    }

    /// Stops everything and says whether it stopped in order.
    pub async fn stop(mut self) {
        self.running.stop().await;
    }
}

impl Running {
    async fn stop(&mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), &mut self.task).await.unwrap().unwrap().unwrap();
        self.spool.shutdown().await.unwrap();
    }
}

fn start(
    (config, spool_config): (&Config, &spool::Config),
    directory: &tempfile::TempDir,
    clock: &Arc<TestClock>,
    registry: &Arc<Registry>,
    (resolver, profiles, disk): (&Arc<TableResolver>, &Arc<Profiles>, &SlowDisk),
    random: Random,
) -> Running {
    let spool_config = spool::Config {
        directory: directory.path().join("spool"),
        reserve_octets: 0,
        readers: vec![],
        ..spool_config.clone()
    };
    let (spool, recovery) = open_spool(spool_config, disk, clock);
    let shutdown = CancellationToken::new();
    let (shared, changed) = (Arc::clone(registry), registry.changed.subscribe());
    let follower = spool.follow(recovery.end);
    let parts = EgressParts {
        config: config.clone(),
        profiles: Arc::clone(profiles),
        snapshot: Arc::new(move || shared.now()),
        changed,
        unsettled: recovery.unsettled,
        follower: spool.follow(recovery.end),
        outcomes: spool.outcomes(),
        bodies: spool.bodies(),
        resolver: resolver.clone(),
        clock: clock.clone(),
        random,
    };
    let (handle, task) = egress::start(parts, shutdown.clone()).unwrap();
    Running { spool, follower, handle, task, shutdown }
}

/// The registry of the node, and the word that it is another one.
struct Registry {
    now: Mutex<Arc<Snapshot>>,
    changed: watch::Sender<Generation>,
}

impl Registry {
    fn new(snapshot: Snapshot) -> Registry {
        Registry { now: Mutex::new(Arc::new(snapshot)), changed: watch::Sender::new(Generation(0)) }
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.lock().unwrap())
    }

    fn change(&self, snapshot: Snapshot) {
        *self.now.lock().unwrap() = Arc::new(snapshot);
        self.changed.send_modify(|generation| generation.0 += 1);
    }
}

/// The lock of the one before goes with its last handle, which a session may have held a moment ago.
fn open_spool(config: spool::Config, disk: &SlowDisk, clock: &Arc<TestClock>) -> (Spool, spool::Recovery) {
    loop {
        match Spool::open(config.clone(), Arc::new(disk.clone()), clock.clone()) {
            Err(spool::Fault::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}
