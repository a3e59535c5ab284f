//! Searching messages costs what a page costs, however many there are.

use crate::fixture::*;
use database::{MessageFilter, PageRequest, RecipientState};
use mail::TenantId;
use std::time::Duration;
use tokio_postgres::Client;

/// Of each of two tenants; more than are looked at for one page.
const MESSAGES: i64 = 12_000;

/// A second apart, number n to `u<n>@example.org`, delivered but for one in a thousand; the first has a tag of its own.
async fn fill(admin: &Client, tenant: TenantId) {
    let sql = format!(
        "SELECT set_config('posthouse.scope', 'house', false);
         CREATE TEMPORARY TABLE made AS
             SELECT n, (lpad(to_hex(1790000000000 + n * 1000), 12, '0') || '7000'
                        || '8' || substr(md5('{tenant}' || n), 1, 15))::uuid AS id,
                    to_timestamp(1790000000 + n) AS at
             FROM generate_series(1, {MESSAGES}) n;
         INSERT INTO messages
             SELECT id, '{uuid}', '{uuid}', '{uuid}', NULL, NULL, at, NULL, at + interval '3 days', 'a@one.example',
                    'a@one.example', 's', '<' || n || '@one.example>',
                    CASE WHEN n = 1 THEN '[\"first\"]'::jsonb ELSE '[\"nov\"]'::jsonb END, '{{}}', 1000, 1 FROM made;
         INSERT INTO recipients (message_id, n, tenant_id, address, state, updated_at)
             SELECT id, 0, '{uuid}', 'u' || n || '@example.org',
                    CASE WHEN n % 1000 = 7 THEN 'failed' ELSE 'delivered' END, at FROM made;
         DROP TABLE made;",
        uuid = tenant.uuid()
    );
    admin.batch_execute(&sql).await.unwrap();
}

/// Rows that were read without an index.
async fn read_through(admin: &Client) -> i64 {
    let sql = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname IN ('messages', 'recipients')";
    admin.query_one(sql, &[]).await.unwrap().get(0)
}

type Case = (&'static str, MessageFilter, Vec<i64>, bool);

/// What is looked for, what a page of three has, and whether it goes on.
fn cases() -> Vec<Case> {
    vec![
        ("all", MessageFilter::default(), vec![12_000, 11_999, 11_998], true),
        (
            "to",
            MessageFilter { recipient: Some("u77@example.org".into()), ..Default::default() },
            vec![77],
            false,
        ),
        (
            "to nobody",
            MessageFilter { recipient: Some("x@example.org".into()), ..Default::default() },
            vec![],
            false,
        ),
        (
            "failed",
            MessageFilter { state: Some(RecipientState::Failed), ..Default::default() },
            vec![11_007, 10_007, 9_007],
            true,
        ),
        (
            "delivered",
            MessageFilter { state: Some(RecipientState::Delivered), ..Default::default() },
            vec![12_000, 11_999, 11_998],
            true,
        ),
        (
            "header",
            MessageFilter { message_id_header: Some("<5@one.example>".into()), ..Default::default() },
            vec![5],
            false,
        ),
        (
            "to, header and state",
            MessageFilter {
                recipient: Some("u7@example.org".into()),
                message_id_header: Some("<7@one.example>".into()),
                state: Some(RecipientState::Failed),
                ..Default::default()
            },
            vec![7],
            false,
        ),
        (
            "to, in a state of its own",
            MessageFilter {
                recipient: Some("u8@example.org".into()),
                state: Some(RecipientState::Failed),
                ..Default::default()
            },
            vec![],
            false,
        ),
        (
            "to and another header",
            MessageFilter {
                recipient: Some("u7@example.org".into()),
                message_id_header: Some("<8@one.example>".into()),
                ..Default::default()
            },
            vec![],
            false,
        ),
        // The only one is the last of 12,000.
        ("tag", MessageFilter { tag: Some("first".into()), ..Default::default() }, vec![], true),
    ]
}

fn cases_of_times() -> Vec<Case> {
    let at = |n: i64| Some(mail::Timestamp::from_millis((1_790_000_000 + n) * 1000));
    vec![
        ("until", MessageFilter { until: at(3), ..Default::default() }, vec![2, 1], false),
        ("since", MessageFilter { since: at(11_999), ..Default::default() }, vec![12_000, 11_999], false),
    ]
}

#[tokio::test]
async fn a_page_is_found_by_indexes_or_ends_where_enough_was_looked_at() {
    let (test, one) = with_tenant().await;
    let new = onboarding("Other", "two.example");
    let two = test.database.tenant_onboard(&house(), &new, &defaults()).await.unwrap();
    let admin = test.admin().await;
    for tenant in [one.tenant.id, two.tenant.id] {
        fill(&admin, tenant).await;
    }
    admin.batch_execute("ANALYZE messages, recipients").await.unwrap();
    admin.execute("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    let before = read_through(&admin).await;
    let (own, tenant) = (admin_of(one.tenant.id), one.tenant.id);
    for (what, filter, numbers, more) in cases().into_iter().chain(cases_of_times()) {
        let page = PageRequest::new(Some(3), None).unwrap();
        let page = test.database.message_list(&own, tenant, &filter, &page).await.unwrap();
        let found: Vec<String> = page.rows.iter().map(|row| row.message_id_header.clone()).collect();
        let wanted: Vec<String> = numbers.iter().map(|n| format!("<{n}@one.example>")).collect();
        assert_eq!((found, page.next.is_some()), (wanted, more), "{what}");
        if what == "tag" {
            let rest = PageRequest::new(Some(3), page.next.as_deref()).unwrap();
            let rest = test.database.message_list(&own, tenant, &filter, &rest).await.unwrap();
            assert_eq!((rest.rows[0].message_id_header.as_str(), rest.next), ("<1@one.example>", None));
        }
    }
    // What a session has read is told within a second of its end.
    let told = async {
        let sql = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes WHERE indexrelname = 'messages_by_header'";
        while admin.query_one(sql, &[]).await.unwrap().get::<_, Option<i64>>(0).unwrap_or(0) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            test.database
                .message_list(&own, tenant, &MessageFilter::default(), &PageRequest::first())
                .await
                .unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    assert_eq!(read_through(&admin).await, before, "rows were read without an index");
}
