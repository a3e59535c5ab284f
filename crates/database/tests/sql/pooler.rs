//! Behind somebody else's pool: refused in a sentence, before anything is written.

use crate::fixture::*;
use database::{Config, Database, Fault, examine, migrate};
use mail::{Clock, Random};
use std::sync::Arc;
use testkit::{Cluster, ManualClock, PgBouncer, test_keys};

/// PgBouncer refuses the settings that a connection asks for, or is told to swallow them; which statements share a
/// connection makes no difference to that.
#[tokio::test]
async fn behind_pgbouncer_nothing_starts_and_everybody_says_why() {
    let cluster = Cluster::own("pooler");
    let direct = Config { url: cluster.url("postgres"), ..Config::default() };
    migrate(&direct).await.unwrap();
    let swallowed = "ignore_startup_parameters = options\n";
    for settings in [
        "pool_mode = transaction".to_owned(),
        format!("{swallowed}pool_mode = transaction"),
        format!("{swallowed}pool_mode = session"),
        format!("{swallowed}pool_mode = statement"),
    ] {
        let Some(bouncer) = PgBouncer::before(&cluster, &settings).await else { return };
        let config = Config { url: bouncer.url("postgres"), ..Config::default() };
        let clock: Arc<dyn Clock> = ManualClock::new();
        let (keys, random) = (test_keys(), Random::from_number(1));
        let connected = Database::connect(&config, keys, Arc::clone(&clock), random).await;
        for fault in [
            connected.expect_err("it starts behind a pooler"),
            migrate(&config).await.expect_err("it migrates behind a pooler"),
            examine(&config, &*clock).await.expect_err("it says that all is well"),
        ] {
            assert!(matches!(fault, Fault::Pooler), "{settings}: {fault:?}");
            // A start that tries again would never say so.
            assert!(!fault.is_passing() && fault.to_string().contains("PgBouncer"));
        }
    }
    let clock: Arc<dyn Clock> = ManualClock::new();
    Database::connect(&direct, test_keys(), clock, Random::from_number(1)).await.unwrap();
}

/// A migration beside a node that works: what its connections have prepared fits the tables no longer.
#[tokio::test]
async fn a_column_that_is_added_under_our_hands_costs_each_connection_one_answer() {
    let (test, one) = with_tenant().await;
    let (database, access) = (&test.database, admin_of(one.tenant.id));
    let page = database::PageRequest::first();
    let list = || database.stream_list(&access, one.tenant.id, &page);
    list().await.unwrap();
    test.admin().await.batch_execute("ALTER TABLE streams ADD COLUMN later integer").await.unwrap();
    let (mut refused, mut good) = (0, 0);
    for _ in 0..64 {
        match list().await {
            Ok(_) => good += 1,
            Err(fault) => {
                assert!(fault.is_passing(), "{fault:?}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {good} good");
    assert!((1..=8).contains(&refused), "{refused}");
}
