//! The same call twice is done once.

use crate::harness::{Client, House, Reply, hold_changes, somebody_waits};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::json;
use std::time::Duration;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];

/// The same call each time.
async fn make_stream(house: &House, client: &Client) -> Reply {
    let body = json!({"name": "news", "kind": "marketing"});
    house.call_with("POST", "/v1/tenants/self/streams", &client.key, Some(body), &KEY).await
}

#[tokio::test]
async fn a_client_that_goes_away_finds_its_call_done_once() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = || make_stream(&house, &client);
    let held = hold_changes(&house.database).await;
    tokio::select! {
        reply = call() => panic!("answered while it had to wait: {reply:?}"),
        () = somebody_waits(&house.database) => {}
    }
    held.batch_execute("COMMIT").await.unwrap();
    let reply = call().await;
    reply.expect(201);
    assert_eq!(reply.headers["idempotency-replayed"], "true");
    let list = house.call("GET", "/v1/tenants/self/streams", &client.key, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_call_that_outlasts_the_time_limit_is_done_once_and_its_answer_kept() {
    let config = api::Config { request_seconds_max: 1, ..Default::default() };
    let house = House::with(config).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = || make_stream(&house, &client);
    let held = hold_changes(&house.database).await;
    assert_eq!(call().await.problem(408), "request_timeout");
    held.batch_execute("COMMIT").await.unwrap();
    let mut reply = call().await;
    // On a busy machine a second may be short.
    for _ in 0..10 {
        if reply.status == 408 {
            reply = call().await;
        }
    }
    reply.expect(201);
    assert_eq!(reply.headers["idempotency-replayed"], "true");
    let list = house.call("GET", "/v1/tenants/self/streams", &client.key, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn calls_that_go_on_without_their_client_are_bounded() {
    let house = House::with(api::Config { idempotent_calls_max: 1, ..Default::default() }).await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = |key: &'static str| {
        let (house, client) = (&house, &client);
        async move {
            let body = json!({"name": key, "kind": "marketing"});
            let headers = [("idempotency-key", key)];
            house.call_with("POST", "/v1/tenants/self/streams", &client.key, Some(body), &headers).await
        }
    };
    let held = hold_changes(&house.database).await;
    let mut first = std::pin::pin!(call("one"));
    assert!(first.as_mut().now_or_never().is_none());
    tokio::select! {
        reply = &mut first => panic!("answered while it had to wait: {reply:?}"),
        () = somebody_waits(&house.database) => {}
    }
    assert_eq!(call("two").await.problem(503), "try_again_later");
    held.batch_execute("COMMIT").await.unwrap();
    first.await.expect(201);
    call("two").await.expect(201);
}

#[tokio::test]
async fn a_repeated_onboarding_is_answered_byte_for_byte_and_makes_nothing() {
    let house = House::open().await;
    let operator = house.operator().await;
    let body = json!({"name": "A", "domain": "a.example"});
    let headers = [("idempotency-key", "onboard-1")];
    let first = house.call_with("POST", "/v1/tenants", &operator, Some(body.clone()), &headers).await;
    first.expect(201);
    let quoted = [("idempotency-key", "\"onboard-1\"")];
    let second = house.call_with("POST", "/v1/tenants", &operator, Some(body), &quoted).await;
    second.expect(201);
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!(second.headers["content-type"], "application/json");
    assert_ne!(first.headers["request-id"], second.headers["request-id"]);
    let other = json!({"name": "B", "domain": "a.example"});
    let reply = house.call_with("POST", "/v1/tenants", &operator, Some(other), &headers).await;
    assert_eq!(reply.problem(422), "idempotency_mismatch");
    let list = house.call("GET", "/v1/tenants", &operator, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_at_the_same_time_one_is_done_and_all_get_its_answer() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = || {
        let body = json!({"name": "news", "kind": "marketing"});
        house.call_with(
            "POST",
            "/v1/tenants/self/streams",
            &client.key,
            Some(body),
            &[("idempotency-key", "k")],
        )
    };
    let replies = join_all((0..8).map(|_| call())).await;
    for reply in &replies {
        reply.expect(201);
        assert_eq!(reply.bytes, replies[0].bytes);
    }
    let list = house.call("GET", "/v1/tenants/self/streams", &client.key, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_its_tenant_and_a_refusal_is_kept_too() {
    let house = House::open().await;
    let operator = house.operator().await;
    let (a, b) = (house.onboard(&operator, "a.example").await, house.onboard(&operator, "b.example").await);
    let headers = [("idempotency-key", "same")];
    let body = json!({"name": "news", "kind": "marketing"});
    let mut ids = Vec::new();
    for client in [&a, &b] {
        let reply = house
            .call_with("POST", "/v1/tenants/self/streams", &client.key, Some(body.clone()), &headers)
            .await;
        ids.push(reply.expect(201)["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    let wrong = [("idempotency-key", "wrong")];
    let first = house.call_with("POST", "/v1/tenants/self/streams", &a.key, Some(json!({})), &wrong).await;
    assert_eq!(first.problem(422), "invalid_fields");
    let second = house.call_with("POST", "/v1/tenants/self/streams", &a.key, Some(json!({})), &wrong).await;
    assert_eq!((second.problem(422).as_str(), second.said()), ("invalid_fields", first.said()));
    let long = "x".repeat(256);
    let reply = house
        .call_with("POST", "/v1/tenants/self/streams", &a.key, Some(body), &[("idempotency-key", &long)])
        .await;
    assert_eq!(reply.problem(400), "invalid_parameter");
}

#[tokio::test]
async fn no_kept_answer_holds_a_secret_in_the_clear() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let body = json!({"name": "shop"});
    let headers = [("idempotency-key", "k")];
    let made = house
        .call_with("POST", "/v1/tenants/self/credentials", &client.key, Some(body), &headers)
        .await
        .expect(201);
    let password = made["password"].as_str().unwrap().as_bytes().to_vec();
    let admin = house.database.admin().await;
    let rows = admin.query("SELECT body FROM idempotency_keys", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let kept: Vec<u8> = rows[0].get(0);
    assert!(!kept.windows(password.len()).any(|window| window == password));
}

/// A key that was lost while its call was at work: PostgreSQL was away for longer than the lease.
#[tokio::test]
async fn a_call_that_has_lost_its_key_changes_nothing_and_says_that_another_is_at_it() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let call = || make_stream(&house, &client);
    let held = hold_changes(&house.database).await;
    let admin = house.database.admin().await;
    let (reply, ()) = tokio::join!(call(), async {
        somebody_waits(&house.database).await;
        let taken = "UPDATE idempotency_keys SET holder = gen_random_uuid()";
        assert_eq!(admin.execute(taken, &[]).await.unwrap(), 1);
        held.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(reply.problem(409), "call_running");
    assert!(reply.headers.contains_key("retry-after"));
    let list = house.call("GET", "/v1/tenants/self/streams", &client.key, None).await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 2, "those of the onboarding");
    let row = admin.query_one("SELECT status FROM idempotency_keys", &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<i16>>(0), None, "an answer was kept for a key of somebody else");
}

/// The lease ended, because PostgreSQL was away, under the hands of a call that is still at work here.
#[tokio::test]
async fn a_twin_leaves_the_key_to_the_call_that_is_still_at_work() {
    let house = House::open().await;
    let operator = house.operator().await;
    let client = house.onboard(&operator, "a.example").await;
    let held = hold_changes(&house.database).await;
    let admin = house.database.admin().await;
    let holder = async || {
        let row = admin.query_one("SELECT holder::text FROM idempotency_keys", &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let (first, twin) = tokio::join!(make_stream(&house, &client), async {
        somebody_waits(&house.database).await;
        let ended = "UPDATE idempotency_keys SET lease_until = created_at + interval '1 ms'";
        assert_eq!(admin.execute(ended, &[]).await.unwrap(), 1);
        house.clock.advance(Duration::from_secs(1));
        let before = holder().await;
        let looking = async {
            let mut again = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..25 {
                again.tick().await;
                assert_eq!(holder().await, before, "the twin took the key");
            }
            held.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(make_stream(&house, &client), looking).0
    });
    first.expect(201);
    twin.expect(201);
    assert_eq!(
        (&twin.bytes, &twin.headers["idempotency-replayed"]),
        (&first.bytes, &"true".parse().unwrap())
    );
}
