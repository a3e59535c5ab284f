//! A bug of ours that panics (S12): one session, message or call is affected, and nobody else. What cannot go on without
//! the task that panicked ends the process, and loses nothing.
//!
//! The binary must be built with the places where it panics: `cargo build -p posthouse --features fail-points`. A trap is
//! a file with the name of the place; whoever removes it panics, once.

use crate::site::Site;
use posthouse_tests::arrivals::{Arrivals, body_of, hash_of};
use posthouse_tests::house::{House, now_ms, rounds, wait_for};
use posthouse_tests::ledger::{Cut, Ledger, Told};
use posthouse_tests::load::{Load, Mix, Shape};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use testkit::lacking;

const MIX: Mix = Mix { smtp: 3, http: 2 };

/// Where traps are set.
struct Traps(PathBuf);

impl Traps {
    fn of(site: &Site) -> Traps {
        let directory = site.plot.path().join("traps");
        std::fs::create_dir_all(&directory).unwrap();
        Traps(directory)
    }

    fn set(&self, place: &str) {
        std::fs::write(self.0.join(place), "").unwrap();
    }

    fn is_set(&self, place: &str) -> bool {
        self.0.join(place).exists()
    }

    /// Sets a trap and waits until somebody has run into it; the time.
    fn spring(&self, place: &str, lure: impl FnOnce()) -> u64 {
        self.set(place);
        lure();
        wait_for(&format!("a panic at {place}"), || (!self.is_set(place)).then_some(()));
        now_ms()
    }
}

/// A house that knows the traps; none, with a notice, if its binary has no places for them.
fn start(site: &Site, traps: &Traps) -> Option<House> {
    let mut command = site.plot.command();
    command.env("POSTHOUSE_FAIL_POINTS", &traps.0);
    let mut house = site.plot.spawn(command);
    house.ready["lab"] = site.lab.ready.clone();
    if !site.plot.log().contains("fail-points") {
        lacking("S12", "the binary is not built with --features fail-points");
        return None;
    }
    Some(house)
}

/// Milliseconds until more mail was accepted at both doors than before.
fn until_accepted(ledger: &Ledger, since: u64) -> u64 {
    let after = ledger.answers().len();
    wait_for("mail after the panic", || {
        let answers = &ledger.answers()[after..];
        let good = |code: u16| answers.iter().filter(|told| told.code == code).count();
        (good(250) >= 3 && good(202) >= 2).then_some(())
    });
    now_ms() - since
}

fn bad(answers: &[Told]) -> Vec<(&'static str, u16)> {
    let bad = answers.iter().filter(|told| !matches!(told.code, 202 | 250));
    bad.map(|told| (told.door, told.code)).collect()
}

/// Places that a client notices, with the answers that one of them may get instead of a good one.
const NOTICED: [(&str, &[(&str, u16)]); 3] = [
    ("session", &[("smtp", 0)]),
    // Half way through a decision, with the lock held that every other decision needs.
    ("admission-with-lock", &[("smtp", 451), ("http", 503)]),
    ("api-send", &[("http", 500)]),
];
/// Places that no client notices.
const UNNOTICED: [&str; 8] = [
    "look-up",
    "delivery",
    "webhook-call",
    "webhook-deliverer",
    "projector",
    "housekeeping",
    "registry-follower",
    "door",
];
/// Tasks among them that are begun anew.
const BEGUN_ANEW: usize = 5;

#[test]
fn s12_a_panic_costs_one_session_one_message_or_one_call() {
    let mut site = Site::new();
    // So that there are new sessions with sites to run into a trap.
    site.plot.set("egress.limits.messages_per_connection", "5");
    // A look-up that failed is tried again in a moment, and so is a site whose session ended without a word.
    site.plot.set("egress.resolve_failure_seconds", "1");
    let traps = Traps::of(&site);
    let Some(house) = start(&site, &traps) else { return };
    let (tenant, _) = house.onboard("panic", "panic.example", "127.2.0.110");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let stranger = site.door(&house, &tenant);
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Trickle);
    until_accepted(&ledger, now_ms());
    let (rounds, mut slowest) = (rounds(1, 20), 0);
    for round in 0..rounds {
        for (place, allowed) in NOTICED {
            let before = ledger.answers().len();
            let since = traps.spring(place, || ());
            slowest = slowest.max(until_accepted(&ledger, since));
            let bad = bad(&ledger.answers()[before..]);
            assert!(bad.len() == 1 && allowed.contains(&bad[0]), "{place}: {bad:?}");
        }
        for place in UNNOTICED {
            let before = ledger.answers().len();
            let since = traps.spring(place, || {
                // Somebody who comes to the door, and mail to a domain that nobody has looked up yet.
                drop(stranger.greet());
                let to = format!("{round}@{place}.example");
                let raw = format!("From: {}\r\nTo: {to}\r\nSubject: x\r\n\r\nx\r\n", stranger.sender);
                let number = ledger.offer(vec![to.clone()], hash_of(body_of(raw.as_bytes())));
                let answer = stranger.post(&[to], raw.as_bytes()).unwrap();
                ledger.acknowledge(number, answer.message().unwrap());
            });
            slowest = slowest.max(until_accepted(&ledger, since));
            let bad = bad(&ledger.answers()[before..]);
            assert!(bad.is_empty(), "{place}: {bad:?}");
        }
    }
    // What is changed now is in force at once: the registry is followed again.
    let (other, _) = house.onboard("after", "after.example", "127.2.0.114");
    drop(site.door(&house, &other).connect().unwrap());
    load.finish();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let panics = rounds * (NOTICED.len() + UNNOTICED.len());
    println!(
        "S12: {panics} panics at {} places: one client each noticed at most, mail accepted at both doors {slowest} ms \
         after at the latest; {} acknowledged, 0 lost, 0 twice, usage exact",
        NOTICED.len() + UNNOTICED.len(),
        verdict.messages
    );
    assert_eq!(house.metric("posthouse_panics_total") as usize, panics);
    assert_eq!(house.metric("posthouse_tasks_begun_anew_total") as usize, rounds * BEGUN_ANEW);
    assert!(slowest <= 5_000);
    assert_eq!(house.stop().code(), Some(0));
}

