//! A fresh database for every test: cloned from a template that was migrated once, dropped when the test ends.
//!
//! The server is `POSTHOUSE_TEST_DATABASE` (the URL of a superuser) or our own (`cluster.rs`). The template's name
//! holds the fingerprint of the migrations, so a changed schema makes a new one. Cloning takes about a tenth of a
//! second.

use crate::clock::ManualClock;
use crate::cluster::Cluster;
use database::{Config, Database, Keys};
use mail::{Clock, Random};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_postgres::{Client, NoTls};

/// Key of the advisory lock under which the template is made.
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61_7465;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A database of its own, and the house's way into it.
pub struct TestDatabase {
    /// Connected, with the schema of now.
    pub database: Database,
    /// As the binary would be given it.
    pub config: Config,
    /// The clock of `database`.
    pub clock: Arc<ManualClock>,
    name: String,
    server: Server,
}

enum Server {
    Given(String),
    Ours(Cluster),
}

/// The same keys for every test.
pub fn test_keys() -> Keys {
    Keys::from_master(&[7; 32])
}

impl TestDatabase {
    /// A fresh one; gone when it is dropped. Panics if there is no PostgreSQL to be had.
    pub async fn new() -> TestDatabase {
        let server = match std::env::var("POSTHOUSE_TEST_DATABASE") {
            Ok(url) => Server::Given(url),
            Err(_) => Server::Ours(Cluster::shared().await),
        };
        let template = ensure_template(&server).await;
        let name = format!("t_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server.url("postgres")).await;
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await
            .expect("drop a left-over");
        let clone = format!("CREATE DATABASE {name} TEMPLATE {template}");
        admin.batch_execute(&clone).await.expect("clone the template");

        let config = Config { url: server.url(&name), connections_max: 8, ..Config::default() };
        let clock = ManualClock::new();
        let database = open(&config, &clock).await;
        TestDatabase { database, config, clock, name, server }
    }

    /// The house's way into it once more, by connections of its own.
    pub async fn connect_again(&self) -> Database {
        open(&self.config, &self.clock).await
    }

    /// `postgres://` of this database as the superuser.
    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// `postgres://` of this database as another user, if the server is ours.
    pub fn url_of(&self, user: &str) -> Option<String> {
        match &self.server {
            Server::Given(_) => None,
            Server::Ours(cluster) => Some(cluster.url_of(user, &self.name)),
        }
    }

    /// A connection as the superuser, past everything the house allows.
    pub async fn admin(&self) -> Client {
        connect(self.url()).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (url, name) = (self.server.url("postgres"), self.name.clone());
        // A thread with a runtime of its own: the test's may be gone or busy waiting for us.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let admin = connect(&url).await;
                let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropping.join();
    }
}

impl Server {
    fn url(&self, database: &str) -> String {
        match self {
            Server::Ours(cluster) => cluster.url(database),
            Server::Given(url) => {
                let (head, query) = url.split_once('?').map_or((url.as_str(), None), |(h, q)| (h, Some(q)));
                let base = head.rsplit_once('/').map_or(head, |(base, _)| base);
                query.map_or(format!("{base}/{database}"), |query| format!("{base}/{database}?{query}"))
            }
        }
    }
}

/// Makes the template if this schema has none yet. A half-made one has another name until it is whole.
async fn ensure_template(server: &Server) -> String {
    let template = format!("posthouse_template_{:016x}", database::schema_fingerprint());
    let admin = connect(&server.url("postgres")).await;
    admin.execute("SELECT pg_advisory_lock($1)", &[&TEMPLATE_LOCK]).await.expect("lock the template");
    let sql = "SELECT 1 FROM pg_database WHERE datname = $1";
    if admin.query_opt(sql, &[&template]).await.expect("look for the template").is_none() {
        let half = format!("{template}_half");
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {half} WITH (FORCE)"))
            .await
            .expect("drop a half one");
        admin.batch_execute(&format!("CREATE DATABASE {half}")).await.expect("create the template");
        let config = Config { url: server.url(&half), ..Config::default() };
        database::migrate(&config).await.expect("migrate the template");
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{half}'");
        admin.batch_execute(&end).await.expect("end what still uses the template");
        // A backend that was told to end may need a moment; RENAME waits a few seconds for it.
        let rename = format!("ALTER DATABASE {half} RENAME TO {template}");
        admin.batch_execute(&rename).await.expect("name the template");
    }
    admin.execute("SELECT pg_advisory_unlock($1)", &[&TEMPLATE_LOCK]).await.expect("unlock the template");
    template
}

async fn open(config: &Config, clock: &Arc<ManualClock>) -> Database {
    let time: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let seed = u64::from(std::process::id()) << 32 | u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let database = Database::connect(config, test_keys(), time, Random::from_number(seed)).await;
    database.expect("connect to the clone")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect as the superuser");
    // Ends with the client.
    drop(tokio::spawn(connection));
    client
}
