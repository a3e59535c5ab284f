//! What became of a message: search, one message, its timeline, and why it waits.

use crate::harness::{Client, House};
use database::{AttemptNew, Batch, Database, MessageNew};
use futures_util::FutureExt as _;
use mail::{Class, ClassKind, MessageId, Outcome, Random, Scope, StreamId, Timestamp, Verdict};
use queue::control::{Reason, WaitingView};
use registry::Access;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, OnceLock};

fn deferred() -> Outcome {
    Outcome {
        verdict: Verdict::Deferred,
        class: Class::stored("rate.limited"),
        kind: ClassKind::Throttle,
        scope: Scope::Path,
        stage: "rcpt",
        reply: None,
        trouble: None,
        status: None,
        rule: None,
        mx: Some("mx1.example.org".to_owned()),
        egress: Some("192.0.2.25".parse().unwrap()),
        tls: Some("TLSv1.3".to_owned()),
        provider: "other".into(),
    }
}

/// A message with two recipients, the first deferred once, as the reader of the journal writes it.
pub fn batch(client: &Client, stream: StreamId, id: MessageId, now: Timestamp) -> Batch {
    let message = MessageNew {
        id,
        tenant: client.id(),
        stream,
        domain: client.domain.parse().unwrap(),
        credential: None,
        api_key: None,
        accepted_at: now,
        not_before: None,
        expires_at: now.saturating_add(std::time::Duration::from_secs(3600)),
        header_from: "news@a.example".to_owned(),
        reverse_path: "news@a.example".to_owned(),
        subject: "Hi".to_owned(),
        message_id_header: "<1@a.example>".to_owned(),
        tags: vec!["nov".to_owned()],
        metadata: vec![("order".to_owned(), "77".to_owned())],
        size: 1000,
        recipients_count: 2,
        recipients_first: 0,
        recipients: vec!["a@example.org".to_owned(), "b@example.org".to_owned()],
    };
    let attempt = AttemptNew {
        message: id,
        recipient: 0,
        attempt: 1,
        tenant: client.id(),
        stream,
        at: now,
        outcome: deferred(),
        source: Some("a1".to_owned()),
        site: Some("example.org".to_owned()),
        next_at: Some(now.saturating_add(std::time::Duration::from_secs(60))),
        duration_ms: 120,
        queued_ms: 3,
    };
    Batch {
        messages: vec![message],
        attempts: vec![attempt],
        cursor_name: "test".to_owned(),
        position: vec![1],
        ..Batch::default()
    }
}

async fn told(change: impl FnOnce(&mut api::AppState)) -> (House, Client, MessageId) {
    let house = House::with_state(api::Config::default(), change).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let stream = client.answer["streams"][1]["id"].as_str().unwrap().parse().unwrap();
    let now = mail::Clock::timestamp(&*house.clock);
    let id = MessageId::mint(now, &mut Random::from_number(5));
    let access = Access::house("test");
    house.database.database.projection_apply(&access, &batch(&client, stream, id, now)).await.unwrap();
    (house, client, id)
}

