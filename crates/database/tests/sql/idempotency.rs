//! Idempotency keys.

use crate::fixture::*;
use database::Begun;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_second_request_waits_then_gets_the_first_answer_and_another_body_is_refused() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let begin = |hash: u8| database.idempotency_begin(&access, "k", Box::leak(Box::new([hash; 32])), LEASE);
    assert_eq!(begin(1).await.unwrap(), Begun::First);
    assert_eq!(begin(1).await.unwrap(), Begun::Running);
    assert_eq!(begin(2).await.unwrap(), Begun::Mismatch);
    database.idempotency_finish(&access, "k", 202, b"{}").await.unwrap();
    assert_eq!(begin(1).await.unwrap(), Begun::Done { status: 202, body: b"{}".to_vec() });
    assert_eq!(begin(2).await.unwrap(), Begun::Mismatch);
    database.idempotency_abandon(&access, "k").await.unwrap();
    assert_eq!(begin(1).await.unwrap(), Begun::Done { status: 202, body: b"{}".to_vec() });
}

#[tokio::test]
async fn a_lease_that_ran_out_can_be_taken_again_and_one_given_back_at_once() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    assert_eq!(database.idempotency_begin(&access, "k", &[1; 32], LEASE).await.unwrap(), Begun::First);
    test.clock.advance(Duration::from_secs(31));
    assert_eq!(database.idempotency_begin(&access, "k", &[1; 32], LEASE).await.unwrap(), Begun::First);
    database.idempotency_abandon(&access, "k").await.unwrap();
    assert_eq!(database.idempotency_begin(&access, "k", &[2; 32], LEASE).await.unwrap(), Begun::First);
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_given_away_and_an_answer_stays() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    assert_eq!(database.idempotency_begin(&access, "k", &[1; 32], LEASE).await.unwrap(), Begun::First);
    test.clock.advance(Duration::from_secs(20));
    database.idempotency_renew(&access, "k", LEASE).await.unwrap();
    test.clock.advance(Duration::from_secs(20));
    assert_eq!(database.idempotency_begin(&access, "k", &[1; 32], LEASE).await.unwrap(), Begun::Running);
    database.idempotency_finish(&access, "k", 201, b"{}").await.unwrap();
    database.idempotency_renew(&access, "k", LEASE).await.unwrap();
    let kept = Begun::Done { status: 201, body: b"{}".to_vec() };
    assert_eq!(database.idempotency_begin(&access, "k", &[1; 32], LEASE).await.unwrap(), kept);
}

#[tokio::test]
async fn the_same_key_of_another_actor_is_another_key() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    for tenant in [one.tenant.id, two.tenant.id] {
        let begun = test.database.idempotency_begin(&admin_of(tenant), "k", &[1; 32], LEASE).await.unwrap();
        assert_eq!(begun, Begun::First);
    }
    test.clock.advance(Duration::from_secs(86_401));
    assert_eq!(test.database.idempotency_forget(&house(), one.tenant.created_at).await.unwrap(), 0);
    let later = one.tenant.created_at.saturating_add(Duration::from_secs(1));
    assert_eq!(test.database.idempotency_forget(&house(), later).await.unwrap(), 2);
}
