//! Idempotency keys.

use crate::fixture::*;
use database::{Batch, Begun, Database, Fault, Held, Taken};
use registry::Access;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

pub async fn begin(database: &Database, access: &Access, hash: u8) -> Begun {
    database.idempotency_begin(access, "k", &[hash; 32], LEASE).await.unwrap()
}

/// Takes the key, for the first time or again.
async fn take(database: &Database, access: &Access, hash: u8) -> Taken {
    match begin(database, access, hash).await {
        Begun::First(taken) | Begun::Again(taken) => taken,
        other => panic!("the key is not free: {other:?}"),
    }
}

fn is_again(begun: &Begun, first: Taken) -> bool {
    matches!(begun, Begun::Again(taken) if taken.claimed_at == first.claimed_at && taken.holder != first.holder)
}

#[tokio::test]
async fn a_second_request_waits_then_gets_the_first_answer_and_another_body_is_refused() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let begin = |hash| begin(database, &access, hash);
    let Begun::First(Taken { holder, .. }) = begin(1).await else { panic!("it is new") };
    assert_eq!(begin(1).await, Begun::Running);
    assert_eq!(begin(2).await, Begun::Mismatch);
    database.idempotency_finish(&access, ("k", holder), 202, b"{}").await.unwrap();
    assert_eq!(begin(1).await, Begun::Done { status: 202, body: b"{}".to_vec() });
    assert_eq!(begin(2).await, Begun::Mismatch);
    database.idempotency_release(&access, ("k", holder)).await.unwrap();
    assert_eq!(begin(1).await, Begun::Done { status: 202, body: b"{}".to_vec() });
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_again_and_when_it_was_first_taken_is_remembered() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let begin = |hash| begin(database, &access, hash);
    let Begun::First(first) = begin(1).await else { panic!("it is new") };
    test.clock.advance(Duration::from_secs(31));
    assert_eq!(begin(2).await, Begun::Mismatch, "the first may have done its work");
    assert!(is_again(&begin(1).await, first));
    assert_eq!(begin(1).await, Begun::Running, "the lease is a new one");
    test.clock.advance(Duration::from_secs(31));
    assert!(is_again(&begin(1).await, first));
}

#[tokio::test]
async fn a_lease_that_was_given_back_is_taken_at_once_and_by_another_request_as_if_new() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let begin = |hash| begin(database, &access, hash);
    let Begun::First(first) = begin(1).await else { panic!("it is new") };
    database.idempotency_release(&access, ("k", first.holder)).await.unwrap();
    let again = begin(1).await;
    assert!(is_again(&again, first));
    test.clock.advance(Duration::from_secs(5));
    let Begun::Again(Taken { holder, .. }) = again else { unreachable!() };
    database.idempotency_release(&access, ("k", holder)).await.unwrap();
    let Begun::Again(second) = begin(2).await else { panic!("the key was taken before") };
    assert!(second.claimed_at > first.claimed_at, "another request is another call");
    assert_eq!(begin(1).await, Begun::Mismatch);
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_given_away_and_an_answer_stays() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let held = ("k", take(database, &access, 1).await.holder);
    test.clock.advance(Duration::from_secs(20));
    assert_eq!(database.idempotency_renew(&access, held, LEASE).await.unwrap(), Held::Still);
    test.clock.advance(Duration::from_secs(20));
    assert_eq!(begin(database, &access, 1).await, Begun::Running);
    assert_eq!(database.idempotency_finish(&access, held, 201, b"{}").await.unwrap(), Held::Still);
    assert_eq!(database.idempotency_renew(&access, held, LEASE).await.unwrap(), Held::Still);
    let kept = Begun::Done { status: 201, body: b"{}".to_vec() };
    assert_eq!(begin(database, &access, 1).await, kept);
}

#[tokio::test]
async fn the_same_key_of_another_actor_is_another_key() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    for tenant in [one.tenant.id, two.tenant.id] {
        assert!(matches!(begin(&test.database, &admin_of(tenant), 1).await, Begun::First(_)));
    }
    test.clock.advance(Duration::from_secs(86_401));
    assert_eq!(test.database.idempotency_forget(&house(), one.tenant.created_at).await.unwrap(), 0);
    let later = one.tenant.created_at.saturating_add(Duration::from_secs(1));
    assert_eq!(test.database.idempotency_forget(&house(), later).await.unwrap(), 2);
}

#[tokio::test]
async fn a_message_is_known_to_its_tenant_alone() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let messages = [1, 2].map(|seed| crate::projection::message(&one, seed));
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    let batch =
        Batch { messages: messages[..1].to_vec(), cursor_name: "test".to_owned(), ..Batch::default() };
    test.database.projection_apply(&house(), &batch).await.unwrap();
    for (access, tenant, count) in [
        (admin_of(one.tenant.id), one.tenant.id, 1),
        (admin_of(two.tenant.id), two.tenant.id, 0),
        (house(), two.tenant.id, 0),
    ] {
        let known = test.database.messages_known(&access, tenant, &ids).await.unwrap();
        assert_eq!(known.len(), count);
        assert!(!known.contains(&ids[1]));
    }
    let foreign = test.database.messages_known(&admin_of(two.tenant.id), one.tenant.id, &ids).await;
    assert!(matches!(foreign, Err(Fault::NotFound(_))), "{foreign:?}");
}

#[tokio::test]
async fn whoever_has_lost_a_key_does_nothing_to_it_any_more() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let lost = ("k", take(database, &access, 1).await.holder);
    test.clock.advance(Duration::from_secs(31));
    let held = ("k", take(database, &access, 1).await.holder);
    assert_eq!(database.idempotency_renew(&access, lost, LEASE).await.unwrap(), Held::Lost);
    assert_eq!(database.idempotency_release(&access, lost).await.unwrap(), Held::Lost);
    assert_eq!(begin(database, &access, 1).await, Begun::Running, "it was given away by somebody else");
    assert_eq!(database.idempotency_finish(&access, lost, 500, b"late").await.unwrap(), Held::Lost);
    assert_eq!(database.idempotency_finish(&access, held, 201, b"{}").await.unwrap(), Held::Still);
    assert_eq!(database.idempotency_finish(&access, lost, 500, b"late").await.unwrap(), Held::Lost);
    let kept = Begun::Done { status: 201, body: b"{}".to_vec() };
    assert_eq!(begin(database, &access, 1).await, kept);
}

/// A request may hold a password, and a plain hash of it could be tried against many.
#[tokio::test]
async fn what_is_stored_of_a_request_follows_from_a_key_of_ours() {
    let (test, one) = with_tenant().await;
    take(&test.database, &admin_of(one.tenant.id), 1).await;
    let client = test.admin().await;
    let row = client.query_one("SELECT request_hash FROM idempotency_keys", &[]).await.unwrap();
    let wanted = testkit::test_keys().secrets.request_mac(&[1; 32], mail::Clock::timestamp(&*test.clock));
    assert_eq!(row.get::<_, Vec<u8>>(0), wanted);
    assert_ne!(wanted, [1; 32]);
}
