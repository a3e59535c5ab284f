//! The walls between tenants, read from PostgreSQL's own catalogue and tried on every table with rows of two tenants in it.
//!
//! A table, view or function that a later migration adds is covered without a line here; what is allowed to be different
//! stands in a list with its reason.

use crate::fixture::*;
use database::RUNTIME_ROLE;
use mail::TenantId;
use registry::Role;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

/// Without a tenant in them: the generation, and what the migrations keep.
const OF_NOBODY: [&str; 2] = ["registry", "refinery_schema_history"];

/// Names that are unique in the whole house, so that a tenant could learn that another has one.
const HOUSE_WIDE_NAMES: [(&str, &str); 6] = [
    ("domains_owner", "that a domain is somebody's is said on purpose, and not whose"),
    ("credentials_username", "user names are made by us and random"),
    ("pools_name", "pools are made by operators"),
    ("users_email", "people are made by operators"),
    ("audit_id_key", "ids are made by us"),
    ("events_id_key", "ids are made by us"),
];

async fn names(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Everything in the schema that has rows.
async fn relations(client: &Client) -> Vec<String> {
    names(client, "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1").await
}

/// What says whose a row is: the column, or none for what is the house's alone.
async fn tenant_column(client: &Client, table: &str) -> Option<&'static str> {
    let sql =
        format!("SELECT attname::text FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0");
    let columns = names(client, &sql).await;
    match table {
        "tenants" => Some("id"),
        _ => columns.iter().any(|name| name == "tenant_id").then_some("tenant_id"),
    }
}

/// Two tenants with at least one row in every table.
pub async fn furnished() -> (TestDatabase, TenantId, TenantId) {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let database = &test.database;
    for (n, tenant) in [(1, one.tenant.id), (2, two.tenant.id)] {
        crate::erase::fill(&test, tenant, 3).await;
        let new = database::UserNew {
            email: format!("admin{n}@example.org"),
            password: "a long enough password".to_owned().into(),
            role: Role::Admin,
            tenant: Some(tenant),
        };
        let user = database.user_create(&house(), new).await.unwrap();
        let minute = Duration::from_secs(60);
        let lifetimes = database::Lifetimes { access: minute, refresh: minute };
        let session = database.refresh_issue(&house(), user.id, lifetimes).await.unwrap();
        if n == 2 {
            database.refresh_revoke(&house(), &session.token, lifetimes).await.unwrap();
        }
        let access = admin_of(tenant);
        database.idempotency_begin(&access, "k", &[0; 32], Duration::from_secs(60)).await.unwrap();
        let pool = database::PoolNew {
            name: slug(&format!("own-{n}")),
            tenant: Some(tenant),
            members: Vec::new(),
            platform_domain: None,
        };
        database.pool_create(&house(), &pool).await.unwrap();
    }
    let admin = test.admin().await;
    let counts = "INSERT INTO counters SELECT id, id, '2026-11-23', 'accepted', 1 FROM tenants;
                  INSERT INTO usage_days SELECT id, id, '2026-11-23', 1 FROM tenants;
                  INSERT INTO cursors VALUES ('walls', '', now())";
    admin.batch_execute(counts).await.unwrap();
    for table in relations(&admin).await {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = admin.query_one(&sql, &[]).await.unwrap().get(0);
        assert!(count > 0, "walls.rs puts no row into {table}");
    }
    (test, one.tenant.id, two.tenant.id)
}

async fn as_runtime<'c>(client: &'c mut Client, settings: &str) -> Transaction<'c> {
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&format!("SET LOCAL ROLE {RUNTIME_ROLE}; {settings}")).await.unwrap();
    transaction
}

#[tokio::test]
async fn every_table_has_its_wall_and_the_role_that_works_cannot_see_over_it() {
    let (test, _) = with_tenant().await;
    let client = test.admin().await;
    let sql = "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))
               ORDER BY 1";
    let mut bare = names(&client, sql).await;
    bare.retain(|table| !OF_NOBODY.contains(&table.as_str()));
    assert_eq!(bare, Vec::<String>::new(), "without a policy, or not forced");
    // Every policy asks for the scope, of what is read and of what is written.
    let sql = "SELECT tablename || '.' || policyname FROM pg_policies WHERE schemaname = 'public'
               AND coalesce(qual, with_check) NOT LIKE '%scope_%'
               OR (cmd IN ('ALL', 'UPDATE') AND coalesce(with_check, qual) NOT LIKE '%scope_%')";
    assert_eq!(names(&client, sql).await, Vec::<String>::new(), "asks for no scope");
    // A view reads with the rights of its owner unless told otherwise; a materialized one always.
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relkind IN ('m', 'f')
               OR relkind = 'v' AND NOT coalesce(reloptions @> '{security_invoker=true}', false))";
    assert_eq!(names(&client, sql).await, Vec::<String>::new(), "a view around the wall");
    let sql = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef";
    assert_eq!(names(&client, sql).await, Vec::<String>::new(), "a function with its owner's rights");
    let sql = "SELECT rolname::text FROM pg_roles WHERE rolname = 'posthouse_runtime'
               AND NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolcanlogin)";
    assert_eq!(names(&client, sql).await, [RUNTIME_ROLE]);
    let sql = "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
               WHERE m.member = 'posthouse_runtime'::regrole";
    assert_eq!(names(&client, sql).await, Vec::<String>::new(), "the role is a member of others");
    let sql = "SELECT d.classid::regclass::text || ' ' || d.objid FROM pg_shdepend d
               WHERE d.refobjid = 'posthouse_runtime'::regrole AND d.deptype = 'o'
               AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(names(&client, sql).await, Vec::<String>::new(), "the role owns something");
}

