//! Streams and the pools they may name.

use crate::fixture::*;
use database::{Fault, PoolNew, StreamChange, StreamNew};
use registry::StreamKind;
use std::time::Duration;

#[tokio::test]
async fn a_pool_dedicated_to_another_tenant_is_as_if_it_did_not_exist() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let new = PoolNew {
        name: slug("twos"),
        tenant: Some(two.tenant.id),
        members: Vec::new(),
        platform_domain: None,
    };
    let pool = test.database.pool_create(&house(), &new).await.unwrap().id;
    let stream = |pool| StreamNew {
        name: slug("news"),
        kind: StreamKind::Marketing,
        pool,
        overflow_pool: None,
        expires_after: Duration::from_secs(3600),
    };
    for access in [house(), admin_of(one.tenant.id)] {
        let refused = test.database.stream_create(&access, one.tenant.id, &stream(pool)).await;
        assert!(matches!(refused, Err(Fault::Missing { field: "pool" })));
    }
    let own = admin_of(two.tenant.id);
    test.database.stream_create(&own, two.tenant.id, &stream(pool)).await.unwrap();
    let again = test.database.stream_create(&own, two.tenant.id, &stream(pool)).await;
    assert!(matches!(again, Err(Fault::Conflict { field: "name" })));
    let shared = stream(one.streams[0].pool);
    test.database.stream_create(&admin_of(one.tenant.id), one.tenant.id, &shared).await.unwrap();
}

#[tokio::test]
async fn an_expiry_outside_the_bounds_is_refused_and_an_update_keeps_the_rest() {
    let (test, one) = with_tenant().await;
    let (tenant, stream) = (one.tenant.id, &one.streams[0]);
    for seconds in [0, 59, 15 * 86_400] {
        let change =
            StreamChange { expires_after: Some(Duration::from_secs(seconds)), ..StreamChange::default() };
        let refused = test.database.stream_update(&house(), tenant, stream.id, &change).await;
        assert!(matches!(refused, Err(Fault::Invalid { field: "expires_after", .. })), "{seconds}");
    }
    let change = StreamChange { expires_after: Some(Duration::from_secs(600)), ..StreamChange::default() };
    let changed = test.database.stream_update(&house(), tenant, stream.id, &change).await.unwrap();
    assert_eq!((changed.name, changed.pool), (stream.name.clone(), stream.pool));
}

#[tokio::test]
async fn a_stream_that_a_credential_is_bound_to_stays() {
    let (test, one) = with_tenant().await;
    let (tenant, stream) = (one.tenant.id, one.streams[1].id);
    let new =
        database::CredentialNew { stream: Some(stream), ..database::CredentialNew::named(name("bound")) };
    let (bound, _) = test.database.credential_create(&house(), tenant, &new).await.unwrap();
    let new = database::ApiKeyNew { stream: Some(stream), ..database::ApiKeyNew::named(name("bound")) };
    let (key, _) = test.database.api_key_create(&house(), Some(tenant), &new).await.unwrap();
    let delete = async || test.database.stream_delete(&house(), tenant, stream).await;
    assert!(matches!(delete().await, Err(Fault::InUse { what: "stream" })));
    test.database.credential_revoke(&house(), tenant, bound.id).await.unwrap();
    assert!(matches!(delete().await, Err(Fault::InUse { what: "stream" })));
    test.database.api_key_revoke(&house(), Some(tenant), key.id).await.unwrap();
    // What was revoked is listed for ever, and keeps nothing.
    delete().await.unwrap();
    let row = test.database.credential_fetch(&house(), tenant, bound.id).await.unwrap();
    assert!(row.revoked_at.is_some() && row.stream.is_none());
    let last = test.database.stream_delete(&house(), tenant, one.streams[0].id).await;
    assert!(matches!(last, Err(Fault::Last { .. })));
}

/// Both have read before one can write: whoever changes the registry needs its row.
#[tokio::test]
async fn of_two_changes_at_once_none_undoes_the_other() {
    let (test, one) = with_tenant().await;
    let (database, tenant, stream) = (&test.database, one.tenant.id, one.streams[0].id);
    let (holder, watcher) = (test.admin().await, test.admin().await);
    holder.batch_execute("BEGIN; SELECT 1 FROM registry FOR UPDATE").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let letting_go = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            again.tick().await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let rename = StreamChange { name: Some(slug("renamed")), ..StreamChange::default() };
    let shorten = StreamChange { expires_after: Some(Duration::from_secs(600)), ..StreamChange::default() };
    let access = house();
    let update = |change| database.stream_update(&access, tenant, stream, change);
    let all = async { tokio::join!(update(&rename), update(&shorten), letting_go) };
    let (first, second, ()) =
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("nobody waited");
    first.unwrap();
    second.unwrap();
    let now = database.stream_update(&access, tenant, stream, &StreamChange::default()).await.unwrap();
    assert_eq!((now.name, now.expires_after), (slug("renamed"), Duration::from_secs(600)));
}
