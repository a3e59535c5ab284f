//! The way to PostgreSQL: one pool for everything, one way to open a connection of one's own.
//!
//! `Database` is cheap to clone and is handed to whoever needs it. It refuses to start on a schema that is older
//! than the program, on a runtime role that could see past row level security, and behind a pooler: our connections have
//! settings, statements and, for the follower, a channel of their own. Transactions are opened in
//! `scope.rs` only.

use crate::config::Config;
use crate::error::Fault;
use crate::kept::Keeping;
use crate::migrate;
use crate::places::{Places, Pooled};
use crate::seal::Keys;
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use mail::{Clock, Random, Timestamp};
use registry::Access;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Notifications that may wait for the follower; more than one says nothing new.
const NOTICES_MAX: usize = 16;
/// A connection on which nothing comes back for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What this file does for itself.
const OWN: Access = Access::house("connect");

/// All tables of the house. A call is one transaction, so nothing is half done when it errs, unless it says
/// that it goes in parts.
///
/// # Errors
/// Every call may err with `Unavailable` while PostgreSQL does not answer within the times of [`Config`], and
/// with `Corrupt` for a stored row that cannot be read. A row or a tenant out of the reach of the access is
/// `NotFound`, as one that is not there; only lists of a tenant that the house names and that is not there
/// are empty. `Forbidden` is a call that reads without `Right::Read`, or one that changes the registry
/// without `Right::Manage`; our own bookkeeping needs no right.
///
/// A change of the registry errs with `Sealing` if the master key that is in force on this node was retired;
/// one that keeps its answer ([`Database::keeping`]) with `TakenOver` if the idempotency key is not the
/// caller's any more, and with `Sealing` if there is no answer to keep. `Conflict` is a value that another
/// row has, `Missing` one that names nothing. `Pooler` is a mistake of the installation, `Statement` one of
/// ours.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    /// How long a transaction may take as a whole, if somebody waits for its answer.
    answer: Option<Duration>,
    /// What the next change keeps beside itself.
    pub(crate) keeping: Option<Keeping>,
}

struct Inner {
    pool: Pool,
    places: Arc<Places>,
    /// How long a place is waited for.
    wait: Duration,
    target: Target,
    keys: Keys,
    clock: Arc<dyn Clock>,
    random: Mutex<Random>,
    patience: Duration,
    answer_max: Duration,
}

/// Where PostgreSQL is, in the form the driver wants.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) postgres: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    /// From the first packet until the server has taken us.
    connect_max: Duration,
}

/// A connection outside the pool, with the task that drives it.
pub(crate) struct Single {
    pub(crate) client: Client,
    pub(crate) notices: mpsc::Receiver<()>,
    driver: JoinHandle<()>,
}

impl Database {
    /// Opens the pool and checks that the schema and the runtime role are as this program needs them.
    ///
    /// # Errors
    /// `Config` for a URL or a CA file that cannot be used; `Unavailable` if the server is not there or does
    /// not let us in; `Pooler` if something stands in between; `NotMigrated` if the schema is older than this
    /// program; `Privilege` if the runtime role is missing, sees too much, or may not be taken on by this
    /// user.
    pub async fn connect(
        config: &Config,
        keys: Keys,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Result<Database, Fault> {
        let target = Target::new(config).await?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match &target.tls {
            None => Manager::from_config(target.postgres.clone(), NoTls, manager_config),
            Some(tls) => Manager::from_config(target.postgres.clone(), tls.clone(), manager_config),
        };
        let wait = Duration::from_millis(config.wait_ms_max);
        // A little longer than PostgreSQL's own limit, whose error says more.
        let patience = Duration::from_millis(config.statement_ms_max) + Duration::from_secs(1);
        let pool = Pool::builder(manager)
            .max_size(config.connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(Duration::from_millis(config.connect_ms_max)))
            .recycle_timeout(Some(wait))
            .build()
            .map_err(|error| Fault::Config(error.to_string()))?;
        let (places, random) = (Places::new(config.connections_max), Mutex::new(random));
        let answer_max = Duration::from_millis(config.answer_ms_max);
        let inner = Inner { pool, places, wait, target, keys, clock, random, patience, answer_max };
        let database = Database { inner: Arc::new(inner), answer: None, keeping: None };
        let client = database.client(&OWN).await?;
        expect_direct(&client, config).await?;
        migrate::check(&client).await?;
        drop(client);
        Ok(database)
    }

    /// The same tables for whoever answers calls: a transaction as a whole, from waiting for a connection to its commit, ends
    /// within `answer_ms_max`. Whatever takes longer is not for a caller to wait for.
    pub fn for_callers(&self) -> Database {
        Database { answer: Some(self.inner.answer_max), ..self.clone() }
    }

    /// How long one answer of PostgreSQL is waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.inner.patience
    }

