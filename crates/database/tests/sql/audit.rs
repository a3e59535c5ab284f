//! The audit chain and the generation.

use crate::fixture::*;
use database::{Fault, PageRequest, TenantNew};
use registry::Plan;

async fn three_changes() -> TestDatabase {
    let test = TestDatabase::new().await;
    for text in ["One", "Two", "Three"] {
        let new = TenantNew { name: name(text), plan: Plan::default() };
        test.database.tenant_create(&house(), &new).await.unwrap();
    }
    test
}

#[tokio::test]
async fn an_entry_that_is_changed_removed_or_cut_off_breaks_the_chain() {
    for (damage, broken_at) in [
        ("UPDATE audit SET detail = replace(detail, 'Two', 'Tow') WHERE generation = 2", 2),
        ("UPDATE audit SET at = at + 1 WHERE generation = 1", 1),
        ("DELETE FROM audit WHERE generation = 2", 3),
        ("DELETE FROM audit WHERE generation = 3", 3),
    ] {
        let test = three_changes().await;
        assert_eq!(test.database.audit_verify(&house()).await.unwrap().broken_at, None);
        assert_eq!(test.admin().await.execute(damage, &[]).await.unwrap(), 1);
        assert_eq!(
            test.database.audit_verify(&house()).await.unwrap().broken_at,
            Some(broken_at),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn every_change_is_one_generation_and_one_entry_that_names_the_actor() {
    let test = three_changes().await;
    let entries = test.database.audit_list(&house(), &PageRequest::first()).await.unwrap().rows;
    let generations: Vec<i64> = entries.iter().map(|entry| entry.generation).collect();
    assert_eq!(generations, [3, 2, 1]);
    assert!(entries.iter().all(|entry| entry.action == "tenant.create" && entry.actor == "house:test"));
    assert_eq!(entries[0].detail["name"], "Three");
}

#[tokio::test]
async fn changes_at_the_same_time_keep_the_chain_whole() {
    let test = TestDatabase::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let database = test.database.clone();
        tasks.spawn(async move {
            let new = TenantNew { name: name(&format!("T{number}")), plan: Plan::default() };
            database.tenant_create(&house(), &new).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let verdict = test.database.audit_verify(&house()).await.unwrap();
    assert_eq!((verdict.entries, verdict.broken_at), (20, None));
}

#[tokio::test]
async fn a_tenant_cannot_verify_the_chain() {
    let (test, one) = with_tenant().await;
    assert!(matches!(test.database.audit_verify(&admin_of(one.tenant.id)).await, Err(Fault::Forbidden)));
}
