//! A ceiling of memory (S7): 300 MiB for the whole process, and clients that would fill it many times over. They are told
//! to come again; the kernel kills nobody.

use crate::site::Site;
use posthouse_tests::arrivals::{Arrivals, body_of, hash_of};
use posthouse_tests::cgroup::Ceiling;
use posthouse_tests::client::{Client, Door, stuffed};
use posthouse_tests::crowd::Crowd;
use posthouse_tests::house::{House, let_pass, now_ms, rounds, wait_for};
use posthouse_tests::ledger::Ledger;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MEBIBYTE: usize = 1 << 20;
const CEILING: u64 = 300 << 20;
/// The largest message that is taken below this ceiling, roughly, and nine tenths of it.
const SIZE_MAX: usize = 23 * MEBIBYTE;
const NINE_TENTHS: usize = SIZE_MAX / 10 * 9;

/// The most that was resident, without what is mapped from files: the unoptimised binary alone has a hundred MiB.
fn most(house: &House) -> f64 {
    status(house, "VmHWM") - status(house, "RssFile")
}

/// A line of `/proc/PID/status`, in MiB.
fn status(house: &House, key: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", house.pid().as_raw_nonzero())).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

fn site_below(ceiling: &Ceiling) -> Site {
    let mut site = Site::new();
    let words = ceiling.words();
    site.plot.start_through(&words.iter().map(String::as_str).collect::<Vec<_>>());
    site
}

/// Doors of so many tenants; each may have a hundred connections.
fn doors(house: &House, site: &Site, count: usize) -> Vec<Door> {
    let one = |number: usize| {
        let (tenant, _) = house.onboard(
            &format!("mem{number}"),
            &format!("mem{number}.example"),
            &format!("127.3.0.{}", number + 1),
        );
        site.door(house, &tenant)
    };
    (0..count).map(one).collect()
}

/// Sends text until this many octets are sent or the house says no; its answer, or the open session.
fn fill(door: &Door, to: &str, octets: usize) -> Result<Client, u16> {
    let code =
        |error: std::io::Error| error.to_string().get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut client = door.connect().map_err(code)?;
    match client.envelope(&door.sender, &[to.to_owned()]) {
        Ok(None) => {}
        Ok(Some(refusal)) => return Err(refusal.code),
        Err(error) => return Err(code(error)),
    }
    let reply = client.command("DATA").map_err(code)?;
    if reply.code != 354 {
        return Err(reply.code);
    }
    let line = format!("{}\r\n", "m".repeat(62));
    let block = line.repeat(1_024);
    for _ in 0..octets / block.len() {
        if client.write(block.as_bytes()).is_err() {
            // It may have said why before it closed.
            return Err(client.reply().map_or(0, |reply| reply.code));
        }
        // Whoever is refused in the middle of its data is told so at once.
        client.patience(Duration::from_millis(1)).map_err(code)?;
        if let Ok(reply) = client.reply() {
            return Err(reply.code);
        }
    }
    Ok(client)
}

/// Everybody at once, each in a thread of its own; what each was told, 354 for those whose data goes on.
fn fill_at_once(doors: &[Door], each: usize) -> BTreeMap<u16, usize> {
    let told = Mutex::new((BTreeMap::new(), Vec::new()));
    std::thread::scope(|scope| {
        for (number, door) in doors.iter().enumerate() {
            for place in 0..each {
                let told = &told;
                scope.spawn(move || {
                    let filled = fill(door, &format!("m{number}-{place}@plain.example"), NINE_TENTHS);
                    let mut told = told.lock().unwrap();
                    let code = filled.as_ref().err().copied().unwrap_or(354);
                    *told.0.entry(code).or_default() += 1;
                    // Whose data goes on stays until all have been told.
                    told.1.extend(filled.ok());
                });
            }
        }
    });
    told.into_inner().unwrap().0
}

#[test]
fn s7_more_mail_at_once_than_there_is_memory_is_told_to_come_again() {
    let Some(ceiling) = Ceiling::of("S7", CEILING) else { return };
    let site = site_below(&ceiling);
    let house = site.start();
    let idle = status(&house, "RssAnon");
    let doors = doors(&house, &site, rounds(3, 20));
    let began = now_ms();
    let codes = fill_at_once(&doors, 100);
    println!(
        "S7: {} connections in the middle of 21 MiB each, below 300 MiB: {codes:?} in {} ms; RSS {idle:.0} MiB idle, {:.0} \
         MiB at most, {} killed",
        doors.len() * 100,
        now_ms() - began,
        most(&house),
        ceiling.killed()
    );
    assert_eq!(ceiling.killed(), 0);
    assert!(codes.keys().all(|code| matches!(code, 0 | 354 | 421 | 451 | 452)), "{codes:?}");
    assert!(codes.keys().any(|code| matches!(code, 421 | 451 | 452)), "{codes:?}");
    assert!(most(&house) * MEBIBYTE as f64 <= CEILING as f64);
    // Nobody is in the way any more: mail is taken.
    let raw = format!("From: {}\r\nTo: a@plain.example\r\nSubject: x\r\n\r\nx\r\n", doors[0].sender);
    let reply =
        doors[0].connect().unwrap().submit(&doors[0].sender, &["a@plain.example".to_owned()], raw.as_bytes());
    assert_eq!(reply.unwrap().code, 250);
    assert_eq!(house.stop().code(), Some(0));
}

/// Each says how large it is, so those that are let in are sure of their room and come to their end; the others are told
/// before they begin, and come again.
#[test]
fn s7_forty_of_the_largest_messages_at_once_are_taken_one_after_the_other() {
    let Some(ceiling) = Ceiling::of("S7", CEILING) else { return };
    let site = site_below(&ceiling);
    let house = site.start();
    let doors = doors(&house, &site, 2);
    let (ledger, mut arrivals) = (Ledger::default(), Arrivals::new());
    let (clients, began) = (40, now_ms());
    let tries = Mutex::new(BTreeMap::<u16, usize>::new());
    let (wanted, looked_at) = (rounds(4, 40), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..clients {
            let (door, ledger, tries, ceiling) = (&doors[number % 2], &ledger, &tries, &ceiling);
            let looked_at = &looked_at;
            scope.spawn(move || {
                let to = [format!("large{number}@plain.example")];
                let mut raw = format!("From: {}\r\nTo: {}\r\nSubject: {number}\r\n\r\n", door.sender, to[0]);
                raw.push_str(&format!("{}\r\n", "l".repeat(62)).repeat(SIZE_MAX / 64 - 64));
                let (octets, entry) =
                    (stuffed(raw.as_bytes()), ledger.offer(to.to_vec(), hash_of(body_of(raw.as_bytes()))));
                drop(raw);
                while ledger.acknowledged() < wanted && ceiling.killed() == 0 {
                    // The lab keeps five texts of this size: what has come is looked at before more is sent.
                    if ledger.acknowledged() > looked_at.load(Ordering::Relaxed) + 2 {
                        let_pass(Duration::from_millis(50));
                        continue;
                    }
                    let reply = offer(door, &to, &octets);
                    let code = reply.as_ref().map_or(0, |reply| reply.0);
                    *tries.lock().unwrap().entry(code).or_default() += 1;
                    assert!(code < 500, "a size that is offered was refused for good: {code}");
                    if code == 250 {
                        return ledger.acknowledge(entry, reply.unwrap().1);
                    }
                    let_pass(Duration::from_millis(200));
                }
            });
        }
        while ledger.acknowledged() < wanted && ceiling.killed() == 0 {
            arrivals.collect(&site.lab);
            looked_at.store(arrivals.copies.len(), Ordering::Relaxed);
            let_pass(Duration::from_millis(50));
        }
    });
    let took = now_ms() - began;
    assert_eq!(ceiling.killed(), 0);
    // 0 is a connection that was refused; nobody is turned away in the middle of a message.
    let codes: Vec<u16> = tries.lock().unwrap().keys().copied().collect();
    assert!(codes.iter().all(|code| matches!(code, 0 | 250 | 452)), "{codes:?}");
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &[]);
    println!(
        "S7: {clients} clients with 23 MiB each at once, below 300 MiB: {} taken in {took} ms, {:?}; RSS {:.0} MiB at \
         most; all delivered, {} killed",
        verdict.messages,
        tries.into_inner().unwrap(),
        most(&house),
        ceiling.killed()
    );
    assert_eq!(ceiling.killed(), 0);
    assert_eq!(house.stop().code(), Some(0));
}

