//! D1: kill -9 at a random moment under mixed load, again and again.

use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::house::{let_pass, now_ms, rounds};
use posthouse_tests::ledger::{Cut, Ledger};
use posthouse_tests::load::{Load, Mix, Shape};
use std::sync::Arc;
use std::time::Duration;

const MIX: Mix = Mix { smtp: 6, http: 2 };

#[test]
fn d1_nothing_acknowledged_is_lost_over_many_kills() {
    let rounds = rounds(40, 200);
    let mut site = Site::new();
    // Small segments: a restart writes the last one anew, and many are begun.
    site.plot.set("spool.segment_octets_max", "2097152");
    let mut house = site.start();
    let (tenant, _) = house.onboard("kilo", "kilo.example", "127.2.0.80");
    house.lab("PUT", "/providers/plain", Some(&serde_json::json!({"defer_rate": 0.05})));
    let ledger = Arc::new(Ledger::default());
    let (mut arrivals, mut cuts) = (Arrivals::new(), Vec::new());
    let began = now_ms();
    for round in 0..rounds {
        let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Mixed);
        // Co-prime steps: the kills fall everywhere between group commits, deliveries and records.
        let_pass(Duration::from_millis(100 + round as u64 * 137 % 401));
        let from_ms = now_ms();
        house.kill();
        load.finish();
        arrivals.collect(&site.lab);
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        house = site.start();
    }
    let minutes = (now_ms() - began) as f64 / 60_000.0;
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "D1: {rounds} kills ({:.0} a minute), {} messages to {} recipients acknowledged, 0 lost; {} extra copies, at \
         most {} for a kill, their first copies at most {} ms before it; {} came without an answer",
        rounds as f64 / minutes,
        verdict.messages,
        verdict.recipients,
        verdict.extra_copies(),
        verdict.extra_per_cut_max(),
        verdict.window_ms,
        verdict.unacknowledged,
    );
    assert!(verdict.messages >= rounds * 5, "only {} messages were acknowledged", verdict.messages);
    assert_eq!(house.stop().code(), Some(0));
}