#[tokio::test]
async fn every_reference_carries_the_tenant_and_names_without_it_have_their_reason() {
    let (test, _) = with_tenant().await;
    let client = test.admin().await;
    let has = |side: &str| {
        format!("EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.{side} AND a.attname = 'tenant_id')")
    };
    let carries =
        "EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
                           AND a.attname IN ('tenant_id', 'pool_owner', 'overflow_pool_owner'))";
    let sql = format!(
        "SELECT conname::text FROM pg_constraint c WHERE contype = 'f' AND {} AND {} AND NOT {carries} ORDER BY 1",
        has("conrelid"),
        has("confrelid")
    );
    assert_eq!(names(&client, &sql).await, Vec::<String>::new(), "a reference without the tenant");
    // A unique index tells that a value is taken. Primary keys of ids that we make tell nothing.
    let sql = "SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
               WHERE x.indisunique AND NOT x.indisprimary AND i.relnamespace = 'public'::regnamespace
               AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = x.indrelid AND a.attname = 'tenant_id')
               AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = x.indrelid AND a.attname IN ('tenant_id', 'domain_id', 'owner')
                               AND a.attnum = ANY (x.indkey)) ORDER BY 1";
    let mut wanted: Vec<&str> = HOUSE_WIDE_NAMES.iter().map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names(&client, sql).await, wanted, "a name that is unique in the whole house");
}

/// Whoever writes it: the house's scope reaches both tenants, and the table refuses all the same.
#[tokio::test]
async fn no_row_can_be_made_to_point_at_another_tenants() {
    let (test, one, two) = furnished().await;
    let mut client = test.admin().await;
    let sql = "SELECT c.conrelid::regclass::text, c.confrelid::regclass::text, a.attname::text, f.attname::text
               FROM pg_constraint c
               CROSS JOIN LATERAL unnest(c.conkey, c.confkey) AS k (here, there)
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.here
               JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = k.there
               WHERE c.contype = 'f' AND f.attname NOT IN ('tenant_id', 'owner')
                 AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.conrelid AND t.attname = 'tenant_id')
                 AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.confrelid AND t.attname = 'tenant_id')
               ORDER BY c.conname";
    let references: Vec<[String; 4]> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| [row.get(0), row.get(1), row.get(2), row.get(3)])
        .collect();
    let (one, two) = (one.uuid(), two.uuid());
    for [from, to, column, key] in &references {
        let transaction = as_runtime(&mut client, "SET LOCAL posthouse.scope = 'house'").await;
        // So that no primary key is in the way; where it cannot be done there is none.
        let room = format!("SAVEPOINT room; DELETE FROM {from} WHERE tenant_id = '{two}'");
        if transaction.batch_execute(&room).await.is_err() {
            transaction.batch_execute("ROLLBACK TO room").await.unwrap();
        }
        let sql = format!(
            "UPDATE {from} SET {column} = (SELECT {key} FROM {to} WHERE tenant_id = '{two}' LIMIT 1)
             WHERE ctid = (SELECT ctid FROM {from} WHERE tenant_id = '{one}' LIMIT 1)"
        );
        let error = transaction.execute(&sql, &[]).await.unwrap_err();
        assert_eq!(error.code().map(SqlState::code), Some("23503"), "{sql}: {error}");
    }
    println!("{} references", references.len());
    assert!(references.len() >= 9, "{references:?}");
}

