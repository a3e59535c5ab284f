//! What the worlds have in common on our side: tenants, two pools, two streams, and mail.

use super::{START, World};
use mail::{
    BodyKind, Domain, DomainId, ForwardPath, MessageId, PoolId, Random, ReversePath, SourceId, SourceName,
    StreamId, TenantId, Timestamp,
};
use registry::{
    DomainState, EgressPool, EgressSource, Generation, Plan, PoolMember, SecretKey, Slug, Snapshot,
    SnapshotBuilder, SourceState, Stream, StreamKind, Tenant, sample,
};
use spool::{Accepted, RecipientRecord};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Ids {
    pub tenants: Vec<TenantId>,
    /// Has no pool that could stand in.
    pub stream: StreamId,
    /// May leave from `overflow` while `pool` has no active source.
    pub overflowing: StreamId,
    pub pool: PoolId,
    pub overflow: PoolId,
    pub domain: DomainId,
    sources: Vec<SourceId>,
}

impl Ids {
    pub fn new(random: &mut Random) -> Ids {
        let at = Timestamp::from_millis(START);
        Ids {
            tenants: (0..10).map(|_| TenantId::mint(at, random)).collect(),
            stream: StreamId::mint(at, random),
            overflowing: StreamId::mint(at, random),
            pool: PoolId::mint(at, random),
            overflow: PoolId::mint(at, random),
            domain: DomainId::mint(at, random),
            sources: (0..4).map(|_| SourceId::mint(at, random)).collect(),
        }
    }

    /// A registry whose pools have sources in these states: `out-0` and so on, one pool after the other.
    pub fn registry(&self, main: &[SourceState], overflow: &[SourceState]) -> Snapshot {
        self.builder(main, overflow).build()
    }

    /// One source, and tenants with plans of these weights.
    pub fn weighted(&self, weights: &[u32]) -> Snapshot {
        let tenants = self.tenants.iter().zip(weights).map(|(tenant, weight)| Tenant {
            plan: Plan { weight: *weight, ..Plan::default() },
            ..sample::tenant(*tenant, Timestamp::from_millis(START))
        });
        tenants.fold(self.builder(&[SourceState::Active], &[]), SnapshotBuilder::tenant).build()
    }

    /// One source, and the domain that mail is from in this state.
    pub fn with_domain(&self, state: DomainState) -> Snapshot {
        let domain = sample::domain(self.domain, self.tenants[0], "client.example", state, vec![]);
        self.builder(&[SourceState::Active], &[]).domain(domain).build()
    }

    fn builder(&self, main: &[SourceState], overflow: &[SourceState]) -> SnapshotBuilder {
        let now = Timestamp::from_millis(START);
        let mut builder = SnapshotBuilder::new(Generation(1), now, Arc::new(SecretKey::new(&[7; 32])));
        for (number, state) in main.iter().chain(overflow).enumerate() {
            builder = builder.source(EgressSource {
                id: self.sources[number],
                name: SourceName::new(format!("out-{number}")),
                address: format!("192.0.2.{}", number + 1).parse().unwrap(),
                ehlo: Domain::parse("out.house.example").unwrap(),
                state: *state,
            });
        }
        let members = |from: usize, count: usize| {
            let sources = self.sources[from..from + count].iter();
            sources.map(|source| PoolMember { source: *source, weight: 1 }).collect()
        };
        let pool = |id, name, members| EgressPool {
            id,
            name: Slug::parse(name).unwrap(),
            tenant: None,
            members,
            platform: None,
        };
        let stream = |id, name, overflow_pool| Stream {
            id,
            tenant: self.tenants[0],
            name: Slug::parse(name).unwrap(),
            kind: StreamKind::Transactional,
            pool: self.pool,
            overflow_pool,
            expires_after: Duration::from_secs(24 * 3600),
            created_at: now,
        };
        builder
            .pool(pool(self.pool, "main", members(0, main.len())))
            .pool(pool(self.overflow, "overflow", members(main.len(), overflow.len())))
            .stream(stream(self.stream, "plain", None))
            .stream(stream(self.overflowing, "overflowing", Some(self.overflow)))
    }
}

impl World {
    pub(super) fn accept(&mut self, tenant: usize, domain: &str, count: usize) -> MessageId {
        self.accept_with(tenant, domain, count, |_| {})
    }

    pub(super) fn accept_with(
        &mut self,
        tenant: usize,
        domain: &str,
        count: usize,
        change: impl FnOnce(&mut Accepted),
    ) -> MessageId {
        let accepted = self.message(tenant, domain, count, change);
        let now = self.now();
        self.dispatcher.handle_accepted(0, &accepted, now);
        accepted.message
    }

    /// A message as the journal has it.
    pub(super) fn message(
        &mut self,
        tenant: usize,
        domain: &str,
        count: usize,
        change: impl FnOnce(&mut Accepted),
    ) -> Accepted {
        let now = self.now();
        let message = MessageId::mint(now.timestamp, &mut self.random);
        let path = |number| ForwardPath::parse(&format!("r{number}@{domain}")).unwrap();
        let recipient = |number| RecipientRecord {
            forward_path: path(number),
            reverse_path: ReversePath::Null,
            notify: None,
            original: None,
        };
        let mut accepted = Accepted {
            message,
            tenant: self.ids.tenants[tenant],
            stream: self.ids.stream,
            domain: self.ids.domain,
            credential: None,
            api_key: None,
            pool: self.ids.pool,
            accepted_at: now.timestamp,
            not_before: None,
            expires_at: now.timestamp.saturating_add(Duration::from_secs(24 * 3600)),
            reverse_path: ReversePath::Null,
            message_id_header: String::new(),
            subject: String::new(),
            header_from: String::new(),
            tags: vec![],
            metadata: vec![],
            body_kind: BodyKind::SevenBit,
            smtputf8: false,
            require_tls: false,
            dsn_return: None,
            envelope_id: None,
            recipients: (0..count).map(recipient).collect(),
            size: 5_000,
        };
        change(&mut accepted);
        accepted
    }
}