/// One try; the code and the message's id, or none if the connection broke.
fn offer(door: &Door, to: &[String], octets: &[u8]) -> Option<(u16, String)> {
    let mut client = door.connect().ok()?;
    if let Some(refusal) = client.envelope_of(&door.sender, to, octets.len()).ok()? {
        return Some((refusal.code, String::new()));
    }
    let go_ahead = client.command("DATA").ok()?;
    if go_ahead.code != 354 {
        return Some((go_ahead.code, String::new()));
    }
    for block in octets.chunks(1 << 16) {
        if client.write(block).is_err() {
            break;
        }
    }
    let reply = client.reply().ok()?;
    Some((reply.code, reply.message().unwrap_or_default()))
}

#[test]
fn s7_a_call_with_a_hundred_thousand_recipients_is_refused_and_costs_nothing() {
    let Some(ceiling) = Ceiling::of("S7", CEILING) else { return };
    let site = site_below(&ceiling);
    let house = site.start();
    let (tenant, _) = house.onboard("many", "many.example", "127.3.0.50");
    let to: Vec<String> = (0..100_000).map(|number| format!("r{number}@plain.example")).collect();
    let single = json!({"from": "x@many.example", "to": to, "subject": "x", "text": "x"});
    let each: Vec<_> = to.iter().map(|to| json!({"to": to})).collect();
    let batch = json!({"from": "x@many.example", "recipients": each, "subject": "x", "text": "x"});
    let before = most(&house);
    let mut codes = Vec::new();
    for body in [single, batch] {
        let (status, answer) = house.api("POST", "/v1/tenants/self/messages", &tenant.key, Some(&body));
        codes.push(format!("{status} {}", answer["code"]));
        assert!(matches!(status, 413 | 422), "{answer}");
    }
    println!(
        "S7: a call with 100,000 recipients, as one message and as a batch: {codes:?}; RSS {before:.0} MiB before, {:.0} \
         MiB at most",
        most(&house)
    );
    assert_eq!(ceiling.killed(), 0);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn s7_an_idle_session_costs_little() {
    let mut site = Site::new();
    site.plot.set("ingress.limits.connections_per_address_max", "1000");
    let house = site.start();
    let doors = doors(&house, &site, 4);
    let plain = house.text("/smtp/submission");
    let strangers = |count: usize| {
        let mut crowd = Crowd::from((0..count).map(|_| Ipv4Addr::new(127, 0, 0, 68)), &plain);
        wait_for("greetings", || (crowd.read().inside == count).then_some(()));
        crowd.write(b"EHLO idle.example\r\n");
        crowd
    };
    let authenticated = |count: usize| -> Vec<Client> {
        (0..count).map(|number| doors[number % 4].connect().unwrap()).collect()
    };
    // Whatever is made once for all of them is there with the first.
    let (first, first_sessions) = (strangers(100), authenticated(80));
    let before = status(&house, "RssAnon");
    let crowd = strangers(800);
    let beside = status(&house, "RssAnon");
    let sessions = authenticated(300);
    let with_tls = status(&house, "RssAnon");
    let (plain, tls) = ((beside - before) * 1_024.0 / 800.0, (with_tls - beside) * 1_024.0 / 300.0);
    println!(
        "S7: an idle session costs {plain:.1} KiB in plain text after EHLO, {tls:.1} KiB authenticated under TLS"
    );
    assert!(plain <= 64.0 && tls <= 64.0);
    drop((first, first_sessions, crowd, sessions));
    assert_eq!(house.stop().code(), Some(0));
}
