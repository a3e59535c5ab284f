//! Pools and sources.

use crate::fixture::*;
use database::{Fault, PoolChange, PoolNew, SourceChange, SourceNew};
use registry::{PoolMember, SourceState};

#[tokio::test]
async fn what_is_in_use_or_taken_or_missing_is_refused() {
    let (test, _) = with_tenant().await;
    let (database, house) = (&test.database, house());
    let pool = database.pool_list(&house, &database::PageRequest::first()).await.unwrap().rows.remove(0);
    let source = pool.members[0].source;
    assert!(matches!(database.pool_delete(&house, pool.id).await, Err(Fault::InUse { what: "pool" })));
    assert!(matches!(database.source_delete(&house, source).await, Err(Fault::InUse { what: "source" })));
    let twin =
        SourceNew { name: slug("out-2"), address: "192.0.2.25".parse().unwrap(), ehlo: domain("a.example") };
    assert!(matches!(database.source_create(&house, &twin).await, Err(Fault::Conflict { field: "address" })));
    let nobody = mail::SourceId::from_uuid(uuid::Uuid::nil());
    let members = [source, nobody].map(|source| PoolMember { source, weight: 1 }).to_vec();
    let change = PoolChange { members: Some(members), name: None };
    assert!(matches!(
        database.pool_update(&house, pool.id, &change).await,
        Err(Fault::MissingEntry { field: "members", index: 1, part: "source" })
    ));
    assert_eq!(database.pool_fetch(&house, pool.id).await.unwrap(), pool);
}

#[tokio::test]
async fn a_pool_with_a_platform_domain_shows_its_record_and_signs() {
    let test = TestDatabase::new().await;
    let new = PoolNew {
        name: slug("signed"),
        tenant: None,
        members: Vec::new(),
        platform_domain: Some(domain("posthouse.test")),
    };
    let pool = test.database.pool_create(&house(), &new).await.unwrap();
    assert!(pool.platform.as_ref().unwrap().record.starts_with("v=DKIM1; k=rsa; p="));
    let (handle, follower) = database::Follower::start(test.database.clone(), &test.config).await.unwrap();
    let snapshot = handle.load();
    let platform = snapshot.pool(pool.id).unwrap().platform.clone().unwrap();
    assert_eq!(platform.signer.public_record(), pool.platform.unwrap().record);
    follower.abort();
}

#[tokio::test]
async fn a_source_is_held_and_resumed() {
    let test = TestDatabase::new().await;
    let pool = shared_pool(&test.database).await;
    let hold = SourceChange { state: Some(SourceState::Held), ehlo: None };
    let held = test.database.source_update(&house(), pool.members[0].source, &hold).await.unwrap();
    assert_eq!((held.state, held.ehlo.as_str()), (SourceState::Held, "out-1.posthouse.test"));
}