    /// A connection for one transaction of `access`, once it is its turn.
    pub(crate) async fn client(&self, access: &Access) -> Result<Pooled, Fault> {
        let deadline = self.answer.map(|answer| Instant::now() + answer);
        let wait = within(self.inner.wait, deadline);
        let place = tokio::time::timeout(wait, self.inner.places.place(access)).await;
        let place = place
            .map_err(|elapsed| Fault::Unavailable { trying: "wait for a turn", source: Box::new(elapsed) })?;
        let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| Fault::Unavailable {
            trying: "connect",
            source,
        };
        let client = match deadline {
            None => self.inner.pool.get().await,
            Some(deadline) => {
                let client = tokio::time::timeout_at(deadline, self.inner.pool.get()).await;
                client.map_err(|elapsed| unavailable(Box::new(elapsed)))?
            }
        };
        let client = client.map_err(|error| match error {
            PoolError::Backend(error) => Fault::from_connecting(error),
            error => unavailable(Box::new(error)),
        })?;
        Ok(Pooled { client, deadline, _place: place })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.inner.target
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.timestamp()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// A generator for one call, so that nothing holds the lock while it waits.
    pub(crate) fn random(&self) -> Random {
        self.inner.random.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }
}

/// Whether the settings that a connection asks for are those that its statements have.
pub(crate) async fn expect_direct(client: &Client, config: &Config) -> Result<(), Fault> {
    let sql = "SELECT current_setting('synchronous_commit') = 'on'
                 AND (SELECT setting FROM pg_settings WHERE name = 'statement_timeout') = $1";
    let wanted = config.statement_ms_max.to_string();
    let row = client.query_one(sql, &[&wanted]).await;
    let row = row.map_err(|error| Fault::from_postgres("check the connection", error))?;
    if row.get(0) { Ok(()) } else { Err(Fault::Pooler) }
}

/// What is left of `most` before the deadline.
pub(crate) fn within(most: Duration, deadline: Option<Instant>) -> Duration {
    deadline.map_or(most, |deadline| most.min(deadline.saturating_duration_since(Instant::now())))
}

impl Target {
    pub(crate) async fn new(config: &Config) -> Result<Target, Fault> {
        if config.url.is_empty() {
            return Err(Fault::Config("url is empty".to_owned()));
        }
        let mut postgres: tokio_postgres::Config = config
            .url
            .parse()
            .map_err(|error: tokio_postgres::Error| Fault::Config(format!("url: {error}")))?;
        let connect_max = Duration::from_millis(config.connect_ms_max);
        postgres.connect_timeout(connect_max);
        // A way that is gone without a word (a proxy, a firewall that forgot us) is noticed while nobody asks anything.
        postgres.keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
        if postgres.get_application_name().is_none() {
            postgres.application_name("posthouse");
        }
        // A segment of the journal goes when its events are in the tables: a commit that PostgreSQL could forget in a
        // crash would forget them for good, whatever the server's default is.
        let own = format!("-c statement_timeout={} -c synchronous_commit=on", config.statement_ms_max);
        let options = postgres.get_options().map_or(own.clone(), |given| format!("{given} {own}"));
        postgres.options(options);
        let tls = match &config.ca_file {
            None => None,
            Some(path) => {
                postgres.ssl_mode(tokio_postgres::config::SslMode::Require);
                Some(tls_from(path).await?)
            }
        };
        Ok(Target { postgres, tls, connect_max })
    }

    /// Opens a connection and starts the task that drives it; the task ends when the `Single` is dropped.
    pub(crate) async fn open(&self) -> Result<Single, Fault> {
        // The driver's own limit ends with the TCP handshake.
        let opened = tokio::time::timeout(self.connect_max, self.open_slowly()).await;
        opened.unwrap_or_else(|elapsed| {
            Err(Fault::Unavailable { trying: "connect", source: Box::new(elapsed) })
        })
    }

    async fn open_slowly(&self) -> Result<Single, Fault> {
        let fault = |error| Fault::from_postgres("connect", error);
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        let (client, driving): (Client, Pin<Box<dyn Future<Output = ()> + Send>>) = match &self.tls {
            None => {
                let (client, connection) = self.postgres.connect(NoTls).await.map_err(fault)?;
                (client, Box::pin(drive(connection, sender)))
            }
            Some(tls) => {
                let (client, connection) = self.postgres.connect(tls.clone()).await.map_err(fault)?;
                (client, Box::pin(drive(connection, sender)))
            }
        };
        Ok(Single { client, notices, driver: tokio::spawn(driving) })
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Moves bytes until the connection ends. The payload of a notification is not looked at.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, sender: mpsc::Sender<()>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if matches!(message, AsyncMessage::Notification(_)) {
            // A full channel already says that something changed.
            let _ = sender.try_send(());
        }
    }
}

async fn tls_from(path: &std::path::Path) -> Result<MakeRustlsConnect, Fault> {
    let fault = |reason: String| Fault::Config(format!("ca_file {}: {reason}", path.display()));
    let pem = tokio::fs::read(path).await.map_err(|error| fault(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database(…)")
    }
}
