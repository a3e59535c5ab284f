//! A disk that fails or is slow: EIO at a sync (S4), EIO at a read (S5), syncs that take long (S10).

use crate::oracle::{By, CALLS, Reply, hold_against, submit_in_parallel};
use crate::site::Site;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::house::{House, now_ms, rounds, wait_for, web};
use posthouse_tests::ledger::{Cut, Ledger};
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::strace::{Injection, Trace, can_trace};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Statuses of a path of the API, asked again and again until the value is stopped; 0 if nobody answers.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(u64, u64, u16)>>,
}

impl Watch {
    pub fn start(url: String) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (http, mut seen) = (web(), Vec::new());
            while !told.load(Ordering::SeqCst) {
                let began = now_ms();
                let status = http.get(&url).send().map_or(0, |answer| answer.status().as_u16());
                seen.push((began, now_ms() - began, status));
                posthouse_tests::house::let_pass(Duration::from_millis(10));
            }
            seen
        });
        Watch { stop, thread }
    }

    /// When each was asked, how long it took, and what it said.
    pub fn finish(self) -> Vec<(u64, u64, u16)> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// `when` as strace counts: `60` is the sixtieth sync alone, `60+` that one and every later one.
fn a_failed_sync(when: &str) {
    if !can_trace("S4") {
        return;
    }
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("eio", "eio.example", "127.2.0.96");
    assert_eq!(house.stop().code(), Some(0));
    let (mut words, trace) = Trace::new(site.plot.path(), CALLS);
    words.extend(["-e".to_owned(), format!("inject=fdatasync:error=EIO:when={when}")]);
    site.plot.start_through(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let house = site.start();
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let watch = Watch::start(format!("{}/ready", house.text("/api")));
    let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 6, http: 2 }, Shape::Small);
    let status = house.ended();
    let ended_ms = now_ms();
    load.finish();
    let ready = watch.finish();
    assert_eq!(status.code(), Some(69), "{}", site.plot.log());
    assert!(site.plot.log().contains("the journal is sealed"), "{}", site.plot.log());
    let calls = trace.calls();
    let failed: Vec<_> = calls.iter().filter(|call| call.name == "fdatasync" && call.result < 0).collect();
    assert_eq!(failed.len(), 1, "a file whose sync failed is never synced again: {failed:?}");
    hold_against(&acknowledgements(&ledger), &calls);
    let failed_ms = failed[0].end_us / 1_000;
    let answers = ledger.answers();
    let good = answers.iter().filter(|told| matches!(told.code, 202 | 250));
    let last_good = good.map(|told| told.at_ms).max().unwrap();
    assert!(last_good < failed_ms + 1_000, "accepted {} ms after the fault", last_good - failed_ms);
    assert!(answers.iter().all(|told| told.code < 500 || told.code == 503), "{:?}", ledger.codes());
    let still_green =
        ready.iter().filter(|(at, _, status)| *at > failed_ms + 1_000 && *status == 200).count();
    assert_eq!(still_green, 0, "/ready was green a second after the fault");
    let red = ready.iter().filter(|(.., status)| *status == 503).count();

    site.plot.start_through(&[]);
    let cut = Cut { from_ms: failed_ms, to_ms: now_ms() };
    let house = site.start();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[cut]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "S4 (when={when}): exit 69 after {} ms, /ready red {red} times until then, {} acknowledged, 0 lost, {} twice",
        ended_ms.saturating_sub(failed_ms),
        verdict.messages,
        verdict.extra_copies()
    );
    assert_eq!(house.stop().code(), Some(0));
}

/// Every good reply of a load, at the end of the millisecond in which it was read.
fn acknowledgements(ledger: &Ledger) -> Vec<Reply> {
    let entries = ledger.entries();
    let good = entries.iter().filter(|entry| entry.acknowledged.is_some());
    good.map(|entry| Reply {
        recipient: entry.recipients[0].clone(),
        at_us: (entry.at_ms + 1) * 1_000,
        by: By::Reading,
    })
    .collect()
}

#[test]
fn s4_one_failed_sync_ends_the_process_and_loses_nothing() {
    a_failed_sync("60");
}

#[test]
fn s4_syncs_that_fail_from_now_on_end_the_process_and_lose_nothing() {
    a_failed_sync("60+");
}

