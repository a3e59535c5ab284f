//! What the process itself may lack: descriptors (S6), directories that are as they should be (S15). What reads its log
//! is `log.rs`'s.

use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::client::Door;
use posthouse_tests::crowd::{Crowd, raise_descriptors};
use posthouse_tests::house::{House, let_pass, now_ms, wait_for};
use posthouse_tests::ledger::Ledger;
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::strace::{Injection, can_trace};
use posthouse_tests::volume::open_to_all;
use rustix::process::geteuid;
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use testkit::skipped;

const MIX: Mix = Mix { smtp: 4, http: 2 };
/// Of a house that has few, and of one that has hardly any.
const DESCRIPTORS: usize = 256;
const FEWEST: usize = 64;

/// Waits until so many more messages were acknowledged.
pub fn has_accepted(ledger: &Ledger, more: usize) {
    let before = ledger.acknowledged();
    wait_for("mail to be accepted", || (ledger.acknowledged() >= before + more).then_some(()));
}

/// Milliseconds until a client that comes now has its message acknowledged.
fn until_served(door: &Door, ledger: &Arc<Ledger>) -> u64 {
    let began = now_ms();
    let load = Load::start(door, ledger, Mix { smtp: 1, http: 1 }, Shape::Small);
    has_accepted(ledger, 2);
    load.finish();
    now_ms() - began
}

/// Seconds of CPU so far, of all threads.
fn cpu_seconds(house: &House) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", house.pid().as_raw_nonzero())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Descriptors that the process has open, seen from outside: it may have none left to be asked with.
fn descriptors(house: &House) -> usize {
    let folder = format!("/proc/{}/fd", house.pid().as_raw_nonzero());
    std::fs::read_dir(folder).unwrap().count()
}

/// The most that were open at one time, over so many milliseconds.
fn most_descriptors(house: &House, ms: u64) -> usize {
    let look = |_| {
        let_pass(Duration::from_millis(10));
        descriptors(house)
    };
    (0..ms / 10).map(look).max().unwrap_or(0)
}

/// A site whose house may have this many descriptors, all of them from a few addresses.
fn narrow_site(descriptors: usize) -> Site {
    let mut site = Site::new();
    site.plot.start_through(&["prlimit", &format!("--nofile={descriptors}:{descriptors}")]);
    // Addresses are not what is short here.
    site.plot.set("ingress.limits.connections_per_address_max", "1000");
    site
}

#[test]
fn s6_four_hundred_clients_and_few_descriptors_lose_nothing() {
    let site = narrow_site(DESCRIPTORS);
    let house = site.start();
    let (tenant, _) = house.onboard("few", "few.example", "127.2.0.99");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let door = site.door(&house, &tenant);
    // The first segment has its name before descriptors run out.
    until_served(&door, &ledger);
    let load = Load::start(&door, &ledger, Mix { smtp: 390, http: 10 }, Shape::Small);
    let most = most_descriptors(&house, 3_000);
    load.finish();
    let again = until_served(&door, &ledger);
    let codes = ledger.codes();
    assert!(codes.keys().all(|(_, code)| matches!(code, 0 | 202 | 250 | 400..500 | 503)), "{codes:?}");
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S6: 400 clients and {DESCRIPTORS} descriptors, {most} of them open: {} acknowledged, 0 lost, 0 twice, served \
         {again} ms after; {codes:?}",
        verdict.messages
    );
    // Most were sent away, and those who were not did not take what the journal and the way out need.
    let sent_away =
        codes.iter().filter(|((_, code), _)| matches!(code, 421 | 0)).map(|(_, times)| *times).sum::<usize>();
    assert!(sent_away >= 390, "{sent_away} were sent away: nothing was short");
    assert!(most < DESCRIPTORS, "{most} of {DESCRIPTORS} descriptors were open at most");
    assert!(!site.plot.log().contains("cannot accept"), "a door ran out of descriptors");
    assert!(again <= 5_000);
    assert_eq!(house.stop().code(), Some(0));
}

