//! Ends and beginnings: two processes (D17), a graceful stop (D13), traffic while it starts (D10), death while it recovers (D11).

use crate::site::Site;
use posthouse_tests::arrivals::{Arrivals, body_of, hash_of};
use posthouse_tests::client::{Client, stuffed};
use posthouse_tests::house::{House, let_pass, now_ms, rounds, wait_for};
use posthouse_tests::ledger::{Cut, Ledger};
use posthouse_tests::load::{Load, Mix, Press, Shape};
use posthouse_tests::strace::{SLOW_READS, can_trace};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn d17_a_second_process_is_refused_at_once_and_a_dead_one_blocks_nobody() {
    let mut site = Site::new();
    let house = site.start();
    let spool = house.text("/spool");
    let refused = |site: &Site, data: &str| {
        let began = now_ms();
        let mut command = site.plot.command_on(Path::new(data));
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{said}");
        (now_ms() - began, said)
    };
    let data = house.data.display().to_string();
    let (took, said) = refused(&site, &data);
    assert!(said.contains(&format!("another posthouse (pid {})", house.pid().as_raw_nonzero())), "{said}");
    assert!(took <= 1_000, "{took} ms");
    // Another data directory, the same journal.
    let elsewhere = site.plot.path().join("elsewhere").display().to_string();
    site.plot.set("spool.directory", &format!("\"{spool}\""));
    let (took_spool, said) = refused(&site, &elsewhere);
    assert!(said.contains("spool"), "{said}");
    assert!(took_spool <= 1_000, "{took_spool} ms");
    println!("D17: refused after {took} ms on the same data directory, {took_spool} ms on the same journal");
    house.kill();
    let began = now_ms();
    let house = site.start();
    println!("D17: started {} ms after a kill", now_ms() - began);
    assert_eq!(house.stop().code(), Some(0));
}

/// A connection to the door that says something before TLS; its first line.
fn first_line(house: &House) -> Option<String> {
    let stream = TcpStream::connect(house.text("/smtp/submission")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

/// A transaction whose data has begun and is not complete.
fn open_data(client: &mut Client, sender: &str, ledger: &Ledger, press: &mut Press) -> (usize, Vec<u8>) {
    let message = press.next();
    let number = ledger.offer(message.recipients.clone(), hash_of(body_of(&message.raw)));
    assert_eq!(client.envelope(sender, &message.recipients).unwrap(), None);
    assert_eq!(client.command("DATA").unwrap().code, 354);
    let octets = stuffed(&message.raw);
    let (first, rest) = octets.split_at(octets.len() / 2);
    client.write(first).unwrap();
    (number, rest.to_vec())
}

#[test]
fn d13_a_stop_under_load_loses_nothing_and_sends_nothing_twice() {
    let site = Site::new();
    let mut house = site.start();
    let (tenant, _) = house.onboard("halt", "halt.example", "127.2.0.84");
    // Deliveries take a while, so that many are under way at the stop.
    house.lab("PUT", "/providers/plain", Some(&serde_json::json!({"delay_ms": 50})));
    let ledger = Arc::new(Ledger::default());
    let mut arrivals = Arrivals::new();
    let mut longest = 0;
    let rounds = rounds(2, 20);
    for round in 0..rounds {
        let door = site.door(&house, &tenant);
        let load = Load::start(&door, &ledger, Mix { smtp: 3, http: 1 }, Shape::Mixed);
        let mut press = Press::new(&format!("open{round}"), &door.sender, Shape::Small);
        let mut client = door.connect().unwrap();
        let (number, rest) = open_data(&mut client, &door.sender, &ledger, &mut press);
        let_pass(Duration::from_millis(300));
        let began = now_ms();
        house.terminate();
        let said = wait_for("new connections to be turned away", || {
            first_line(&house).filter(|line| !line.starts_with("220"))
        });
        assert!(said.starts_with("421 "), "{said}");
        assert!(now_ms() - began < 2_000, "421 came {} ms after the signal", now_ms() - began);
        // The half that is under way is heard out.
        client.write(&rest).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
        ledger.acknowledge(number, reply.message().unwrap());
        load.stop();
        assert_eq!(house.ended().code(), Some(0));
        let took = now_ms() - began;
        longest = longest.max(took);
        assert!(took <= 30_000, "the stop took {took} ms");
        load.finish();
        house = site.start();
    }
    house.lab("PUT", "/providers/plain", Some(&serde_json::json!({"delay_ms": 0})));
    let codes = ledger.answers();
    let permanent = codes.iter().find(|told| told.code >= 500 && told.door != "http");
    assert!(permanent.is_none(), "{permanent:?}");
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "D13: {rounds} stops under load, {} messages to {} recipients acknowledged, 0 lost, 0 twice, at most {longest} ms",
        verdict.messages, verdict.recipients
    );
    assert_eq!(house.stop().code(), Some(0));
}

/// A port that is free now, outside of the range from which connections take theirs.
fn free_port(start: u16) -> u16 {
    let start = start + (std::process::id() % 8_000) as u16;
    (start..).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[test]
fn d10_traffic_from_the_first_millisecond_of_a_start_is_taken_rightly_or_not_at_all() {
    let mut site = Site::new();
    for (key, start) in
        [("listen.http", 12_000), ("listen.submission", 16_000), ("listen.submissions", 20_000)]
    {
        site.plot.set(key, &format!("\"127.0.0.1:{}\"", free_port(start)));
    }
    let mut house = site.start();
    let (tenant, _) = house.onboard("early", "early.example", "127.2.0.85");
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 6, http: 2 }, Shape::Small);
    let (mut arrivals, mut cuts) = (Arrivals::new(), Vec::new());
    let rounds = rounds(10, 200);
    for round in 0..rounds {
        let_pass(Duration::from_millis(30 + round as u64 * 37 % 101));
        let from_ms = now_ms();
        house.kill();
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        house = site.start();
    }
    load.finish();
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let mut codes = std::collections::BTreeMap::<(&str, u16), usize>::new();
    ledger.answers().iter().for_each(|told| *codes.entry((told.door, told.code)).or_default() += 1);
    println!(
        "D10: {rounds} starts in traffic, {} acknowledged, {} extra copies; {codes:?}",
        verdict.messages,
        verdict.extra_copies()
    );
    for (door, code) in codes.keys() {
        assert!(matches!(code, 0 | 202 | 250 | 400..500 | 503), "{door} said {code}");
        assert!(*door != "http" || !(400..500).contains(code), "the API said {code}");
    }
    assert!(!site.plot.log().contains("panicked"), "{}", site.plot.log());
    assert_eq!(house.stop().code(), Some(0));
}

