//! What a node says about itself: every figure of the manual and no other, and a log without anybody's mail in it.

use crate::house::{House, Plot, Tenant, binary, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Sends well and badly in every way a client knows; prints nothing.
const CLIENT: &str = include_str!("python/client.py");
/// Part of everything that must not be in a log.
const CANARY: &str = "canary7f3a";

/// Every crate of ours at its most talkative.
const LOG: &str = "[log]\nformat = \"json\"\nfilter = \"info,posthouse=trace,api=trace,ingress=trace,egress=trace,\
                   events=trace,database=trace,spool=trace,queue=trace,registry=trace,smtp=trace,mail=trace\"\n";

pub fn talkative() -> Plot {
    let plot = Plot::new();
    let file = plot.path().join("posthouse.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{LOG}")).unwrap();
    plot
}

/// Mail that arrives, bounces, is refused and cannot be read; keys that are right and wrong.
fn live(house: &House, tenant: &Tenant) {
    let address = house.text("/smtp/submission");
    let arguments = [&*address, &tenant.username, &tenant.password, &tenant.domain, CANARY];
    let done = Command::new("python3").arg("-c").arg(CLIENT).args(arguments).status().unwrap();
    assert!(done.success());
    let from = format!("{CANARY}-from@{}", tenant.domain);
    let to = format!("{CANARY}-to@gmail.com");
    let message = |from: &str, to: &str| json!({"from": from, "to": to, "subject": format!("{CANARY} subject"), "text": format!("{CANARY} text")});
    let path = "/v1/tenants/self/messages";
    let post = |key: &str, body: &Value| house.api("POST", path, key, Some(body)).0;
    assert_eq!(post(&tenant.key, &message(&from, &to)), 202);
    assert_eq!(post(&tenant.key, &message(&format!("{CANARY}@elsewhere.example"), &to)), 403);
    assert_eq!(post(&tenant.key, &message(&from, &format!("{CANARY} not an address"))), 422);
    assert_eq!(post(&tenant.key, &json!({(CANARY): CANARY})), 422);
    assert_eq!(post(&format!("ph_{CANARY}"), &message(&from, &to)), 401);
    assert_eq!(post(&format!("{CANARY}.{CANARY}.{CANARY}"), &message(&from, &to)), 401);
    let login = json!({"email": format!("{CANARY}@posthouse.test"), "password": CANARY});
    assert_eq!(house.api("POST", "/v1/auth/token", "", Some(&login)).0, 401);
    assert_eq!(house.api("GET", &format!("{path}?recipient={CANARY}@gmail.com"), &tenant.key, None).0, 200);
    assert_eq!(house.api("GET", &format!("/v1/{CANARY}"), &tenant.key, None).0, 404);
}

/// Names with the kind and the labels they are exported with.
fn exported(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|name| kinds.get(name) == Some(&"histogram")));
        let name = of_histogram.unwrap_or(name);
        let kind = (*kinds.get(name).unwrap_or_else(|| panic!("{name} has no type"))).to_owned();
        let row = found.entry(name.to_owned()).or_insert((kind, BTreeSet::new()));
        // No value of ours holds a comma or a quote.
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        row.1.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    found
}

fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let manual = include_str!("../../docs/OPERATING.md");
    let rows =
        manual.lines().filter(|line| line.starts_with("| posthouse_") || line.starts_with("| process_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| *label != "–").map(str::to_owned).collect();
        (cells[1].to_owned(), (cells[2].to_owned(), labels))
    })
    .collect()
}

fn figures(house: &House) -> String {
    let (status, text) = house.api("GET", "/metrics", "", None);
    assert_eq!(status, 200);
    text.as_str().unwrap().to_owned()
}