/// Strangers who say nothing hold what there is, while a site comes back for which mail has gathered.
#[test]
fn s6_few_descriptors_and_a_full_queue_lose_nothing() {
    let site = narrow_site(FEWEST);
    let house = site.start();
    let (tenant, _) = house.onboard("brimful", "brimful.example", "127.2.0.176");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 8, http: 0 }, Shape::Small);
    has_accepted(&ledger, 1_000);
    load.finish();
    raise_descriptors();
    let crowd = (0..300).map(|number| Ipv4Addr::new(127, 0, 2, 1 + number as u8 % 40));
    let crowd = Crowd::from(crowd, &house.text("/smtp/submission"));
    let (before, began) = (cpu_seconds(&house), now_ms());
    // The lab is told by itself: the house is not asked for anything.
    site.lab.control_put("/providers/plain", &json!({"outage": false}));
    let most = most_descriptors(&house, 5_000);
    let share = (cpu_seconds(&house) - before) / ((now_ms() - began) as f64 / 1_000.0);
    arrivals.collect(&site.lab);
    let meanwhile = arrivals.copies.len();
    drop(crowd);
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let short = house.metric("posthouse_egress_shortages_total");
    assert!(meanwhile >= 100 && short == 0.0, "{meanwhile} delivered, {short} connections not opened");
    println!(
        "S6: {most} of {FEWEST} descriptors open and {} messages waiting: {meanwhile} delivered in 5 s, {short} \
         connections not opened for want of one, {:.0} % CPU; afterwards all, none twice",
        verdict.messages,
        share * 100.0
    );
    assert!(most < FEWEST, "{most} of {FEWEST} descriptors were open at most");
    assert_eq!(house.stop().code(), Some(0));
}

/// One door after the other fails to accept, with this error each time.
fn a_door_without_descriptors(site: &Site, house: &House, door: &Door, ledger: &Arc<Ledger>, error: &str) {
    let lines = || site.plot.log().lines().filter(|line| line.contains("cannot accept")).count();
    let seen = lines();
    let injection = Injection::attach(house.pid(), &[&format!("accept4:error={error}")]);
    let load = Load::start(door, ledger, MIX, Shape::Small);
    let (before, began) = (cpu_seconds(house), now_ms());
    let_pass(Duration::from_secs(5));
    let share = (cpu_seconds(house) - before) / ((now_ms() - began) as f64 / 1_000.0);
    let (logged, hits) = (lines() - seen, injection.hits());
    drop(injection);
    let again = now_ms();
    has_accepted(ledger, 4);
    let again = now_ms() - again;
    load.finish();
    println!(
        "S6: {error} at every accept for 5 s ({hits} of them): {:.0} % CPU, {logged} log lines, open {again} ms after",
        share * 100.0
    );
    assert!(hits > 0 && logged > 0);
    assert!(share <= 0.20, "{share} of a CPU while nothing can be accepted");
    // One a second for each of the three doors and the API.
    assert!(logged <= 5 * 4, "{logged} log lines in 5 s");
    assert!(again <= 5_000);
}

