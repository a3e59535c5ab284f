//! The registry as one node holds it: immutable, complete, and the only thing the path of a message asks.
//!
//! Built by `database/follower.rs` whenever the generation moves, shared as an `Arc`, swapped whole. A message sees
//! one snapshot from its first check to its last, so no half of a change can be seen. Nothing here reads a clock:
//! `taken_at` says how old it is, and the node watches that.

use crate::credential::{ApiKey, Credential, CredentialRef};
use crate::domain::SendingDomain;
use crate::endpoint::Endpoint;
use crate::pool::{EgressPool, EgressSource};
use crate::secret::SecretKey;
use crate::stream::{Stream, StreamKind};
use crate::tenant::Tenant;
use crate::user::User;
use mail::{
    ApiKeyId, CredentialId, Domain, DomainId, EndpointId, PoolId, SessionId, SourceId, StreamId, TenantId,
    Timestamp, UserId,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The version of the registry: every change adds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub i64);

/// Cloning it is cheap: tables are shared, and never changed.
#[derive(Clone)]
pub struct Snapshot {
    generation: Generation,
    taken_at: Timestamp,
    pub(crate) secrets: Arc<SecretKey>,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    streams: HashMap<StreamId, Arc<Stream>>,
    streams_of: HashMap<TenantId, Vec<Arc<Stream>>>,
    /// A name can be claimed by several tenants; one of them at most is verified.
    domains: HashMap<Domain, Vec<Arc<SendingDomain>>>,
    domains_by_id: HashMap<DomainId, Arc<SendingDomain>>,
    credentials: HashMap<CredentialId, CredentialRef>,
    credentials_by_username: HashMap<Arc<str>, CredentialRef>,
    api_keys: HashMap<ApiKeyId, Arc<ApiKey>>,
    users: HashMap<UserId, User>,
    /// Those whose tokens are good by the clock.
    sessions_ended: HashSet<SessionId>,
    pools: HashMap<PoolId, Arc<EgressPool>>,
    sources: HashMap<SourceId, Arc<EgressSource>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    endpoints_of: HashMap<TenantId, Vec<Arc<Endpoint>>>,
}

/// Takes the parts in any order.
pub struct SnapshotBuilder(Snapshot);

impl Snapshot {
    /// A registry with nothing in it: what a node has before its first look at the database.
    pub fn empty(secrets: Arc<SecretKey>, taken_at: Timestamp) -> Snapshot {
        Snapshot {
            generation: Generation::default(),
            taken_at,
            secrets,
            tenants: HashMap::new(),
            streams: HashMap::new(),
            streams_of: HashMap::new(),
            domains: HashMap::new(),
            domains_by_id: HashMap::new(),
            credentials: HashMap::new(),
            credentials_by_username: HashMap::new(),
            api_keys: HashMap::new(),
            users: HashMap::new(),
            sessions_ended: HashSet::new(),
            pools: HashMap::new(),
            sources: HashMap::new(),
            endpoints: HashMap::new(),
            endpoints_of: HashMap::new(),
        }
    }

    /// The version it is of; grows with every change of the registry.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When it was read from the database.
    pub fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    /// By id, whatever its status: admission looks at that.
    pub fn tenant(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    /// In no order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// By id.
    pub fn stream(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.streams.get(&id)
    }

    /// Empty for a tenant that is not there.
    pub fn streams_of(&self, tenant: TenantId) -> &[Arc<Stream>] {
        self.streams_of.get(&tenant).map_or(&[], Vec::as_slice)
    }

    /// By the name that a header or a request gave.
    pub fn stream_by_name(&self, tenant: TenantId, name: &str) -> Option<&Arc<Stream>> {
        self.streams_of(tenant).iter().find(|stream| stream.name.as_str() == name)
    }

    /// The stream of mail that names none: the oldest transactional one, or the oldest there is.
    pub fn stream_default(&self, tenant: TenantId) -> Option<&Arc<Stream>> {
        let streams = self.streams_of(tenant);
        let transactional = streams.iter().filter(|stream| stream.kind == StreamKind::Transactional);
        transactional.min_by_key(|stream| stream.id).or_else(|| streams.iter().min_by_key(|stream| stream.id))
    }

    /// By id; revoked ones are not there.
    pub fn credential(&self, id: CredentialId) -> Option<&CredentialRef> {
        self.credentials.get(&id)
    }

    /// By what AUTH was given.
    pub fn credential_by_username(&self, username: &str) -> Option<&CredentialRef> {
        self.credentials_by_username.get(username)
    }

    /// By id; revoked ones are not there.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&Arc<ApiKey>> {
        self.api_keys.get(&id)
    }

    /// Somebody who may log in.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id)
    }

    /// Whether a login has ended whose tokens have not. Unknown ones have not.
    pub fn is_ended(&self, session: SessionId) -> bool {
        self.sessions_ended.contains(&session)
    }

    /// The tenant's own claim of exactly this name, whatever its state.
    pub fn sending_domain(&self, tenant: TenantId, name: &Domain) -> Option<&Arc<SendingDomain>> {
        self.domains.get(name)?.iter().find(|domain| domain.tenant == tenant)
    }

    /// Whether mail comes back to this name: it is the return path of a domain, in whatever state.
    pub fn is_return_path(&self, name: &Domain) -> bool {
        let of = |parent: Domain| self.domains.get(&parent).map_or(&[][..], Vec::as_slice);
        name.parent().is_some_and(|parent| of(parent).iter().any(|domain| domain.return_path == *name))
    }

    /// By id, whatever its state.
    pub fn domain(&self, id: DomainId) -> Option<&Arc<SendingDomain>> {
        self.domains_by_id.get(&id)
    }

    /// By id.
    pub fn pool(&self, id: PoolId) -> Option<&Arc<EgressPool>> {
        self.pools.get(&id)
    }

    /// In no order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<EgressPool>> {
        self.pools.values()
    }

    /// By id, whatever its state.
    pub fn source(&self, id: SourceId) -> Option<&Arc<EgressSource>> {
        self.sources.get(&id)
    }

    /// In no order.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<EgressSource>> {
        self.sources.values()
    }

    /// By id, whatever its state.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// The tenant's webhook endpoints.
    pub fn endpoints(&self, tenant: TenantId) -> &[Arc<Endpoint>] {
        self.endpoints_of.get(&tenant).map_or(&[], Vec::as_slice)
    }
}