/// Starts so far that had their journal open, and those that had read all that waits in it.
fn got_to(site: &Site) -> (usize, usize) {
    let log = site.plot.log();
    let seen = |line| log.matches(line).count();
    (
        seen("the journal is open; what waits in it is being read"),
        seen("all that waits in the journal is known"),
    )
}

#[test]
fn d11_dying_in_recovery_five_times_in_a_row_changes_nothing() {
    // So that there is time to die in.
    let is_slowed = can_trace("D11");
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "1048576");
    let mut house = site.start();
    let (tenant, _) = house.onboard("again", "again.example", "127.2.0.86");
    let ledger = Arc::new(Ledger::default());
    let (mut arrivals, mut cuts) = (Arrivals::new(), Vec::new());
    let rounds = rounds(2, 40);
    for round in 0..rounds {
        let outage = serde_json::json!({"outage": true});
        house.lab("PUT", "/providers/plain", Some(&outage));
        let load = Load::start(&site.door(&house, &tenant), &ledger, Mix { smtp: 6, http: 2 }, Shape::Mixed);
        let_pass(Duration::from_millis(250));
        let mut from_ms = now_ms();
        house.kill();
        load.finish();
        if is_slowed {
            site.plot.start_through(&SLOW_READS);
        }
        for attempt in 0..5 {
            cuts.push(Cut { from_ms, to_ms: now_ms() });
            let (before, _) = got_to(&site);
            let mut child = site.plot.command().stdout(Stdio::null()).spawn().unwrap();
            match attempt {
                // However slow the machine is, one of five dies when its journal has just been opened.
                4 => wait_for("the journal to be open", || (got_to(&site).0 > before).then_some(())),
                _ => let_pass(Duration::from_millis(50 + (round * 5 + attempt) as u64 * 389 % 1_950)),
            }
            from_ms = now_ms();
            child.kill().unwrap();
            child.wait().unwrap();
        }
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        site.plot.start_through(&[]);
        house = site.start();
        house.lab("PUT", "/providers/plain", Some(&serde_json::json!({"outage": false})));
    }
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    let (opened, read) = got_to(&site);
    println!(
        "D11: {} kills within starts; {opened} of {} starts had their journal open, {read} had read it; {} acknowledged, \
         0 lost, {} extra",
        rounds * 5,
        rounds * 6 + 1,
        verdict.messages,
        verdict.extra_copies()
    );
    // Those that were not killed, and one of five of those that were.
    assert!(opened > rounds * 2, "no kill met an open journal in some round: {opened} were opened");
    assert!(!is_slowed || opened > read, "no kill met a journal that was being read");
    assert_eq!(house.stop().code(), Some(0));
}
