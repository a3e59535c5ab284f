//! The queue of webhook calls: leases, retries, replay.

use crate::fixture::*;
use database::{
    Batch, EndpointChange, EndpointNew, EndpointRow, Onboarded, PageRequest, WebhookEnd, WebhookResult,
};
use mail::{Event, EventId, EventKind, Random};
use registry::EndpointState;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);

async fn with_endpoint(kinds: Vec<EventKind>) -> (TestDatabase, Onboarded, EndpointRow) {
    let (test, one) = with_tenant().await;
    let new = EndpointNew { url: "https://client.example/".to_owned(), kinds };
    let (endpoint, _) = test.database.endpoint_create(&house(), one.tenant.id, &new).await.unwrap();
    (test, one, endpoint)
}

async fn append(test: &TestDatabase, one: &Onboarded, kind: EventKind) {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let (tenant, timestamp) = (one.tenant.id, one.tenant.created_at);
    let id = EventId::mint(timestamp, &mut Random::from_number(seed));
    let events = vec![Event { id, kind, timestamp, tenant, data: json!({}) }];
    let batch = Batch { events, cursor_name: "test".to_owned(), position: vec![1], ..Batch::default() };
    test.database.projection_apply(&house(), &batch).await.unwrap();
}

fn result(due: &database::WebhookDue, end: WebhookEnd) -> WebhookResult {
    let (endpoint, event) = (due.endpoint, due.event.event.id);
    WebhookResult { endpoint, event, end, status: Some(500), error: None, duration_ms: 5 }
}

#[tokio::test]
async fn a_leased_call_is_nobody_elses_until_the_lease_runs_out() {
    let (test, one, endpoint) = with_endpoint(Vec::new()).await;
    append(&test, &one, EventKind::MessageBounced).await;
    append(&test, &one, EventKind::MessageDelivered).await;
    let database = &test.database;
    let first = database.webhook_due(&house(), 1, LEASE).await.unwrap();
    let second = database.webhook_due(&house(), 10, LEASE).await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].event, second[0].event);
    assert_eq!(first[0].endpoint, endpoint.id);
    assert!(database.webhook_due(&house(), 10, LEASE).await.unwrap().is_empty());
    test.clock.advance(Duration::from_secs(61));
    assert_eq!(database.webhook_due(&house(), 10, LEASE).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_try_comes_back_when_it_said_and_an_end_is_an_end() {
    let (test, one, endpoint) = with_endpoint(Vec::new()).await;
    append(&test, &one, EventKind::MessageBounced).await;
    let database = &test.database;
    let due = database.webhook_due(&house(), 10, LEASE).await.unwrap();
    let again = one.tenant.created_at.saturating_add(Duration::from_secs(5));
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Again(again))]).await.unwrap();
    assert!(database.webhook_due(&house(), 10, LEASE).await.unwrap().is_empty());
    test.clock.advance(Duration::from_secs(5));
    let due = database.webhook_due(&house(), 10, LEASE).await.unwrap();
    assert_eq!(due[0].attempts, 1);
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Failed)]).await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    assert!(database.webhook_due(&house(), 10, LEASE).await.unwrap().is_empty());

    let own = admin_of(one.tenant.id);
    let page = database
        .webhook_delivery_list(&own, one.tenant.id, endpoint.id, &PageRequest::first())
        .await
        .unwrap();
    assert_eq!(
        (page.rows[0].state.as_str(), page.rows[0].attempts, page.rows[0].last_status),
        ("failed", 2, Some(500))
    );
    assert_eq!(database.webhook_replay(&own, one.tenant.id, endpoint.id, None).await.unwrap(), 1);
    let due = database.webhook_due(&house(), 10, LEASE).await.unwrap();
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Delivered)]).await.unwrap();
    assert_eq!(database.webhook_replay(&own, one.tenant.id, endpoint.id, None).await.unwrap(), 0);
}

#[tokio::test]
async fn only_wanted_kinds_are_queued_and_a_paused_endpoint_waits() {
    let (test, one, endpoint) = with_endpoint(vec![EventKind::MessageBounced]).await;
    let two = onboard(&test.database, "Two", "two.example").await;
    append(&test, &one, EventKind::MessageDelivered).await;
    append(&test, &two, EventKind::MessageBounced).await;
    assert!(test.database.webhook_due(&house(), 10, LEASE).await.unwrap().is_empty());
    let set = async |state| {
        let change = EndpointChange { state: Some(state), ..EndpointChange::default() };
        test.database.endpoint_update(&house(), one.tenant.id, endpoint.id, &change).await.unwrap();
    };
    set(EndpointState::Paused).await;
    append(&test, &one, EventKind::MessageBounced).await;
    assert!(test.database.webhook_due(&house(), 10, LEASE).await.unwrap().is_empty());
    set(EndpointState::Active).await;
    assert_eq!(test.database.webhook_due(&house(), 10, LEASE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_goes_to_its_endpoint_whatever_it_wants() {
    let (test, one, endpoint) = with_endpoint(vec![EventKind::MessageBounced]).await;
    let id = test.database.webhook_test(&admin_of(one.tenant.id), one.tenant.id, endpoint.id).await.unwrap();
    let due = test.database.webhook_due(&house(), 10, LEASE).await.unwrap();
    assert_eq!((due.len(), due[0].event.event.id, due[0].event.event.kind), (1, id, EventKind::WebhookTest));
}
