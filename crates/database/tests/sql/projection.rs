//! The projection: written once however often it is applied, and read back as a tenant sees it.

use crate::fixture::*;
use database::{
    AttemptNew, Batch, Database, Fault, MessageFilter, MessageNew, Onboarded, PageRequest, RecipientState,
    SettlementNew,
};
use mail::{
    Class, ClassKind, Event, EventId, EventKind, MessageId, Outcome, Random, Reply, Scope, Timestamp, Verdict,
};
use registry::Usage;
use std::time::Duration;

pub fn message(one: &Onboarded, seed: u64) -> MessageNew {
    let at = one.tenant.created_at;
    MessageNew {
        id: MessageId::mint(at, &mut Random::from_number(seed)),
        tenant: one.tenant.id,
        stream: one.streams[0].id,
        domain: one.domain.id,
        credential: Some(one.credential.id),
        api_key: None,
        accepted_at: at,
        not_before: None,
        expires_at: at.saturating_add(Duration::from_secs(3600)),
        header_from: "Anna <a@one.example>".to_owned(),
        reverse_path: "a@one.example".to_owned(),
        subject: "Grüße\0".to_owned(),
        message_id_header: format!("<{seed}@one.example>"),
        tags: vec!["nov26".to_owned()],
        metadata: vec![("order".to_owned(), "77".to_owned())],
        size: 1234,
        recipients_count: 2,
        recipients_first: 0,
        recipients: vec!["b@example.net".to_owned(), "c@example.org".to_owned()],
    }
}

fn attempt(of: &MessageNew, recipient: u32, attempt: u32, verdict: Verdict) -> AttemptNew {
    let at = of.accepted_at.saturating_add(Duration::from_secs(u64::from(attempt) * 60));
    let deferred = verdict == Verdict::Deferred;
    AttemptNew {
        message: of.id,
        recipient,
        attempt,
        tenant: of.tenant,
        stream: of.stream,
        at,
        outcome: Outcome {
            verdict,
            class: Class::stored(if deferred { "greylisted" } else { "delivered" }),
            kind: ClassKind::Soft,
            scope: Scope::Recipient,
            stage: "rcpt",
            reply: Some(Reply::new(if deferred { 451 } else { 250 }, None, "later")),
            trouble: None,
            status: None,
            rule: None,
            mx: Some("mx1.example.net".to_owned()),
            egress: Some("192.0.2.25".parse().unwrap()),
            tls: Some("TLSv1.3".to_owned()),
            provider: "other".into(),
        },
        source: Some("out-1".to_owned()),
        site: Some("example.net".to_owned()),
        next_at: deferred.then(|| at.saturating_add(Duration::from_secs(300))),
        duration_ms: 12,
        queued_ms: 3,
    }
}

fn settlement(of: &MessageNew, recipient: u32, state: RecipientState) -> SettlementNew {
    let (class, reply) = (Some("delivered".to_owned()), None);
    let at = of.accepted_at.saturating_add(Duration::from_secs(130));
    SettlementNew { message: of.id, recipient, tenant: of.tenant, stream: of.stream, at, state, class, reply }
}

fn event(of: &MessageNew, seed: u64, kind: EventKind) -> Event {
    let id = EventId::mint(of.accepted_at, &mut Random::from_number(seed));
    Event {
        id,
        kind,
        timestamp: of.accepted_at,
        tenant: of.tenant,
        data: serde_json::json!({ "message": of.id }),
    }
}

fn batch(one: &Onboarded) -> Batch {
    let message = message(one, 1);
    Batch {
        attempts: vec![
            attempt(&message, 0, 1, Verdict::Deferred),
            attempt(&message, 0, 2, Verdict::Delivered),
            attempt(&message, 1, 1, Verdict::Deferred),
        ],
        settlements: vec![settlement(&message, 0, RecipientState::Delivered)],
        events: vec![
            event(&message, 1, EventKind::MessageAccepted),
            event(&message, 2, EventKind::MessageDelivered),
        ],
        messages: vec![message],
        cursor_name: "rollup".to_owned(),
        position: vec![1, 2, 3],
    }
}

async fn counts(database: &Database, one: &Onboarded) -> Vec<(String, i64)> {
    let at = one.tenant.created_at;
    let rows = database.counter_list(&house(), one.tenant.id, at, at).await.unwrap();
    rows.into_iter().map(|row| (row.what, row.count)).collect()
}

