//! Domains: claims, proof, loss, and keys in rotation.

use crate::fixture::*;
use database::{DomainNew, DomainRow, Fault, Follower, PageRequest};
use mail::EventKind;
use registry::{DomainRecord, DomainState, Found, KeyState, Purpose, RecordState};
use std::time::Duration;

fn new(text: &str) -> DomainNew {
    DomainNew { name: domain(text), return_path_target: domain("return.posthouse.test") }
}

/// The records as if everything but `without` were published.
fn published(row: &DomainRow, without: &[Purpose]) -> Vec<DomainRecord> {
    let found = |purpose: Purpose, value: &str| match without.contains(&purpose) {
        true => Found::Records(Vec::new()),
        false => Found::Records(vec![value.to_owned()]),
    };
    row.expected()
        .into_iter()
        .map(|expected| {
            let found = found(expected.purpose, &expected.value);
            DomainRecord::judged(expected, found)
        })
        .collect()
}

#[tokio::test]
async fn a_verified_domain_cannot_be_claimed_or_proved_by_another_tenant() {
    let (test, one) = with_tenant().await;
    let two = onboard(&test.database, "Two", "one.example").await;
    let (database, house) = (&test.database, house());
    let prove = |tenant: &database::Onboarded| {
        let (id, domain, records) = (tenant.tenant.id, tenant.domain.id, published(&tenant.domain, &[]));
        let house = house.clone();
        async move { database.domain_check(&house, id, domain, &records).await }
    };
    assert_ne!(one.domain.ownership_token, two.domain.ownership_token);
    assert_eq!(prove(&one).await.unwrap().state, DomainState::Verified);
    assert!(matches!(prove(&two).await, Err(Fault::Conflict { field: "domain" })));
    let still = database.domain_fetch(&house, two.tenant.id, two.domain.id).await.unwrap();
    assert_eq!(still.state, DomainState::Pending);
    let three = database.tenant_onboard(&house, &onboarding("Three", "one.example"), &defaults()).await;
    assert!(matches!(three, Err(Fault::Conflict { field: "domain" })));
    database.domain_delete(&house, one.tenant.id, one.domain.id).await.unwrap();
    assert_eq!(prove(&two).await.unwrap().state, DomainState::Verified);
}

#[tokio::test]
async fn the_same_name_twice_in_one_tenant_is_a_conflict() {
    let (test, one) = with_tenant().await;
    let again = test.database.domain_create(&house(), one.tenant.id, &new("one.example")).await;
    assert!(matches!(again, Err(Fault::Conflict { field: "name" })));
}

#[tokio::test]
async fn a_domain_is_verified_without_dmarc_but_not_without_ownership_key_or_return_path() {
    let (test, one) = with_tenant().await;
    let (id, domain) = (one.tenant.id, one.domain.id);
    for missing in [Purpose::Ownership, Purpose::Dkim1, Purpose::ReturnPath] {
        let records = published(&one.domain, &[missing]);
        let row = test.database.domain_check(&house(), id, domain, &records).await.unwrap();
        assert_eq!(row.state, DomainState::Pending, "{missing:?}");
        let shown = row.records.iter().find(|record| record.purpose == missing).unwrap();
        assert_eq!(shown.state, RecordState::Missing);
    }
    let records = published(&one.domain, &[Purpose::Dmarc, Purpose::Dkim2]);
    let row = test.database.domain_check(&house(), id, domain, &records).await.unwrap();
    assert_eq!(row.state, DomainState::Verified);
    assert!(row.verified_at.is_some());
    let events = test.database.event_list(&house(), id, &PageRequest::first(), None).await.unwrap().rows;
    assert_eq!(events.last().unwrap().event.kind, EventKind::DomainVerified);
}

#[tokio::test]
async fn a_check_of_nothing_or_of_other_records_proves_nothing() {
    let (test, one) = with_tenant().await;
    let mut foreign = published(&one.domain, &[]);
    for record in &mut foreign {
        record.host = format!("x.{}", record.host);
    }
    for records in [Vec::new(), foreign] {
        let row = test.database.domain_check(&house(), one.tenant.id, one.domain.id, &records).await.unwrap();
        assert_eq!(row.state, DomainState::Pending);
    }
}

#[tokio::test]
async fn a_lost_record_degrades_and_three_days_later_fails() {
    let (test, one) = with_tenant().await;
    let (id, domain) = (one.tenant.id, one.domain.id);
    let check = async |without: &[Purpose]| {
        let records = published(&one.domain, without);
        test.database.domain_check(&house(), id, domain, &records).await.unwrap().state
    };
    assert_eq!(check(&[]).await, DomainState::Verified);
    assert_eq!(check(&[Purpose::Dkim1]).await, DomainState::Degraded);
    test.clock.advance(Duration::from_secs(71 * 3600));
    assert_eq!(check(&[Purpose::Dkim1]).await, DomainState::Degraded);
    test.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(check(&[Purpose::Dkim1]).await, DomainState::Failed);
    assert_eq!(check(&[]).await, DomainState::Verified);
}

#[tokio::test]
async fn a_check_that_changes_nothing_leaves_the_generation_alone() {
    let (test, one) = with_tenant().await;
    let before = test.database.audit_verify(&house()).await.unwrap().entries;
    let records = published(&one.domain, &[Purpose::Ownership]);
    test.database.domain_check(&house(), one.tenant.id, one.domain.id, &records).await.unwrap();
    assert_eq!(test.database.audit_verify(&house()).await.unwrap().entries, before);
}

