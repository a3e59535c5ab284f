//! The warning before a day's quota is used up.

use crate::fixture::*;
use crate::projection::message;
use database::{Batch, MessageNew, Onboarded, PageRequest, TenantChange};
use mail::{Event, EventKind};
use registry::Plan;
use std::time::Duration;

async fn limit(test: &TestDatabase, one: &Onboarded, per_day: Option<u64>) {
    let plan = Some(Plan { per_day, ..Plan::default() });
    let change = TenantChange { plan, ..TenantChange::default() };
    test.database.tenant_update(&house(), one.tenant.id, &change).await.unwrap();
}

async fn apply(test: &TestDatabase, messages: Vec<MessageNew>) {
    let batch = Batch { messages, cursor_name: "test".to_owned(), position: vec![1], ..Batch::default() };
    test.database.projection_apply(&house(), &batch).await.unwrap();
}

async fn warnings(test: &TestDatabase, one: &Onboarded) -> Vec<Event> {
    let page = test.database.event_list(&house(), one.tenant.id, &PageRequest::first(), None).await.unwrap();
    let events = page.rows.into_iter().map(|row| row.event);
    events.filter(|event| event.kind == EventKind::TenantQuotaWarning).collect()
}

#[tokio::test]
async fn a_tenant_is_warned_once_a_day_when_four_fifths_are_used() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "two.example").await;
    limit(&test, &one, Some(10)).await;
    limit(&test, &two, Some(1_000)).await;
    // Two recipients each.
    apply(&test, (0..3).map(|n| message(&one, n)).collect()).await;
    assert_eq!(warnings(&test, &one).await, []);
    apply(&test, vec![message(&one, 3), message(&two, 4)]).await;
    let told = warnings(&test, &one).await;
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].data["used"], &told[0].data["limit"]), (&8.into(), &10.into()));
    // The same records again, as after a crash, and more of them.
    apply(&test, vec![message(&one, 3), message(&one, 5)]).await;
    assert_eq!((warnings(&test, &one).await.len(), warnings(&test, &two).await.len()), (1, 0));
    let tomorrow = |seed| {
        let at = one.tenant.created_at.saturating_add(Duration::from_secs(86_400));
        MessageNew { accepted_at: at, ..message(&one, seed) }
    };
    apply(&test, (10..13).map(tomorrow).collect()).await;
    assert_eq!(warnings(&test, &one).await.len(), 1);
    apply(&test, vec![tomorrow(13)]).await;
    assert_eq!(warnings(&test, &one).await.len(), 2);
}

#[tokio::test]
async fn without_a_limit_nobody_is_warned_and_the_largest_limit_is_no_fault() {
    let (test, one) = with_tenant().await;
    limit(&test, &one, None).await;
    apply(&test, (0..9).map(|n| message(&one, n)).collect()).await;
    limit(&test, &one, Some(i64::MAX as u64)).await;
    apply(&test, vec![message(&one, 10)]).await;
    assert_eq!(warnings(&test, &one).await, []);
}
