//! A new master key beside the old one: everything sealed is sealed anew, and nobody is locked out on the way.

use crate::fixture::*;
use crate::idempotency::begin;
use database::{
    Begun, Database, EndpointNew, Fault, Follower, Keys, Lifetimes, MasterKey, PageRequest, PoolNew,
    Refreshed, Resealed, Retirement, UserNew,
};
use mail::{Clock, Random, TenantId, Timestamp, UserId};
use registry::{Access, Role, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(900), refresh: Duration::from_secs(86_400) };
const HOUR: Duration = Duration::from_secs(3600);

/// The key of every test, of version 1.
fn old() -> MasterKey {
    MasterKey::derived(1, Timestamp::UNIX_EPOCH, &[7; 32])
}

fn new(from: Timestamp) -> MasterKey {
    MasterKey::derived(2, from, &[8; 32])
}

/// Version 1 as it is after its retirement.
fn retired() -> MasterKey {
    MasterKey { sealing: None, ..old() }
}

/// The same database for a node with these keys.
async fn node(test: &TestDatabase, keys: Keys) -> Database {
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    Database::connect(&test.config, keys, clock, Random::from_number(5)).await.unwrap()
}

async fn snapshot(test: &TestDatabase, database: &Database) -> Arc<Snapshot> {
    let (handle, follower) = Follower::start(database.clone(), &test.config).await.unwrap();
    follower.abort();
    handle.load()
}

/// What of the snapshot only comes about when its secrets open.
fn opened(snapshot: &Snapshot, tenant: TenantId) -> (usize, Vec<String>) {
    let keys = snapshot.sending_domain(tenant, &domain("one.example")).map_or(0, |domain| domain.keys.len());
    let endpoints = snapshot.endpoints(tenant).iter();
    (keys, endpoints.flat_map(|endpoint| endpoint.secrets.iter().map(|secret| secret.to_string())).collect())
}

#[tokio::test]
async fn what_the_old_key_sealed_is_sealed_anew_and_opens_without_it() {
    let (test, one) = with_tenant().await;
    let (tenant, first) = (one.tenant.id, &test.database);
    let endpoint = EndpointNew { url: "https://client.example/hook".to_owned(), kinds: Vec::new() };
    let (endpoint, _) = first.endpoint_create(&house(), tenant, &endpoint).await.unwrap();
    first.endpoint_rotate(&house(), tenant, endpoint.id).await.unwrap();
    let members = Vec::new();
    let platform = PoolNew {
        name: slug("signed"),
        tenant: None,
        members,
        platform_domain: Some(domain("platform.example")),
    };
    first.pool_create(&house(), &platform).await.unwrap();
    let before = opened(&*snapshot(&test, first).await, tenant);
    let all: u64 = first.sealed_by_version(&house()).await.unwrap().values().sum();
    assert!(before.0 >= 2 && before.1.len() >= 2 && all >= 5, "{before:?} {all}");

    let from = test.clock.timestamp().saturating_add(HOUR);
    let both = node(&test, Keys::of(old(), [new(from)])).await;
    // Not before its time, for another node may not know the key yet.
    assert_eq!(both.reseal(&house()).await.unwrap(), Resealed::default());
    assert!(!both.has_earlier_keys());
    test.clock.advance(HOUR);
    assert!(both.has_earlier_keys());
    let resealed = both.reseal(&house()).await.unwrap();
    assert!(resealed.rows >= 4 && resealed.failed == 0, "{resealed:?}");
    assert_eq!(both.sealed_by_version(&house()).await.unwrap(), BTreeMap::from([(2, all)]));
    assert_eq!(both.reseal(&house()).await.unwrap(), Resealed::default());

    let after = node(&test, Keys::of(retired(), [new(from)])).await;
    assert_eq!(opened(&*snapshot(&test, &after).await, tenant), before);
    // What the old node sealed after all is found later.
    first.endpoint_rotate(&house(), tenant, endpoint.id).await.unwrap();
    assert_eq!(both.reseal(&house()).await.unwrap(), Resealed { rows: 1, failed: 0 });
}

#[tokio::test]
async fn a_value_that_does_not_open_stays_as_it_is_and_the_others_are_sealed_anew() {
    let (test, _) = with_tenant().await;
    let admin = test.admin().await;
    let sql = "UPDATE dkim_keys SET sealed = substring(sealed FROM 1 FOR 4) || decode('00', 'hex')
               WHERE id = (SELECT min(id::text)::uuid FROM dkim_keys) RETURNING id, sealed";
    let broken = admin.query_one(sql, &[]).await.unwrap();
    let both = node(&test, Keys::of(old(), [new(Timestamp::from_millis(1))])).await;
    let resealed = both.reseal(&house()).await.unwrap();
    assert!(resealed.rows >= 1 && resealed.failed == 1, "{resealed:?}");
    let sql = "SELECT sealed FROM dkim_keys WHERE id = $1";
    let row = admin.query_one(sql, &[&broken.get::<_, uuid::Uuid>(0)]).await.unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), broken.get::<_, Vec<u8>>(1));
    assert_eq!(both.sealed_by_version(&house()).await.unwrap().get(&1), Some(&1));
}

#[tokio::test]
async fn a_tenant_and_who_may_only_read_have_nothing_to_do_with_it() {
    let (test, one) = with_tenant().await;
    let both = node(&test, Keys::of(old(), [new(Timestamp::from_millis(1))])).await;
    let auditor = Access::of_user(UserId::from_uuid(one.tenant.id.uuid()), Role::Auditor, None).unwrap();
    for access in [admin_of(one.tenant.id), auditor] {
        assert!(matches!(both.reseal(&access).await, Err(Fault::Forbidden)));
        assert!(matches!(both.sealed_by_version(&access).await, Err(Fault::Forbidden)));
        assert!(matches!(both.master_key_retire(&access, 1, 2).await, Err(Fault::Forbidden)));
    }
}