/// With one connection to a site, one failure to speak to it makes its path dead. A bug of ours is no such failure.
#[test]
fn s12_a_delivery_that_panics_is_tried_again_and_says_nothing_of_its_path() {
    let mut site = Site::new();
    site.plot.set("egress.limits.connections", "1");
    site.plot.set("egress.dead_seconds_first", "600");
    site.plot.set("egress.dead_seconds_max", "600");
    let traps = Traps::of(&site);
    let Some(house) = start(&site, &traps) else { return };
    let (tenant, _) = house.onboard("buggy", "buggy.example", "127.2.0.115");
    let (ledger, mut arrivals) = (Ledger::default(), Arrivals::new());
    let door = site.door(&house, &tenant);
    let began = now_ms();
    // Over a new connection, and over one that has carried a message.
    for place in ["delivery", "delivery-warm"] {
        traps.spring(place, || {
            for number in 0..5 {
                let to = format!("{number}@{place}.example");
                let raw = format!("From: {}\r\nTo: {to}\r\nSubject: x\r\n\r\nx\r\n", door.sender);
                let entry = ledger.offer(vec![to.clone()], hash_of(body_of(raw.as_bytes())));
                let answer = door.post(&[to], raw.as_bytes()).unwrap();
                ledger.acknowledge(entry, answer.message().unwrap());
            }
        });
    }
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let took = now_ms() - began;
    println!("S12: 2 deliveries panicked, {} delivered, none twice, in {took} ms", verdict.messages);
    assert_eq!(house.metric("posthouse_panics_total"), 2.0);
    // Those two were attempts, and nobody else's was.
    assert_eq!(house.metric("posthouse_egress_deferred_total"), 2.0);
    assert!(took < 60_000, "{took} ms");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s12_a_panic_of_what_nothing_goes_on_without_ends_the_process_and_loses_nothing() {
    let mut site = Site::new();
    // Old ones can be removed soon.
    site.plot.set("spool.segment_octets_max", "65536");
    let traps = Traps::of(&site);
    let Some(mut house) = start(&site, &traps) else { return };
    let (tenant, _) = house.onboard("abort", "abort.example", "127.2.0.112");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let mut cuts = Vec::new();
    let mut took = std::collections::BTreeMap::<&str, u64>::new();
    for _ in 0..rounds(1, 20) {
        for place in ["dispatcher", "journal-commit", "journal-trim"] {
            let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
            until_accepted(&ledger, now_ms());
            let before = ledger.answers().len();
            let since = traps.spring(place, || ());
            assert_eq!(house.ended().code(), Some(69), "{place}");
            let ended = now_ms();
            load.finish();
            let codes = bad(&ledger.answers()[before..]);
            let right = |code: u16| matches!(code, 0 | 400..500 | 503);
            assert!(codes.iter().all(|(_, code)| right(*code)), "{place}: {codes:?}");
            cuts.push(Cut { from_ms: since, to_ms: now_ms() });
            let longest = took.entry(place).or_default();
            *longest = (*longest).max(ended - since);
            house = start(&site, &traps).unwrap();
        }
    }
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S12: exit 69 after at most {took:?} ms; {} acknowledged, 0 lost, {} extra copies, at most {} for one end",
        verdict.messages,
        verdict.extra_copies(),
        verdict.extra_per_cut_max()
    );
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s12_a_panic_half_way_through_what_waits_leaves_nothing_waiting() {
    let site = Site::new();
    let traps = Traps::of(&site);
    let Some(house) = start(&site, &traps) else { return };
    let (tenant, _) = house.onboard("half", "half.example", "127.2.0.113");
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("mail that waits", || (ledger.acknowledged() >= 30).then_some(()));
    load.finish();
    assert_eq!(house.stop().code(), Some(0));
    traps.set("recovery");
    let house = start(&site, &traps).unwrap();
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": false})));
    let from_ms = now_ms();
    assert_eq!(house.ended().code(), Some(69));
    let cut = Cut { from_ms, to_ms: now_ms() };
    let house = start(&site, &traps).unwrap();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    println!("S12: a panic while what waits is read: exit 69, {} of {0} delivered", verdict.messages);
    assert_eq!(house.stop().code(), Some(0));
}
