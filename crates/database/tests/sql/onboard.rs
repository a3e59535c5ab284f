//! Onboarding: all or nothing, and enough to send.

use crate::fixture::*;
use database::{EndpointNew, Fault, Follower, PageRequest};
use mail::{Envelope, ForwardPath, Mailbox, Recipient, RefusalKind, ReversePath};
use registry::{Access, DomainRecord, Found, Offer, Sender, Steering, Usage};

#[tokio::test]
async fn a_pool_that_is_not_there_leaves_nothing_behind() {
    let test = TestDatabase::new().await;
    let refused =
        test.database.tenant_onboard(&house(), &onboarding("One", "one.example"), &defaults()).await;
    assert!(matches!(refused, Err(Fault::Missing { field: "pool" })));
    shared_pool(&test.database).await;
    let bad_webhook = EndpointNew { url: "ftp://client.example".to_owned(), kinds: Vec::new() };
    let asked = database::Onboarding { webhook: Some(bad_webhook), ..onboarding("One", "one.example") };
    let refused = test.database.tenant_onboard(&house(), &asked, &defaults()).await;
    assert!(matches!(refused, Err(Fault::Invalid { field: "url", .. })));
    assert!(test.database.tenant_list(&house(), &PageRequest::first()).await.unwrap().rows.is_empty());
    assert_eq!(test.database.audit_verify(&house()).await.unwrap().entries, 2);
}

#[tokio::test]
async fn a_tenant_may_not_onboard() {
    let (test, one) = with_tenant().await;
    let refused = test
        .database
        .tenant_onboard(&admin_of(one.tenant.id), &onboarding("Two", "two.example"), &defaults())
        .await;
    assert!(matches!(refused, Err(Fault::Forbidden)));
}

#[tokio::test]
async fn what_is_handed_out_works_once_the_domain_is_verified() {
    let (test, one) = with_tenant().await;
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let (peer, now) = ("192.0.2.1".parse().unwrap(), one.tenant.created_at);
    assert_eq!(
        one.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["transactional", "marketing"]
    );
    assert_eq!(one.credential.username, one.credential.id.to_string());
    assert!(one.password.len() >= 32 && one.api_key_text.starts_with("ph_live_"));

    let snapshot = handle.load();
    let wrong = snapshot.authenticate(&one.credential.username, "wrong", peer, now).unwrap_err();
    assert_eq!(wrong.kind, RefusalKind::BadCredential);
    let credential = snapshot.authenticate(&one.credential.username, &one.password, peer, now).unwrap();
    let key = snapshot.authenticate_api_key(&one.api_key_text, peer, now).unwrap();
    assert_eq!(Access::of_api_key(&key).unwrap().tenant(), Some(one.tenant.id));

    let from = [Mailbox::parse("a@one.example").unwrap()];
    let recipients = vec![Recipient::new(ForwardPath::parse("b@example.net").unwrap())];
    let envelope = Envelope::new(ReversePath::parse("a@one.example").unwrap(), recipients);
    let sender = Sender::of_credential(&credential);
    let steering = Steering::default();
    let offer = Offer { sender, envelope: &envelope, from: &from, agents: &[], size: 1000, steering };
    let refused = snapshot.admit(&offer, &mut Usage::new(), now).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::SenderNotAllowed);

    let records: Vec<DomainRecord> = one
        .domain
        .expected()
        .into_iter()
        .map(|expected| DomainRecord::judged(expected.clone(), Found::Records(vec![expected.value])))
        .collect();
    test.database.domain_check(&house(), one.tenant.id, one.domain.id, &records).await.unwrap();
    let generation = registry::Generation(one.generation.0 + 1);
    assert!(handle.reached(generation, std::time::Duration::from_secs(1)).await);
    let admitted = handle.load().admit(&offer, &mut Usage::new(), now).unwrap();
    assert_eq!(admitted.stream.name.as_str(), "transactional");
    assert_eq!(admitted.domain.signing_keys().count(), 2);
    assert_eq!(admitted.domain.return_path.as_str(), "rp.one.example");
    follower.abort();
}