/// Both have read before one can write: whoever changes the registry needs its row.
#[tokio::test]
async fn of_two_rotations_at_once_one_makes_keys() {
    let (test, one) = with_tenant().await;
    let (database, house, id, domain) = (&test.database, house(), one.tenant.id, one.domain.id);
    let (holder, watcher) = (test.admin().await, test.admin().await);
    holder.batch_execute("BEGIN; SELECT 1 FROM registry FOR UPDATE").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let letting_go = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
            again.tick().await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let rotate = || database.dkim_key_rotate(&house, id, domain);
    let all = async { tokio::join!(rotate(), rotate(), letting_go) };
    let (first, second, ()) =
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("nobody waited");
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(database.dkim_key_list(&house, id, domain).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_rotation_waits_for_its_records_and_then_the_old_keys_retire() {
    let (test, one) = with_tenant().await;
    let (database, house, id, domain) = (&test.database, house(), one.tenant.id, one.domain.id);
    // Keys are listed oldest first, whatever their random selectors are.
    test.clock.advance(Duration::from_secs(1));
    let next = database.dkim_key_rotate(&house, id, domain).await.unwrap();
    assert!(next.iter().all(|key| key.state == KeyState::Next));
    let twice = database.dkim_key_rotate(&house, id, domain).await;
    assert!(matches!(twice, Err(Fault::Conflict { field: "dkim_keys" })));
    assert_eq!(database.dkim_key_list(&house, id, domain).await.unwrap().len(), 4);

    let row = database.domain_fetch(&house, id, domain).await.unwrap();
    assert_eq!(row.expected().iter().filter(|r| r.purpose == Purpose::Dkim1 && r.required).count(), 1);
    let row = database.domain_check(&house, id, domain, &published(&row, &[])).await.unwrap();
    let states: Vec<KeyState> = row.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Retiring, KeyState::Retiring, KeyState::Active, KeyState::Active]);
    let events = database.event_list(&house, id, &PageRequest::first(), None).await.unwrap().rows;
    assert!(events.iter().any(|row| row.event.kind == EventKind::DkimRotated));
    // Before the time of the promotion nothing is removed, after it the two that retired are, and no other.
    let promoted = one.tenant.created_at.saturating_add(Duration::from_secs(1));
    assert_eq!(database.dkim_keys_retire(&house, promoted).await.unwrap(), 0);
    let later = promoted.saturating_add(Duration::from_secs(1));
    assert_eq!(database.dkim_keys_retire(&house, later).await.unwrap(), 2);
    assert_eq!(database.dkim_keys_retire(&house, later).await.unwrap(), 0);
    let row = database.domain_fetch(&house, id, domain).await.unwrap();
    assert!(row.keys.len() == 2 && row.keys.iter().all(|key| key.state == KeyState::Active));
}

#[tokio::test]
async fn a_suspended_domain_keeps_its_name_and_is_checked_again_when_it_is_released() {
    let (test, one) = with_tenant().await;
    let (database, house, id, domain) = (&test.database, house(), one.tenant.id, one.domain.id);
    database.domain_check(&house, id, domain, &published(&one.domain, &[])).await.unwrap();
    let mine = database.domain_suspend(&admin_of(id), id, domain, None).await;
    assert!(matches!(mine, Err(Fault::Forbidden)));
    let stopped = database.domain_suspend(&house, id, domain, None).await.unwrap();
    assert_eq!(stopped.state, DomainState::Suspended);
    let checked = database.domain_check(&house, id, domain, &published(&one.domain, &[])).await.unwrap();
    assert_eq!(checked.state, DomainState::Suspended);
    assert!(matches!(database.domain_delete(&admin_of(id), id, domain).await, Err(Fault::Forbidden)));
    let entries = database.audit_verify(&house).await.unwrap().entries;
    database.domain_suspend(&house, id, domain, None).await.unwrap();
    assert_eq!(database.audit_verify(&house).await.unwrap().entries, entries);
    assert_eq!(database.domain_release(&house, id, domain, None).await.unwrap().state, DomainState::Pending);
    let checked = database.domain_check(&house, id, domain, &published(&one.domain, &[])).await.unwrap();
    assert_eq!(checked.state, DomainState::Verified);
}

#[tokio::test]
async fn a_private_key_does_not_lie_in_the_table_in_the_clear() {
    let (test, one) = with_tenant().await;
    let client = test.admin().await;
    let sql = "SELECT sealed FROM dkim_keys WHERE domain_id = $1";
    for row in client.query(sql, &[&one.domain.id.uuid()]).await.unwrap() {
        let sealed: Vec<u8> = row.get(0);
        // PKCS #8 names its algorithm: RSA (RFC 8017) or Ed25519 (RFC 8410).
        for name in [&b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"[..], b"\x30\x05\x06\x03\x2b\x65\x70"] {
            assert!(!sealed.windows(name.len()).any(|window| window == name));
        }
    }
}

#[tokio::test]
async fn a_key_that_was_looked_for_in_vain_does_not_sign() {
    let (test, one) = with_tenant().await;
    let (database, house, id, domain) = (&test.database, house(), one.tenant.id, one.domain.id);
    let (handle, follower) = Follower::start(database.clone(), &test.config).await.unwrap();
    let signers = || handle.load().sending_domain(id, &one.domain.name).map(|domain| domain.keys.len());
    let row =
        database.domain_check(&house, id, domain, &published(&one.domain, &[Purpose::Dkim2])).await.unwrap();
    assert_eq!(row.state, DomainState::Verified);
    let mut changed = handle.changed();
    changed.wait_for(|_| signers() == Some(1)).await.unwrap();
    database.domain_check(&house, id, domain, &published(&one.domain, &[])).await.unwrap();
    changed.wait_for(|_| signers() == Some(2)).await.unwrap();
    follower.abort();
}
