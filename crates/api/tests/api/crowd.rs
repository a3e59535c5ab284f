//! One tenant asks for all it can get; the others are served as if it were not there.

use crate::harness::{Client, House};
use api::Config;
use axum::body::{Body, Bytes};
use axum::http::Request;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn message() -> serde_json::Value {
    json!({"from": "a@mail.b.example", "to": "x@example.org", "subject": "s", "text": "t"})
}

async fn two(house: &House) -> (Client, Client) {
    (house.ready_client("mail.a.example").await, house.ready_client("mail.b.example").await)
}

async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let looking = async {
        while !happened().await {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), looking).await.expect(what);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_one_tenant_that_hang_take_neither_all_connections_nor_all_requests() {
    let house = Arc::new(House::with(Config { requests_in_flight_max: 64, ..Config::default() }).await);
    let (greedy, other) = two(&house).await;
    // Every search of messages waits for this lock.
    let lock = house.database.admin().await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let (house, greedy) = (Arc::clone(&house), greedy.clone());
            tokio::spawn(async move { house.call("GET", &greedy.path("/messages"), &greedy.key, None).await })
        })
        .collect();
    until("the flood is told to come back", async || {
        flood.iter().filter(|call| call.is_finished()).count() >= 68
    })
    .await;

    house.call("GET", &other.path("/domains"), &other.key, None).await.expect(200);
    house.call("POST", &other.path("/messages"), &other.key, Some(message())).await.expect(202);
    let keyed = [("idempotency-key", "k")];
    let path = other.path("/messages");
    house.call_with("POST", &path, &other.key, Some(message()), &keyed).await.expect(202);

    lock.batch_execute("COMMIT").await.unwrap();
    let (mut served, mut refused) = (0, 0);
    for call in flood {
        let reply = call.await.unwrap();
        match reply.status.as_u16() {
            200 => served += 1,
            _ => {
                assert_eq!(reply.problem(429), "too_many_requests");
                assert!(reply.json()["detail"].as_str().unwrap().contains("this account"));
                assert_eq!(reply.headers["retry-after"], "1");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (32, 68));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_one_tenant_that_arrive_slowly_take_its_share_and_no_more() {
    let house = Arc::new(House::open_with_octets(8_000_000).await);
    let (greedy, other) = two(&house).await;
    let begin = |client: &Client, octets: usize| {
        let (sender, body) = futures_channel();
        let request = Request::post(client.path("/messages"))
            .header("authorization", format!("Bearer {}", client.key))
            .header("content-type", "application/json")
            .header("content-length", octets)
            .body(body)
            .unwrap();
        let house = Arc::clone(&house);
        (sender, tokio::spawn(async move { house.send(request).await }))
    };
    // Two bodies of which nothing arrives yet hold the greedy one's half.
    let slow = [begin(&greedy, 2_000_000), begin(&greedy, 2_000_000)];
    until("both are held", async || house.octets_held() == 4_000_000).await;
    let (_sender, refused) = begin(&greedy, 2_000_000);
    let refused = refused.await.unwrap();
    assert_eq!(refused.problem(429), "too_many_requests");
    assert!(refused.json()["detail"].as_str().unwrap().contains("your account"));
    assert_eq!(refused.headers["retry-after"], "5");
    house.call("POST", &other.path("/messages"), &other.key, Some(message())).await.expect(202);
    let keyed = [("idempotency-key", "k")];
    let path = greedy.path("/messages");
    let large = json!({"text": "x".repeat(2_000_000)});
    let refused = house.call_with("POST", &path, &greedy.key, Some(large), &keyed).await;
    assert_eq!(refused.problem(429), "too_many_requests");
    for (sender, call) in slow {
        drop(sender);
        call.await.unwrap();
    }
    assert_eq!(house.octets_held(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_held_by_what_it_becomes_before_it_is_made() {
    let house = House::open_with_octets(8_000_000).await;
    let (greedy, other) = two(&house).await;
    let to: Vec<_> = (0..200).map(|n| json!({"to": format!("r{n}@example.org")})).collect();
    let batch =
        |from: &str| json!({"from": from, "subject": "s", "text": "x".repeat(45_000), "recipients": to});
    let reply =
        house.call("POST", &greedy.path("/messages"), &greedy.key, Some(batch("a@mail.a.example"))).await;
    assert_eq!(reply.problem(503), "try_again_later");
    house.call("POST", &other.path("/messages"), &other.key, Some(message())).await.expect(202);
    assert_eq!(house.octets_held(), 0);
}

/// What nine in ten of a hundred sends stay below.
async fn nine_in_ten(house: &House, client: &Client) -> Duration {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        house.call("POST", &client.path("/messages"), &client.key, Some(message())).await.expect(202);
        took.push(began.elapsed());
    }
    took.sort();
    took[89]
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_of_one_tenant_do_not_delay_the_sends_of_another() {
    let house = Arc::new(House::open().await);
    let (greedy, other) = two(&house).await;
    let alone = nine_in_ten(&house, &other).await;
    let flood: Vec<_> = (0..64)
        .map(|_| {
            let (house, greedy) = (Arc::clone(&house), greedy.clone());
            tokio::spawn(async move {
                loop {
                    house.call("GET", &greedy.path("/messages?tag=none"), &greedy.key, None).await;
                }
            })
        })
        .collect();
    let beside = nine_in_ten(&house, &other).await;
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    // The flood takes processor time as well, and tests share the machine.
    assert!(beside < alone * 2 + Duration::from_millis(200), "{alone:?} alone, {beside:?} beside the flood");
}

/// A body that arrives when it is sent.
fn futures_channel() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|octets| (Ok::<_, std::io::Error>(octets), receiver))
    });
    (sender, Body::from_stream(frames))
}
