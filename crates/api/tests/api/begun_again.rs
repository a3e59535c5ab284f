//! A call that died between the journal and its answer: begun again, it accepts nothing a second time.

use crate::harness::{Client, House, Reply, somebody_waits};
use crate::search::batch;
use database::Batch;
use futures_util::FutureExt as _;
use mail::{Clock, MessageId};
use registry::Access;
use serde_json::{Value, json};
use spool::{Accepted, OutcomeRecord, Position, Record, Settled, Settlement};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];

async fn call(house: &House, client: &Client, body: &Value) -> Reply {
    house.call_with("POST", "/v1/tenants/self/messages", &client.key, Some(body.clone()), &KEY).await
}

fn one() -> Value {
    json!({"from": "x@a.example", "to": ["b@example.org"], "subject": "Hi", "text": "x"})
}

fn three() -> Value {
    let recipients: Vec<Value> = (0..3).map(|n| json!({"to": format!("r{n}@example.org")})).collect();
    json!({"from": "x@a.example", "subject": "Hi", "text": "x", "recipients": recipients})
}

/// The journal as it is now.
async fn accepted(house: &House) -> Vec<Arc<Accepted>> {
    let batch = house.spool.follow(Position::START).next_batch(1_000).await.unwrap();
    let records = batch.iter().filter_map(|(_, record)| match &**record {
        Record::Accepted(accepted) => Some(Arc::clone(accepted)),
        Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => None,
    });
    records.collect()
}

/// As if the process had died before the answer was kept, and the lease had ended since.
async fn forget_the_answer(house: &House) {
    let sql =
        "UPDATE idempotency_keys SET status = NULL, body = NULL, lease_until = created_at + interval '1 ms'";
    assert_eq!(house.database.admin().await.execute(sql, &[]).await.unwrap(), 1);
    house.clock.advance(Duration::from_secs(60));
}

/// All recipients are delivered: the journal owes this message nothing any more.
async fn settle(house: &House, accepted: &Accepted) {
    let settled = Settled {
        message: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        recipient: 0,
        attempt: 1,
        at: accepted.accepted_at,
        settlement: Settlement::Delivered,
        outcome: None,
        source: None,
        site: None,
        duration_ms: 1,
        queued_ms: 1,
    };
    house.spool.outcomes().append_durable(vec![OutcomeRecord::Settled(settled)]).await.unwrap();
}

/// What the reader of the journal writes.
async fn tell(house: &House, client: &Client, accepted: &Accepted) {
    let batch: Batch = batch(client, accepted.stream, accepted.message, house.clock.timestamp());
    house.database.database.projection_apply(&Access::house("test"), &batch).await.unwrap();
}

