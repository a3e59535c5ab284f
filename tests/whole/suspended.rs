//! A tenant that is stopped in the middle of a burst (T12): the doors close at once, what waits stays, and nothing of it is
//! lost when it may go on. Its neighbour notices nothing. Likewise one domain of a tenant, with what waits from it.

use crate::house::{House, Plot, Tenant, let_pass, now_ms, wait_for};
use mail::Timestamp;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::client::Door;
use posthouse_tests::lab::Lab;
use posthouse_tests::ledger::Ledger;
use posthouse_tests::load::{Load, Mix, Shape};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The catalogue's bounds, from the answer to the call that stops the tenant.
const REFUSED_MS_MAX: u64 = 1_000;
const HELD_MS_MAX: u64 = 5_000;
/// How long the stop lasts, and how long of it nothing may leave.
const STOPPED: Duration = Duration::from_secs(9);
/// Recipients that wait when it comes.
const WAITING: f64 = 300.0;

struct Scene {
    house: House,
    lab: Lab,
    greedy: Tenant,
    quiet: Door,
    operator: String,
    _plot: Plot,
}

/// Two tenants, each with its own address, and a site that takes little at a time.
fn scene() -> Scene {
    let (lab, mut plot) = Lab::with_plot();
    plot.send_freely();
    plot.set("egress.limits.connections", "2");
    scene_in(lab, plot)
}

fn scene_in(lab: Lab, plot: Plot) -> Scene {
    let house = plot.start_in(&lab);
    let (greedy, _) = house.onboard("greedy", "greedy.example", "127.2.0.93");
    let (quiet, _) = house.onboard("quiet", "quiet.example", "127.2.0.94");
    let (quiet, operator) = (Door::of(&house, &quiet), house.operator());
    Scene { house, lab, greedy, quiet, operator, _plot: plot }
}

impl Scene {
    fn steer(&self, verb: &str, state: &str) {
        let path = format!("/v1/tenants/{}/{verb}", self.greedy.id);
        let reason = json!({"reason": "looked at"});
        let (status, tenant) = self.house.api("POST", &path, &self.operator, Some(&reason));
        assert_eq!((status, tenant["status"].as_str()), (200, Some(state)), "{tenant}");
    }

    fn slow_down(&self, delay_ms: u64) {
        self.house.lab("PUT", "/providers/plain", Some(&json!({"delay_ms": delay_ms})));
    }

    /// The neighbour's message is taken and arrives while the other one is stopped.
    fn neighbour_is_served(&self) {
        let to = "neighbour@gmail.com".to_owned();
        let raw = format!("From: {}\r\nTo: {to}\r\nSubject: s\r\n\r\nstill here\r\n", self.quiet.sender);
        let taken = self.quiet.post(std::slice::from_ref(&to), raw.as_bytes()).unwrap();
        assert_eq!(taken.status, 202, "{}", taken.body);
        self.house.arrivals(&to, 1);
    }
}

/// When something of the ledger was last taken, in milliseconds since 1970.
fn last_taken(ledger: &Ledger) -> u64 {
    ledger.entries().iter().map(|entry| entry.at_ms).max().unwrap_or(0)
}

fn last_arrival(arrivals: &Arrivals) -> u64 {
    arrivals.copies.values().flatten().map(|copy| copy.at_ms).max().unwrap_or(0)
}

/// Stops the tenant by one call and lets it go on by the other.
fn stops_and_goes_on((stop, state): (&str, &str), go_on: &str) {
    let scene = scene();
    let (house, lab) = (&scene.house, &scene.lab);
    scene.slow_down(50);
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let door = Door::of(house, &scene.greedy);
    let load = Load::start(&door, &ledger, Mix { smtp: 3, http: 2 }, Shape::Small);
    wait_for("a burst that waits", || {
        arrivals.collect(lab);
        (house.metric("posthouse_queue_recipients") >= WAITING).then_some(())
    });
    assert!(!arrivals.copies.is_empty(), "some of it has left");

    scene.steer(stop, state);
    let stopped_ms = now_ms();
    scene.neighbour_is_served();
    let_pass(STOPPED);
    let (taken, waiting) = (last_taken(&ledger), house.metric("posthouse_queue_recipients"));
    arrivals.collect(lab);
    arrivals.copies.retain(|recipient, _| recipient.starts_with('l'));
    let (before, last) = (arrivals.copies.len(), last_arrival(&arrivals));
    let codes = ledger.codes();
    let (taken_ms, sent_ms) = (taken.saturating_sub(stopped_ms), last.saturating_sub(stopped_ms));
    println!(
        "T12 {stop}: {waiting} waited; the last message was taken {taken_ms} ms and the last delivery came {sent_ms} ms \
         after the answer to the call; answers {codes:?}"
    );
    assert!(taken_ms <= REFUSED_MS_MAX, "a message was taken {taken_ms} ms after the stop");
    assert!(sent_ms <= HELD_MS_MAX, "a message was sent {sent_ms} ms after the stop");
    assert!(waiting >= WAITING / 2.0, "only {waiting} wait: there was nothing to hold");
    for refusal in [("smtp", 450), ("http", 403)] {
        assert!(codes.get(&refusal).is_some_and(|count| *count > 0), "no {refusal:?} in {codes:?}");
    }
    let expected = |(_, code): &(&str, u16)| matches!(code, 202 | 250 | 403 | 450);
    assert!(codes.keys().all(expected), "{codes:?}");

    scene.slow_down(0);
    scene.steer(go_on, "active");
    let resumed_ms = now_ms();
    wait_for("mail to be taken again", || (last_taken(&ledger) >= resumed_ms).then_some(()));
    println!("T12 {go_on}: taken again after {} ms", last_taken(&ledger).saturating_sub(resumed_ms));
    load.finish();
    let verdict = ledger.settle(house, lab, &mut arrivals, &[]);
    println!(
        "T12: {} messages, 0 lost, {} extra copies, {before} before the end of the stop",
        verdict.messages,
        verdict.extra_copies()
    );
    ledger.is_told(house, &scene.greedy.key, &arrivals);
    assert_eq!(scene.house.stop().code(), Some(0));
}

