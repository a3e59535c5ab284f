//! Row level security, probed from below: with the runtime role and plain SQL, as a mistake of ours would.

use crate::fixture::*;
use database::{Fault, PageRequest, RUNTIME_ROLE};

/// Every table that holds anything of a tenant, with a column that must not be seen.
const TABLES: [&str; 18] = [
    "audit",
    "tenants",
    "pools",
    "sources",
    "pool_members",
    "streams",
    "domains",
    "dkim_keys",
    "credentials",
    "api_keys",
    "endpoints",
    "users",
    "idempotency_keys",
    "messages",
    "recipients",
    "attempts",
    "events",
    "webhook_deliveries",
];

#[tokio::test]
async fn without_a_scope_nothing_is_visible() {
    let (test, _) = with_tenant().await;
    let mut client = test.admin().await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&format!("SET LOCAL ROLE {RUNTIME_ROLE}")).await.unwrap();
    for table in
        TABLES.into_iter().chain(["cursors", "counters", "usage_days", "refresh_tokens", "sessions_ended"])
    {
        let rows = transaction.query(&format!("SELECT 1 FROM {table}"), &[]).await.unwrap();
        assert!(rows.is_empty(), "{table} is visible without a scope");
    }
}

#[tokio::test]
async fn a_tenants_scope_shows_nothing_of_another() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let mut client = test.admin().await;
    let transaction = client.transaction().await.unwrap();
    let scope = format!(
        "SET LOCAL ROLE {RUNTIME_ROLE}; SET LOCAL posthouse.scope = 'tenant'; SET LOCAL posthouse.tenant = '{}'",
        one.tenant.id.uuid()
    );
    transaction.batch_execute(&scope).await.unwrap();
    let owned = ["audit", "streams", "domains", "dkim_keys", "credentials", "api_keys"];
    for table in owned {
        let rows = transaction.query(&format!("SELECT tenant_id FROM {table}"), &[]).await.unwrap();
        assert!(!rows.is_empty(), "{table} hides the tenant's own rows");
        assert!(rows.iter().all(|row| row.get::<_, uuid::Uuid>(0) == one.tenant.id.uuid()), "{table} leaks");
    }
    let sources = transaction.query("SELECT 1 FROM sources", &[]).await.unwrap();
    assert!(sources.is_empty());
    let foreign = two.tenant.id.uuid();
    let changed =
        transaction.execute("UPDATE tenants SET name = 'x' WHERE id = $1", &[&foreign]).await.unwrap();
    assert_eq!(changed, 0);
    let insert =
        "INSERT INTO events (id, tenant_id, kind, at, data) VALUES ($1, $2, 'webhook.test', now(), '{}')";
    let refused = transaction.execute(insert, &[&uuid::Uuid::nil(), &foreign]).await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("row-level security"));
}

#[tokio::test]
async fn the_runtime_role_owns_nothing_and_cannot_change_the_schema_or_the_audit() {
    let (test, _) = with_tenant().await;
    let client = test.admin().await;
    let owned = "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = $1";
    assert_eq!(client.query_one(owned, &[&RUNTIME_ROLE]).await.unwrap().get::<_, i64>(0), 0);
    let naked = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                 AND relname NOT IN ('registry', 'refinery_schema_history')
                 AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(
        client.query_one(naked, &[]).await.unwrap().get::<_, i64>(0),
        0,
        "a table has no forced row security"
    );

    client.batch_execute(&format!("SET ROLE {RUNTIME_ROLE}")).await.unwrap();
    client.batch_execute("SET posthouse.scope = 'house'").await.unwrap();
    for attempt in [
        "ALTER TABLE tenants DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenants_read ON tenants",
        "CREATE TABLE mine (id int)",
        "TRUNCATE tenants",
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "DELETE FROM registry",
    ] {
        let refused = client.batch_execute(attempt).await.unwrap_err();
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{attempt}");
    }
}

#[tokio::test]
async fn another_tenants_things_are_not_found() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    let (database, stranger) = (&test.database, admin_of(two.tenant.id));
    let (tenant, page) = (one.tenant.id, PageRequest::first());
    assert!(matches!(database.tenant_fetch(&stranger, tenant).await, Err(Fault::NotFound("tenant"))));
    assert!(matches!(database.stream_list(&stranger, tenant, &page).await, Err(Fault::NotFound("tenant"))));
    // The stranger's own tenant with somebody else's ids.
    let (own, stream, key) = (two.tenant.id, one.streams[0].id, one.api_key.id);
    assert!(matches!(database.stream_fetch(&stranger, own, stream).await, Err(Fault::NotFound("stream"))));
    assert!(matches!(
        database.domain_fetch(&stranger, own, one.domain.id).await,
        Err(Fault::NotFound("domain"))
    ));
    assert!(matches!(
        database.api_key_revoke(&stranger, Some(own), key).await,
        Err(Fault::NotFound("API key"))
    ));
    let credential = database.credential_revoke(&stranger, own, one.credential.id).await;
    assert!(matches!(credential, Err(Fault::NotFound("credential"))));
    assert_eq!(database.tenant_list(&stranger, &page).await.unwrap().rows.len(), 1);
    assert!(database.audit_list(&stranger, &page).await.unwrap().rows.iter().all(|e| e.tenant == Some(own)));
    assert!(matches!(database.source_list(&stranger, &page).await.map(|page| page.rows.len()), Ok(0)));
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let (test, one) = with_tenant().await;
    let viewer = viewer_of(one.tenant.id);
    test.database.domain_fetch(&viewer, one.tenant.id, one.domain.id).await.unwrap();
    let deleted = test.database.domain_delete(&viewer, one.tenant.id, one.domain.id).await;
    assert!(matches!(deleted, Err(Fault::Forbidden)));
}
