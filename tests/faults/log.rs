//! Nobody reads what the house says, or there is no room for it (S14): mail goes on, and what is dropped is counted.

use crate::process::has_accepted;
use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::house::{House, let_pass, wait_for, web};
use posthouse_tests::ledger::Ledger;
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::volume::Volume;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const MIX: Mix = Mix { smtp: 4, http: 2 };

/// Lines of the log that were counted as not written.
fn dropped(house: &House) -> f64 {
    house.metric("posthouse_log_lines_dropped_total")
}

#[test]
fn s14_a_log_that_nobody_reads_stops_no_mail() {
    let mut site = Site::new();
    site.plot.set("log.filter", "\"trace\"");
    site.plot.set("log.lines_waiting_max", "100");
    let mut command = site.plot.command();
    // The pipe's other end is open and never read: it is full after 64 KiB.
    command.stderr(Stdio::piped());
    let mut house = site.plot.spawn(command);
    house.ready["lab"] = site.lab.ready.clone();
    let (tenant, _) = house.onboard("mute", "mute.example", "127.2.0.101");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    has_accepted(&ledger, 100);
    load.finish();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    let dropped = dropped(&house);
    println!(
        "S14: a log that nobody reads: {} acknowledged and delivered, {dropped} lines dropped",
        verdict.messages
    );
    assert!(dropped > 0.0);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s14_a_screen_that_nobody_reads_stops_no_start() {
    let site = Site::new();
    let mut child = site.plot.command().spawn().unwrap();
    // The other end is gone before anything is printed, as with `| head -0`.
    drop(child.stdout.take());
    let file = site.plot.path().join("ready.json");
    let ready = wait_for("the house to be ready", || {
        let ready = serde_json::from_slice::<serde_json::Value>(&std::fs::read(&file).ok()?);
        ready.ok()
    });
    // It prints when the file is written.
    let_pass(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "{}", site.plot.log());
    let health = web().get(format!("{}/health", ready["api"].as_str().unwrap())).send().unwrap();
    assert_eq!(health.status().as_u16(), 200);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", site.plot.log());
    assert!(!site.plot.log().contains("panicked"), "{}", site.plot.log());
}

#[test]
fn s14_a_log_on_a_full_disk_stops_no_mail() {
    let Some(volume) = Volume::ext4("S14", 32, None) else { return };
    let mut site = Site::new();
    site.plot.set("log.filter", "\"debug\"");
    let mut command = site.plot.command();
    let log = volume.path.join("log");
    command.stderr(std::fs::File::create(&log).unwrap());
    let ballast = volume.leave(0);
    let mut house = site.plot.spawn(command);
    house.ready["lab"] = site.lab.ready.clone();
    let (tenant, _) = house.onboard("brim", "brim.example", "127.2.0.102");
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    has_accepted(&ledger, 100);
    load.finish();
    ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    let lost = dropped(&house);
    assert!(lost > 0.0, "nobody counted what found no room");
    // From the first line that finds room again nothing is dropped.
    let written = || std::fs::metadata(&log).unwrap().len();
    let full = written();
    std::fs::remove_file(ballast).unwrap();
    let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
    wait_for("lines to be written again", || (written() > full).then_some(()));
    let before = dropped(&house);
    has_accepted(&ledger, 100);
    load.finish();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    let after = dropped(&house);
    println!(
        "S14: a log on a full disk: {} acknowledged and delivered, {lost} lines dropped; with room again {}",
        verdict.messages,
        after - before
    );
    assert_eq!(after, before, "dropped although there was room");
    assert_eq!(house.stop().code(), Some(0));
}