#[test]
fn a_tenant_that_is_paused_in_a_burst_sends_nothing_and_loses_nothing() {
    stops_and_goes_on(("pause", "paused"), "resume");
}

#[test]
fn a_tenant_that_is_put_into_quarantine_in_a_burst_sends_nothing_and_loses_nothing() {
    stops_and_goes_on(("quarantine", "quarantined"), "release");
}

/// Sends from the greedy tenant; the id.
fn send(scene: &Scene, to: &str, send_at: Option<Timestamp>) -> String {
    let from = format!("x@{}", scene.greedy.domain);
    let mut message = json!({"from": from, "to": [to], "subject": "s", "text": "t"});
    if let Some(send_at) = send_at {
        message["send_at"] = json!(send_at);
    }
    let path = "/v1/tenants/self/messages";
    let (status, answer) = scene.house.api("POST", path, &scene.greedy.key, Some(&message));
    assert_eq!(status, 202, "{answer}");
    answer["ids"][0].as_str().unwrap().to_owned()
}

/// Waits until `why` gives this reason for the one recipient; the sentence.
fn waits_for(scene: &Scene, message: &str, reason: &str) -> String {
    let path = format!("/v1/tenants/self/messages/{message}/why");
    wait_for(&format!("{reason} as the reason"), || {
        let why = scene.house.get(&path, &scene.greedy.key)["recipients"][0].clone();
        (why["reason"] == reason).then(|| why["detail"].as_str().unwrap().to_owned())
    })
}

#[test]
fn what_waits_from_a_suspended_domain_leaves_when_it_is_released() {
    let (lab, mut plot) = Lab::with_plot();
    plot.send_freely();
    plot.set("egress.retry_seconds", "[2]");
    let scene = scene_in(lab, plot);
    let house = &scene.house;
    let outage = |mode| house.lab("PUT", "/providers/plain", Some(&json!({"outage": mode})));
    outage("defer");
    let deferred = send(&scene, "later@plain.example", None);
    waits_for(&scene, &deferred, "retry");
    let soon = Timestamp::from_millis(now_ms() as i64 + 2_000);
    let scheduled = send(&scene, "scheduled@gmail.com", Some(soon));

    let domain = scene.greedy.onboarding["domain"]["id"].as_str().unwrap();
    let steer = |verb| {
        let path = format!("/v1/tenants/{}/domains/{domain}/{verb}", scene.greedy.id);
        let (status, answer) =
            house.api("POST", &path, &scene.operator, Some(&json!({"reason": "looked at"})));
        assert_eq!(status, 200, "{answer}");
    };
    steer("suspend");
    for message in [&deferred, &scheduled] {
        let sentence = waits_for(&scene, message, "domain_suspended");
        assert_eq!(sentence, "its domain is suspended by the operator");
    }
    outage("none");
    scene.neighbour_is_served();
    let_pass(Duration::from_secs(3));
    let arrived = |to: &str| house.lab("GET", &format!("/arrivals?to={to}&limit=10"), None);
    for to in ["later@plain.example", "scheduled@gmail.com"] {
        assert_eq!(arrived(to), json!([]), "{to}");
    }

    steer("release");
    for to in ["later@plain.example", "scheduled@gmail.com"] {
        assert_eq!(house.arrivals(to, 1).len(), 1);
    }
    assert_eq!(scene.house.stop().code(), Some(0));
}
