//! Today's quotas after a restart.

use crate::house::House;
use events::{Config, usage_today};
use registry::Usage;
use std::time::Duration;

/// Recipients of today: of the tenant and of its credential.
async fn used(house: &House) -> (u64, u64) {
    let counting = usage_today(&house.test.database, &house.spool, house.now());
    let counts = tokio::time::timeout(Duration::from_secs(10), counting).await.expect("it waits").unwrap();
    let mut usage = Usage::new();
    usage.restore(counts);
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
