//! The follower: quick, patient, and never without its last snapshot.

use crate::fixture::*;
use database::{Config, Database, Follower, TenantNew, migrate};
use mail::{Clock, Random};
use registry::{Generation, Plan};
use std::sync::Arc;
use std::time::Duration;
use testkit::{Cluster, ManualClock, test_keys};

async fn tenant(database: &Database, text: &str) -> mail::TenantId {
    let new = TenantNew { name: name(text), plan: Plan::default() };
    database.tenant_create(&house(), &new).await.unwrap().id
}

#[tokio::test]
async fn a_change_is_seen_within_a_second() {
    let test = TestDatabase::new().await;
    // The clock of the follower is slow here, so only the notification can be this quick.
    let config = Config { follow_every_ms: 60_000, ..test.config.clone() };
    let (handle, follower) = Follower::start(test.database.clone(), &config).await.unwrap();
    assert_eq!(handle.generation(), Generation(0));
    for number in 1..=5 {
        let id = tenant(&test.database, &format!("T{number}")).await;
        assert!(handle.reached(Generation(number), Duration::from_secs(1)).await, "generation {number}");
        assert!(handle.load().tenant(id).is_some());
    }
    follower.abort();
}

#[tokio::test]
async fn a_lost_notification_is_made_up_for_by_the_clock() {
    let test = TestDatabase::new().await;
    let config = Config { follow_every_ms: 100, ..test.config.clone() };
    let (handle, follower) = Follower::start(test.database.clone(), &config).await.unwrap();
    let client = test.admin().await;
    client.execute("UPDATE registry SET generation = generation + 1", &[]).await.unwrap();
    assert!(handle.reached(Generation(1), Duration::from_secs(2)).await);
    follower.abort();
}

#[tokio::test]
async fn parsed_keys_are_kept_between_snapshots() {
    let (test, one) = with_tenant().await;
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let signer = |id| {
        let snapshot = handle.load();
        Arc::clone(&snapshot.domain(id).unwrap().keys[0].signer)
    };
    let before = signer(one.domain.id);
    tenant(&test.database, "Two").await;
    assert!(handle.reached(Generation(one.generation.0 + 1), Duration::from_secs(1)).await);
    assert!(Arc::ptr_eq(&before, &signer(one.domain.id)));
    follower.abort();
}

#[tokio::test]
async fn what_does_not_open_is_left_out_and_the_rest_is_followed() {
    let (test, one) = with_tenant().await;
    let create = async |url: &str| {
        let new = database::EndpointNew { url: url.to_owned(), kinds: Vec::new() };
        test.database.endpoint_create(&house(), one.tenant.id, &new).await.unwrap().0.id
    };
    let (broken, whole) = (create("https://a.example/").await, create("https://b.example/").await);
    let new = database::PoolNew {
        name: slug("signed"),
        tenant: None,
        members: Vec::new(),
        platform_domain: Some(domain("posthouse.test")),
    };
    let pool = test.database.pool_create(&house(), &new).await.unwrap();
    let admin = test.admin().await;
    let damage = format!(
        "UPDATE endpoints SET secrets = ARRAY['damaged'::bytea] WHERE id = '{}';
         UPDATE pools SET platform_sealed = 'damaged' WHERE id = '{}'",
        broken.uuid(),
        pool.id.uuid()
    );
    admin.batch_execute(&damage).await.unwrap();
    // At the first reading, and when something else changes.
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let (before, late) = (handle.generation(), tenant(&test.database, "Late").await);
    assert!(handle.reached(Generation(before.0 + 1), Duration::from_secs(1)).await);
    let snapshot = handle.load();
    assert!(snapshot.tenant(late).is_some() && snapshot.endpoint(whole).is_some());
    assert!(snapshot.endpoint(broken).is_none());
    assert!(snapshot.pool(pool.id).is_some_and(|pool| pool.platform.is_none()));
    follower.abort();
}

#[tokio::test]
async fn what_is_read_in_steps_is_what_a_fresh_reading_gives() {
    let (test, one) = with_tenant().await;
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let two = onboard(&test.database, "Two", "two.example").await;
    let (tenant, house) = (one.tenant.id, house());
    test.database.credential_revoke(&house, tenant, one.credential.id).await.unwrap();
    test.database.stream_delete(&house, tenant, one.streams[1].id).await.unwrap();
    test.database.domain_delete(&house, tenant, one.domain.id).await.unwrap();
    test.database.api_key_revoke(&house, Some(tenant), one.api_key.id).await.unwrap();
    let new =
        database::ApiKeyNew { role: registry::Role::Operator, ..database::ApiKeyNew::named(name("house")) };
    let (key, _) = test.database.api_key_create(&house, None, &new).await.unwrap();
    let generation = Generation(one.generation.0 + 6);
    assert!(handle.reached(generation, Duration::from_secs(1)).await);

    let (fresh, other) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    for snapshot in [handle.load(), fresh.load()] {
        assert_eq!(snapshot.generation(), generation);
        assert_eq!(snapshot.tenants().count(), 2);
        assert!(snapshot.credential(one.credential.id).is_none());
        assert!(snapshot.credential_by_username(&one.credential.username).is_none());
        assert!(snapshot.api_key(one.api_key.id).is_none() && snapshot.api_key(key.id).is_some());
        assert!(snapshot.domain(one.domain.id).is_none());
        assert!(snapshot.sending_domain(tenant, &domain("one.example")).is_none());
        assert_eq!(snapshot.streams_of(tenant).len(), 1);
        assert_eq!(snapshot.streams_of(two.tenant.id).len(), 2);
        assert_eq!(snapshot.domain(two.domain.id).unwrap().keys.len(), 2);
        assert_eq!((snapshot.pools().count(), snapshot.sources().count()), (1, 1));
    }
    follower.abort();
    other.abort();
}

#[tokio::test]
async fn while_postgresql_is_away_the_last_snapshot_stays_and_afterwards_it_goes_on() {
    let cluster = Cluster::own("follower");
    let config = Config { url: cluster.url("postgres"), follow_every_ms: 200, ..Config::default() };
    migrate(&config).await.unwrap();
    let clock = ManualClock::new();
    let time: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let database = Database::connect(&config, test_keys(), time, Random::from_number(1)).await.unwrap();
    let first = tenant(&database, "One").await;
    let (handle, follower) = Follower::start(database.clone(), &config).await.unwrap();

    cluster.stop();
    clock.advance(Duration::from_secs(60));
    assert!(handle.load().tenant(first).is_some());
    assert!(handle.age() >= Duration::from_secs(60));
    let fault = database.tenant_fetch(&house(), first).await.unwrap_err();
    assert!(fault.is_passing(), "{fault:?}");

    cluster.start();
    let second = tenant(&database, "Two").await;
    assert!(handle.reached(Generation(2), Duration::from_secs(3)).await);
    assert!(handle.load().tenant(second).is_some());
    assert!(handle.age() < Duration::from_secs(1));
    follower.abort();
}