#[tokio::test]
async fn a_batch_applied_twice_is_there_once() {
    let (test, one) = with_tenant().await;
    assert_eq!(test.database.cursor_fetch(&house(), "rollup").await.unwrap(), None);
    let batch = batch(&one);
    for _ in 0..2 {
        test.database.projection_apply(&house(), &batch).await.unwrap();
    }
    assert_eq!(test.database.cursor_fetch(&house(), "rollup").await.unwrap(), Some(vec![1, 2, 3]));
    let events =
        test.database.event_list(&house(), one.tenant.id, &PageRequest::first(), None).await.unwrap().rows;
    assert_eq!(events.len(), 2);
    let expected = [("accepted", 2), ("attempted", 1), ("deferred", 2), ("delivered", 1)];
    let expected: Vec<(String, i64)> = expected.map(|(what, count)| (what.to_owned(), count)).to_vec();
    assert_eq!(counts(&test.database, &one).await, expected);
}

#[tokio::test]
async fn a_message_in_parts_is_whole_in_the_end_and_counted_once() {
    let (test, one) = with_tenant().await;
    let message = message(&one, 1);
    let part = |first: u32, recipients: &[&str]| Batch {
        messages: vec![MessageNew {
            recipients_count: 5,
            recipients_first: first,
            recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
            ..message.clone()
        }],
        cursor_name: "rollup".to_owned(),
        position: vec![1],
        ..Batch::default()
    };
    let (head, tail) = (part(0, &["a@x.example", "b@x.example"]), part(2, &["c@x.example", "d@x.example"]));
    // Read again after a crash: once as it was, once cut in another place.
    let again = part(1, &["b@x.example", "c@x.example", "d@x.example", "e@x.example"]);
    for batch in [&head, &head, &tail, &head, &again] {
        test.database.projection_apply(&house(), batch).await.unwrap();
    }
    let row = test.database.message_fetch(&house(), one.tenant.id, message.id).await.unwrap();
    let addresses: Vec<_> = row.recipients.iter().map(|r| r.address.as_str()).collect();
    assert_eq!(addresses, ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"]);
    assert_eq!(counts(&test.database, &one).await, [("accepted".to_owned(), 5)]);
    let used = test.database.usage_restore(&house()).await.unwrap();
    assert!(used.iter().all(|count| count.recipients == 5) && used.len() == 2, "{used:?}");
}

/// Applies a batch while a transaction that has done `deleting` is open, and commits that as soon as somebody waits
/// for it.
async fn apply_against(test: &TestDatabase, batch: &Batch, deleting: &str) -> Result<(), Fault> {
    let (deleter, watcher) = (test.admin().await, test.admin().await);
    deleter.batch_execute(&format!("BEGIN; {deleting}")).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let committing = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            again.tick().await;
        }
        deleter.batch_execute("COMMIT").await.unwrap();
    };
    let access = house();
    let both = async { tokio::join!(test.database.projection_apply(&access, batch), committing).0 };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("nobody waited")
}

#[tokio::test]
async fn an_endpoint_that_is_deleted_meanwhile_costs_only_its_own_calls() {
    let (test, one) = with_tenant().await;
    let create = async |url: &str| {
        let new = database::EndpointNew { url: url.to_owned(), kinds: Vec::new() };
        test.database.endpoint_create(&house(), one.tenant.id, &new).await.unwrap().0
    };
    let (gone, stays) = (create("https://a.example/").await, create("https://b.example/").await);
    let deleting = format!("DELETE FROM endpoints WHERE id = '{}'", gone.id.uuid());
    apply_against(&test, &batch(&one), &deleting).await.unwrap();
    let events =
        test.database.event_list(&house(), one.tenant.id, &PageRequest::first(), None).await.unwrap().rows;
    assert_eq!(events.len(), 2);
    let wanted = database::WebhookWanted {
        limit: 10,
        per_endpoint: 10,
        per_tenant: 10,
        tenants: Vec::new(),
        without: Vec::new(),
        lease: Duration::from_secs(60),
    };
    let due = test.database.webhook_due(&house(), &wanted).await.unwrap();
    assert_eq!(due.iter().map(|call| call.endpoint).collect::<Vec<_>>(), [stays.id; 2]);
}