async fn found(house: &House, client: &Client, query: &str) -> usize {
    let page =
        house.call("GET", &client.path(&format!("/messages?{query}")), &client.key, None).await.expect(200);
    page["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_message_is_found_by_what_is_known_of_it_and_by_its_tenant_only() {
    let (house, client, id) = told(|_| {}).await;
    let stream = client.answer["streams"][1]["id"].as_str().unwrap();
    let other = client.answer["streams"][0]["id"].as_str().unwrap();
    for (query, count) in [
        ("recipient=a@EXAMPLE.org".to_owned(), 1),
        ("recipient=c@example.org".to_owned(), 0),
        ("state=deferred&tag=nov".to_owned(), 1),
        ("state=delivered".to_owned(), 0),
        (format!("stream={stream}"), 1),
        (format!("stream={other}"), 0),
        ("stream=marketing".to_owned(), 1),
        ("stream=transactional".to_owned(), 0),
        ("message_id_header=%3C1@a.example%3E".to_owned(), 1),
        ("since=2030-01-01T00:00:00Z".to_owned(), 0),
        ("until=2030-01-01T00:00:00Z".to_owned(), 1),
    ] {
        assert_eq!(found(&house, &client, &query).await, count, "{query}");
    }
    let shown =
        house.call("GET", &client.path(&format!("/messages/{id}")), &client.key, None).await.expect(200);
    assert_eq!((&shown["id"], &shown["metadata"]), (&json!(id), &json!({"order": "77"})));
    assert_eq!(shown["recipients"][0]["state"], "deferred");
    let operator = house.operator().await;
    let stranger = house.onboard(&operator, "b.example").await;
    let path = format!("/v1/tenants/self/messages/{id}");
    assert_eq!(house.call("GET", &path, &stranger.key, None).await.problem(404), "not_found");
    assert_eq!(found(&house, &stranger, "tag=nov").await, 0);
}

#[tokio::test]
async fn the_timeline_has_every_attempt_with_its_reply() {
    let (house, client, id) = told(|_| {}).await;
    let path = client.path(&format!("/messages/{id}/timeline"));
    let timeline = house.call("GET", &path, &client.key, None).await.expect(200);
    let attempt = &timeline["data"][0];
    assert_eq!(timeline["data"].as_array().unwrap().len(), 1);
    for (field, value) in [
        ("recipient", json!("a@example.org")),
        ("verdict", json!("deferred")),
        ("class", json!("rate.limited")),
        ("mx", json!("mx1.example.org")),
        ("egress", json!("192.0.2.25")),
        ("tls", json!("TLSv1.3")),
        ("duration_ms", json!(120)),
    ] {
        assert_eq!(attempt[field], value, "{field}");
    }
    let usage = house.call("GET", &client.path("/usage"), &client.key, None).await.expect(200);
    assert_eq!(usage["totals"]["accepted"], 2);
}

fn reasons(answer: &Value) -> Vec<Value> {
    answer["recipients"].as_array().unwrap().iter().map(|recipient| recipient["reason"].clone()).collect()
}

#[tokio::test]
async fn why_asks_the_queue_and_falls_back_to_what_is_written() {
    let (house, client, id) = told(|_| {}).await;
    let path = client.path(&format!("/messages/{id}/why"));
    let answer = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!(reasons(&answer), ["retry", "turn"]);
    assert!(answer["recipients"][0]["until"].is_string());
    // Nobody has tried it again although its time has come: that is no reason any more.
    house.clock.advance(std::time::Duration::from_secs(400));
    let answer = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!(reasons(&answer), ["not_here", "not_here"]);
    assert!(answer["recipients"][0]["until"].is_null());
    let detail = answer["recipients"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("no queue of this node has it"), "{detail}");

    let (house, client, id) = told(|state| {
        state.why = Arc::new(|message| async move { Some(vec![held(message)]) }.boxed());
    })
    .await;
    let path = client.path(&format!("/messages/{id}/why"));
    let answer = house.call("GET", &path, &client.key, None).await.expect(200);
    assert_eq!(reasons(&answer), ["retry", "held"]);
    assert_eq!(answer["recipients"][1]["detail"], "the path is suspended: listed");
}

/// The tables are told by another task, a moment after the 202.
#[tokio::test]
async fn an_id_is_good_from_its_202_on_although_the_tables_are_behind() {
    for (method, rest) in [("GET", ""), ("GET", "/timeline"), ("GET", "/why"), ("POST", "/cancel")] {
        let (behind, tell) = (Arc::new(Mutex::new(None::<Batch>)), Arc::new(OnceLock::<Database>::new()));
        let (late, tables) = (Arc::clone(&behind), Arc::clone(&tell));
        let house = House::with_state(api::Config::default(), move |state| {
            state.told = Arc::new(move || {
                let (batch, tables) = (late.lock().unwrap().take(), Arc::clone(&tables));
                async move {
                    let Some(batch) = batch else { return };
                    let tables = tables.get().unwrap();
                    tables.projection_apply(&Access::house("test"), &batch).await.unwrap();
                }
                .boxed()
            });
        })
        .await;
        tell.set(house.database.database.clone()).ok().unwrap();
        let operator = house.operator().await;
        let client = house.onboard(&operator, "a.example").await;
        let stranger = house.onboard(&operator, "b.example").await;
        let stream = client.answer["streams"][1]["id"].as_str().unwrap().parse().unwrap();
        let now = mail::Clock::timestamp(&*house.clock);
        let id = MessageId::mint(now, &mut Random::from_number(5));
        *behind.lock().unwrap() = Some(batch(&client, stream, id, now));
        let path = client.path(&format!("/messages/{id}{rest}"));
        house.call(method, &path, &client.key, None).await.expect(200);
        let foreign = format!("/v1/tenants/self/messages/{id}{rest}");
        assert_eq!(house.call(method, &foreign, &stranger.key, None).await.problem(404), "not_found");
    }
}

#[tokio::test]
async fn as_long_as_the_tables_stay_behind_nobody_says_that_there_is_no_such_message() {
    let (house, client, known) = told(|state| {
        state.config.told_wait_seconds = 0;
        state.told = Arc::new(|| std::future::pending().boxed());
    })
    .await;
    let unknown = MessageId::mint(mail::Clock::timestamp(&*house.clock), &mut Random::from_number(6));
    for (method, rest) in [("GET", ""), ("GET", "/timeline"), ("GET", "/why"), ("POST", "/cancel")] {
        let reply =
            house.call(method, &client.path(&format!("/messages/{unknown}{rest}")), &client.key, None).await;
        assert_eq!(reply.problem(503), "try_again_later", "{method} {rest}");
        assert!(reply.headers.contains_key("retry-after"), "{method} {rest}");
        house
            .call(method, &client.path(&format!("/messages/{known}{rest}")), &client.key, None)
            .await
            .expect(200);
    }
}

/// The second recipient, on a suspended path.
fn held(message: MessageId) -> WaitingView {
    let (now, mut random) = (Timestamp::from_millis(1), Random::from_number(1));
    WaitingView {
        message,
        recipient: 1,
        tenant: mail::TenantId::mint(now, &mut random),
        stream: StreamId::mint(now, &mut random),
        pool: mail::PoolId::mint(now, &mut random),
        domain: "example.org".to_owned(),
        site: "example.org".to_owned(),
        attempt: 0,
        reason: Reason::Held("listed".to_owned()),
        until: None,
        expires_at: now,
    }
}
