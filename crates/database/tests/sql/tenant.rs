//! Tenants: what is refused, what a change leaves behind, pages.

use crate::fixture::*;
use database::{Fault, PageRequest, TenantChange, TenantNew};
use registry::{Plan, TenantStatus};

fn new(text: &str) -> TenantNew {
    TenantNew { name: name(text), plan: Plan::default() }
}

#[tokio::test]
async fn a_plan_that_cannot_work_and_a_stranger_are_refused() {
    let test = TestDatabase::new().await;
    let bad = TenantNew { plan: Plan { weight: 0, ..Plan::default() }, ..new("Bad") };
    let refused = test.database.tenant_create(&house(), &bad).await;
    assert!(matches!(refused, Err(Fault::Invalid { field: "weight", .. })));
    let tenant = test.database.tenant_create(&house(), &new("One")).await.unwrap();
    let by_tenant = test.database.tenant_create(&admin_of(tenant.id), &new("Two")).await;
    assert!(matches!(by_tenant, Err(Fault::Forbidden)));
    let generous = TenantChange { plan: Some(Plan::default()), ..TenantChange::default() };
    let raised = test.database.tenant_update(&admin_of(tenant.id), tenant.id, &generous).await;
    assert!(matches!(raised, Err(Fault::Forbidden)));
    let change = TenantChange { plan: Some(bad.plan), ..TenantChange::default() };
    let changed = test.database.tenant_update(&house(), tenant.id, &change).await;
    assert!(matches!(changed, Err(Fault::Invalid { field: "weight", .. })));
}

#[tokio::test]
async fn a_quarantine_is_lifted_by_the_house_only_and_nobody_comes_back_from_closing() {
    let test = TestDatabase::new().await;
    let (database, house) = (&test.database, house());
    let id = database.tenant_create(&house, &new("One")).await.unwrap().id;
    let own = admin_of(id);
    let set = |access, status| database.tenant_set_status(access, id, status, Some("why"));
    assert_eq!(set(&own, TenantStatus::Paused).await.unwrap().status_reason.as_deref(), Some("why"));
    set(&own, TenantStatus::Active).await.unwrap();
    assert!(matches!(set(&own, TenantStatus::Quarantined).await, Err(Fault::Forbidden)));
    set(&house, TenantStatus::Quarantined).await.unwrap();
    assert!(matches!(set(&own, TenantStatus::Active).await, Err(Fault::Forbidden)));
    assert!(matches!(database.tenant_erase(&house, id).await, Err(Fault::InUse { .. })));
    set(&house, TenantStatus::Closing).await.unwrap();
    assert!(matches!(set(&house, TenantStatus::Active).await, Err(Fault::Invalid { field: "status", .. })));
    database.tenant_erase(&house, id).await.unwrap();
    assert!(matches!(database.tenant_fetch(&house, id).await, Err(Fault::NotFound("tenant"))));
}

#[tokio::test]
async fn erasing_takes_everything_along_but_the_audit() {
    let (test, one) = with_tenant().await;
    let id = one.tenant.id;
    test.database.tenant_set_status(&house(), id, TenantStatus::Closing, None).await.unwrap();
    test.database.tenant_erase(&house(), id).await.unwrap();
    let client = test.admin().await;
    for table in ["streams", "domains", "dkim_keys", "credentials", "api_keys", "events"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 0, "{table}");
    }
    let entries = test.database.audit_list(&house(), &PageRequest::first()).await.unwrap().rows;
    assert_eq!(entries[0].action, "tenant.erase");
    assert_eq!(test.database.audit_verify(&house()).await.unwrap().broken_at, None);
}

#[tokio::test]
async fn an_update_changes_what_is_named_and_nothing_else() {
    let test = TestDatabase::new().await;
    let plan = Plan { per_day: Some(5), weight: 7, ..Plan::default() };
    let tenant = test.database.tenant_create(&house(), &TenantNew { name: name("One"), plan }).await.unwrap();
    let change = TenantChange { name: Some(name("Uno")), ..TenantChange::default() };
    let changed = test.database.tenant_update(&house(), tenant.id, &change).await.unwrap();
    assert_eq!((changed.name.as_str(), &changed.plan), ("Uno", &tenant.plan));
    assert_eq!(test.database.tenant_fetch(&house(), tenant.id).await.unwrap(), changed);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat_while_rows_are_added() {
    let test = TestDatabase::new().await;
    let mut made = Vec::new();
    for number in 0..7 {
        test.clock.advance(std::time::Duration::from_millis(1));
        made.push(test.database.tenant_create(&house(), &new(&format!("T{number}"))).await.unwrap().id);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(Some(3), cursor.as_deref()).unwrap();
        let page = test.database.tenant_list(&house(), &page).await.unwrap();
        seen.extend(page.rows.iter().map(|tenant| tenant.id));
        test.clock.advance(std::time::Duration::from_millis(1));
        test.database.tenant_create(&house(), &new("Late")).await.unwrap();
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    made.reverse();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_plan_is_changed_only_if_it_is_what_was_seen() {
    let (test, one) = with_tenant().await;
    let plan = |per_day| Plan { per_day: Some(per_day), ..Plan::default() };
    let change = |before: &Plan, after: Plan| {
        let (database, before, tenant) = (test.database.clone(), before.clone(), one.tenant.id);
        async move {
            let change =
                TenantChange { plan: Some(after), plan_before: Some(before), ..TenantChange::default() };
            database.tenant_update(&house(), tenant, &change).await.map(|tenant| tenant.plan)
        }
    };
    let seen = &one.tenant.plan;
    // Both have seen the same: one of them is first.
    let (a, b) = tokio::join!(change(seen, plan(1)), change(seen, plan(2)));
    let refused = [&a, &b].into_iter().filter(|done| matches!(done, Err(Fault::Changed { .. }))).count();
    assert_eq!((refused, a.is_ok() || b.is_ok()), (1, true), "{a:?} {b:?}");
    let now = a.or(b).unwrap();
    assert_eq!(change(&now, plan(3)).await.unwrap(), plan(3));
}