#[tokio::test]
async fn a_tenant_that_is_erased_meanwhile_takes_nothing_of_others_along() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let (own, mut other) = (batch(&one), batch(&two));
    other.messages[0].id = MessageId::mint(two.tenant.created_at, &mut Random::from_number(2));
    other.attempts.iter_mut().for_each(|attempt| attempt.message = other.messages[0].id);
    other.settlements[0].message = other.messages[0].id;
    other.events = vec![event(&other.messages[0], 3, EventKind::MessageAccepted)];
    let both = Batch {
        messages: [own.messages, other.messages].concat(),
        attempts: [own.attempts, other.attempts].concat(),
        settlements: [own.settlements, other.settlements].concat(),
        events: [own.events, other.events].concat(),
        cursor_name: own.cursor_name,
        position: own.position,
    };
    let deleting = format!("DELETE FROM tenants WHERE id = '{}'", one.tenant.id.uuid());
    apply_against(&test, &both, &deleting).await.unwrap();
    let left =
        test.database.event_list(&house(), two.tenant.id, &PageRequest::first(), None).await.unwrap().rows;
    assert_eq!(left.len(), 1);
    let expected = [("accepted", 2), ("attempted", 1), ("deferred", 2), ("delivered", 1)];
    let expected: Vec<(String, i64)> = expected.map(|(what, count)| (what.to_owned(), count)).to_vec();
    assert_eq!(counts(&test.database, &two).await, expected);
}

