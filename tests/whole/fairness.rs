//! One tenant is greedy, unlucky, heavy or under attack, and its neighbour does not notice (catalogue F1, F2, F3, F8).

use crate::house::{Plot, let_pass};
use crate::street::{Bound, Street, Trouble, compare, fill, letter, submit_for_ever};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// F1: 50,000 recipients of the same domain wait, and four connections add to them as fast as they can.
#[test]
fn a_neighbour_with_fifty_thousand_messages_for_the_same_domain() {
    const WINDOW: Duration = Duration::from_secs(4);
    let alone = AtomicU64::new(0);
    let flood = |street: &Street| {
        let list = |message: usize| (0..500).map(|n| format!("g{message}-{n}@plain.example")).collect();
        fill(&street.greedy, 100, list);
        let door = street.greedy.clone();
        let flood = Trouble::start(4, move |number, stop| {
            let raw = letter(&door.sender, "many@plain.example", 2_048);
            submit_for_ever(&door, stop, || (vec![format!("more{number}@plain.example")], raw.clone()));
        });
        let before = street.settled();
        let_pass(WINDOW);
        alone.store(((street.settled() - before) / WINDOW.as_secs_f64()) as u64, Ordering::SeqCst);
        flood
    };
    // Everything that is sent counts: whoever sends it, the house must not do less because there are two.
    let keeps_its_pace = |street: &Street| {
        let before = street.settled();
        let backlog = street.house.metric("posthouse_queue_recipients");
        let_pass(WINDOW);
        let (now, then) = ((street.settled() - before) / WINDOW.as_secs_f64(), alone.load(Ordering::SeqCst));
        println!("  {then} recipients/s before, {now:.0} after, {backlog} left");
        let idle = backlog < 1_000.0;
        if idle || now >= then as f64 * 0.7 { Ok(()) } else { Err(format!("{now:.0}/s instead of {then}/s")) }
    };
    let bound = Bound { factor: 2.0, accept_ms: 250, dwell_ms: 1_000 };
    compare("F1: 50,000 for the same domain", bound, |_| {}, flood, keeps_its_pace);
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
    let share = |street: &Street| {
        let sessions = street.house.metric("posthouse_egress_sessions");
        let waiting = street.house.metric("posthouse_queue_recipients");
        println!("  {sessions} connections of {CONNECTIONS}, {waiting} recipients waiting");
        let in_its_share =
            sessions >= 1.0 && sessions <= (CONNECTIONS / 2 + 20) as f64 && waiting >= 90_000.0;
        if in_its_share { Ok(()) } else { Err(format!("{sessions} connections, {waiting} waiting")) }
    };
    let bound = Bound { factor: 1.5, accept_ms: 250, dwell_ms: 250 };
    compare("F2: dead destinations, 100,000 waiting", bound, narrow, tarpit, share);
}

/// F3: messages of 20 MB, one after the other over three connections, for a site that takes them fast.
#[test]
fn a_neighbour_with_very_large_messages() {
    let heavy = |street: &Street| {
        swallow(street, "large.example", "127.31.0.2");
        let door = street.greedy.clone();
        Trouble::start(3, move |number, stop| {
            // Not optimised, a single look at every octet of 20 MB keeps a thread for a second.
            let octets = if cfg!(debug_assertions) { 2 << 20 } else { 20 << 20 };
            let raw = letter(&door.sender, "large@large.example", octets);
            submit_for_ever(&door, stop, || (vec![format!("large{number}@large.example")], raw.clone()));
        })
    };
    let accept_ms = if cfg!(debug_assertions) { 600 } else { 250 };
    let bound = Bound { factor: 2.0, accept_ms, dwell_ms: 1_000 };
    compare("F3: messages of 20 MB", bound, |_| {}, heavy, |_| Ok(()));
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

/// F8: eight clients that do nothing but fail to log in, and many that have come and say nothing.
#[test]
fn a_neighbour_whose_logins_are_guessed() {
    let guessing = |street: &Street| {
        let door = street.greedy.clone();
        let address: SocketAddr = street.house.text("/smtp/submission").parse().unwrap();
        Trouble::start(9, move |number, stop| {
            if number == 0 {
                return stand_around(address, stop);
            }
            while !stop.load(Ordering::SeqCst) {
                let Ok(mut client) = door.greet() else { continue };
                let _ = client.command("EHLO guesser.example");
                // "\0greedy\0wrong" in base 64; the house closes when it has heard enough.
                while client.command("AUTH PLAIN AGdyZWVkeQB3cm9uZw==").is_ok_and(|reply| reply.code == 535) {
                }
            }
        })
    };
    let bound = Bound { factor: 2.0, accept_ms: 250, dwell_ms: 1_000 };
    compare("F8: failed logins and idle connections", bound, |_| {}, guessing, |_| Ok(()));
}

/// 900 connections from twenty addresses that never say whose they are.
fn stand_around(server: SocketAddr, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        for number in 0..900u32 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let own = IpAddr::from([127, 9, 0, (1 + number % 20) as u8]);
            socket.bind(SocketAddr::new(own, 0)).unwrap();
            if let Ok(stream) = socket.connect(server).await {
                held.push(stream);
            }
        }
        while !stop.load(Ordering::SeqCst) {
            tokio::task::spawn_blocking(|| let_pass(Duration::from_millis(50))).await.unwrap();
        }
    });
}
