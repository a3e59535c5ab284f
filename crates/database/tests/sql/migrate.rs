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
    let absent = Config { url: cluster.url_of("plain", "absent"), ..Config::default() };
    let refused = database::ensure_database(&absent).await.unwrap_err();
    assert!(
        matches!(&refused, Fault::Privilege { missing } if missing.contains("CREATE DATABASE absent OWNER")),
        "{refused}"
    );

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

/// Everything that migrations make, as text.
async fn schema(client: &tokio_postgres::Client) -> Vec<String> {
    let sql = "SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
                 FROM information_schema.columns WHERE table_schema = 'public'
               UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
                 FROM pg_constraint WHERE connamespace = 'public'::regnamespace
               UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
               UNION ALL SELECT 'policy ' || tablename || ' ' || policyname || ' ' || coalesce(qual, '') || coalesce(with_check, '')
                 FROM pg_policies
               UNION ALL SELECT 'grant ' || table_name || ' ' || privilege_type FROM information_schema.role_table_grants
                 WHERE grantee = 'posthouse_runtime'
               UNION ALL SELECT 'function ' || proname || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 AND proname <> 'cut_off'
               ORDER BY 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// A server of its own, and databases in it.
struct Place(Cluster);

impl Place {
    fn config(&self, name: &str) -> Config {
        Config { url: self.0.url(name), ..Config::default() }
    }

    async fn client(&self, name: &str) -> tokio_postgres::Client {
        let (client, driver) =
            tokio_postgres::connect(&self.0.url(name), tokio_postgres::NoTls).await.unwrap();
        drop(tokio::spawn(driver));
        client
    }

    /// Cuts the connection of a migration at this statement, and lets another one finish: false if there is none.
    async fn is_cut_off(&self, statement: usize, wanted: &[String]) -> bool {
        let (name, admin) = (format!("cut_{statement}"), self.client("postgres").await);
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let client = self.client(&name).await;
        // A sequence counts on although the transaction is rolled back.
        let trigger = format!(
            "CREATE SCHEMA trap; CREATE SEQUENCE trap.count;
             CREATE FUNCTION trap.cut_off() RETURNS event_trigger LANGUAGE plpgsql AS $$
             BEGIN
               IF nextval('trap.count') = {statement} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
             END $$;
             CREATE EVENT TRIGGER cut_off ON ddl_command_end EXECUTE FUNCTION trap.cut_off()"
        );
        client.batch_execute(&trigger).await.unwrap();
        let is_cut = migrate(&self.config(&name)).await.is_err();
        if is_cut {
            migrate(&self.config(&name)).await.unwrap();
            assert_eq!(schema(&client).await, wanted, "cut off at statement {statement}");
            connect(&self.config(&name)).await.unwrap();
        }
        drop(client);
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        is_cut
    }
}

/// P5: the connection is cut at every statement that changes the schema in turn; the next start finishes what is left.
#[tokio::test]
async fn a_migration_that_is_cut_off_at_any_statement_is_finished_by_the_next_one() {
    let place = Place(Cluster::own("interrupted"));
    place.client("postgres").await.batch_execute("CREATE DATABASE whole").await.unwrap();
    migrate(&place.config("whole")).await.unwrap();
    let wanted = schema(&place.client("whole").await).await;
    let mut statement = 1;
    while place.is_cut_off(statement, &wanted).await {
        statement += 1;
    }
    println!("P5: cut off at each of {} statements", statement - 1);
    assert!(statement > 60, "{statement}");
}

/// P5: a program is replaced by the one before it, and the schema is not: it starts, and does its work.
#[tokio::test]
async fn an_older_program_starts_and_works_on_a_newer_schema() {
    let place = Place(Cluster::own("older"));
    let config = place.config("postgres");
    migrate(&config).await.unwrap();
    // As if a migration of a later version had been here, which this program does not have.
    let later = "ALTER TABLE tenants ADD COLUMN later text;
                 CREATE TABLE later (tenant_id text NOT NULL);
                 INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                   SELECT max(version) + 1, 'later', max(applied_on), '1' FROM refinery_schema_history";
    place.client("postgres").await.batch_execute(later).await.unwrap();
    assert_eq!(migrate(&config).await.unwrap(), 0, "there is nothing to do for it");
    let database = connect(&config).await.unwrap();
    shared_pool(&database).await;
    onboard(&database, "One", "one.example").await;
    // One of ours that is missing below a later one is nobody's intention.
    let gap = "DELETE FROM refinery_schema_history WHERE version = 5";
    place.client("postgres").await.batch_execute(gap).await.unwrap();
    assert!(matches!(migrate(&config).await, Err(Fault::Migration(_))));
}
