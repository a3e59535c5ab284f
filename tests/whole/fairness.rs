//! One tenant is greedy, unlucky, heavy, curious or under attack, and its neighbour does not notice (catalogue F1, F2,
//! F3, F6, F7, F8, with its numbers).

use crate::house::{Plot, let_pass, wait_for};
use crate::street::{Bound, By, Figures, Street, Trouble, at_least, compare, fill, letter, submit_for_ever};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is always allowed, however fast the house is when the neighbour is alone. Of accepting and of arriving the
/// catalogue has it (250 ms, 1 s).
const BOUND: Bound = Bound { factor: 2.0, accept_ms: 250, dwell_ms: 1_000, webhook_ms: None };

/// F1: 50,000 recipients of the same domain wait, and four connections add to them as fast as they can. The house does
/// no less work because there are two.
#[test]
fn a_neighbour_with_fifty_thousand_messages_for_the_same_domain() {
    const WINDOW: Duration = Duration::from_secs(4);
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let alone = Mutex::new(0.0);
    let flood = |street: &Street| {
        let list = |message: usize| (0..500).map(|n| format!("g{message}-{n}@plain.example")).collect();
        fill(&street.greedy, 100, list);
        let door = street.greedy.clone();
        let flood = Trouble::start(4, move |number, stop| {
            let raw = letter(&door.sender, "many@plain.example", 2_048);
            let list: Vec<String> = (0..8).map(|n| format!("more{number}-{n}@plain.example")).collect();
            submit_for_ever(&door, stop, &TAKEN, || (list.clone(), raw.clone()));
        });
        *alone.lock().unwrap() = street.pace(WINDOW);
        flood
    };
    let keeps_its_pace = |street: &Street, beside: &Figures| {
        let before = *alone.lock().unwrap();
        let after = street.pace(WINDOW);
        let backlog = street.house.metric("posthouse_queue_recipients");
        let kept = beside.pace / ((before + after) / 2.0);
        println!(
            "  {before:.0}/s before, {:.0}/s beside, {after:.0}/s after: {:.0} % kept, {backlog} left",
            beside.pace,
            kept * 100.0
        );
        if backlog < 1_000.0 {
            return Err(format!("only {backlog} were left: there was nothing to keep up with"));
        }
        if kept >= 0.9 { Ok(()) } else { Err(format!("{:.0} % of the pace were kept", kept * 100.0)) }
    };
    compare(("F1: 50,000 for the same domain", By::Smtp), BOUND, |_| {}, flood, keeps_its_pace);
}

/// F2: two hundred sites that take the connection and say nothing, 100,000 recipients for them.
#[test]
fn a_neighbour_whose_destinations_are_dead() {
    const CONNECTIONS: usize = 60;
    let narrow = |plot: &mut Plot| {
        plot.set("egress.connections_max", &CONNECTIONS.to_string());
        plot.set("egress.deliveries_per_tenant_max", &(CONNECTIONS / 2).to_string());
    };
    let tarpit = |street: &Street| {
        let address: IpAddr = "127.31.0.1".parse().unwrap();
        let port = street.lab.ready["smtp_port"].as_u64().unwrap() as u16;
        // The kernel takes the connections; nobody ever speaks.
        let listener = Arc::new(TcpListener::bind(SocketAddr::new(address, port)).unwrap());
        let mut records = vec![json!({"host": "mx.tar.example", "type": "A", "value": address.to_string()})];
        for number in 0..200 {
            let host = format!("d{number}.tar.example");
            records.push(json!({"host": host, "type": "A", "value": address.to_string()}));
        }
        street.house.lab("POST", "/dns/publish", Some(&Value::Array(records)));
        let list =
            |message: usize| (0..500).map(|n| format!("g{message}-{n}@d{message}.tar.example")).collect();
        fill(&street.greedy, 200, list);
        Trouble::start(1, move |_, stop| {
            let _listener = &listener;
            while !stop.load(Ordering::SeqCst) {
                let_pass(Duration::from_millis(50));
            }
        })
    };
    let share = |street: &Street, _: &Figures| {
        let sessions = street.house.metric("posthouse_egress_sessions");
        let waiting = street.house.metric("posthouse_queue_recipients");
        println!("  {sessions} connections of {CONNECTIONS}, {waiting} recipients waiting");
        // The other one has up to 20 of its own.
        let in_its_share =
            sessions >= 1.0 && sessions <= (CONNECTIONS / 2 + 20) as f64 && waiting >= 90_000.0;
        if in_its_share { Ok(()) } else { Err(format!("{sessions} connections, {waiting} waiting")) }
    };
    let bound = Bound { factor: 1.5, dwell_ms: 250, ..BOUND };
    compare(("F2: dead destinations, 100,000 waiting", By::Smtp), bound, narrow, tarpit, share);
}