impl SnapshotBuilder {
    /// Of an empty registry.
    pub fn new(generation: Generation, taken_at: Timestamp, secrets: Arc<SecretKey>) -> SnapshotBuilder {
        SnapshotBuilder(Snapshot { generation, ..Snapshot::empty(secrets, taken_at) })
    }

    /// Goes on from an earlier snapshot without what belongs to `tenants` and without what belongs to the house
    /// (pools, sources, the operator's API keys and people, sessions that ended): those are to be added as they are now.
    pub fn renew(
        earlier: &Snapshot,
        generation: Generation,
        taken_at: Timestamp,
        tenants: &HashSet<TenantId>,
    ) -> SnapshotBuilder {
        let mut next = Snapshot { generation, taken_at, ..earlier.clone() };
        let stays = |tenant: &TenantId| !tenants.contains(tenant);
        next.tenants.retain(|id, _| stays(id));
        next.streams.retain(|_, stream| stays(&stream.tenant));
        next.streams_of.retain(|id, _| stays(id));
        next.domains.retain(|_, claims| {
            claims.retain(|domain| stays(&domain.tenant));
            !claims.is_empty()
        });
        next.domains_by_id.retain(|_, domain| stays(&domain.tenant));
        next.credentials.retain(|_, credential| stays(&credential.tenant));
        next.credentials_by_username.retain(|_, credential| stays(&credential.tenant));
        next.api_keys.retain(|_, key| key.tenant.as_ref().is_some_and(stays));
        next.users.retain(|_, user| user.tenant.as_ref().is_some_and(stays));
        next.endpoints.retain(|_, endpoint| stays(&endpoint.tenant));
        next.endpoints_of.retain(|id, _| stays(id));
        next.pools.clear();
        next.sources.clear();
        next.sessions_ended.clear();
        SnapshotBuilder(next)
    }

    /// Adds one; the last of an id counts.
    pub fn tenant(mut self, tenant: Tenant) -> SnapshotBuilder {
        self.0.tenants.insert(tenant.id, Arc::new(tenant));
        self
    }

    /// Adds one; its tenant may come later.
    pub fn stream(mut self, stream: Stream) -> SnapshotBuilder {
        let stream = Arc::new(stream);
        self.0.streams_of.entry(stream.tenant).or_default().push(Arc::clone(&stream));
        self.0.streams.insert(stream.id, stream);
        self
    }

    /// Adds one; its tenant may come later.
    pub fn domain(mut self, domain: SendingDomain) -> SnapshotBuilder {
        let domain = Arc::new(domain);
        self.0.domains.entry(domain.name.clone()).or_default().push(Arc::clone(&domain));
        self.0.domains_by_id.insert(domain.id, domain);
        self
    }

    /// Adds one that is not revoked.
    pub fn credential(mut self, credential: Credential) -> SnapshotBuilder {
        let credential = Arc::new(credential);
        self.0.credentials_by_username.insert(Arc::clone(&credential.username), Arc::clone(&credential));
        self.0.credentials.insert(credential.id, credential);
        self
    }

    /// Adds one that is not revoked.
    pub fn api_key(mut self, key: ApiKey) -> SnapshotBuilder {
        self.0.api_keys.insert(key.id, Arc::new(key));
        self
    }

    /// Adds one who is not disabled.
    pub fn user(mut self, user: User) -> SnapshotBuilder {
        self.0.users.insert(user.id, user);
        self
    }

    /// Nobody may call with the access tokens of this login any more.
    /// A login that ended before its tokens.
    pub fn session_ended(mut self, session: SessionId) -> SnapshotBuilder {
        self.0.sessions_ended.insert(session);
        self
    }

    /// Adds one.
    pub fn pool(mut self, pool: EgressPool) -> SnapshotBuilder {
        self.0.pools.insert(pool.id, Arc::new(pool));
        self
    }

    /// Adds one.
    pub fn source(mut self, source: EgressSource) -> SnapshotBuilder {
        self.0.sources.insert(source.id, Arc::new(source));
        self
    }

    /// Adds one; its tenant may come later.
    pub fn endpoint(mut self, endpoint: Endpoint) -> SnapshotBuilder {
        let endpoint = Arc::new(endpoint);
        self.0.endpoints_of.entry(endpoint.tenant).or_default().push(Arc::clone(&endpoint));
        self.0.endpoints.insert(endpoint.id, endpoint);
        self
    }

    /// Draws up what is looked for by name. What it names and is not there is looked for in vain and refused then.
    pub fn build(self) -> Snapshot {
        self.0
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot(generation {}, {} tenants)", self.generation.0, self.tenants.len())
    }
}

impl std::fmt::Debug for SnapshotBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotBuilder({:?})", self.0)
    }
}
