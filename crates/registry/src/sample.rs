//! Rows of a registry as the tests of several crates need them: valid, at work, without any bound of their own.
//!
//! A test says what it is about and takes the rest from here: `Credential { revoked_at: Some(NOW), ..sample::credential(…) }`.
//! Behind the feature `testkit`; nothing of it ships.

#![allow(clippy::unwrap_used, reason = "test support")]

use crate::{
    Credential, DisplayName, DomainKey, DomainState, EgressPool, KeyAlgorithm, KeyState, Limits, Plan,
    SendingDomain, Slug, Stream, StreamKind, Tenant, TenantStatus,
};
use mail::dkim::SigningKey;
use mail::{CredentialId, DkimKeyId, Domain, DomainId, PoolId, StreamId, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Active, with the plan of everybody.
pub fn tenant(id: TenantId, created_at: Timestamp) -> Tenant {
    Tenant {
        id,
        name: DisplayName::parse("A tenant").unwrap(),
        status: TenantStatus::Active,
        status_reason: None,
        plan: Plan::default(),
        created_at,
        updated_at: created_at,
    }
}

/// Named after its kind; mail expires after a day.
pub fn stream(
    id: StreamId,
    tenant: TenantId,
    kind: StreamKind,
    pool: PoolId,
    created_at: Timestamp,
) -> Stream {
    let name = Slug::parse(kind.as_str()).unwrap();
    let expires_after = Duration::from_secs(86_400);
    Stream { id, tenant, name, kind, pool, overflow_pool: None, expires_after, created_at }
}

/// Without members; everybody's if it has no tenant.
pub fn pool(id: PoolId, name: &str, tenant: Option<TenantId>) -> EgressPool {
    let name = Slug::parse(name).unwrap();
    EgressPool { id, name, tenant, members: Vec::new(), platform: None }
}

/// With the return path `rp.` and its name.
pub fn domain(
    id: DomainId,
    tenant: TenantId,
    name: &str,
    state: DomainState,
    keys: Vec<DomainKey>,
) -> SendingDomain {
    let return_path = Domain::parse(&format!("rp.{name}")).unwrap();
    SendingDomain { id, tenant, name: Domain::parse(name).unwrap(), state, return_path, keys }
}

/// Active, of the algorithm that takes the least time to make.
pub fn key(id: DkimKeyId, selector: &str, signer: Arc<SigningKey>) -> DomainKey {
    let (algorithm, state) = (KeyAlgorithm::Ed25519, KeyState::Active);
    DomainKey { id, selector: selector.into(), algorithm, state, signer }
}

/// May use every domain and stream of its tenant, from anywhere, for ever.
pub fn credential(id: CredentialId, tenant: TenantId, username: &str, secret_mac: [u8; 32]) -> Credential {
    Credential {
        id,
        tenant,
        username: username.into(),
        secret_mac,
        stream: None,
        domains: Vec::new(),
        networks: Vec::new(),
        expires_at: None,
        revoked_at: None,
        compat_pmta: false,
        reject_suppressed: false,
        limits: Limits::default(),
    }
}
