//! Webhook calls from the table to a receiver, with retries, refusals and the end of an endpoint.

use crate::house::{ACCESS, House, eventually};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use database::{PageRequest, WebhookDeliveryRow};
use events::Config;
use mail::EventKind;
use registry::EndpointState;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers with the given statuses, then 204; remembers the ids of the calls.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(answers: &[StatusCode]) -> (Receiver, String) {
        let receiver = Receiver {
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            ..Receiver::default()
        };
        let hook = |State(receiver): State<Receiver>, headers: HeaderMap| async move {
            let id = headers["webhook-id"].to_str().unwrap().to_string();
            receiver.ids.lock().unwrap().push(id);
            receiver.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::NO_CONTENT)
        };
        let slow = || std::future::pending::<StatusCode>();
        let router =
            Router::new().route("/hook", post(hook)).route("/slow", post(slow)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        // Ends with the runtime of the test.
        drop(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        (receiver, url)
    }

    fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }
}

fn loopback() -> Config {
    Config {
        webhook_allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        webhook_poll_ms: 50,
        ..Config::default()
    }
}

async fn deliveries(house: &House) -> Vec<WebhookDeliveryRow> {
    let (endpoint, _) = house.tenant.webhook.as_ref().unwrap();
    let page = PageRequest::first();
    let list =
        house.test.database.webhook_delivery_list(&ACCESS, house.tenant.tenant.id, endpoint.id, &page).await;
    list.unwrap().rows
}

/// The only delivery, once it has had so many tries.
async fn after_tries(house: &House, tries: i32) -> WebhookDeliveryRow {
    eventually(|| async { deliveries(house).await.into_iter().find(|row| row.attempts >= tries) }).await
}

/// Changes the endpoint's row behind everybody's back, and has the registry read again until `seen` says so.
async fn change_endpoint(house: &House, sql: &str, seen: impl Fn(Option<&registry::Endpoint>) -> bool) {
    let id = house.tenant.webhook.as_ref().unwrap().0.id;
    let admin = house.test.admin().await;
    admin.execute(sql, &[&id.uuid()]).await.unwrap();
    admin.batch_execute("UPDATE registry SET generation = generation + 1").await.unwrap();
    let look = || async { seen(house.snapshot.load().endpoint(id).map(|known| &**known)).then_some(()) };
    eventually(look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_an_endpoint_that_cannot_be_read_waits_and_spends_no_try() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url)).await;
    let damage = "UPDATE endpoints SET secrets[1] = secrets[1] || 'x'::bytea WHERE id = $1";
    change_endpoint(&house, damage, |known| known.is_none()).await;
    let running = house.start(loopback());
    house.accept(&["a@example.org"]).await;
    let waiting = |since| {
        let house = &house;
        move || async move {
            let row = deliveries(house).await.into_iter().next()?;
            row.last_at.is_some_and(|at| at >= since).then_some(row)
        }
    };
    let first = eventually(waiting(house.now())).await;
    assert_eq!((first.state.as_str(), first.attempts, first.last_status), ("pending", 0, None));
    house.test.clock.advance(Duration::from_secs(120));
    let now = house.now();
    let second = eventually(waiting(now)).await;
    assert_eq!((second.attempts, second.due_at.saturating_since(now)), (0, Duration::from_secs(120)));

    let mend =
        "UPDATE endpoints SET secrets[1] = substring(secrets[1] for length(secrets[1]) - 1) WHERE id = $1";
    change_endpoint(&house, mend, |known| known.is_some()).await;
    house.test.clock.advance(Duration::from_secs(121));
    let row = after_tries(&house, 1).await;
    assert_eq!((row.state.as_str(), row.attempts, receiver.ids().len()), ("delivered", 1, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_not_called_and_the_tenant_sees_why() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url.replace("http:", "https:"))).await;
    let running = house.start(Config { webhook_poll_ms: 50, ..Config::default() });
    house.accept(&["a@example.org"]).await;
    let row = after_tries(&house, 1).await;
    assert_eq!(row.last_error.as_deref(), Some("the address is private, loopback or reserved"));
    assert_eq!((row.state.as_str(), row.last_status), ("pending", None));
    assert!(receiver.ids().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_comes_again_with_the_same_id() {
    let (receiver, url) = Receiver::start(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND]).await;
    let house = House::new(Some(url)).await;
    let running = house.start(loopback());
    house.accept(&["a@example.org"]).await;
    let row = after_tries(&house, 1).await;
    assert_eq!((row.state.as_str(), row.last_status), ("pending", Some(500)));
    let wait = row.due_at.saturating_since(house.now());
    assert!(wait >= Duration::from_millis(4_500) && wait <= Duration::from_millis(5_500), "{wait:?}");

    house.test.clock.advance(Duration::from_secs(6));
    assert_eq!(after_tries(&house, 2).await.last_status, Some(302));
    house.test.clock.advance(Duration::from_secs(6 * 60));
    let row = after_tries(&house, 3).await;
    assert_eq!((row.state.as_str(), row.last_status), ("delivered", Some(204)));
    let ids = receiver.ids();
    assert_eq!(ids, vec![row.event.to_string(); 3]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_410_is_disabled_and_the_tenant_is_told() {
    let (receiver, url) = Receiver::start(&[StatusCode::GONE]).await;
    let house = House::new(Some(url)).await;
    let running = house.start(loopback());
    house.accept(&["a@example.org"]).await;
    let kinds = house.kinds(2).await;
    assert_eq!(kinds, [EventKind::MessageAccepted, EventKind::WebhookDisabled]);
    let (endpoint, _) = house.tenant.webhook.as_ref().unwrap();
    let row = house.test.database.endpoint_fetch(&ACCESS, house.tenant.tenant.id, endpoint.id).await.unwrap();
    assert_eq!(row.state, EndpointState::Disabled);
    assert_eq!(after_tries(&house, 1).await.state, "failed");
    house.accept(&["b@example.org"]).await;
    house.kinds(3).await;
    assert_eq!(receiver.ids().len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_does_not_keep_others_waiting() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url.replace("/hook", "/slow"))).await;
    let recipients: Vec<String> = (0..200).map(|n| format!("r{n}@example.org")).collect();
    house.accept(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let running = house.start(Config { webhook_timeout_ms_max: 4_000, ..loopback() });
    house.kinds(200).await;

    let new = database::EndpointNew { url, kinds: vec![EventKind::MessageDelivered] };
    house.test.database.endpoint_create(&ACCESS, house.tenant.tenant.id, &new).await.unwrap();
    house.test.clock.advance(Duration::from_millis(1));
    let message = house.accept(&["a@example.org"]).await;
    house.settle(message, 0, 1, spool::Settlement::Delivered).await;
    eventually(|| async { (!receiver.ids().is_empty()).then_some(()) }).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_gets_a_long_queue_without_a_pause() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url)).await;
    let recipients: Vec<String> = (0..300).map(|n| format!("r{n}@example.org")).collect();
    let running = house.start(without_polling());
    house.accept(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // The clock stands still: a call that was let go would never come back.
    eventually(|| async { (receiver.ids().len() >= 300).then_some(()) }).await;
    let ids: std::collections::HashSet<_> = receiver.ids().into_iter().collect();
    assert_eq!(ids.len(), 300);
    running.stop().await;
}

/// How long a call takes from the acceptance of its message: what nine in ten of forty stay below.
async fn nine_in_ten(house: &House, receiver: &Receiver) -> Duration {
    let mut took = Vec::new();
    for n in 0..40 {
        let before = receiver.ids().len();
        let began = tokio::time::Instant::now();
        house.accept(&[&format!("r{n}@example.org")]).await;
        eventually(|| async { (receiver.ids().len() > before).then_some(()) }).await;
        took.push(began.elapsed());
    }
    took.sort();
    took[35]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_calls_of_a_neighbour_that_hang_delay_nobody_else() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url.clone())).await;
    let running = house.start(Config { webhook_timeout_ms_max: 3_000, ..loopback() });
    let alone = nine_in_ten(&house, &receiver).await;
    house.neighbour(&url.replace("/hook", "/slow"), 40, 100_000).await;
    let beside = nine_in_ten(&house, &receiver).await;
    // Far less than one timeout, or one round of the neighbour's; a busy machine is no failure.
    assert!(beside < alone * 6 / 5 + Duration::from_millis(250), "{alone:?} alone, {beside:?} beside");
    running.stop().await;
}

