//! SMTP credentials and API keys: shown once, rotated, revoked.

use crate::fixture::*;
use database::{ApiKeyNew, CredentialNew, Fault, Follower, PageRequest};
use mail::EventKind;
use registry::{Right, Rights, Role};
use std::time::Duration;

#[tokio::test]
async fn nobody_makes_a_key_that_may_do_more_than_himself() {
    let (test, one) = with_tenant().await;
    let tenant = Some(one.tenant.id);
    let operators = ApiKeyNew { role: Role::Operator, ..ApiKeyNew::named(name("up")) };
    let own = admin_of(one.tenant.id);
    assert!(matches!(test.database.api_key_create(&own, tenant, &operators).await, Err(Fault::Forbidden)));
    assert!(matches!(test.database.api_key_create(&own, None, &operators).await, Err(Fault::Forbidden)));
    let narrow = ApiKeyNew { rights: Rights::NONE.with(Right::Manage), ..ApiKeyNew::named(name("narrow")) };
    let (row, _) = test.database.api_key_create(&own, tenant, &narrow).await.unwrap();
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let key = handle.load().api_key(row.id).unwrap().clone();
    let narrow = registry::Access::of_api_key(&key).unwrap();
    let wide = ApiKeyNew::named(name("wide"));
    assert!(matches!(test.database.api_key_create(&narrow, tenant, &wide).await, Err(Fault::Forbidden)));
    follower.abort();
}

#[tokio::test]
async fn a_stream_of_another_tenant_cannot_be_bound() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let stream = Some(two.streams[0].id);
    let credential = CredentialNew { stream, ..CredentialNew::named(name("x")) };
    let refused = test.database.credential_create(&house(), one.tenant.id, &credential).await;
    assert!(matches!(refused, Err(Fault::Missing { field: "stream" })));
    let key = ApiKeyNew { stream, ..ApiKeyNew::named(name("x")) };
    let refused = test.database.api_key_create(&house(), Some(one.tenant.id), &key).await;
    assert!(matches!(refused, Err(Fault::Missing { field: "stream" })));
}

#[tokio::test]
async fn a_rotated_password_ends_the_old_one_and_a_revoked_credential_leaves_the_snapshot() {
    let (test, one) = with_tenant().await;
    let (tenant, id) = (one.tenant.id, one.credential.id);
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let mut changed = handle.changed();
    let try_with = |password: &str| {
        let peer = "192.0.2.1".parse().unwrap();
        handle.load().authenticate(&one.credential.username, password, peer, one.tenant.created_at).is_ok()
    };
    assert!(try_with(&one.password));
    let (_, password) = test.database.credential_rotate(&house(), tenant, id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), changed.changed()).await.unwrap().unwrap();
    assert!(!try_with(&one.password) && try_with(&password));
    let revoked = test.database.credential_revoke(&house(), tenant, id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), changed.changed()).await.unwrap().unwrap();
    assert!(!try_with(&password));
    assert_eq!(test.database.credential_revoke(&house(), tenant, id).await.unwrap(), revoked);
    let rotated = test.database.credential_rotate(&house(), tenant, id).await;
    assert!(matches!(rotated, Err(Fault::NotFound("credential"))));
    let events = test.database.event_list(&house(), tenant, &PageRequest::first(), None).await.unwrap().rows;
    assert!(events.iter().any(|row| row.event.kind == EventKind::CredentialRevoked));
    follower.abort();
}

#[tokio::test]
async fn no_secret_lies_in_the_tables_or_in_the_audit() {
    let (test, one) = with_tenant().await;
    let secret = registry::parse_api_key(&one.api_key_text).unwrap().1;
    let client = test.admin().await;
    for table in ["api_keys", "credentials", "audit", "endpoints"] {
        let sql = format!("SELECT t::text FROM {table} t");
        for row in client.query(&sql, &[]).await.unwrap() {
            let text: String = row.get(0);
            assert!(!text.contains(secret) && !text.contains(one.password.as_str()), "{table}");
        }
    }
}
