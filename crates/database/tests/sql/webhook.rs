//! The queue of webhook calls: leases, retries, replay.

use crate::fixture::*;
use database::{
    Batch, EndpointChange, EndpointNew, EndpointRow, Onboarded, PageRequest, Replayed, WebhookEnd,
    WebhookResult, WebhookWanted,
};
use mail::{Clock, Event, EventId, EventKind, Random, Timestamp};
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

fn wanted(limit: usize) -> WebhookWanted {
    let (tenants, without) = (Vec::new(), Vec::new());
    WebhookWanted { limit, per_endpoint: limit, per_tenant: limit, tenants, without, lease: LEASE }
}

/// So many calls to an endpoint, due since the beginning of time.
async fn long_queue(test: &TestDatabase, endpoint: &EndpointRow, calls: i32) {
    let sql = "WITH e AS (
                   INSERT INTO events (id, tenant_id, kind, at, data)
                   SELECT gen_random_uuid(), $1, 'message.delivered', to_timestamp(0), '{}'
                   FROM generate_series(1, $3) RETURNING id)
               INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, state, due_at, created_at)
               SELECT $2, id, $1, 'pending', to_timestamp(0), to_timestamp(0) FROM e";
    let admin = test.admin().await;
    admin.execute(sql, &[&endpoint.tenant.uuid(), &endpoint.id.uuid(), &calls]).await.unwrap();
}

/// Calls that were read from the table or an index of it so far, by everybody. A connection tells what it has read when it
/// ends, so all of them end.
async fn calls_read(test: &TestDatabase) -> i64 {
    let end = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let read = "SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'webhook_deliveries')
                     + (SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname = 'webhook_deliveries')";
    let admin = test.admin().await;
    admin.execute(end, &[]).await.unwrap();
    admin.query_one(read, &[]).await.unwrap().get(0)
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
    let first = database.webhook_due(&house(), &wanted(1)).await.unwrap();
    let second = database.webhook_due(&house(), &wanted(10)).await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].event, second[0].event);
    assert_eq!(first[0].endpoint, endpoint.id);
    assert!(database.webhook_due(&house(), &wanted(10)).await.unwrap().is_empty());
    test.clock.advance(Duration::from_secs(61));
    assert_eq!(database.webhook_due(&house(), &wanted(10)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_try_comes_back_when_it_said_and_an_end_is_an_end() {
    let (test, one, endpoint) = with_endpoint(Vec::new()).await;
    append(&test, &one, EventKind::MessageBounced).await;
    let database = &test.database;
    let due = database.webhook_due(&house(), &wanted(10)).await.unwrap();
    let again = one.tenant.created_at.saturating_add(Duration::from_secs(5));
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Again(again))]).await.unwrap();
    assert!(database.webhook_due(&house(), &wanted(10)).await.unwrap().is_empty());
    test.clock.advance(Duration::from_secs(5));
    let due = database.webhook_due(&house(), &wanted(10)).await.unwrap();
    assert_eq!(due[0].attempts, 1);
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Failed)]).await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    assert!(database.webhook_due(&house(), &wanted(10)).await.unwrap().is_empty());

    let own = admin_of(one.tenant.id);
    let page = database
        .webhook_delivery_list(&own, one.tenant.id, endpoint.id, &PageRequest::first())
        .await
        .unwrap();
    assert_eq!(
        (page.rows[0].state.as_str(), page.rows[0].attempts, page.rows[0].last_status),
        ("failed", 2, Some(500))
    );
    let replayed = database.webhook_replay(&own, one.tenant.id, endpoint.id, None).await.unwrap();
    assert_eq!(replayed, Replayed { count: 1, more: false, next_since: None });
    let due = database.webhook_due(&house(), &wanted(10)).await.unwrap();
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Delivered)]).await.unwrap();
    assert_eq!(database.webhook_replay(&own, one.tenant.id, endpoint.id, None).await.unwrap().count, 0);
}

