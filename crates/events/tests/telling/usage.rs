//! Today's quotas after a restart.

use crate::house::{House, eventually};
use events::{Config, UsageRest, usage_today};
use registry::{Plan, Usage};
use std::time::Duration;

/// Recipients of today: of the tenant and of its credential.
async fn used(house: &House) -> (u64, u64) {
    let counting = usage_today(&house.test.database, &house.spool, house.now());
    let today = tokio::time::timeout(Duration::from_secs(10), counting).await.expect("it waits").unwrap();
    assert!(today.rest.is_none());
    let mut usage = Usage::new();
    usage.restore(today.counts);
    let tenant = usage.of_tenant(house.tenant.tenant.id, house.now()).today;
    (tenant, usage.of_credential(house.tenant.credential.id, house.now()).today)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_projection_has_not_read_yet_is_not_forgiven() {
    let house = House::new(None).await;
    assert_eq!(used(&house).await, (0, 0));
    house.accept(&["a@example.org", "b@example.org"]).await;
    assert_eq!(used(&house).await, (2, 2));
    let running = house.start(Config::default());
    house.kinds(2).await;
    running.stop().await;
    assert_eq!(used(&house).await, (2, 2));
    house.accept(&["c@example.org"]).await;
    house.accept(&["d@example.org", "e@example.org"]).await;
    assert_eq!(used(&house).await, (5, 5));
    let house = house.reopened().await;
    assert_eq!(used(&house).await, (5, 5));
    let running = house.start(Config::default());
    house.kinds(5).await;
    running.stop().await;
    let house = house.reopened().await;
    assert_eq!(used(&house).await, (5, 5));
    house.test.clock.advance(Duration::from_secs(86_400));
    assert_eq!(used(&house).await, (0, 0));
}

/// A journal of forty recipients in small segments, of which one cannot be opened any more; what a start that finds it so
/// counts, and who reads on.
async fn with_a_lost_segment(house: &House) -> (Usage, UsageRest) {
    std::fs::rename(house.segment(2), house.segment(2).with_extension("away")).unwrap();
    let counting = usage_today(&house.test.database, &house.spool, house.now());
    let today =
        tokio::time::timeout(Duration::from_secs(20), counting).await.expect("the doors wait").unwrap();
    let mut usage = Usage::new();
    usage.restore(today.counts);
    (usage, today.rest.expect("all of it was read"))
}

async fn of_forty() -> House {
    let house = House::new(None).await.with_small_segments().await;
    for _ in 0..40 {
        house.accept(&["a@example.org"]).await;
    }
    house.with_small_segments().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_opened_does_not_hold_the_doors_and_counts_once_when_it_can() {
    let house = of_forty().await;
    let (mut usage, rest) = with_a_lost_segment(&house).await;
    let of = |usage: &Usage| usage.of_tenant(house.tenant.tenant.id, house.now()).today;
    assert!((1..40).contains(&of(&usage)), "what stands in front of it counts: {}", of(&usage));
    // The doors are open: what comes is charged, and stands in the journal behind the end that is read to.
    house.accept(&["b@example.org", "c@example.org"]).await;
    usage.charge((house.tenant.tenant.id, &Plan::default()), None, 2, house.now()).unwrap();
    let counting = tokio::spawn(rest.counts());
    std::fs::rename(house.segment(2).with_extension("away"), house.segment(2)).unwrap();
    usage.add(tokio::time::timeout(Duration::from_secs(20), counting).await.unwrap().unwrap());
    assert_eq!(of(&usage), 42);
    assert_eq!(used(&house).await.0, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_never_can_be_opened_costs_its_own_counts_only() {
    let house = of_forty().await;
    let (mut usage, rest) = with_a_lost_segment(&house).await;
    let counting = tokio::spawn(rest.counts());
    let now = house.now();
    eventually(|| async {
        house.test.clock.advance(Duration::from_secs(1));
        counting.is_finished().then_some(())
    })
    .await;
    usage.add(counting.await.unwrap());
    let counted = usage.of_tenant(house.tenant.tenant.id, now).today;
    assert!((20..40).contains(&counted), "{counted}");
}
