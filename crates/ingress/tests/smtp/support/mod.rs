//! A house of one tenant with real sockets and a real spool, and a client that says exactly what it is told.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

mod client;

pub use client::Client;

use ingress::{
    Addresses, Config, Ingress, IngressHandle, IngressParts, Listeners, Submission, SubmissionParts, Tls,
};
use mail::dkim::SigningKey;
use mail::token::TokenKey;
use mail::{Clock, Domain, DomainId, Instant, PoolId, Random, StreamId, TenantId, Timestamp};
use mail::{CredentialId, DkimKeyId};
use registry::{
    ApiKey, Credential, DomainState, EgressPool, Generation, PlatformSigner, SecretKey, SendingDomain,
    Snapshot, SnapshotBuilder, Stream, StreamKind, Tenant, Usage, sample,
};
use spool::{Accepted, Position, RealDisk, Record, Spool};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// 2026-11-23T09:14:09.120Z.
pub const START: Timestamp = Timestamp::from_millis(1_795_425_249_120);
pub const PASSWORD: &str = "correct horse battery staple";

/// Starts in November 2026 and goes on with tokio's time.
pub struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn timestamp(&self) -> Timestamp {
        START.saturating_add(self.0.elapsed())
    }

    fn instant(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// What a test may change before the house is built, and what of it goes into the snapshot.
pub struct Registry {
    pub tenant: Tenant,
    pub streams: Vec<Stream>,
    pub domains: Vec<SendingDomain>,
    pub credentials: Vec<Credential>,
    pub pools: Vec<EgressPool>,
    pub api_keys: Vec<ApiKey>,
    pub secrets: Arc<SecretKey>,
    pub generation: i64,
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub spool: Spool,
    pub registry: Registry,
    pub snapshot: Arc<Mutex<Arc<Snapshot>>>,
    pub submission: Arc<Submission>,
    pub token_key: Arc<TokenKey>,
    pub shutdown: CancellationToken,
    pub handle: IngressHandle,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub tls: Arc<Tls>,
}

/// What can be different in a world.
pub struct Blueprint {
    pub config: Config,
    pub registry: Registry,
    pub disk: Arc<dyn spool::Disk>,
    pub returned: Option<tokio::sync::mpsc::Sender<ingress::ReturnedMail>>,
    pub hostname: &'static str,
}

impl Registry {
    /// A tenant with two streams, the verified domain `client.example` and one credential, `client`.
    pub fn new() -> Registry {
        let random = &mut Random::from_number(7);
        let tenant = TenantId::mint(START, random);
        let secrets = Arc::new(SecretKey::new(&[7; 32]));
        let shared = PoolId::mint(START, random);
        let dedicated = PoolId::mint(START, random);
        let platform = PlatformSigner {
            domain: Domain::parse("shared.posthouse.test").unwrap(),
            selector: "p1".into(),
            signer: Arc::new(SigningKey::generate_ed25519().unwrap()),
        };
        let mut stream = |kind| sample::stream(StreamId::mint(START, random), tenant, kind, shared, START);
        let streams = vec![stream(StreamKind::Transactional), stream(StreamKind::Marketing)];
        let domains = vec![
            sending_domain(tenant, "client.example", DomainState::Verified),
            sending_domain(tenant, "pending.example", DomainState::Pending),
        ];
        Registry {
            tenant: sample::tenant(tenant, START),
            streams,
            domains,
            credentials: vec![credential(tenant, "client", &secrets)],
            pools: vec![
                EgressPool { platform: Some(platform), ..sample::pool(shared, "shared", None) },
                sample::pool(dedicated, "fast", Some(tenant)),
            ],
            api_keys: Vec::new(),
            secrets,
            generation: 1,
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        let mut builder = SnapshotBuilder::new(Generation(self.generation), START, Arc::clone(&self.secrets))
            .tenant(self.tenant.clone());
        for stream in &self.streams {
            builder = builder.stream(stream.clone());
        }
        for domain in &self.domains {
            builder = builder.domain(domain.clone());
        }
        for credential in &self.credentials {
            builder = builder.credential(credential.clone());
        }
        for pool in &self.pools {
            builder = builder.pool(pool.clone());
        }
        for key in &self.api_keys {
            builder = builder.api_key(key.clone());
        }
        Arc::new(builder.build())
    }
}

pub fn sending_domain(tenant: TenantId, name: &str, state: DomainState) -> SendingDomain {
    let random = &mut Random::from_number(name.len() as u64);
    let id = DomainId::mint(START, random);
    let signer = Arc::new(SigningKey::generate_ed25519().unwrap());
    let key = sample::key(DkimKeyId::mint(START, random), "ph1", signer);
    sample::domain(id, tenant, name, state, vec![key])
}

pub fn credential(tenant: TenantId, username: &str, secrets: &SecretKey) -> Credential {
    let seed = username.bytes().map(u64::from).sum();
    let id = CredentialId::mint(START, &mut Random::from_number(seed));
    sample::credential(id, tenant, username, secrets.password_mac(PASSWORD, Timestamp::UNIX_EPOCH))
}

/// A self-signed certificate for localhost, written to both files.
pub fn write_certificate(certificate: &std::path::Path, key: &std::path::Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
}

impl Default for Blueprint {
    fn default() -> Blueprint {
        let mut config = Config { signing_threads: 1, ..Config::default() };
        config.throttle.delay_ms_first = 1;
        config.throttle.delay_ms_max = 4;
        config.limits.connection_wait_ms_max = 100;
        let (registry, hostname) = (Registry::new(), "mx.posthouse.test");
        Blueprint { config, registry, disk: Arc::new(RealDisk), returned: None, hostname }
    }
}

impl World {
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Blueprint)) -> World {
        let mut plan = Blueprint::default();
        change(&mut plan);
        let Blueprint { config, registry, disk, returned, hostname } = plan;
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TestClock(tokio::time::Instant::now()));
        let spool_config = spool::Config {
            directory: directory.path().join("spool"),
            reserve_octets: 0,
            ..spool::Config::default()
        };
        let (spool, _) = Spool::open(spool_config, disk, Arc::clone(&clock)).unwrap();
        let snapshot = Arc::new(Mutex::new(registry.snapshot()));
        let token_key = Arc::new(TokenKey::new(b"token key"));
        let source = Arc::clone(&snapshot);
        let tls_config = config.tls.clone();
        let submission = Submission::start(SubmissionParts {
            intake: spool.intake(),
            snapshot: Arc::new(move || Arc::clone(&source.lock().unwrap())),
            usage: Arc::new(Mutex::new(Usage::new())),
            token_key: Arc::clone(&token_key),
            clock,
            random: Random::from_number(11),
            hostname: Domain::parse(hostname).unwrap(),
            config,
        })
        .unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        write_certificate(&certificate, &key);
        let tls = Tls::load(&certificate, &key, &tls_config).await.unwrap();
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listeners =
            Listeners::bind(Addresses { submission: any, submissions: any, inbound: any }).unwrap();
        let shutdown = CancellationToken::new();
        let parts =
            IngressParts { submission: Arc::clone(&submission), tls: Some(Arc::clone(&tls)), returned };
        let handle = Ingress::start(parts, listeners, shutdown.clone()).unwrap();
        World {
            directory,
            spool,
            registry,
            snapshot,
            submission,
            token_key,
            shutdown,
            handle,
            certificate,
            key,
            tls,
        }
    }

    /// What the follower of the registry does: one change, one swap.
    pub fn change_registry(&mut self, change: impl FnOnce(&mut Registry)) {
        change(&mut self.registry);
        self.registry.generation += 1;
        *self.snapshot.lock().unwrap() = self.registry.snapshot();
    }

    pub fn addresses(&self) -> Addresses {
        self.handle.addresses()
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.addresses().submission.unwrap()).await
    }

    /// A client that has said EHLO, STARTTLS, EHLO and AUTH.
    pub async fn log_in(&self) -> Client {
        let mut client = self.encrypted().await;
        client.expect(&Client::plain("client", PASSWORD), "235 2.7.0").await;
        client
    }

    /// A client that has said EHLO, STARTTLS, EHLO.
    pub async fn encrypted(&self) -> Client {
        let mut client = self.connect().await;
        client.expect("EHLO desk.example", "250").await;
        client.expect("STARTTLS", "220").await;
        let mut client = client.into_tls(&self.certificate).await.unwrap();
        client.expect("EHLO desk.example", "250").await;
        client
    }

    /// Waits for the next accepted message: its record and its bytes.
    pub async fn accepted(&self) -> (Accepted, String) {
        self.all_accepted(1).await.remove(0)
    }

    pub async fn all_accepted(&self, wanted: usize) -> Vec<(Accepted, String)> {
        let mut follower = self.spool.follow(Position::START);
        let mut found = Vec::new();
        while found.len() < wanted {
            let batch = tokio::time::timeout(Duration::from_secs(10), follower.next_batch(100)).await;
            for (position, record) in batch.expect("a record should have come").unwrap() {
                if let Record::Accepted(accepted) = &*record {
                    let raw = self.spool.body(position).await.unwrap();
                    found.push((Accepted::clone(accepted), String::from_utf8(raw.to_vec()).unwrap()));
                }
            }
        }
        found
    }
}

/// A message as any program writes it.
pub fn message(from: &str) -> String {
    format!("From: {from}\r\nTo: anna@example.org\r\nSubject: Hello\r\n\r\nHello Anna.\r\n")
}