#[tokio::test]
async fn a_message_that_is_forgotten_meanwhile_takes_nothing_of_others_along() {
    let (test, one) = with_tenant().await;
    let first = batch(&one);
    let second = message(&one, 2);
    let both = Batch { messages: vec![first.messages[0].clone(), second.clone()], ..Batch::default() };
    test.database.projection_apply(&house(), &both).await.unwrap();
    let mut late = first.clone();
    late.messages = Vec::new();
    late.attempts.push(attempt(&second, 0, 1, Verdict::Deferred));
    let deleting = format!("DELETE FROM messages WHERE id = '{}'", first.messages[0].id.uuid());
    apply_against(&test, &late, &deleting).await.unwrap();
    let timeline = test.database.message_timeline(&house(), one.tenant.id, second.id).await.unwrap();
    assert_eq!(timeline.len(), 1);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_told_from_a_database_that_is_away() {
    let (test, one) = with_tenant().await;
    let config = database::Config { statement_ms_max: 100, ..test.config.clone() };
    let clock = std::sync::Arc::clone(&test.clock) as std::sync::Arc<dyn mail::Clock>;
    let quick =
        Database::connect(&config, testkit::test_keys(), clock, Random::from_number(3)).await.unwrap();
    let holder = test.admin().await;
    holder.batch_execute("BEGIN; LOCK TABLE messages").await.unwrap();
    let fault = quick.projection_apply(&house(), &batch(&one)).await.unwrap_err();
    assert!(fault.is_passing() && fault.is_too_slow(), "{fault:?}");
    assert!(!Fault::NotFound("tenant").is_too_slow());
}

#[tokio::test]
async fn a_message_is_found_by_everything_it_can_be_asked_for() {
    let (test, one) = with_tenant().await;
    let batch = batch(&one);
    test.database.projection_apply(&house(), &batch).await.unwrap();
    let (tenant, own) = (one.tenant.id, viewer_of(one.tenant.id));
    let found = test.database.message_fetch(&own, tenant, batch.messages[0].id).await.unwrap();
    assert_eq!((found.subject.as_str(), found.metadata["order"].as_str()), ("Grüße", "77"));
    let states: Vec<_> =
        found.recipients.iter().map(|r| (r.state, r.attempts, r.next_at.is_some())).collect();
    assert_eq!(states, [(RecipientState::Delivered, 2, false), (RecipientState::Deferred, 1, true)]);
    let timeline = test.database.message_timeline(&own, tenant, found.id).await.unwrap();
    assert_eq!(timeline.len(), 3);
    assert_eq!((timeline[0].code, timeline[0].reply.as_deref()), (Some(451), Some("451 later")));

    let filter = |change: fn(&mut MessageFilter)| {
        let mut filter = MessageFilter::default();
        change(&mut filter);
        filter
    };
    let cases = [
        (filter(|f| f.recipient = Some("c@example.org".to_owned())), 1),
        (filter(|f| f.recipient = Some("x@example.org".to_owned())), 0),
        (filter(|f| f.state = Some(RecipientState::Deferred)), 1),
        (filter(|f| f.state = Some(RecipientState::Bounced)), 0),
        (filter(|f| f.tag = Some("nov26".to_owned())), 1),
        (filter(|f| f.tag = Some("dec26".to_owned())), 0),
        (filter(|f| f.message_id_header = Some("<1@one.example>".to_owned())), 1),
        (filter(|f| f.until = Some(Timestamp::UNIX_EPOCH)), 0),
    ];
    for (filter, count) in cases {
        let page = test.database.message_list(&own, tenant, &filter, &PageRequest::first()).await.unwrap();
        assert_eq!(page.rows.len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn a_settled_recipient_stays_settled() {
    let (test, one) = with_tenant().await;
    let first = batch(&one);
    test.database.projection_apply(&house(), &first).await.unwrap();
    let message = &first.messages[0];
    let late = Batch {
        attempts: vec![attempt(message, 0, 3, Verdict::Deferred)],
        settlements: vec![settlement(message, 0, RecipientState::Failed)],
        cursor_name: "rollup".to_owned(),
        position: vec![4],
        ..Batch::default()
    };
    test.database.projection_apply(&house(), &late).await.unwrap();
    let found = test.database.message_fetch(&house(), one.tenant.id, message.id).await.unwrap();
    assert_eq!(found.recipients[0].state, RecipientState::Delivered);
    assert!(!counts(&test.database, &one).await.iter().any(|(what, _)| what == "failed"));
}

#[tokio::test]
async fn what_expired_long_ago_does_not_wait_although_nobody_told_its_end() {
    let (test, one) = with_tenant().await;
    let batch = batch(&one);
    test.database.projection_apply(&house(), &batch).await.unwrap();
    let end = batch.messages[0].expires_at;
    let waits = async |expired| test.database.has_waiting(&house(), one.tenant.id, expired).await.unwrap();
    assert!(waits(end).await && waits(Timestamp::UNIX_EPOCH).await);
    assert!(!waits(end.saturating_add(Duration::from_millis(1))).await);
    let other = test.database.has_waiting(&house(), mail::TenantId::from_uuid(uuid::Uuid::nil()), end).await;
    assert!(!other.unwrap());
}

#[tokio::test]
async fn records_of_an_erased_tenant_are_dropped_and_the_cursor_goes_on() {
    let (test, one) = with_tenant().await;
    let batch = batch(&one);
    test.database
        .tenant_set_status(&house(), one.tenant.id, registry::TenantStatus::Closing, None)
        .await
        .unwrap();
    test.database.tenant_erase(&house(), one.tenant.id).await.unwrap();
    test.database.projection_apply(&house(), &batch).await.unwrap();
    assert_eq!(test.database.cursor_fetch(&house(), "rollup").await.unwrap(), Some(vec![1, 2, 3]));
}

#[tokio::test]
async fn a_batch_that_fails_leaves_the_cursor_where_it_was() {
    let (test, one) = with_tenant().await;
    let stranger = admin_of(one.tenant.id);
    let refused = test.database.projection_apply(&stranger, &batch(&one)).await;
    assert!(matches!(refused, Err(Fault::Forbidden)));
    assert_eq!(test.database.cursor_fetch(&house(), "rollup").await.unwrap(), None);
    let filter = MessageFilter::default();
    let page =
        test.database.message_list(&house(), one.tenant.id, &filter, &PageRequest::first()).await.unwrap();
    assert!(page.rows.is_empty());
}

#[tokio::test]
async fn usage_goes_on_after_a_restart() {
    let (test, one) = with_tenant().await;
    test.database.projection_apply(&house(), &batch(&one)).await.unwrap();
    let mut usage = Usage::new();
    usage.restore(test.database.usage_restore(&house()).await.unwrap());
    let now = one.tenant.created_at;
    assert_eq!(usage.of_tenant(one.tenant.id, now).today, 2);
    assert_eq!(usage.of_credential(one.credential.id, now).today, 2);
}

#[tokio::test]
async fn events_are_read_on_from_a_cursor() {
    let (test, one) = with_tenant().await;
    test.database.projection_apply(&house(), &batch(&one)).await.unwrap();
    let list = async |cursor: Option<&str>| {
        let page = PageRequest::new(Some(1), cursor).unwrap();
        test.database.event_list(&house(), one.tenant.id, &page, None).await.unwrap()
    };
    let first = list(None).await;
    assert_eq!(first.rows[0].event.kind, EventKind::MessageAccepted);
    let second = list(first.next.as_deref()).await;
    assert_eq!(second.rows[0].event.kind, EventKind::MessageDelivered);
    assert!(list(second.next.as_deref()).await.rows.is_empty());
}