/// F3: messages of 20 MB, one after the other over three connections, for a site that takes them fast.
#[test]
fn a_neighbour_with_very_large_messages() {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let heavy = |street: &Street| {
        TAKEN.store(0, Ordering::SeqCst);
        swallow(street, "large.example", "127.31.0.2");
        let door = street.greedy.clone();
        Trouble::start(3, move |number, stop| {
            let raw = letter(&door.sender, "large@large.example", 20 << 20);
            let to = vec![format!("large{number}@large.example")];
            submit_for_ever(&door, stop, &TAKEN, || (to.clone(), raw.clone()));
        })
    };
    // One log: a small message may wait for the sync of a large one, or two. 133 ms where nobody else works; the rest of
    // the bound is for those who do.
    let bound = Bound { accept_ms: 500, ..BOUND };
    compare(
        ("F3: messages of 20 MB", By::Smtp),
        bound,
        |_| {},
        heavy,
        |_, _| at_least(10, TAKEN.load(Ordering::SeqCst), "large messages taken"),
    );
}

/// A site that takes everything and keeps nothing.
fn swallow(street: &Street, domain: &str, address: &str) {
    let port = street.lab.ready["smtp_port"].as_u64().unwrap() as u16;
    let listener = TcpListener::bind((address, port)).unwrap();
    let record = json!([{"host": domain, "type": "A", "value": address}]);
    street.house.lab("POST", "/dns/publish", Some(&record));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(converse(&stream)));
        }
    });
}

fn converse(stream: &TcpStream) -> io::Result<()> {
    let (mut lines, mut out, mut line) = (BufReader::with_capacity(1 << 20, stream), stream, Vec::new());
    out.write_all(b"220 swallow ESMTP\r\n")?;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.to_ascii_uppercase().starts_with(b"DATA") {
            out.write_all(b"354 go\r\n")?;
            while line != b".\r\n" {
                line.clear();
                lines.read_until(b'\n', &mut line)?;
            }
        }
        out.write_all(b"250 fine\r\n")?;
    }
}

/// F6: 100,000 events for an endpoint that takes the call and never answers.
#[test]
fn a_neighbour_whose_webhook_hangs() {
    let hanging = |street: &Street| {
        let path = street.greedy_sink.split_once("/webhook-sink/").unwrap().1;
        let never = json!({"delay_ms": 600_000});
        street.house.lab("PUT", &format!("/webhook-sink/{path}"), Some(&never));
        let list = |message: usize| (0..500).map(|n| format!("h{message}-{n}@plain.example")).collect();
        fill(&street.greedy, 100, list);
        // One event when a recipient is accepted, one when it is delivered; then all of them wait for the endpoint.
        are_told(street, 50_000);
        Trouble::start(0, |_, _| {})
    };
    // The catalogue's factor, and a floor because others work on this machine.
    let bound = Bound { factor: 1.2, webhook_ms: Some(250), ..BOUND };
    compare(
        ("F6: 100,000 events for a webhook that hangs", By::Smtp),
        bound,
        |_| {},
        hanging,
        |street, _| {
            at_least(1, street.house.metric("posthouse_webhook_calls") as u64, "calls that hang or wait to")
        },
    );
}