#[tokio::test]
async fn only_wanted_kinds_are_queued_and_a_paused_endpoint_waits() {
    let (test, one, endpoint) = with_endpoint(vec![EventKind::MessageBounced]).await;
    let two = onboard(&test.database, "Two", "two.example").await;
    append(&test, &one, EventKind::MessageDelivered).await;
    append(&test, &two, EventKind::MessageBounced).await;
    assert!(test.database.webhook_due(&house(), &wanted(10)).await.unwrap().is_empty());
    let set = async |state| {
        let change = EndpointChange { state: Some(state), ..EndpointChange::default() };
        test.database.endpoint_update(&house(), one.tenant.id, endpoint.id, &change).await.unwrap();
    };
    set(EndpointState::Paused).await;
    append(&test, &one, EventKind::MessageBounced).await;
    assert!(test.database.webhook_due(&house(), &wanted(10)).await.unwrap().is_empty());
    set(EndpointState::Active).await;
    assert_eq!(test.database.webhook_due(&house(), &wanted(10)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_test_goes_to_its_endpoint_whatever_it_wants() {
    let (test, one, endpoint) = with_endpoint(vec![EventKind::MessageBounced]).await;
    let id = test.database.webhook_test(&admin_of(one.tenant.id), one.tenant.id, endpoint.id).await.unwrap();
    let due = test.database.webhook_due(&house(), &wanted(10)).await.unwrap();
    assert_eq!((due.len(), due[0].event.event.id, due[0].event.event.kind), (1, id, EventKind::WebhookTest));
}

#[tokio::test]
async fn a_long_queue_of_one_endpoint_hides_neither_its_neighbours_nor_other_tenants() {
    let (test, one, first) = with_endpoint(Vec::new()).await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let new = |url: &str| EndpointNew { url: url.to_owned(), kinds: Vec::new() };
    let create =
        async |tenant, url| test.database.endpoint_create(&house(), tenant, &new(url)).await.unwrap().0;
    let second = create(one.tenant.id, "https://b.example/").await;
    let other = create(two.tenant.id, "https://c.example/").await;
    long_queue(&test, &first, 20_000).await;
    append(&test, &one, EventKind::MessageDelivered).await;
    append(&test, &two, EventKind::MessageDelivered).await;
    let due = test.database.webhook_due(&house(), &wanted(3)).await.unwrap();
    let mut endpoints: Vec<_> = due.iter().map(|call| call.endpoint).collect();
    endpoints.sort();
    let mut all = [first.id, second.id, other.id];
    all.sort();
    assert_eq!(endpoints, all);
}

#[tokio::test]
async fn no_more_of_an_endpoint_or_a_tenant_is_leased_than_was_wanted() {
    let (test, one, first) = with_endpoint(Vec::new()).await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let new = EndpointNew { url: "https://c.example/".to_owned(), kinds: Vec::new() };
    let (other, _) = test.database.endpoint_create(&house(), two.tenant.id, &new).await.unwrap();
    long_queue(&test, &first, 100).await;
    long_queue(&test, &other, 100).await;
    let counts = async |wanted: WebhookWanted| {
        let due = test.database.webhook_due(&house(), &wanted).await.unwrap();
        let of = |id| due.iter().filter(|call| call.endpoint == id).count();
        (of(first.id), of(other.id))
    };
    assert_eq!(counts(WebhookWanted { per_endpoint: 7, ..wanted(50) }).await, (7, 7));
    assert_eq!(counts(WebhookWanted { per_tenant: 5, ..wanted(50) }).await, (5, 5));
    assert_eq!(counts(WebhookWanted { tenants: vec![(one.tenant.id, 0)], ..wanted(9) }).await, (0, 9));
    assert_eq!(counts(WebhookWanted { tenants: vec![(one.tenant.id, 2)], ..wanted(9) }).await, (2, 7));
    assert_eq!(counts(WebhookWanted { without: vec![other.id], ..wanted(9) }).await, (9, 0));
    assert_eq!(counts(wanted(10)).await, (5, 5));
}

#[tokio::test]
async fn the_next_due_time_is_that_of_a_retry_or_of_a_lease_and_never_of_what_waits_for_room() {
    let (test, one, endpoint) = with_endpoint(Vec::new()).await;
    let (database, began) = (&test.database, one.tenant.created_at);
    let next = async |after| database.webhook_next(&house(), after).await.unwrap();
    let seconds = |count| began.saturating_add(Duration::from_secs(count));
    let now = test.clock.timestamp();
    assert_eq!(next(now).await, None);
    append(&test, &one, EventKind::MessageBounced).await;
    append(&test, &one, EventKind::MessageDelivered).await;
    // Both are due, and whoever asks has had the chance to take them.
    assert_eq!(next(now).await, None);
    let due = database.webhook_due(&house(), &wanted(10)).await.unwrap();
    assert_eq!(next(now).await, Some(now.saturating_add(LEASE)));
    database.webhook_done(&house(), &[result(&due[0], WebhookEnd::Again(seconds(300)))]).await.unwrap();
    database.webhook_done(&house(), &[result(&due[1], WebhookEnd::Later(seconds(5)))]).await.unwrap();
    assert_eq!((next(now).await, next(seconds(5)).await), (Some(seconds(5)), Some(seconds(300))));
    assert_eq!(next(seconds(300)).await, None);
    let change = EndpointChange { state: Some(EndpointState::Paused), ..EndpointChange::default() };
    database.endpoint_update(&house(), one.tenant.id, endpoint.id, &change).await.unwrap();
    assert_eq!(next(now).await, None);
}

#[tokio::test]
async fn the_next_due_time_is_found_without_reading_a_long_queue() {
    let (test, _, endpoint) = with_endpoint(Vec::new()).await;
    long_queue(&test, &endpoint, 50_000).await;
    let before = calls_read(&test).await;
    let database = test.connect_again().await;
    assert_eq!(database.webhook_next(&house(), test.clock.timestamp()).await.unwrap(), None);
    let read = calls_read(&test).await - before;
    println!("the next due time behind 50000 calls: {read} read");
    // The first of the endpoint, and those that may be leased.
    assert!((1..=200).contains(&read), "{read} calls were read");
}

#[tokio::test]
async fn a_replay_and_a_test_wake_every_node() {
    let (test, one, endpoint) = with_endpoint(Vec::new()).await;
    let (snapshot, _following) =
        database::Follower::start(test.database.clone(), &test.config).await.unwrap();
    let mut noticed = snapshot.noticed();
    let patience = Duration::from_secs(30);
    let tenant = one.tenant.id;
    // From here on it listens.
    tokio::time::timeout(patience, noticed.changed()).await.unwrap().unwrap();
    test.database.webhook_test(&house(), tenant, endpoint.id).await.unwrap();
    tokio::time::timeout(patience, noticed.changed()).await.unwrap().unwrap();
    test.database.webhook_replay(&house(), tenant, endpoint.id, None).await.unwrap();
    tokio::time::timeout(patience, noticed.changed()).await.unwrap().unwrap();
    let generation = snapshot.generation();
    let change = EndpointChange { state: Some(EndpointState::Paused), ..EndpointChange::default() };
    test.database.endpoint_update(&house(), tenant, endpoint.id, &change).await.unwrap();
    loop {
        tokio::time::timeout(patience, noticed.changed()).await.unwrap().unwrap();
        // Noticed is what the snapshot has already.
        if snapshot.generation() > generation {
            break;
        }
    }
}

/// After a day on which an endpoint was away.
#[tokio::test]
async fn a_replay_of_very_many_is_done_in_parts_from_the_oldest_on() {
    let (test, one) = with_tenant().await;
    let (own, tenant) = (admin_of(one.tenant.id), one.tenant.id);
    let new = EndpointNew { url: "https://hooks.example/".to_owned(), kinds: Vec::new() };
    let (endpoint, _) = test.database.endpoint_create(&own, tenant, &new).await.unwrap();
    let admin = test.admin().await;
    let sql = format!(
        "SELECT set_config('posthouse.scope', 'house', false);
         CREATE TEMPORARY TABLE made AS
             SELECT gen_random_uuid() AS id, '2026-11-20'::timestamptz + n * interval '1 second' AS at
             FROM generate_series(1, 50003) n;
         INSERT INTO events (id, tenant_id, kind, at, data)
             SELECT id, '{tenant}', 'message.delivered', at, '{{}}' FROM made;
         INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, state, attempts, due_at, created_at)
             SELECT '{endpoint}', id, '{tenant}', 'failed', 10, at, at FROM made",
        tenant = tenant.uuid(),
        endpoint = endpoint.id.uuid()
    );
    admin.batch_execute(&sql).await.unwrap();
    let replay = async |since: Option<&str>| {
        let since = since.map(|text| Timestamp::parse_rfc3339(text).unwrap());
        test.database.webhook_replay(&own, tenant, endpoint.id, since).await.unwrap()
    };
    // The last three, and none of the failed ones before them.
    let since = replay(Some("2026-11-20T13:53:21Z")).await;
    assert_eq!(since, Replayed { count: 3, more: false, next_since: None });
    assert_eq!(replay(None).await, Replayed { count: 50_000, more: false, next_since: None });
    admin.batch_execute("UPDATE webhook_deliveries SET state = 'failed', attempts = 10").await.unwrap();
    assert_eq!(replay(None).await, Replayed { count: 50_000, more: true, next_since: None });
    assert_eq!(replay(None).await, Replayed { count: 3, more: false, next_since: None });
    admin.batch_execute("UPDATE webhook_deliveries SET state = 'delivered', attempts = 1").await.unwrap();
    let first = replay(Some("2026-11-20T00:00:00Z")).await;
    let next = Timestamp::parse_rfc3339("2026-11-20T13:53:21Z");
    assert_eq!(first, Replayed { count: 50_000, more: true, next_since: next });
    assert_eq!(
        replay(Some("2026-11-20T13:53:21Z")).await,
        Replayed { count: 3, more: false, next_since: None }
    );
}
