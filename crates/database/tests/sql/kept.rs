//! A change and its answer: both or neither.

use crate::fixture::*;
use database::{
    Answer, Begun, CredentialNew, Database, EndpointNew, Fault, Holder, Keeping, Made, PageRequest,
    StreamNew, Taken,
};
use registry::{Access, StreamKind};
use std::sync::Arc;
use std::time::Duration;

const HASH: [u8; 32] = [1; 32];
const LEASE: Duration = Duration::from_secs(30);

/// Takes the key, and keeps what was made under it.
async fn keeping(database: &Database, access: &Access) -> (Database, Holder) {
    let begun = database.idempotency_begin(access, "k", &HASH, LEASE).await.unwrap();
    let Begun::First(Taken { holder, .. }) = begun else { panic!("{begun:?}") };
    let answer = |made: Made<'_>| match made {
        Made::Credential(row, password) => {
            Some(Answer { status: 201, body: format!("{} {password}", row.id).into_bytes() })
        }
        Made::Endpoint(row, _) => Some(Answer { status: 201, body: row.id.to_string().into_bytes() }),
        _ => panic!("something else was made"),
    };
    let (key, answer) = ("k".to_owned(), Arc::new(answer));
    (database.keeping(Keeping { access: access.clone(), key, holder, answer }), holder)
}

async fn begun(database: &Database, access: &Access) -> Begun {
    database.idempotency_begin(access, "k", &HASH, LEASE).await.unwrap()
}

#[tokio::test]
async fn whoever_repeats_a_call_that_died_after_its_commit_finds_its_answer_with_the_secret() {
    let (test, one) = with_tenant().await;
    let access = admin_of(one.tenant.id);
    let (database, holder) = keeping(&test.database, &access).await;
    let new = CredentialNew::named(name("shop"));
    let (row, password) = database.credential_create(&access, one.tenant.id, &new).await.unwrap();
    let body = format!("{} {}", row.id, *password).into_bytes();
    assert_eq!(begun(&test.database, &access).await, Begun::Done { status: 201, body });
    // What is kept stays, whoever comes with another answer.
    test.database.idempotency_finish(&access, ("k", holder), 500, b"other").await.unwrap();
    test.database.idempotency_release(&access, ("k", holder)).await.unwrap();
    assert!(matches!(begun(&test.database, &access).await, Begun::Done { status: 201, .. }));
}

#[tokio::test]
async fn a_change_whose_answer_cannot_be_kept_is_not_made() {
    let (test, one) = with_tenant().await;
    let access = admin_of(one.tenant.id);
    let Begun::First(Taken { holder, .. }) = begun(&test.database, &access).await else {
        panic!("it is new")
    };
    let (key, answer) = ("k".to_owned(), Arc::new(|_: Made<'_>| None));
    let database = test.database.keeping(Keeping { access: access.clone(), key, holder, answer });
    let made = database.credential_create(&access, one.tenant.id, &CredentialNew::named(name("shop"))).await;
    assert!(matches!(made, Err(Fault::Sealing { .. })), "{:?}", made.err());
    // The name is free.
    let new = CredentialNew::named(name("shop"));
    test.database.credential_create(&access, one.tenant.id, &new).await.unwrap();
}

#[tokio::test]
async fn the_key_of_an_operator_is_found_although_the_change_is_a_tenants() {
    let (test, one) = with_tenant().await;
    let (database, _) = keeping(&test.database, &house()).await;
    let new = EndpointNew { url: "https://hooks.client.example/".to_owned(), kinds: Vec::new() };
    let (row, _) = database.endpoint_create(&house(), one.tenant.id, &new).await.unwrap();
    let body = row.id.to_string().into_bytes();
    assert_eq!(begun(&test.database, &house()).await, Begun::Done { status: 201, body });
    // The entry in the audit is of the change as always.
    assert_eq!(test.database.audit_verify(&house()).await.unwrap().broken_at, None);
}

#[tokio::test]
async fn a_change_whose_key_was_finished_by_somebody_else_is_taken_back() {
    let (test, one) = with_tenant().await;
    let access = admin_of(one.tenant.id);
    let (database, holder) = keeping(&test.database, &access).await;
    test.database.idempotency_finish(&access, ("k", holder), 201, b"first").await.unwrap();
    let new = CredentialNew::named(name("shop"));
    let fault = database.credential_create(&access, one.tenant.id, &new).await.unwrap_err();
    assert!(matches!(fault, Fault::TakenOver), "{fault:?}");
    let page = PageRequest::first();
    let all = test.database.credential_list(&access, one.tenant.id, &page).await.unwrap();
    assert_eq!(all.rows.len(), 1, "the one of the onboarding");
    assert_eq!(begun(&test.database, &access).await, Begun::Done { status: 201, body: b"first".to_vec() });
}

#[tokio::test]
async fn a_change_that_is_refused_keeps_nothing() {
    let (test, one) = with_tenant().await;
    let access = admin_of(one.tenant.id);
    let (database, _) = keeping(&test.database, &access).await;
    let expires_after = Duration::from_secs(3_600);
    let pool = one.streams[0].pool;
    let (name, kind) = (slug("marketing"), StreamKind::Marketing);
    let new = StreamNew { name, kind, pool, overflow_pool: None, expires_after };
    let refused = database.stream_create(&access, one.tenant.id, &new).await;
    assert!(matches!(refused, Err(Fault::Conflict { field: "name" })), "{refused:?}");
    assert_eq!(begun(&test.database, &access).await, Begun::Running);
}

#[tokio::test]
async fn a_change_whose_key_somebody_else_has_taken_over_is_not_made() {
    let (test, one) = with_tenant().await;
    let access = admin_of(one.tenant.id);
    let (database, _) = keeping(&test.database, &access).await;
    test.clock.advance(LEASE + Duration::from_secs(1));
    assert!(matches!(begun(&test.database, &access).await, Begun::Again(_)));
    let new = CredentialNew::named(name("shop"));
    let fault = database.credential_create(&access, one.tenant.id, &new).await.unwrap_err();
    assert!(matches!(fault, Fault::TakenOver), "{fault:?}");
    assert_eq!(begun(&test.database, &access).await, Begun::Running);
}