/// So many recipients are delivered, and everything that happened is in the tables. That may take longer than a wait may:
/// as long as there are more of them, it goes on.
fn are_told(street: &Street, recipients: usize) {
    let told = || street.house.metric("posthouse_events_records_total");
    let all_told = |told: f64| {
        street.settled() >= recipients as f64 && told >= street.house.metric("posthouse_spool_records_total")
    };
    let mut known = told();
    while !all_told(known) {
        known = wait_for("further records to be projected", || {
            Some(told()).filter(|now| *now > known || all_told(*now))
        });
    }
}

/// F7: sixteen clients read, list and search as fast as they are answered, among 5,000 recipients of theirs.
#[test]
fn a_neighbour_that_floods_the_api() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let flood = |street: &Street| {
        let list = |message: usize| (0..50).map(|n| format!("s{message}-{n}@plain.example")).collect();
        fill(&street.greedy, 100, list);
        let (api, key) = (street.house.text("/api"), street.greedy_key.clone());
        ASKED.store(0, Ordering::SeqCst);
        are_told(street, 5_000);
        Trouble::start(16, move |number, stop| {
            let web = posthouse_tests::house::web();
            let questions = [
                "messages?limit=200",
                "events?limit=200",
                "messages?recipient=s7-7@plain.example",
                "usage",
                "suppressions?limit=200",
            ];
            for question in questions.iter().cycle().skip(number) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let asked = web.get(format!("{api}/v1/tenants/self/{question}")).bearer_auth(&key).send();
                if asked.and_then(|answer| answer.bytes()).is_ok() {
                    ASKED.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    let asks = |_: &Street, _: &Figures| {
        at_least(200, ASKED.load(Ordering::SeqCst), "questions answered or refused")
    };
    compare(("F7: reads and searches of the API", By::Http), BOUND, |_| {}, flood, asks);
}

/// F8: sixteen clients that do nothing but fail to log in, and 2,000 that have come and say nothing.
#[test]
fn a_neighbour_whose_logins_are_guessed() {
    static GUESSES: AtomicU64 = AtomicU64::new(0);
    static KNOCKS: AtomicU64 = AtomicU64::new(0);
    static STOOD: AtomicU64 = AtomicU64::new(0);
    let guessing = |street: &Street| {
        let door = street.greedy.clone();
        let address: SocketAddr = street.house.text("/smtp/submission").parse().unwrap();
        GUESSES.store(0, Ordering::SeqCst);
        KNOCKS.store(0, Ordering::SeqCst);
        STOOD.store(0, Ordering::SeqCst);
        Trouble::start(17, move |number, stop| {
            if number == 0 {
                return stand_around(address, stop, &STOOD);
            }
            while !stop.load(Ordering::SeqCst) {
                KNOCKS.fetch_add(1, Ordering::SeqCst);
                let Ok(mut client) = door.greet() else { continue };
                let _ = client.command("EHLO guesser.example");
                // "\0greedy\0wrong" in base 64; the house closes when it has heard enough.
                while client.command("AUTH PLAIN AGdyZWVkeQB3cm9uZw==").is_ok_and(|reply| reply.code == 535) {
                    GUESSES.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    let guesses = |_: &Street, _: &Figures| {
        // The house lets strangers wait and then locks them out: that is why there are no 10,000 a second.
        let (knocks, guesses) = (KNOCKS.load(Ordering::SeqCst), GUESSES.load(Ordering::SeqCst));
        at_least(8, guesses, "guesses heard")?;
        at_least(16, knocks, "connections by guessers")?;
        at_least(400, STOOD.load(Ordering::SeqCst), "connections that say nothing, over all")
    };
    compare(("F8: failed logins and idle connections", By::Smtp), BOUND, |_| {}, guessing, guesses);
}

/// 2,000 connections from fifty addresses that never say whose they are.
fn stand_around(server: SocketAddr, stop: &AtomicBool, stood: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        for number in 0..2_000u32 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let own = IpAddr::from([127, 9, 0, (1 + number % 50) as u8]);
            socket.bind(SocketAddr::new(own, 0)).unwrap();
            if let Ok(stream) = socket.connect(server).await {
                held.push(stream);
                stood.fetch_add(1, Ordering::SeqCst);
            }
        }
        while !stop.load(Ordering::SeqCst) {
            tokio::task::spawn_blocking(|| let_pass(Duration::from_millis(50))).await.unwrap();
        }
    });
}