#[test]
fn the_manual_and_the_node_agree_about_every_figure_and_the_log_holds_nobodys_mail() {
    let plot = talkative();
    let house = plot.start();
    let (tenant, _) = house.onboard("tell", "tell.example", "127.2.0.81");
    live(&house, &tenant);
    house.arrivals(&format!("{CANARY}-to@gmail.com"), 1);
    wait_for("the bounce and its webhook call", || {
        let text = figures(&house);
        let wanted = ["settlement=\"bounced\"", "posthouse_webhook_calls_total{result=\"taken\"}"];
        wanted.iter().all(|part| text.contains(part)).then_some(())
    });
    let manual = documented();
    let last = std::cell::RefCell::new(String::new());
    let complete = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("all figures", || {
            *last.borrow_mut() = figures(&house);
            let node = exported(&last.borrow());
            manual.keys().all(|name| node.contains_key(name)).then_some(())
        });
    }));
    let node = exported(&last.borrow());
    let missing: Vec<_> = manual.keys().filter(|name| !node.contains_key(*name)).collect();
    assert!(complete.is_ok(), "in the manual, but not exported: {missing:?}");
    for (name, row) in &node {
        assert_eq!(manual.get(name), Some(row), "{name}: the manual (left) and the node");
    }
    assert!(last.borrow().contains("le=\"0.0005\""), "latencies have buckets");
    assert!(!last.borrow().contains(CANARY));

    doctor_finds_the_node(&plot, &house);
    let secrets: Vec<String> = secrets(&house, &tenant);
    assert_eq!(house.stop().code(), Some(0));
    let log = plot.log();
    check_log(&log, &secrets);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (message, fields) in [
        ("message accepted", &["tenant.id", "message.id", "door", "duration_ms"][..]),
        ("message refused", &["tenant.id", "door", "code", "duration_ms"]),
        (
            "recipient settled",
            &[
                "tenant.id",
                "message.id",
                "recipient",
                "site",
                "attempt",
                "class",
                "duration_ms",
                "settlement",
            ],
        ),
        ("request answered", &["request.id", "method", "route", "status", "duration_ms"]),
    ] {
        let is_whole =
            |line: &&Value| line["message"] == message && fields.iter().all(|field| !line[*field].is_null());
        assert!(lines.iter().any(|line| is_whole(&line)), "no line says `{message}` with {fields:?}");
    }
}

fn doctor_finds_the_node(plot: &Plot, house: &House) {
    let mut doctor = Command::new(binary());
    doctor.args(["doctor", "--json", "--config"]).arg(plot.path().join("posthouse.toml"));
    doctor.arg("--data").arg(&house.data);
    doctor.env("POSTHOUSE__DNS__SERVERS", format!("[\"{}\"]", house.text("/lab/dns")));
    doctor.env("POSTHOUSE__DATABASE__URL", house.text("/database"));
    let output = doctor.output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = |check: &str, text: &str| {
        let findings = told["findings"].as_array().unwrap();
        findings.iter().any(|row| row["check"] == check && row["found"].as_str().unwrap().contains(text))
    };
    assert_eq!((output.status.code(), &told["ok"]), (Some(0), &Value::Bool(true)), "{told:#}");
    assert!(found("node", "is ready"), "{told:#}");
    assert!(found("postgresql", "answers in") && found("sources", "127.2.0.81 is on this host"), "{told:#}");
}

/// What was shown once and must never be seen again.
fn secrets(house: &House, tenant: &Tenant) -> Vec<String> {
    let webhook = tenant.onboarding.pointer("/webhook/secret").and_then(Value::as_str).unwrap();
    let own = [&tenant.key, &tenant.password, &house.text("/operator/password"), webhook].map(str::to_owned);
    own.into_iter().chain([CANARY.to_owned(), house.text("/database")]).collect()
}

fn check_log(log: &str, secrets: &[String]) {
    assert!(log.lines().count() > 20, "{log}");
    for line in log.lines() {
        for secret in secrets {
            assert!(!line.contains(secret.as_str()), "{secret} is in the log:\n{line}");
        }
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not one object: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(object[field].is_string(), "{field} is missing: {line}");
        }
        assert!(!line.chars().any(char::is_control), "a control character: {line:?}");
    }
}
