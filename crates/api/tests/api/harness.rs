//! A whole house behind one router: database, follower, journal, door. Nothing is mocked.

use crate::dns::NameServer;
use crate::document::Document;
use crate::nodes::Keepers;
use api::{AppState, Config, TokenKeys};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use database::{Database, Follower, PoolNew, SnapshotHandle, SourceNew};
use ingress::{Submission, SubmissionParts};
use mail::token::TokenKey;
use mail::{Clock, Random, TenantId};
use registry::{Access, PoolMember, Slug, Snapshot, Usage};
use serde_json::{Value, json};
use spool::{RealDisk, Spool};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use testkit::{ManualClock, TestDatabase};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

pub const OPERATOR: &str = "operator@posthouse.test";
pub const PASSWORD: &str = "a long enough password";

pub struct House {
    pub router: Router,
    pub dns: NameServer,
    pub clock: Arc<ManualClock>,
    pub database: TestDatabase,
    pub spool: Spool,
    pub snapshots: Arc<SnapshotHandle>,
    pub tokens: TokenKeys,
    submission: Arc<Submission>,
    follower: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

/// An onboarded tenant and its keys.
#[derive(Debug, Clone)]
pub struct Client {
    pub tenant: String,
    pub domain: String,
    pub key: String,
    pub answer: Value,
}

impl House {
    pub async fn open() -> House {
        House::with(Config::default()).await
    }

    pub async fn with(config: Config) -> House {
        House::with_state(config, |_| {}).await
    }

    pub async fn with_state(config: Config, change: impl FnOnce(&mut AppState)) -> House {
        let (mut state, parts) = state(config).await;
        change(&mut state);
        House::of(state, parts)
    }

    fn of(state: AppState, parts: Parts) -> House {
        let (submission, tokens) = (Arc::clone(&state.submission), state.tokens.clone());
        let Parts { dns, clock, database, spool, snapshots, follower, directory } = parts;
        House {
            router: api::router(state),
            dns,
            clock,
            database,
            spool,
            snapshots,
            tokens,
            submission,
            follower,
            _directory: directory,
        }
    }

    /// With so many octets of messages in flight at most.
    pub async fn open_with_octets(octets_in_flight_max: usize) -> House {
        let limits = ingress::Limits { octets_in_flight_max, ..Default::default() };
        let (mut state, parts) = state(Config::default()).await;
        let clock = Arc::clone(&parts.clock) as Arc<dyn Clock>;
        state.submission = submission(&parts.spool, &parts.snapshots, clock, limits);
        House::of(state, parts)
    }

    /// On a disk with too little room for mail.
    pub async fn open_without_room() -> House {
        let (mut state, mut parts) = state(Config::default()).await;
        let clock = Arc::clone(&parts.clock) as Arc<dyn Clock>;
        let directory = parts.directory.path().join("full");
        let journal = spool::Config { directory, reserve_octets: u64::MAX, ..Default::default() };
        parts.spool = Spool::open(journal, Arc::new(RealDisk), Arc::clone(&clock)).unwrap().0;
        state.submission = submission(&parts.spool, &parts.snapshots, clock, ingress::Limits::default());
        House::of(state, parts)
    }

    /// Octets of messages in flight.
    pub fn octets_held(&self) -> u64 {
        self.submission.octets_held()
    }

    /// Who tried to send as somebody else.
    pub fn denied(&self) -> Vec<ingress::Denied> {
        self.submission.denied()
    }

    /// From now on the snapshot stays as it is.
    pub fn stop_following(&self) {
        self.follower.abort();
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().as_str().to_lowercase(), request.uri().path().to_owned());
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
        let reply = Reply { status: parts.status, headers: parts.headers, bytes };
        documented(&method, &path, &reply);
        reply
    }

