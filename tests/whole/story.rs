//! The story of the first day: onboard a client, publish its records, send, see it arrive, hear of the bounce.

use crate::house::{House, Plot, Tenant, python, wait_for};
use base64::Engine;
use serde_json::Value;
use std::process::Command;
use testkit::lacking;

const SUBMIT: &str = include_str!("python/submit.py");
const VERIFY_DKIM: &str = include_str!("python/verify_dkim.py");
const VERIFY_WEBHOOK: &str = include_str!("python/verify_webhook.py");

/// Skips with a notice where the packages of `cargo xtask test` are not installed.
fn has_python_packages() -> bool {
    #[expect(clippy::disallowed_methods, reason = "cargo xtask test names the interpreter with the packages")]
    let there = std::env::var("POSTHOUSE_TEST_PYTHON").is_ok();
    if !there {
        lacking(
            "the story of a message",
            "run by `cargo xtask test`, which installs dkimpy and standardwebhooks",
        );
    }
    there
}

fn submit(house: &House, tenant: &Tenant, subject: &str, recipients: &[&str]) {
    let sender = format!("hello@{}", tenant.domain);
    let (address, ca) = (house.text("/smtp/submission"), house.text("/ca"));
    let mut arguments = vec![&*address, &*ca, &*tenant.username, &*tenant.password, &*sender, subject];
    arguments.extend(recipients);
    assert_eq!(python(SUBMIT, &arguments).trim(), "accepted");
}

/// What has to be true after one message went to a mailbox that exists and to one that does not.
fn arrives_signed_and_the_bounce_is_told(
    plot: &Plot,
    house: &House,
    tenant: &Tenant,
    sink: &str,
    source: &str,
) {
    let arrival = house.arrivals("anna@gmail.com", 1).remove(0);
    assert_eq!(arrival["peer_ip"], source, "{arrival}");
    assert!(arrival["mail_from"].as_str().unwrap().starts_with("b+"), "{arrival}");
    let raw = base64::engine::general_purpose::STANDARD.decode(arrival["raw"].as_str().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&raw);
    assert!(!text.contains("127.0.0.1"), "the client's address is hidden:\n{text}");
    assert!(text.contains("\r\n.\r\nA line after a lonely dot.\r\n"), "{text}");
    let file = plot.path().join("arrived.eml");
    std::fs::write(&file, &raw).unwrap();
    let verified = python(VERIFY_DKIM, &[file.to_str().unwrap(), &house.text("/lab/dns")]);
    let own = format!("{} rsa-sha256", tenant.domain);
    assert!(verified.lines().any(|line| line == own), "{verified}");
    assert!(verified.lines().any(|line| line == "posthouse.test rsa-sha256"), "{verified}");

    let call = wait_for("the bounce at the webhook", || bounced(house, sink));
    let event: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
    assert_eq!(event["data"]["recipient"], "unknown-bert@gmail.com");
    assert_eq!(event["data"]["outcome"]["class"], "recipient.unknown");
    assert_eq!(event["data"]["outcome"]["code"], 550);
    assert_eq!(event["data"]["outcome"]["egress"], source);
    let file = plot.path().join("call.json");
    std::fs::write(&file, call.to_string()).unwrap();
    let secret = tenant.onboarding["webhook"]["secret"].as_str().unwrap();
    assert_eq!(python(VERIFY_WEBHOOK, &[secret, file.to_str().unwrap()]).trim(), "holds");
}

#[test]
fn a_message_sent_with_smtplib_arrives_signed_from_the_clients_own_address() {
    if !has_python_packages() {
        return;
    }
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, sink) = house.onboard("acme", "news.acme.example", "127.2.0.77");
    submit(&house, &tenant, "The first one", &["anna@gmail.com", "unknown-bert@gmail.com"]);
    arrives_signed_and_the_bounce_is_told(&plot, &house, &tenant, &sink, "127.2.0.77");
    assert_eq!(house.arrivals("anna@gmail.com", 1)[0]["ehlo"], "acme-1.posthouse.test");
    assert_eq!(house.stop().code(), Some(0));
}

fn bounced(house: &House, sink: &str) -> Option<Value> {
    let calls = house.fetch(sink);
    let calls = calls.as_array().or_else(|| calls["calls"].as_array())?;
    calls
        .iter()
        .find(|call| call["body"].as_str().is_some_and(|body| body.contains("message.bounced")))
        .cloned()
}

#[test]
fn a_message_sent_with_swaks_over_implicit_tls_does_so_too_and_is_seen_in_the_timeline() {
    if !has_python_packages() {
        return;
    }
    let plot = Plot::new();
    let house = plot.start();
    let (tenant, sink) = house.onboard("bolt", "bolt.example", "127.2.0.78");
    let output = Command::new("swaks")
        .args(["--server", &house.text("/smtp/submissions"), "--tls-on-connect", "--auth", "PLAIN"])
        .args(["--auth-user", &tenant.username, "--auth-password", &tenant.password])
        .args(["--from", "x@bolt.example", "--to", "anna@gmail.com,unknown-bert@gmail.com"])
        .args(["--header", "Subject: By swaks", "--body", "Hello.\n.\nA line after a lonely dot.\n"])
        .output()
        .unwrap();
    let dialogue = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{dialogue}");
    arrives_signed_and_the_bounce_is_told(&plot, &house, &tenant, &sink, "127.2.0.78");
    let message =
        dialogue.split("queued as ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert!(message.starts_with("msg_"), "{dialogue}");
    let path = format!("/v1/tenants/self/messages/{message}/timeline");
    let timeline = wait_for("the delivery in the timeline", || {
        let (status, body) = house.api("GET", &path, &tenant.key, None);
        (status == 200 && body.to_string().contains("delivered")).then_some(body)
    });
    assert!(timeline.to_string().contains("127.2.0.78"), "{timeline}");
}

#[test]
fn what_was_acknowledged_before_a_kill_arrives_after_it() {
    if !has_python_packages() {
        return;
    }
    let plot = Plot::new();
    let file = plot.path().join("posthouse.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}[egress]\nretry_seconds = [2]\n")).unwrap();
    let house = plot.start();
    let (tenant, _) = house.onboard("coda", "coda.example", "127.2.0.79");
    // The site is down, and the house is killed while the mail waits for it.
    let outage = serde_json::json!({"outage": true});
    house.lab("PUT", "/providers/plain", Some(&outage));
    submit(&house, &tenant, "Kept", &["dora@plain.example"]);
    house.kill();

    let house = plot.start();
    let arrival = house.arrivals("dora@plain.example", 1).remove(0);
    assert_eq!(arrival["peer_ip"], "127.2.0.79", "{arrival}");
    wait_for("the delivery in the events", || {
        let events = house.get("/v1/tenants/self/events?limit=200", &tenant.key);
        events.to_string().contains("message.delivered").then_some(())
    });
    assert_eq!(house.stop().code(), Some(0));
}
