//! The registry of a house: one tenant, one pool, one source.

use super::START;
use ::registry::{
    DisplayName, EgressPool, EgressSource, Generation, Plan, PoolMember, SecretKey, Slug, Snapshot,
    SnapshotBuilder, SourceState, Stream, StreamKind, Tenant, TenantStatus,
};
use mail::{Domain, PoolId, SourceId, SourceName, StreamId, TenantId, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub fn registry(
    tenant: TenantId,
    stream: StreamId,
    pool: PoolId,
    (source, address): (SourceId, IpAddr),
    status: TenantStatus,
) -> Snapshot {
    let now = Timestamp::from_millis(START);
    let name = Slug::parse("main").unwrap();
    SnapshotBuilder::new(Generation(1), now, Arc::new(SecretKey::new(&[7; 32])))
        .tenant(Tenant {
            id: tenant,
            name: DisplayName::parse("Client").unwrap(),
            status,
            status_reason: None,
            plan: Plan::default(),
            created_at: now,
            updated_at: now,
        })
        .stream(Stream {
            id: stream,
            tenant,
            name: name.clone(),
            kind: StreamKind::Transactional,
            pool,
            overflow_pool: None,
            expires_after: Duration::from_secs(3600),
            created_at: now,
        })
        .source(EgressSource {
            id: source,
            name: SourceName::new("out-1"),
            address,
            ehlo: Domain::parse("out-1.house.example").unwrap(),
            state: SourceState::Active,
        })
        .pool(EgressPool {
            id: pool,
            name,
            tenant: None,
            members: vec![PoolMember { source, weight: 1 }],
            platform: None,
        })
        .build()
}