    pub async fn call(&self, method: &str, path: &str, bearer: &str, body: Option<Value>) -> Reply {
        self.call_with(method, path, bearer, body, &[]).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        bearer: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !bearer.is_empty() {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    /// Tries to log in from an address.
    pub async fn login(&self, from: &str, email: &str, password: &str) -> Reply {
        let body = json!({"email": email, "password": password}).to_string();
        let request = Request::builder().method("POST").uri("/v1/auth/token");
        let peer = std::net::SocketAddr::new(from.parse().unwrap(), 40_000);
        let request = request.header("content-type", "application/json").extension(ConnectInfo(peer));
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// A token of the operator.
    pub async fn operator(&self) -> String {
        let body = json!({"email": OPERATOR, "password": PASSWORD});
        let reply = self.call("POST", "/v1/auth/token", "", Some(body)).await.expect(200);
        reply["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn onboard(&self, operator: &str, domain: &str) -> Client {
        let body = json!({"name": "Client", "domain": domain});
        let answer = self.call("POST", "/v1/tenants", operator, Some(body)).await.expect(201);
        Client {
            tenant: answer["tenant"]["id"].as_str().unwrap().to_owned(),
            domain: answer["domain"]["id"].as_str().unwrap().to_owned(),
            key: answer["api_key"]["secret"].as_str().unwrap().to_owned(),
            answer,
        }
    }

    /// Publishes what the domain asks for and verifies it.
    pub async fn verify(&self, client: &Client) -> Value {
        for record in client.answer["domain"]["records"].as_array().unwrap() {
            let text = |name: &str| record[name].as_str().unwrap();
            self.dns.publish(text("host"), text("type"), text("value"));
        }
        let path = format!("/v1/tenants/self/domains/{}/verify", client.domain);
        self.call("POST", &path, &client.key, None).await.expect(200)
    }

    /// A tenant that may send.
    pub async fn ready_client(&self, domain: &str) -> Client {
        let operator = self.operator().await;
        let client = self.onboard(&operator, domain).await;
        assert_eq!(self.verify(&client).await["state"], "verified");
        client
    }
}

/// Every answer of an operation is one that its documentation has, and has no field that its schema has not.
fn documented(method: &str, path: &str, reply: &Reply) {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document(api::document()));
    let is_this = |template: &str| {
        let (one, other) = (template.split('/'), path.split('/'));
        one.clone().count() == other.clone().count()
            && one.zip(other).all(|(expected, given)| expected.starts_with('{') || expected == given)
    };
    // The path with the fewest parameters is what the router takes.
    let paths = DOCUMENT.0["paths"].as_object().unwrap();
    let found =
        paths.iter().filter(|(template, _)| is_this(template)).min_by_key(|(t, _)| t.matches('{').count());
    let Some((template, operation)) = found.and_then(|(t, item)| Some((t, item.get(method)?))) else {
        return;
    };
    let (id, status) = (&operation["operationId"], reply.status.as_str());
    assert!(operation["responses"][status].is_object(), "{id} answers {status}: not documented");
    let kind = reply.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.ends_with("json") && template != "/openapi.json" {
        let strange = DOCUMENT.strange(method, template, status, kind, &reply.json());
        assert!(strange.is_empty(), "{id} answers {status}: {strange:?}");
    }
}

impl Client {
    pub fn id(&self) -> TenantId {
        self.tenant.parse().unwrap()
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}{rest}", self.tenant)
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// What was said, without the id of the request.
    pub fn said(&self) -> Value {
        let mut body = self.json();
        body.as_object_mut().unwrap().remove("request_id");
        body
    }

    /// The code of a problem document of this status.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        let body = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.headers["request-id"].to_str().unwrap());
        body["code"].as_str().unwrap().to_owned()
    }

    pub fn pointers(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().into_iter().flatten();
        errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

pub struct Parts {
    pub dns: NameServer,
    pub clock: Arc<ManualClock>,
    pub database: TestDatabase,
    pub spool: Spool,
    pub snapshots: Arc<SnapshotHandle>,
    pub follower: JoinHandle<()>,
    pub directory: tempfile::TempDir,
}

/// Everything the API is handed, with a shared pool and an operator in the registry.
pub async fn state(config: Config) -> (AppState, Parts) {
    let test = TestDatabase::new().await;
    let database = test.database.for_callers();
    seed(&database).await;
    let (snapshots, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::clone(&test.clock) as Arc<dyn Clock>;
    let directory = tempfile::tempdir().unwrap();
    let journal =
        spool::Config { directory: directory.path().join("spool"), reserve_octets: 0, ..Default::default() };
    let (spool, _) = Spool::open(journal, Arc::new(RealDisk), Arc::clone(&clock)).unwrap();
    let dns = NameServer::start().await;
    let config = Config {
        dns_servers: vec![dns.address],
        dns_timeout_ms: 500,
        webhook_allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..config
    };
    let keepers = Keepers { database, snapshots: Arc::clone(&snapshots), spool: &spool, clock };
    let state = keepers.state(config, TokenKeys::from_pkcs8(&TokenKeys::generate().unwrap()).unwrap());
    (
        state,
        Parts { dns, clock: Arc::clone(&test.clock), database: test, spool, snapshots, follower, directory },
    )
}

/// Every change of the registry waits for this transaction.
pub async fn hold_changes(database: &TestDatabase) -> tokio_postgres::Client {
    let admin = database.admin().await;
    admin.batch_execute("BEGIN; SELECT * FROM registry FOR UPDATE").await.unwrap();
    admin
}

/// Until somebody waits for a lock of the database.
pub async fn somebody_waits(database: &TestDatabase) {
    let admin = database.admin().await;
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let looking = async {
        while admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looking).await.expect("nobody waits");
}

async fn seed(database: &Database) {
    let access = Access::house("test");
    let slug = |text| Slug::parse(text).unwrap();
    let new = SourceNew {
        name: slug("a1"),
        address: "127.0.0.1".parse().unwrap(),
        ehlo: mail::Domain::parse("a1.posthouse.test").unwrap(),
    };
    let source = database.source_create(&access, &new).await.unwrap();
    let members = vec![PoolMember { source: source.id, weight: 1 }];
    let new = PoolNew { name: slug("shared"), tenant: None, members, platform_domain: None };
    database.pool_create(&access, &new).await.unwrap();
    database.operator_ensure(OPERATOR, PASSWORD.to_owned().into()).await.unwrap();
}

pub fn submission(
    spool: &Spool,
    snapshots: &Arc<SnapshotHandle>,
    clock: Arc<dyn Clock>,
    limits: ingress::Limits,
) -> Arc<Submission> {
    let snapshots = Arc::clone(snapshots);
    let snapshot: Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync> = Arc::new(move || snapshots.load());
    let parts = SubmissionParts {
        intake: spool.intake(),
        snapshot,
        usage: Arc::new(Mutex::new(Usage::new())),
        token_key: Arc::new(TokenKey::new(b"test")),
        clock,
        random: Random::from_number(8),
        hostname: mail::Domain::parse("mx.posthouse.test").unwrap(),
        config: ingress::Config { signing_threads: 1, limits, ..Default::default() },
    };
    Submission::start(parts).unwrap()
}
