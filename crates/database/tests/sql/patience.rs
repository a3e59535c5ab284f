//! Whoever waits for an answer is told in time that there is none; our own work has its own limit.

use crate::fixture::*;
use crate::projection::message;
use database::{Batch, Config, Database, Fault, MessageFilter, Onboarded, PageRequest};
use mail::{Clock, Random};
use std::sync::Arc;
use std::time::Duration;
use testkit::TestDatabase;

/// Far below the limits of our own work.
const GENEROUS: Duration = Duration::from_secs(8);

async fn connect(test: &TestDatabase, connections_max: usize, answer_ms_max: u64) -> Database {
    let config = Config { connections_max, answer_ms_max, wait_ms_max: 30_000, ..test.config.clone() };
    let config = Config { statement_ms_max: 30_000, ..config };
    let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
    Database::connect(&config, testkit::test_keys(), clock, Random::from_number(3)).await.unwrap()
}

async fn read(database: &Database, one: &Onboarded) -> Result<usize, Fault> {
    let (filter, page) = (MessageFilter::default(), PageRequest::first());
    let tenant = one.tenant.id;
    database.message_list(&admin_of(tenant), tenant, &filter, &page).await.map(|page| page.rows.len())
}

fn batch(one: &Onboarded) -> Batch {
    Batch { messages: vec![message(one, 1)], cursor_name: "test".to_owned(), ..Batch::default() }
}

#[tokio::test]
async fn a_caller_that_meets_a_lock_is_told_in_time_and_the_connection_is_good_afterwards() {
    let (test, one) = with_tenant().await;
    let database = connect(&test, 4, 500).await;
    let callers = database.for_callers();
    let holder = test.admin().await;
    holder.batch_execute("BEGIN; LOCK TABLE messages").await.unwrap();
    for _ in 0..6 {
        let fault = tokio::time::timeout(GENEROUS, read(&callers, &one)).await.unwrap().unwrap_err();
        // Told by PostgreSQL, so the connection is not in the middle of something.
        assert!(fault.is_passing() && fault.is_too_slow(), "{fault:?}");
    }
    // Our own work waits on, far beyond that.
    let working = {
        let (database, batch) = (database.clone(), batch(&one));
        tokio::spawn(async move { database.projection_apply(&house(), &batch).await })
    };
    assert!(read(&callers, &one).await.is_err());
    holder.batch_execute("COMMIT").await.unwrap();
    working.await.unwrap().unwrap();
    assert_eq!(read(&callers, &one).await.unwrap(), 1);
}

#[tokio::test]
async fn waiting_for_a_connection_counts_too() {
    let (test, one) = with_tenant().await;
    let database = connect(&test, 1, 500).await;
    let holder = test.admin().await;
    holder.batch_execute("BEGIN; LOCK TABLE messages").await.unwrap();
    let mut working = {
        let (database, batch) = (database.clone(), batch(&one));
        tokio::spawn(async move { database.projection_apply(&house(), &batch).await })
    };
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut working).await.is_err());
    let callers = database.for_callers();
    let fault = tokio::time::timeout(GENEROUS, read(&callers, &one)).await.unwrap().unwrap_err();
    assert!(matches!(fault, Fault::Unavailable { .. }) && !fault.is_too_slow(), "{fault:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    working.await.unwrap().unwrap();
    assert_eq!(read(&callers, &one).await.unwrap(), 1);
}