/// Nothing but being woken helps here.
fn without_polling() -> Config {
    Config { webhook_poll_ms: 3_600_000, ..loopback() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_made_when_it_is_due_although_nobody_polls() {
    let (receiver, url) = Receiver::start(&[StatusCode::INTERNAL_SERVER_ERROR]).await;
    let house = House::new(Some(url)).await;
    let running = house.start(without_polling());
    house.accept(&["a@example.org"]).await;
    let row = after_tries(&house, 1).await;
    let (began, wait) = (tokio::time::Instant::now(), row.due_at.saturating_since(house.now()));
    // The clock of the house is set by hand: in as much real time as the pause it has come to its end.
    house.test.clock.advance(wait);
    let row = after_tries(&house, 2).await;
    println!("a retry after {wait:?} was made after {:?}", began.elapsed());
    assert_eq!((row.state.as_str(), receiver.ids().len()), ("delivered", 2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_another_run_left_is_found_and_a_test_call_is_made_at_once() {
    let (receiver, url) = Receiver::start(&[StatusCode::INTERNAL_SERVER_ERROR]).await;
    let house = House::new(Some(url)).await;
    let running = house.start(without_polling());
    house.accept(&["a@example.org"]).await;
    let row = after_tries(&house, 1).await;
    running.stop().await;
    // Only the table knows of it now, and what becomes due is asked of it at the start.
    let running = house.start(without_polling());
    let endpoint = house.tenant.webhook.as_ref().unwrap().0.id;
    house.test.database.webhook_test(&ACCESS, house.tenant.tenant.id, endpoint).await.unwrap();
    eventually(|| async { (receiver.ids().len() >= 2).then_some(()) }).await;
    house.test.clock.advance(row.due_at.saturating_since(house.now()));
    eventually(|| async { (receiver.ids().len() >= 3).then_some(()) }).await;
    assert_eq!(receiver.ids().iter().filter(|id| **id == row.event.to_string()).count(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_is_called_when_it_is_resumed_although_nobody_polls() {
    let (receiver, url) = Receiver::start(&[]).await;
    let house = House::new(Some(url)).await;
    let (tenant, endpoint) = (house.tenant.tenant.id, house.tenant.webhook.as_ref().unwrap().0.id);
    let set = async |state| {
        let change = database::EndpointChange { state: Some(state), ..database::EndpointChange::default() };
        house.test.database.endpoint_update(&ACCESS, tenant, endpoint, &change).await.unwrap();
    };
    let running = house.start(without_polling());
    house.accept(&["a@example.org"]).await;
    after_tries(&house, 1).await;
    set(EndpointState::Paused).await;
    house.accept(&["b@example.org"]).await;
    house.kinds(2).await;
    assert_eq!((deliveries(&house).await.len(), receiver.ids().len()), (2, 1));
    set(EndpointState::Active).await;
    eventually(|| async { (receiver.ids().len() >= 2).then_some(()) }).await;
    running.stop().await;
}
