//! Whoever waits for an answer is told in time that there is none; our own work has its own limit.

use crate::fixture::*;
use crate::projection::message;
use database::{Batch, Config, CredentialNew, Database, Fault, MessageFilter, Onboarded, PageRequest};
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

/// The first statement of the change takes half of the caller's time, the second would take for ever.
#[tokio::test]
async fn a_later_statement_has_what_the_ones_before_have_left() {
    let (test, one) = with_tenant().await;
    let database = connect(&test, 2, 3_000).await;
    let admin = test.admin().await;
    let sql = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_sleep(TG_ARGV[0]::float); RETURN NEW; END $$;
               CREATE TRIGGER slow BEFORE INSERT ON credentials FOR EACH ROW EXECUTE FUNCTION slow(1.5);
               CREATE TRIGGER slow BEFORE UPDATE ON registry FOR EACH ROW EXECUTE FUNCTION slow(30);";
    admin.batch_execute(sql).await.unwrap();
    let (callers, tenant) = (database.for_callers(), one.tenant.id);
    let new = CredentialNew::named(name("slow"));
    let access = admin_of(tenant);
    let making = callers.credential_create(&access, tenant, &new);
    let fault = tokio::time::timeout(GENEROUS, making).await.unwrap().unwrap_err();
    // Told by PostgreSQL: nothing of it goes on there when the caller has gone.
    assert!(fault.is_passing() && fault.is_too_slow(), "{fault:?}");
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
                 AND backend_type = 'client backend'";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(read(&callers, &one).await.unwrap(), 0);
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

/// A proxy whose server is gone may take a connection and never say a word.
#[tokio::test]
async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taking = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok(connection) = listener.accept().await {
            taken.push(connection);
        }
    });
    let url = format!("postgres://nobody@{address}/nothing");
    let config = Config { url, connect_ms_max: 200, ..Config::default() };
    let fault = tokio::time::timeout(GENEROUS, database::migrate(&config)).await.unwrap().unwrap_err();
    assert!(fault.is_passing(), "{fault:?}");
    taking.abort();
}
