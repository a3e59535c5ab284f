//! Webhook endpoints and their sealed secrets.

use crate::fixture::*;
use database::{EndpointChange, EndpointNew, Fault, Follower, PageRequest};
use mail::EventKind;
use registry::EndpointState;

fn new() -> EndpointNew {
    EndpointNew { url: "https://client.example/hook".to_owned(), kinds: vec![EventKind::MessageBounced] }
}

#[tokio::test]
async fn a_url_that_cannot_be_called_is_refused() {
    let (test, one) = with_tenant().await;
    for url in
        ["", "client.example", "file:///etc/passwd", "https://a b", &format!("https://{}", "a".repeat(3000))]
    {
        let bad = EndpointNew { url: url.to_owned(), kinds: Vec::new() };
        let refused = test.database.endpoint_create(&house(), one.tenant.id, &bad).await;
        assert!(matches!(refused, Err(Fault::Invalid { field: "url", .. })), "{url}");
    }
}

#[tokio::test]
async fn a_rotation_keeps_one_secret_back_and_the_snapshot_has_them_open() {
    let (test, one) = with_tenant().await;
    let tenant = one.tenant.id;
    let (row, first) = test.database.endpoint_create(&house(), tenant, &new()).await.unwrap();
    let (_, second) = test.database.endpoint_rotate(&house(), tenant, row.id).await.unwrap();
    let (_, third) = test.database.endpoint_rotate(&house(), tenant, row.id).await.unwrap();
    assert!(first.starts_with("whsec_") && first != second);
    let (handle, follower) = Follower::start(test.database.clone(), &test.config).await.unwrap();
    let snapshot = handle.load();
    let endpoint = &snapshot.endpoints(tenant)[0];
    let secrets: Vec<&str> = endpoint.secrets.iter().map(|secret| &**secret).collect();
    assert_eq!(secrets, [third.as_str(), second.as_str()]);
    assert!(endpoint.wants(EventKind::MessageBounced) && !endpoint.wants(EventKind::MessageDelivered));
    follower.abort();
}

#[tokio::test]
async fn a_disabled_endpoint_tells_the_tenant_once_and_is_set_active_again() {
    let (test, one) = with_tenant().await;
    let tenant = one.tenant.id;
    let (row, _) = test.database.endpoint_create(&house(), tenant, &new()).await.unwrap();
    for _ in 0..2 {
        test.database.endpoint_disable(&house(), tenant, row.id, "410 Gone").await.unwrap();
    }
    let disabled = test.database.endpoint_fetch(&house(), tenant, row.id).await.unwrap();
    assert_eq!(
        (disabled.state, disabled.state_reason.as_deref()),
        (EndpointState::Disabled, Some("410 Gone"))
    );
    let events = test.database.event_list(&house(), tenant, &PageRequest::first(), None).await.unwrap().rows;
    assert_eq!(events.iter().filter(|row| row.event.kind == EventKind::WebhookDisabled).count(), 1);
    let active = EndpointChange { state: Some(EndpointState::Active), ..EndpointChange::default() };
    let row = test.database.endpoint_update(&house(), tenant, row.id, &active).await.unwrap();
    assert_eq!((row.state, row.state_reason), (EndpointState::Active, None));
}
