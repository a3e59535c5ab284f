//! What time it is at PostgreSQL, seen from here.

use database::examine;
use std::time::Duration;
use testkit::TestDatabase;

#[tokio::test]
async fn the_clocks_are_that_which_was_given_and_that_of_postgresql() {
    let test = TestDatabase::new().await;
    let before = test.database.clocks().await.unwrap();
    test.clock.advance(Duration::from_secs(3_600));
    let row = test.admin().await.query_one("SELECT (extract(epoch FROM now()) * 1000)::bigint", &[]).await;
    let between: i64 = row.unwrap().get(0);
    let after = test.database.clocks().await.unwrap();
    assert_eq!(after.ours.saturating_since(before.ours), Duration::from_secs(3_600));
    let (first, last) = (before.theirs.as_millis(), after.theirs.as_millis());
    println!("PostgreSQL's clock: {first} ms, {between} ms, {last} ms");
    assert!(first <= between && between <= last, "{before:?} {between} {after:?}");
    // The clock of the test stands still meanwhile, so the way seems to take no time.
    assert_eq!((before.round_trip, after.round_trip), (Duration::ZERO, Duration::ZERO));
    let examined = examine(&test.config, &*test.clock).await.unwrap().clocks;
    assert_eq!(examined.ours, after.ours);
    assert!(examined.theirs >= after.theirs);
}