#[test]
fn s5_a_message_that_cannot_be_read_waits_and_the_others_flow() {
    if !can_trace("S5") {
        return;
    }
    let mut site = Site::new();
    // Every body comes from the disk.
    site.plot.set("spool.body_cache_octets_max", "0");
    let house = site.start();
    let (tenant, _) = house.onboard("read", "read.example", "127.2.0.97");
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": true})));
    let (ledger, mut arrivals) = (Arc::new(Ledger::default()), Arrivals::new());
    let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 2, http: 0 }, Shape::Small);
    wait_for("mail that waits", || (ledger.acknowledged() >= 30).then_some(()));
    load.finish();
    // Of each thread that reads, the first three times.
    let injection = Injection::attach(house.pid(), &["pread64:error=EIO:when=1..3"]);
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": false})));
    wait_for("reads to fail", || (injection.hits() > 0).then_some(()));
    let acknowledged = ledger.acknowledged();
    wait_for("all others to flow", || {
        arrivals.collect(&site.lab);
        (arrivals.copies.len() + injection.hits() >= acknowledged).then_some(())
    });
    let hits = injection.hits();
    drop(injection);
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let logged = site.plot.log().matches("a stored message cannot be read").count();
    let told = told_as_unreadable(&house, &tenant.key);
    println!(
        "S5: EIO at {hits} reads of {} messages: {} recipients told as deferred for it, {logged} log lines, all \
         delivered, none twice",
        verdict.messages,
        told.len()
    );
    // Whoever reads to follow the journal may have met one or the other, and no message was deferred for that.
    assert!((1..=hits).contains(&told.len()), "{hits} {told:?}");
    // The first is told at once, the others with the next line, ten minutes later.
    assert_eq!(logged, 1, "lines for {hits} failures");
    assert_eq!(house.stop().code(), Some(0));
}

/// Recipients that were deferred because their message could not be read.
fn told_as_unreadable(house: &House, key: &str) -> Vec<String> {
    let (mut told, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house.get(&format!("/v1/tenants/self/events?limit=200{cursor}"), key);
        let events = page["data"].as_array().unwrap().iter();
        let deferred = events.filter(|event| event["type"] == "message.deferred");
        let unreadable =
            deferred.filter(|event| event.to_string().contains("the stored message could not be read"));
        told.extend(unreadable.map(|event| event["data"]["recipient"].as_str().unwrap().to_owned()));
        // The last page leads on to what comes later.
        match page["next_cursor"].as_str().filter(|_| page["data"][0].is_object()) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return told,
        }
    }
}

/// Every sync takes this much longer.
fn a_slow_disk(delay: Duration, each: usize) {
    if !can_trace("S10") {
        return;
    }
    let mut site = Site::new();
    let house = site.start();
    let (tenant, _) = house.onboard("slow", "slow-disk.example", "127.2.0.98");
    assert_eq!(house.stop().code(), Some(0));
    let (mut words, trace) = Trace::new(site.plot.path(), CALLS);
    words.extend(["-e".to_owned(), format!("inject=fdatasync:delay_enter={}", delay.as_micros())]);
    site.plot.start_through(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let house = site.start();
    let watch = Watch::start(format!("{}/health", house.text("/api")));
    let began = now_ms();
    let replies = submit_in_parallel(&site.door(&house, &tenant), "slow", each);
    let took = now_ms() - began;
    let mut health = watch.finish();
    assert!(health.iter().all(|(.., status)| *status == 200));
    health.sort_by_key(|(_, took, _)| *took);
    let (median, longest) = (health[health.len() / 2].1, health.last().unwrap().1);
    assert_eq!(house.stop().code(), Some(0));
    let syncs = hold_against(&replies, &trace.calls());
    println!(
        "S10 ({} ms): {} acknowledgements in {took} ms with {syncs} syncs, none before its sync; /health {median} ms at \
         the median, {longest} ms at most, of {}",
        delay.as_millis(),
        replies.len(),
        health.len()
    );
    // The longest of many is the machine's own affair where other tests run beside.
    assert!(median <= 100, "/health took {median} ms");
}

#[test]
fn s10_acknowledgements_wait_for_a_disk_that_needs_200_ms() {
    a_slow_disk(Duration::from_millis(200), rounds(4, 20));
}

#[test]
fn s10_acknowledgements_wait_for_a_disk_that_needs_two_seconds() {
    a_slow_disk(Duration::from_secs(2), rounds(1, 10));
}