#[tokio::test]
async fn what_still_waits_is_not_written_twice_and_the_answer_is_the_same() {
    for body in [one(), three()] {
        let house = House::open().await;
        let client = house.ready_client("a.example").await;
        let first = call(&house, &client, &body).await;
        first.expect(202);
        let before = accepted(&house).await;
        forget_the_answer(&house).await;
        let again = call(&house, &client, &body).await;
        again.expect(202);
        assert_eq!(again.bytes, first.bytes);
        assert!(!again.headers.contains_key("idempotency-replayed"), "it was done, as far as anybody knows");
        assert_eq!(accepted(&house).await, before);
        // From now on it is kept.
        let kept = call(&house, &client, &body).await;
        assert_eq!(
            (&kept.bytes, &kept.headers["idempotency-replayed"]),
            (&first.bytes, &"true".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn what_was_delivered_long_ago_is_not_sent_again_even_if_it_is_not_allowed_any_more() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let first = call(&house, &client, &one()).await;
    first.expect(202);
    let before = accepted(&house).await;
    settle(&house, &before[0]).await;
    tell(&house, &client, &before[0]).await;
    let operator = house.operator().await;
    house.call("POST", &client.path("/pause"), &operator, Some(json!({"reason": "x"}))).await.expect(200);
    forget_the_answer(&house).await;
    let again = call(&house, &client, &one()).await;
    again.expect(202);
    assert_eq!((&again.bytes, house.spool.status().unsettled), (&first.bytes, 0));
    assert_eq!(accepted(&house).await, before);
}

#[tokio::test]
async fn of_a_batch_that_was_cut_short_the_rest_is_accepted() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let first = call(&house, &client, &three()).await;
    first.expect(202);
    let before = accepted(&house).await;
    for accepted in &before {
        settle(&house, accepted).await;
    }
    // The third is gone from the journal and unknown to the tables: it never was.
    for accepted in &before[..2] {
        tell(&house, &client, accepted).await;
    }
    forget_the_answer(&house).await;
    let again = call(&house, &client, &three()).await;
    again.expect(202);
    assert_eq!(again.bytes, first.bytes);
    let after = accepted(&house).await;
    let ids: Vec<MessageId> = after.iter().map(|accepted| accepted.message).collect();
    assert_eq!((ids.len(), ids[3], house.spool.status().unsettled), (4, before[2].message, 1));
    assert_eq!(after[3].recipients[0].forward_path, before[2].recipients[0].forward_path);
}

#[tokio::test]
async fn as_long_as_the_tables_are_behind_nothing_is_done_again() {
    let config = api::Config { idempotency_wait_seconds: 0, ..Default::default() };
    let behind = Arc::new(AtomicBool::new(true));
    let looked = Arc::clone(&behind);
    let house = House::with_state(config, move |state| {
        state.told = Arc::new(move || {
            let behind = looked.load(Ordering::SeqCst);
            async move {
                if behind {
                    std::future::pending::<()>().await
                }
            }
            .boxed()
        });
    })
    .await;
    let client = house.ready_client("a.example").await;
    // A first call asks nobody.
    let first = call(&house, &client, &one()).await;
    first.expect(202);
    settle(&house, &accepted(&house).await[0]).await;
    forget_the_answer(&house).await;
    let reply = call(&house, &client, &one()).await;
    assert_eq!(reply.problem(503), "try_again_later");
    assert!(reply.headers.contains_key("retry-after"));
    tell(&house, &client, &accepted(&house).await[0]).await;
    behind.store(false, Ordering::SeqCst);
    let again = call(&house, &client, &one()).await;
    again.expect(202);
    assert_eq!((&again.bytes, accepted(&house).await.len()), (&first.bytes, 1));
}

/// The row of the key is locked for as long as it takes: whoever renews the lease waits for it, and the call does not.
#[tokio::test]
async fn a_lease_whose_renewal_hangs_holds_nothing_up() {
    let config = api::Config { request_seconds_max: 1, ..Default::default() };
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&go);
    let house = House::with_state(config, move |state| {
        state.told = Arc::new(move || {
            let gate = Arc::clone(&gate);
            async move { drop(gate.acquire_owned().await) }.boxed()
        });
    })
    .await;
    let client = house.ready_client("a.example").await;
    let now = house.clock.timestamp();
    call(&house, &client, &one()).await.expect(202);
    settle(&house, &accepted(&house).await[0]).await;
    forget_the_answer(&house).await;
    // Another call at another time, so that its message is not the one that was there.
    let admin = house.database.admin().await;
    let other = now.saturating_add(Duration::from_secs(1)).to_jiff();
    admin.execute("UPDATE idempotency_keys SET created_at = $1", &[&other]).await.unwrap();
    assert_eq!(call(&house, &client, &one()).await.problem(408), "request_timeout");
    admin.batch_execute("BEGIN; SELECT * FROM idempotency_keys FOR UPDATE").await.unwrap();
    somebody_waits(&house.database).await;
    go.add_permits(1);
    let looking = house.database.admin().await;
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut again = tokio::time::interval(Duration::from_millis(20));
    while accepted(&house).await.len() < 2 {
        let count: i64 = looking.query_one(waits, &[]).await.unwrap().get(0);
        assert!(
            count > 0 || accepted(&house).await.len() == 2,
            "the call waited for the renewal of its lease"
        );
        again.tick().await;
    }
    admin.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn the_same_key_and_body_of_another_tenant_is_another_message() {
    let house = House::open().await;
    let (a, b) = (house.ready_client("a.example").await, house.ready_client("b.example").await);
    let body = |domain: &str| json!({"from": format!("x@{domain}"), "to": ["b@example.org"], "subject": "Hi", "text": "x"});
    let mut ids = vec![call(&house, &a, &body("a.example")).await.expect(202)["id"].clone()];
    ids.push(call(&house, &b, &body("b.example")).await.expect(202)["id"].clone());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(house.spool.status().unsettled, 2);
}

/// What a refused call has left behind is the same call when it comes again, and what it says then is what is true then.
#[tokio::test]
async fn a_call_that_failed_for_reasons_of_ours_may_be_repeated_at_once() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    house.spool.shutdown().await.unwrap();
    let reply = call(&house, &client, &one()).await;
    assert_eq!(reply.problem(503), "try_again_later");
    let row = house.database.admin().await;
    let row =
        row.query_one("SELECT status, lease_until = created_at FROM idempotency_keys", &[]).await.unwrap();
    assert_eq!((row.get::<_, Option<i16>>(0), row.get::<_, bool>(1)), (None, true));
    assert_eq!(call(&house, &client, &one()).await.problem(503), "try_again_later");
}

async fn allow(house: &House, client: &Client, per_day: u64) {
    let operator = house.operator().await;
    let quota = Some(json!({ "per_day": per_day }));
    house.call("PUT", &client.path("/quotas"), &operator, quota).await.expect(200);
}

/// Of three entries the last was refused because the day's quota was used up.
async fn two_of_three(house: &House, client: &Client) -> Reply {
    allow(house, client, 2).await;
    let first = call(house, client, &three()).await;
    let answer = first.expect(202);
    assert_eq!((answer["ids"].as_array().unwrap().len(), &answer["refused"][0]["index"]), (2, &json!(2)));
    assert_eq!(answer["refused"][0]["code"], "quota_exhausted");
    first
}

#[tokio::test]
async fn what_a_batch_refused_for_now_stays_refused_for_its_key_and_is_taken_under_another() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let first = two_of_three(&house, &client).await;
    allow(&house, &client, 100).await;
    let again = call(&house, &client, &three()).await;
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(accepted(&house).await.len(), 2);
    let mut rest = three();
    rest["recipients"] = json!([rest["recipients"][2]]);
    let key = [("idempotency-key", "k, the rest")];
    house.call_with("POST", "/v1/tenants/self/messages", &client.key, Some(rest), &key).await.expect(202);
    let all = accepted(&house).await;
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].recipients[0].forward_path.to_string(), "r2@example.org");
}

#[tokio::test]
async fn of_a_batch_that_nobody_heard_of_what_was_refused_is_offered_again_and_nothing_else() {
    let house = House::open().await;
    let client = house.ready_client("a.example").await;
    let first = two_of_three(&house, &client).await.expect(202);
    for accepted in accepted(&house).await {
        tell(&house, &client, &accepted).await;
    }
    allow(&house, &client, 3).await;
    forget_the_answer(&house).await;
    let again = call(&house, &client, &three()).await.expect(202);
    assert_eq!(again["ids"].as_array().unwrap()[..2], first["ids"].as_array().unwrap()[..]);
    assert_eq!(again["ids"].as_array().unwrap().len(), 3);
    assert_eq!(accepted(&house).await.len(), 3);
}