#[test]
fn s6_a_door_without_descriptors_waits_quietly_and_opens_again() {
    if !can_trace("S6") {
        return;
    }
    let site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("quiet", "quiet.example", "127.2.0.100");
    let ledger = Arc::new(Ledger::default());
    // The process has none left, or the machine. Each time with no connection that is kept from before.
    for error in ["EMFILE", "ENFILE"] {
        a_door_without_descriptors(&site, &house, &site.door(&house, &tenant), &ledger, error);
    }
    ledger.settle(&house, &site.lab, &mut Arrivals::new(), &[]);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s6_a_delivery_without_descriptors_is_nobodys_attempt() {
    if !can_trace("S6") {
        return;
    }
    let mut site = Site::new();
    // A connection that is still open would need none.
    site.plot.set("egress.limits.messages_per_connection", "1");
    site.plot.set("egress.limits.connections_per_minute", "0");
    let house = site.start();
    let (tenant, _) = house.onboard("plugless", "plugless.example", "127.2.0.177");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let door = site.door(&house, &tenant);
    // Where the site is is known, and nothing waits.
    until_served(&door, &ledger);
    ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    for error in ["EMFILE", "ENFILE"] {
        let deferred = house.metric("posthouse_egress_deferred_total");
        let short = house.metric("posthouse_egress_shortages_total");
        let injection = Injection::attach(house.pid(), &[&format!("socket:error={error}")]);
        let load = Load::start(&door, &ledger, MIX, Shape::Trickle);
        has_accepted(&ledger, 50);
        let_pass(Duration::from_secs(3));
        load.finish();
        let hits = injection.hits();
        drop(injection);
        ledger.settle(&house, &site.lab, &mut arrivals, &[]);
        let short = house.metric("posthouse_egress_shortages_total") - short;
        let deferred = house.metric("posthouse_egress_deferred_total") - deferred;
        println!(
            "S6: {error} at every socket ({hits} of them, {short} deliveries): {deferred} deferred, 0 lost, 0 twice"
        );
        assert!(hits > 0 && short > 0.0, "{hits} {short}");
        assert_eq!(deferred, 0.0, "a recipient's attempt was counted");
    }
    ledger.is_told(&house, &tenant.key, &arrivals);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s6_a_new_segment_without_descriptors_is_tried_again() {
    if !can_trace("S6") {
        return;
    }
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "65536");
    let house = site.start();
    let (tenant, _) = house.onboard("turn", "turn.example", "127.2.0.108");
    let ledger = Arc::new(Ledger::default());
    // Every second one: the file of a segment is made, and its directory cannot be opened to be synced.
    let injection = Injection::attach(house.pid(), &["openat:error=EMFILE:when=2+2"]);
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("opens to fail", || (injection.hits() >= 2).then_some(()));
    let_pass(Duration::from_secs(2));
    drop(injection);
    has_accepted(&ledger, 40);
    load.finish();
    let verdict = ledger.settle(&house, &site.lab, &mut Arrivals::new(), &[]);
    println!("S6: EMFILE at every second open: {} acknowledged, 0 lost, 0 twice", verdict.messages);
    assert_eq!(house.stop().code(), Some(0));
}

/// How a start on this data directory ends, and what it says.
fn refusal(site: &Site, data: &Path) -> (Option<i32>, String) {
    let output = site.plot.command_on(data).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One line that says it, besides the log.
fn sentence(said: &str) -> &str {
    let mut lines = said.lines().filter(|line| line.starts_with("posthouse: "));
    let line = lines.next().unwrap_or_else(|| panic!("no sentence: {said}"));
    assert!(lines.next().is_none() && !said.contains("panicked"), "{said}");
    line
}

#[test]
fn s15_a_directory_that_cannot_be_used_is_said_in_one_line() {
    let mut site = Site::new();
    let place = site.plot.path().to_path_buf();
    let file = place.join("a-file");
    std::fs::write(&file, "not a directory").unwrap();
    let (code, said) = refusal(&site, &file);
    assert_eq!(code, Some(73), "{said}");
    assert!(sentence(&said).contains("a-file"), "{said}");

    let dangling = place.join("dangling");
    std::os::unix::fs::symlink(place.join("nowhere/at/all"), &dangling).unwrap();
    let (code, said) = refusal(&site, &dangling);
    assert_eq!(code, Some(73), "{said}");
    assert!(sentence(&said).contains("dangling"), "{said}");

    let data = place.join("with-a-file-for-a-spool");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("spool"), "not a directory").unwrap();
    let (code, said) = refusal(&site, &data);
    assert_eq!(code, Some(69), "{said}");
    assert!(sentence(&said).contains("spool"), "{said}");

    if !geteuid().is_root() {
        return skipped("S15", "other owners need root");
    }
    // Somebody else's directory, as seen by a user without rights.
    let foreign = place.join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    open_to_all(&place);
    site.plot.start_through(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    let (code, said) = refusal(&site, &foreign);
    assert_eq!(code, Some(73), "{said}");
    assert!(sentence(&said).contains("foreign"), "{said}");
    println!(
        "S15: a file, a dangling link, a file for a spool and a foreign directory are refused in one line each"
    );
}

#[test]
fn s15_a_journal_whose_directory_vanishes_refuses_for_the_time_being() {
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "65536");
    let house = site.start();
    let (tenant, _) = house.onboard("vanish", "vanish.example", "127.2.0.103");
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    has_accepted(&ledger, 20);
    let spool = house.data.join("spool");
    assert!(Command::new("mv").arg(&spool).arg(house.data.join("moved")).status().unwrap().success());
    let status = house.ended();
    load.finish();
    assert_eq!(status.code(), Some(69));
    let codes = ledger.codes();
    assert!(codes.keys().all(|(_, code)| matches!(code, 0 | 202 | 250 | 400..500 | 503)), "{codes:?}");
    // Whoever took it brings it back: nothing is lost.
    let data = site.plot.path().join("data");
    assert!(Command::new("mv").arg(data.join("moved")).arg(&spool).status().unwrap().success());
    let house = site.start();
    let cut = posthouse_tests::ledger::Cut { from_ms: 0, to_ms: now_ms() };
    let verdict = ledger.settle(&house, &site.lab, &mut Arrivals::new(), &[cut]);
    println!(
        "S15: the journal's directory taken away: exit 69, {codes:?}, {} acknowledged, 0 lost",
        verdict.messages
    );
    assert_eq!(house.stop().code(), Some(0));
}