#[tokio::test]
async fn no_scope_an_empty_one_and_garbage_show_nothing_of_any_table() {
    let (test, one, _) = furnished().await;
    let mut client = test.admin().await;
    let tables = relations(&client).await;
    let one = one.uuid();
    let scope = |scope: &str, tenant: &str| {
        format!("SET LOCAL posthouse.scope = '{scope}'; SET LOCAL posthouse.tenant = '{tenant}'")
    };
    let settings = [
        String::new(),
        scope("", ""),
        scope("tenant", ""),
        "SET LOCAL posthouse.scope = 'tenant'".to_owned(),
        scope("tenant", "garbage"),
        scope("tenant", &format!("{one}' OR true")).replace("' OR", "'' OR"),
        scope("tenant", "00000000-0000-0000-0000-000000000000"),
        scope("HOUSE", &one.to_string()),
        scope(" house", &one.to_string()),
        scope("Tenant", &one.to_string()),
        scope("garbage", &one.to_string()),
        format!("SET LOCAL posthouse.tenant = '{one}'"),
    ];
    let mut probes = 0;
    for settings in &settings {
        for table in tables.iter().filter(|table| !OF_NOBODY.contains(&table.as_str())) {
            let transaction = as_runtime(&mut client, settings).await;
            let sql = format!("SELECT t::text FROM {table} t");
            match transaction.query(&sql, &[]).await {
                // A shared pool is everybody's to name, in any tenant's scope.
                Ok(rows) if table == "pools" && settings.contains("'tenant'") => assert_eq!(rows.len(), 1),
                Ok(rows) => assert_eq!(rows.len(), 0, "{table} with {settings:?}"),
                // Text that is no id is an error, not everybody.
                Err(error) => assert_eq!(error.code().unwrap().code(), "22P02", "{table} with {settings:?}"),
            }
            probes += 1;
        }
    }
    println!("{probes} probes");
}

#[tokio::test]
async fn within_a_scope_every_table_shows_all_of_ones_own_and_takes_nothing_for_another() {
    let (test, one, two) = furnished().await;
    let (mut client, admin) = (test.admin().await, test.admin().await);
    let (one, two) = (one.uuid(), two.uuid());
    let settings = format!("SET LOCAL posthouse.scope = 'tenant'; SET LOCAL posthouse.tenant = '{one}'");
    for table in relations(&admin).await {
        let Some(column) = tenant_column(&admin, &table).await else { continue };
        let count = format!("SELECT count(*) FROM {table} WHERE {column} = '{one}'");
        let all: i64 = admin.query_one(&count, &[]).await.unwrap().get(0);
        let transaction = as_runtime(&mut client, &settings).await;
        let own: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
        assert_eq!(own, all, "{table}");
        let foreign = format!("SELECT count(*) FROM {table} WHERE {column} <> '{one}'");
        assert_eq!(transaction.query_one(&foreign, &[]).await.unwrap().get::<_, i64>(0), 0, "{table}");
        drop(transaction);
        for statement in [
            format!("UPDATE {table} SET {column} = '{two}' WHERE {column} = '{one}'"),
            format!("UPDATE {table} SET {column} = '{one}' WHERE {column} = '{two}'"),
            format!("DELETE FROM {table} WHERE {column} = '{two}'"),
            format!(
                "INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('{column}', '{two}'))).* FROM {table} t"
            ),
        ] {
            let transaction = as_runtime(&mut client, &settings).await;
            match transaction.execute(&statement, &[]).await {
                Ok(rows) => assert_eq!(rows, 0, "{statement}"),
                // Not allowed, a generated column, or a key that is there: what matters is that nothing was written.
                Err(error) => assert!(error.code().is_some(), "{statement}: {error}"),
            }
        }
    }
    let counts = format!("SELECT count(*) FROM tenants WHERE id = '{two}'");
    assert_eq!(admin.query_one(&counts, &[]).await.unwrap().get::<_, i64>(0), 1);
}

/// The one function that looks further than its caller may does so for one answer, and puts the scope back.
#[tokio::test]
async fn functions_widen_no_scope_for_longer_than_their_answer() {
    let (test, one, _) = furnished().await;
    let mut client = test.admin().await;
    let own = format!("SET LOCAL posthouse.scope = 'tenant'; SET LOCAL posthouse.tenant = '{}'", one.uuid());
    for (settings, wanted) in [(String::new(), 0), (own, 1)] {
        let transaction = as_runtime(&mut client, &settings).await;
        let before = "SELECT coalesce(current_setting('posthouse.scope', true), '')";
        let scope: String = transaction.query_one(before, &[]).await.unwrap().get(0);
        for sql in [
            "SELECT count(*) FROM domains WHERE domain_is_taken(name, gen_random_uuid()) OR true",
            "SELECT count(*) FROM (SELECT domain_is_taken('two.example', gen_random_uuid())) x, domains",
            "SELECT count(*) FROM domains d LEFT JOIN domains e ON domain_is_taken(e.name, d.tenant_id) AND e.id <> d.id",
        ] {
            let count: i64 = transaction.query_one(sql, &[]).await.unwrap().get(0);
            assert_eq!(count, wanted, "{sql}");
        }
        let after: String = transaction.query_one(before, &[]).await.unwrap().get(0);
        assert_eq!(after, scope);
    }
    let sql = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1";
    let known = ["domain_is_taken", "scope_allows", "scope_is_house", "stream_pool_owners"];
    assert_eq!(names(&client, sql).await, known, "a function that walls.rs does not try");
}
