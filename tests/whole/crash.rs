//! Kill -9 under load, again and again: nothing that was acknowledged may be lost.
//!
//! The ledger is kept by the submitting client, the arrivals by a lab that is a process of its own; neither dies with
//! the house. `POSTHOUSE_CRASH_ROUNDS` sets the number of kills (20 unless told; `cargo xtask crash` for more).

use crate::house::{House, Plot, Tenant, wait_for};
use posthouse_tests::lab::Lab;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const FLOOD: &str = include_str!("python/flood.py");
/// Acknowledgements to see before a round's kill; the exact number varies so that kills fall everywhere.
const ACKNOWLEDGED_MIN: usize = 40;
const DOMAIN: &str = "plain.example";

#[test]
fn nothing_acknowledged_is_lost_over_many_kills() {
    let mut plot = Plot::new();
    let lab = Lab::start();
    plot.settle_in(&lab);
    let mut house = plot.start_in(&lab);
    let (tenant, _) = house.onboard("kilo", "kilo.example", "127.2.0.80");
    let mut ledger: Vec<String> = Vec::new();
    for round in 0..rounds() {
        let mut flood = flood(&house, &tenant, round);
        let mut lines = BufReader::new(flood.stdout.take().unwrap()).lines().map_while(Result::ok);
        // A different count each round; co-prime steps spread the kills over group commits and deliveries.
        let wanted = ACKNOWLEDGED_MIN + round * 37 % 101;
        ledger.extend(lines.by_ref().take(wanted));
        house.kill();
        ledger.extend(lines);
        flood.wait().unwrap();
        house = plot.start_in(&lab);
    }
    assert!(ledger.len() >= rounds() * ACKNOWLEDGED_MIN, "only {} messages were accepted", ledger.len());

    let arrived = wait_for("every acknowledged message at the lab", || {
        let arrived = arrivals(&house);
        ledger.iter().all(|recipient| arrived.contains_key(recipient)).then_some(arrived)
    });
    let acknowledged_twice: usize =
        ledger.iter().filter_map(|recipient| arrived.get(recipient)).map(|n| n - 1).sum();
    println!("{} kills, {} acknowledged, 0 lost, {acknowledged_twice} extra copies", rounds(), ledger.len());
    for (recipient, copies) in &arrived {
        assert!(*copies <= 2, "{recipient} arrived {copies} times: more than one copy for one kill");
    }
    assert_eq!(house.stop().code(), Some(0));
}

fn rounds() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
    let asked = std::env::var("POSTHOUSE_CRASH_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn flood(house: &House, tenant: &Tenant, round: usize) -> Child {
    let sender = format!("x@{}", tenant.domain);
    Command::new("python3")
        .arg("-c")
        .arg(FLOOD)
        .args([
            &house.text("/smtp/submission"),
            &house.text("/ca"),
            &tenant.username,
            &tenant.password,
            &sender,
        ])
        .args([&format!("r{round}"), DOMAIN])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Copies by recipient.
fn arrivals(house: &House) -> HashMap<String, usize> {
    let list = house.lab("GET", "/arrivals?limit=1000000", None);
    let mut copies = HashMap::new();
    for arrival in list.as_array().unwrap() {
        for recipient in arrival["rcpt_to"].as_array().unwrap().iter().filter_map(Value::as_str) {
            *copies.entry(recipient.to_owned()).or_default() += 1;
        }
    }
    copies
}
