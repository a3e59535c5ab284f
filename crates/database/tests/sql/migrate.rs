//! The schema, its owner and what is missing.

use crate::fixture::*;
use database::{Config, Database, Fault, migrate};
use mail::{Clock, Random};
use std::sync::Arc;
use testkit::{Cluster, ManualClock, test_keys};

async fn connect(config: &Config) -> Result<Database, Fault> {
    let clock: Arc<dyn Clock> = ManualClock::new();
    Database::connect(config, test_keys(), clock, Random::from_number(1)).await
}

#[tokio::test]
async fn an_owner_without_the_right_to_make_the_role_is_told_what_is_missing() {
    let cluster = Cluster::own("migrate");
    let superuser = Config { url: cluster.url("postgres"), ..Config::default() };
    let (admin, driver) = tokio_postgres::connect(&superuser.url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(driver);
    admin.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    admin.batch_execute("CREATE DATABASE owned OWNER plain").await.unwrap();
    let plain = Config { url: cluster.url_of("plain", "owned"), ..Config::default() };

    let refused = migrate(&plain).await.unwrap_err();
    assert!(matches!(&refused, Fault::Privilege { missing } if missing.contains("CREATEROLE")), "{refused}");
    admin.batch_execute("CREATE ROLE posthouse_runtime NOLOGIN").await.unwrap();
    let refused = migrate(&plain).await.unwrap_err();
    assert!(
        matches!(&refused, Fault::Privilege { missing } if missing.contains("GRANT posthouse_runtime")),
        "{refused}"
    );
    assert!(matches!(connect(&plain).await, Err(Fault::NotMigrated { found: 0, .. })));

    admin.batch_execute("GRANT posthouse_runtime TO plain").await.unwrap();
    assert!(migrate(&plain).await.unwrap() >= 5);
    assert_eq!(migrate(&plain).await.unwrap(), 0);
    let database = connect(&plain).await.unwrap();
    // An owner that is no superuser is under its own policies too.
    shared_pool(&database).await;
    onboard(&database, "One", "one.example").await;

    admin.batch_execute("ALTER ROLE posthouse_runtime BYPASSRLS").await.unwrap();
    assert!(matches!(connect(&plain).await, Err(Fault::Privilege { .. })));
    driver.abort();
}

#[tokio::test]
async fn nodes_that_start_together_migrate_once() {
    let cluster = Cluster::own("together");
    let config = Config { url: cluster.url("postgres"), ..Config::default() };
    let (one, two) = tokio::join!(migrate(&config), migrate(&config));
    let applied = [one.unwrap(), two.unwrap()];
    assert!(applied.contains(&0) && applied.iter().any(|count| *count >= 5), "{applied:?}");
}

#[tokio::test]
async fn a_url_that_leads_nowhere_is_a_passing_fault_or_a_clear_one() {
    let nowhere = Config { url: "postgres://nobody@%2Fnonexistent/none".to_owned(), ..Config::default() };
    assert!(migrate(&nowhere).await.unwrap_err().is_passing());
    let nonsense = Config { url: "nonsense".to_owned(), ..Config::default() };
    assert!(matches!(migrate(&nonsense).await, Err(Fault::Config(_))));
    assert!(matches!(migrate(&Config::default()).await, Err(Fault::Config(_))));
}