/// Somebody else's change is not waited for; it comes with the next pass.
#[tokio::test]
async fn a_row_that_is_being_changed_is_passed_over() {
    let (test, _) = with_tenant().await;
    let both = node(&test, Keys::of(old(), [new(Timestamp::from_millis(1))])).await;
    let mut other = test.admin().await;
    let change = other.transaction().await.unwrap();
    let sql = "SELECT id FROM dkim_keys ORDER BY id LIMIT 1 FOR UPDATE";
    let held: uuid::Uuid = change.query_one(sql, &[]).await.unwrap().get(0);
    let first = tokio::time::timeout(Duration::from_secs(30), both.reseal(&house())).await.unwrap().unwrap();
    assert!(first.rows >= 1, "{first:?} beside {held}");
    assert_eq!(both.sealed_by_version(&house()).await.unwrap().get(&1), Some(&1));
    change.rollback().await.unwrap();
    assert_eq!(both.reseal(&house()).await.unwrap(), Resealed { rows: 1, failed: 0 });
}

#[tokio::test]
async fn a_key_is_retired_when_nothing_needs_it_and_seals_nothing_from_then_on() {
    let (test, one) = with_tenant().await;
    let (tenant, forgotten) = (one.tenant.id, &test.database);
    let hook = EndpointNew { url: "https://client.example/hook".to_owned(), kinds: Vec::new() };
    let Retirement::Needed(count) = forgotten.master_key_retire(&house(), 1, 2).await.unwrap() else {
        panic!("everything is sealed with it");
    };
    assert!(count >= 2, "{count}");
    // Nothing is sealed with 1 in a database where nobody ever used it, nor with 2.
    assert_eq!(forgotten.master_key_retire(&house(), 7, 8).await.unwrap(), Retirement::NothingOfItsSuccessor);
    let both = node(&test, Keys::of(old(), [new(Timestamp::from_millis(1))])).await;
    both.reseal(&house()).await.unwrap();
    let command = node(&test, Keys::none()).await;
    assert_eq!(command.master_key_retire(&house(), 1, 2).await.unwrap(), Retirement::Done);
    assert_eq!(command.master_key_retire(&house(), 1, 2).await.unwrap(), Retirement::Done, "again");
    // A node that was not restarted changes nothing any more, so that nothing is lost; one that was goes on.
    let refused = forgotten.endpoint_create(&house(), tenant, &hook).await.unwrap_err();
    assert!(refused.to_string().contains("restart"), "{refused}");
    assert_eq!(both.sealed_by_version(&house()).await.unwrap().keys().collect::<Vec<_>>(), [&2]);
    both.endpoint_create(&house(), tenant, &hook).await.unwrap();
    let audit = both.audit_list(&house(), &PageRequest::first()).await.unwrap().rows;
    let told = |action: &str| audit.iter().filter(|entry| entry.action == action).count();
    assert_eq!((told("keys.reseal"), told("keys.retire")), (1, 2));
}

/// Hashes cannot be made anew; they are known under the key that made them, also when that is retired.
#[tokio::test]
async fn credentials_tokens_and_calls_of_the_old_key_are_known_and_new_ones_are_of_the_new() {
    let (test, one) = with_tenant().await;
    let (tenant, first) = (one.tenant.id, &test.database);
    let person = UserNew {
        email: "ada@house.example".to_owned(),
        password: zeroize::Zeroizing::new("a long password".to_owned()),
        role: Role::Operator,
        tenant: None,
    };
    let user = first.user_create(&house(), person).await.unwrap().id;
    let session = first.refresh_issue(&house(), user, LIFETIMES).await.unwrap();
    assert!(matches!(begin(first, &admin_of(tenant), 1).await, Begun::First(_)));

    let from = test.clock.timestamp();
    let later = node(&test, Keys::of(retired(), [new(from)])).await;
    let old_password = (&one.credential.username, &one.password);
    let known = |snapshot: &Snapshot, (username, password): (&String, &str)| {
        snapshot
            .authenticate(username, password, "192.0.2.1".parse().unwrap(), test.clock.timestamp())
            .is_ok()
    };
    assert!(known(&*snapshot(&test, &later).await, (old_password.0, old_password.1)));
    assert_eq!(begin(&later, &admin_of(tenant), 1).await, Begun::Running);
    assert_eq!(begin(&later, &admin_of(tenant), 2).await, Begun::Mismatch);
    let Refreshed::Renewed(_, next) =
        later.refresh_rotate(&house(), &session.token, LIFETIMES).await.unwrap()
    else {
        panic!("a refresh token of the old key is good");
    };
    let (row, password) = later.credential_rotate(&house(), tenant, one.credential.id).await.unwrap();
    let snapshot_later = snapshot(&test, &later).await;
    assert!(known(&snapshot_later, (&row.username, &password)));
    assert!(!known(&snapshot_later, (old_password.0, old_password.1)));
    // A node without the new key knows nothing of what the new one made.
    assert!(!known(&*snapshot(&test, first).await, (&row.username, &password)));
    assert!(matches!(
        first.refresh_rotate(&house(), &next.token, LIFETIMES).await.unwrap(),
        Refreshed::Refused
    ));
}
