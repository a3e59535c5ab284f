//! What time it is at PostgreSQL, seen from here.

use database::{Clocks, examine};
use std::time::Duration;
use testkit::TestDatabase;

/// By how many milliseconds this host is ahead.
fn ahead_ms(clocks: Clocks) -> i64 {
    clocks.ours.as_millis() - clocks.theirs.as_millis()
}

#[tokio::test]
async fn a_clock_that_is_moved_by_an_hour_is_seen_to_be_an_hour_further_from_that_of_postgresql() {
    let test = TestDatabase::new().await;
    let before = test.database.clocks().await.unwrap();
    let began = std::time::Instant::now();
    test.clock.advance(Duration::from_secs(3_600));
    let after = test.database.clocks().await.unwrap();
    // PostgreSQL's went on meanwhile, and the other one stands still: no more than this may be missing.
    let meanwhile = i64::try_from(began.elapsed().as_millis()).unwrap() + 1_000;
    let moved = ahead_ms(after) - ahead_ms(before);
    println!("moved by 3600000 ms, seen {moved} ms; {meanwhile} ms allowed");
    assert!(moved <= 3_600_000 && moved >= 3_600_000 - meanwhile, "{before:?} {after:?}");
    assert_eq!(before.round_trip, Duration::ZERO, "the way is measured by the clock that was given");
    let examined = examine(&test.config, &*test.clock).await.unwrap().clocks;
    assert_eq!(examined.ours, after.ours);
}
