//! The follower: turns the tables into a `Snapshot` whenever the generation moves, and keeps the last one when
//! PostgreSQL is away.
//!
//! Woken by NOTIFY, whose payload is not looked at, or by the clock, because a notification can be lost. Each time
//! it compares the generation, which is one cheap row, and only then reads. The audit names the tenants that changed
//! since; only their rows are read, unless they are many or the audit has a gap. All reading happens in one
//! transaction, so a snapshot never mixes two generations. DKIM keys are opened and parsed once. What does not open is
//! left out (`left_out.rs`): an endpoint, a DKIM key, or the platform's signature of a pool, and nothing else.
//! A fault is logged when it begins and when it ends, not every second.

use crate::api_key::api_keys_all;
use crate::config::Config;
use crate::connect::{Database, Single};
use crate::credential::credentials_all;
use crate::dkim_key::{dkim_binding, dkim_keys_all, is_unpublished};
use crate::domain::{DomainRow, domains_all};
use crate::endpoint::endpoints_all;
use crate::error::Fault;
use crate::left_out::LeftOut;
use crate::pool::{PoolRow, platform_binding, pools_all};
use crate::scope::{Intent, Scoped, Whose, column, corrupt};
use crate::seal::Binding;
use crate::session::sessions_ended_all;
use crate::source::sources_all;
use crate::stream::streams_all;
use crate::tenant::tenants_all;
use crate::user::users_all;
use arc_swap::ArcSwap;
use mail::dkim::SigningKey;
use mail::{Clock, DomainId, TenantId, Timestamp};
use registry::{
    Access, DomainKey, EgressPool, Generation, PlatformSigner, SendingDomain, Snapshot, SnapshotBuilder,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Changes up to which only the tenants they name are read.
const CHANGES_MAX: i64 = 1000;
/// For a statement that needs nothing but a server that answers.
const LISTEN_MAX: Duration = Duration::from_secs(10);

/// The newest snapshot, for everybody who decides by it.
pub struct SnapshotHandle {
    current: ArcSwap<Snapshot>,
    changed: watch::Sender<Generation>,
    /// Counts looks that somebody asked for.
    noticed: watch::Sender<u64>,
    /// When the tables were last seen to be as the snapshot says, in milliseconds.
    confirmed_at: AtomicI64,
    clock: Arc<dyn Clock>,
}

/// The task that keeps a handle up to date.
pub struct Follower {
    database: Database,
    handle: Arc<SnapshotHandle>,
    every: Duration,
    listener: Option<Single>,
    /// Parsed keys by row; a row's key never changes. Parsing RSA again at every change would be the main cost.
    parsed: HashMap<Uuid, Arc<SigningKey>>,
    left_out: LeftOut,
    loaded: bool,
    failing: bool,
}

impl SnapshotHandle {
    /// A handle that never changes, for tests of other crates.
    pub fn fixed(snapshot: Snapshot, clock: Arc<dyn Clock>) -> Arc<SnapshotHandle> {
        let (changed, _) = watch::channel(snapshot.generation());
        let confirmed_at = AtomicI64::new(snapshot.taken_at().as_millis());
        let (current, noticed) = (ArcSwap::from_pointee(snapshot), watch::Sender::new(0));
        Arc::new(SnapshotHandle { current, changed, noticed, confirmed_at, clock })
    }

    /// What is in force now; it costs one counter.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Of what is in force now.
    pub fn generation(&self) -> Generation {
        self.current.load().generation()
    }

    /// Time since the tables were last known to be as the snapshot says.
    pub fn age(&self) -> Duration {
        let confirmed_at = Timestamp::from_millis(self.confirmed_at.load(Ordering::Relaxed));
        self.clock.timestamp().saturating_since(confirmed_at)
    }

    /// Wakes at every new generation.
    pub fn changed(&self) -> watch::Receiver<Generation> {
        self.changed.subscribe()
    }

    /// Wakes at every notice and at every new generation, once the snapshot is as new as what it was about, or could not
    /// be read: there may be something for those who work from the tables.
    pub fn noticed(&self) -> watch::Receiver<u64> {
        self.noticed.subscribe()
    }

    /// Waits until the snapshot is at least of this generation; false after `patience`. For answers that promise
    /// that what was just made can be used.
    pub async fn reached(&self, generation: Generation, patience: Duration) -> bool {
        let mut changed = self.changed();
        let waiting = changed.wait_for(|current| *current >= generation);
        matches!(tokio::time::timeout(patience, waiting).await, Ok(Ok(_)))
    }
}

impl Follower {
    /// Reads a first snapshot, then follows until the task is aborted. Later trouble is logged, and the last
    /// snapshot stays.
    ///
    /// # Errors
    /// What the first reading errs with, for a node without a registry has nothing to say: `Unavailable` if
    /// PostgreSQL does not answer, `Corrupt` for a row that cannot be read. A sealed value that does not open
    /// is left out and no fault.
    pub async fn start(
        database: Database,
        config: &Config,
    ) -> Result<(Arc<SnapshotHandle>, JoinHandle<()>), Fault> {
        let now = database.now();
        let empty = Snapshot::empty(Arc::clone(&database.keys().secrets), now);
        let handle = SnapshotHandle::fixed(empty, Arc::clone(database.clock()));
        let every = Duration::from_millis(config.follow_every_ms);
        let (kept, of) = (Arc::clone(&handle), database.clone());
        let mut follower = Follower::new(database, Arc::clone(&handle), every);
        follower.refresh().await?;
        let mut first = Some(follower);
        // After a panic it reads everything again. It has no shutdown of its own: it is aborted.
        let run =
            move || first.take().unwrap_or_else(|| Follower::new(of.clone(), Arc::clone(&kept), every)).run();
        Ok((handle, panics::keep("registry follower", CancellationToken::new(), run)))
    }

    fn new(database: Database, handle: Arc<SnapshotHandle>, every: Duration) -> Follower {
        Follower {
            database,
            handle,
            every,
            listener: None,
            parsed: HashMap::new(),
            left_out: LeftOut::default(),
            loaded: false,
            failing: false,
        }
    }

    async fn run(mut self) {
        // What was said before it listened was not heard.
        let mut noticed = true;
        loop {
            if self.listener.is_none() {
                self.listener = self.listen().await.ok();
            }
            // After (re)connecting, too: what happened in between was not heard.
            let before = self.handle.generation();
            self.look().await;
            if noticed || self.handle.generation() != before {
                self.handle.noticed.send_modify(|count| *count = count.wrapping_add(1));
            }
            noticed = self.wait().await;
        }
    }

    /// Whether there may have been a notice.
    async fn wait(&mut self) -> bool {
        let Some(listener) = &mut self.listener else {
            tokio::time::sleep(self.every).await;
            return true;
        };
        match tokio::time::timeout(self.every, listener.notices.recv()).await {
            Ok(Some(_)) => true,
            Err(_) => false,
            // A silent connection that ended: listen again next time.
            Ok(None) => {
                self.listener = None;
                tokio::time::sleep(self.every.min(Duration::from_millis(200))).await;
                true
            }
        }
    }

    async fn look(&mut self) {
        panics::place("registry-follower");
        match self.refresh().await {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the registry is followed again");
            }
            Ok(()) => {}
            Err(fault) if !self.failing => {
                self.failing = true;
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "cannot follow the registry, going on with the last snapshot"
                );
            }
            Err(_) => {}
        }
        metrics::gauge!("posthouse_snapshot_age_seconds").set(self.handle.age().as_secs_f64());
        metrics::gauge!("posthouse_snapshot_generation").set(self.handle.generation().0 as f64);
    }

    async fn listen(&self) -> Result<Single, Fault> {
        let single = self.database.target().open().await?;
        let sql = format!("LISTEN {}", crate::audit::CHANNEL);
        let asked = tokio::time::timeout(LISTEN_MAX, single.client.batch_execute(&sql)).await;
        let asked = asked.map_err(|late| Fault::Unavailable { trying: "listen", source: Box::new(late) })?;
        asked.map_err(|error| Fault::from_postgres("listen", error))?;
        Ok(single)
    }

    async fn refresh(&mut self) -> Result<(), Fault> {
        let database = self.database.clone();
        let access = Access::house("follower");
        let mut client = database.client(&access).await?;
        let scoped = database.scope(&mut client, &access, None, Intent::Read, "follow the registry").await?;
        let row = scoped.one("registry", "SELECT generation FROM registry", &[]).await?;
        let generation = Generation(column(&row, "generation")?);
        if !self.loaded || generation != self.handle.generation() {
            let begun = database.clock().instant();
            let snapshot = self.read(&database, &scoped, generation).await?;
            let took = database.clock().instant().saturating_since(begun);
            metrics::histogram!("posthouse_snapshot_build_seconds").record(took.as_secs_f64());
            self.handle.current.store(Arc::new(snapshot));
            self.loaded = true;
        }
        self.handle.confirmed_at.store(database.now().as_millis(), Ordering::Relaxed);
        self.handle.changed.send_if_modified(|current| std::mem::replace(current, generation) != generation);
        Ok(())
    }

    async fn read(
        &mut self,
        database: &Database,
        scoped: &Scoped<'_>,
        generation: Generation,
    ) -> Result<Snapshot, Fault> {
        let changed = if self.loaded { self.changed_since(scoped, generation).await? } else { None };
        let (now, earlier) = (database.now(), self.handle.load());
        let mut builder = match &changed {
            None => SnapshotBuilder::new(generation, now, Arc::clone(&database.keys().secrets)),
            Some(tenants) => SnapshotBuilder::renew(&earlier, generation, now, tenants),
        };
        let ids: Option<Vec<Uuid>> =
            changed.as_ref().map(|tenants| tenants.iter().map(|tenant| tenant.uuid()).collect());
        let whose = ids.as_deref();
        builder = tenants_all(scoped, whose).await?.into_iter().fold(builder, SnapshotBuilder::tenant);
        builder = streams_all(scoped, whose).await?.into_iter().fold(builder, SnapshotBuilder::stream);
        builder =
            credentials_all(scoped, whose).await?.into_iter().fold(builder, SnapshotBuilder::credential);
        builder = api_keys_all(scoped, whose).await?.into_iter().fold(builder, SnapshotBuilder::api_key);
        builder = users_all(scoped, whose).await?.into_iter().fold(builder, SnapshotBuilder::user);
        builder = endpoints_all(database, scoped, whose, &mut self.left_out)
            .await?
            .into_iter()
            .fold(builder, SnapshotBuilder::endpoint);
        builder =
            sessions_ended_all(scoped, now).await?.into_iter().fold(builder, SnapshotBuilder::session_ended);
        builder = sources_all(scoped).await?.into_iter().fold(builder, SnapshotBuilder::source);
        for (pool, sealed) in pools_all(scoped).await? {
            let platform = self.platform_of(&pool, sealed);
            let PoolRow { id, name, tenant, members, .. } = pool;
            builder = builder.pool(EgressPool { id, name, tenant, members, platform });
        }
        let mut keys = self.keys_by_domain(scoped, whose).await?;
        for domain in domains_all(scoped, whose).await? {
            let DomainRow { id, tenant, name, state, return_path, records, .. } = domain;
            let mut keys = keys.remove(&id).unwrap_or_default();
            // A signature whose key nobody can find counts against the mail. The record may have vanished for a
            // moment, though, so only what the last check was sure of leaves a key out.
            keys.retain(|key| !is_unpublished(&key.selector, &records));
            builder = builder.domain(SendingDomain { id, tenant, name, state, return_path, keys });
        }
        let left_out = self.left_out.settle(changed.as_ref());
        metrics::gauge!("posthouse_registry_rows_left_out").set(left_out as f64);
        Ok(builder.build())
    }

    /// The tenants named by the audit since our generation; none if everything must be read.
    async fn changed_since(
        &self,
        scoped: &Scoped<'_>,
        generation: Generation,
    ) -> Result<Option<HashSet<TenantId>>, Fault> {
        let own = self.handle.generation();
        let steps = generation.0.saturating_sub(own.0);
        if !(1..=CHANGES_MAX).contains(&steps) {
            return Ok(None);
        }
        let rows = scoped.rows("SELECT tenant_id FROM audit WHERE generation > $1", &[&own.0]).await?;
        if rows.len() as i64 != steps {
            return Ok(None);
        }
        let mut tenants = HashSet::new();
        for row in &rows {
            tenants.extend(column::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid));
        }
        Ok(Some(tenants))
    }

    async fn keys_by_domain(
        &mut self,
        scoped: &Scoped<'_>,
        whose: Whose<'_>,
    ) -> Result<HashMap<DomainId, Vec<DomainKey>>, Fault> {
        let mut keys: HashMap<DomainId, Vec<DomainKey>> = HashMap::new();
        let rows = dkim_keys_all(scoped, whose).await?;
        if whose.is_none() {
            // The time to forget keys that are gone.
            let there: HashSet<Uuid> = rows.iter().map(|(key, ..)| key.id.uuid()).collect();
            self.parsed.retain(|row, _| there.contains(row));
        }
        for (key, tenant, sealed) in rows {
            let opened = self.key_of(dkim_binding(tenant, key.id), &sealed);
            let row = ("DKIM key", key.id.uuid(), Some(tenant));
            let Some(signer) = self.left_out.keep(row, opened) else { continue };
            keys.entry(key.domain).or_default().push(DomainKey {
                id: key.id,
                selector: key.selector.into(),
                algorithm: key.algorithm,
                state: key.state,
                signer,
            });
        }
        Ok(keys)
    }

    fn platform_of(&mut self, pool: &PoolRow, sealed: Option<Vec<u8>>) -> Option<PlatformSigner> {
        let (platform, sealed) = (pool.platform.as_ref()?, sealed?);
        let opened = self.key_of(platform_binding(pool.id), &sealed);
        // The pool itself stays: mail goes out without our second signature rather than not at all.
        let signer = self.left_out.keep(("platform key", pool.id.uuid(), None), opened)?;
        let selector = platform.selector.as_str().into();
        Some(PlatformSigner { domain: platform.domain.clone(), selector, signer })
    }

    fn key_of(&mut self, binding: Binding, sealed: &[u8]) -> Result<Arc<SigningKey>, Fault> {
        if let Some(known) = self.parsed.get(&binding.row) {
            return Ok(Arc::clone(known));
        }
        let pkcs8 = self.database.keys().sealing.open(binding, sealed)?;
        let key = Arc::new(SigningKey::from_pkcs8(&pkcs8).map_err(|_| corrupt("sealed"))?);
        self.parsed.insert(binding.row, Arc::clone(&key));
        Ok(key)
    }
}

impl std::fmt::Debug for SnapshotHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotHandle({:?})", self.current.load())
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower({:?})", self.handle)
    }
}
