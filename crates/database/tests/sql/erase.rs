//! Taking away what is large, in parts.

use crate::fixture::*;
use database::Fault;
use registry::{Access, Role, TenantStatus};
use std::time::Duration;

/// A tenant's message with so many recipients and attempts, and as many events with a call for each.
pub async fn fill(test: &TestDatabase, tenant: mail::TenantId, rows: u32) {
    let admin = test.admin().await;
    let sql = format!(
        "INSERT INTO messages SELECT ('016f5e66-e800-7000-8000-' || right('{tenant}', 12))::uuid, '{tenant}', gen_random_uuid(), gen_random_uuid(), NULL, NULL,
             '2020-01-01', NULL, '2020-01-02', '', '', '', '', '[]', '{{}}', 0, {rows};
         INSERT INTO recipients SELECT m.id, n, '{tenant}', 'a@example.org', 'delivered', 1, NULL, NULL, NULL, now()
             FROM messages m, generate_series(0, {rows} - 1) n WHERE m.tenant_id = '{tenant}';
         INSERT INTO attempts (message_id, n, attempt, tenant_id, at, verdict, class, kind, scope, stage, provider,
                               duration_ms, queued_ms)
             SELECT message_id, n, 1, '{tenant}', now(), '', '', '', '', '', '', 0, 0 FROM recipients
             WHERE tenant_id = '{tenant}';
         INSERT INTO endpoints SELECT gen_random_uuid(), '{tenant}', '', '{{}}', ARRAY[''::bytea], 'paused', NULL, now();
         INSERT INTO events (id, tenant_id, kind, at, data)
             SELECT gen_random_uuid(), '{tenant}', 'message.accepted', now(), '{{}}' FROM generate_series(1, {rows});
         INSERT INTO webhook_deliveries
             SELECT p.id, e.id, '{tenant}', 'pending', 0, now(), NULL, NULL, NULL, NULL, NULL, now()
             FROM endpoints p JOIN events e USING (tenant_id) WHERE p.tenant_id = '{tenant}'",
        tenant = tenant.uuid()
    );
    admin.batch_execute(&sql).await.unwrap();
}

const LARGE: [&str; 4] = ["recipients", "attempts", "events", "webhook_deliveries"];

/// No statement takes more than so many rows of the large tables away, cascades included.
async fn bound_deletes(test: &TestDatabase, rows: u32) {
    let admin = test.admin().await;
    let function = format!(
        "CREATE FUNCTION bounded() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF (SELECT count(*) FROM gone) > {rows} THEN RAISE 'too many rows of % at once', TG_TABLE_NAME; END IF;
           RETURN NULL;
         END $$"
    );
    admin.batch_execute(&function).await.unwrap();
    for table in LARGE {
        let sql = format!(
            "CREATE TRIGGER bounded AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
             FOR EACH STATEMENT EXECUTE FUNCTION bounded()"
        );
        admin.batch_execute(&sql).await.unwrap();
    }
}

async fn counted(test: &TestDatabase) -> Vec<i64> {
    let (admin, mut counts) = (test.admin().await, Vec::new());
    for table in LARGE {
        let row = admin.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap();
        counts.push(row.get::<_, i64>(0));
    }
    counts
}

#[tokio::test]
async fn a_tenant_is_erased_in_parts_and_others_keep_what_they_have() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    fill(&test, one.tenant.id, 12_000).await;
    fill(&test, two.tenant.id, 10).await;
    bound_deletes(&test, 5_000).await;
    test.database.tenant_set_status(&house(), one.tenant.id, TenantStatus::Closing, None).await.unwrap();
    test.database.tenant_erase(&house(), one.tenant.id).await.unwrap();
    assert_eq!(counted(&test).await, [10; 4]);
    let gone = test.database.tenant_fetch(&house(), one.tenant.id).await;
    assert!(matches!(gone, Err(Fault::NotFound("tenant"))));
}

#[tokio::test]
async fn nothing_of_a_tenant_goes_before_it_is_closing_or_for_somebody_who_may_not() {
    let (test, one) = with_tenant().await;
    fill(&test, one.tenant.id, 10).await;
    let erase = async |access: &Access| test.database.tenant_erase(access, one.tenant.id).await;
    assert!(matches!(erase(&house()).await, Err(Fault::InUse { .. })));
    test.database.tenant_set_status(&house(), one.tenant.id, TenantStatus::Closing, None).await.unwrap();
    let auditor = mail::UserId::from_uuid(one.tenant.id.uuid());
    let auditor = Access::of_user(auditor, Role::Auditor, None).unwrap();
    assert!(matches!(erase(&auditor).await, Err(Fault::Forbidden)));
    assert!(matches!(erase(&admin_of(one.tenant.id)).await, Err(Fault::Forbidden)));
    assert_eq!(counted(&test).await[0], 10);
}

#[tokio::test]
async fn an_old_message_with_very_many_recipients_is_forgotten_in_parts() {
    let (test, one) = with_tenant().await;
    fill(&test, one.tenant.id, 12_000).await;
    bound_deletes(&test, 5_000).await;
    let now = one.tenant.created_at;
    // Accepted in the first millisecond of 2020.
    let accepted = mail::Timestamp::from_millis(1_577_836_800_000);
    assert_eq!(test.database.message_forget(&house(), accepted, 10).await.unwrap(), 0);
    assert_eq!(test.database.message_forget(&house(), now, 10).await.unwrap(), 1);
    assert_eq!(counted(&test).await, [0, 0, 12_000, 12_000]);
    let later = now.saturating_add(Duration::from_secs(1));
    assert_eq!(test.database.message_forget(&house(), later, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn old_events_go_with_their_calls_in_parts_and_young_ones_stay() {
    let (test, one) = with_tenant().await;
    let admin = test.admin().await;
    fill(&test, one.tenant.id, 12_000).await;
    admin.batch_execute("UPDATE events SET at = '2020-01-01' WHERE seq <= 11000").await.unwrap();
    bound_deletes(&test, 5_000).await;
    let before = mail::Timestamp::from_millis(1_600_000_000_000);
    let forget = async || test.database.event_forget(&house(), before, 5_000).await.unwrap();
    assert_eq!([forget().await, forget().await, forget().await, forget().await], [5_000, 5_000, 1_000, 0]);
    assert_eq!(counted(&test).await, [12_000, 12_000, 1_000, 1_000]);
}

#[tokio::test]
async fn counts_of_old_days_are_forgotten() {
    let (test, one) = with_tenant().await;
    let admin = test.admin().await;
    let sql = format!(
        "INSERT INTO usage_days SELECT '{tenant}', gen_random_uuid(), d, 1
             FROM unnest(ARRAY['2020-01-01', '2020-01-02']::date[]) d, generate_series(1, 6000);
         INSERT INTO counters VALUES ('{tenant}', gen_random_uuid(), '2020-01-01', 'accepted', 1),
                                     ('{tenant}', gen_random_uuid(), '2020-01-02', 'accepted', 1)",
        tenant = one.tenant.id.uuid()
    );
    admin.batch_execute(&sql).await.unwrap();
    // The last millisecond of the second of January.
    let before = mail::Timestamp::from_millis(1_578_009_599_999);
    assert_eq!(test.database.counts_forget(&house(), before).await.unwrap(), 6_001);
    assert_eq!(test.database.counts_forget(&house(), before).await.unwrap(), 0);
}
