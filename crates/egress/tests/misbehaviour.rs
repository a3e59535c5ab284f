//! Sites that are there and do not do their part, in any layer, or answer each recipient otherwise (catalogue N9, N3): the
//! attempt ends within its time, is judged rightly and counted, and the place of the connection is free again. What a
//! site may say and do at each command is the table of `misdeeds.rs`.
#![allow(clippy::unwrap_used)]

mod house;

use bytes::Bytes;
use house::metrics::Metrics;
use house::site::{Say, address, free_port, good, scripted, usual};
use house::{House, Told};
use mail::Verdict;
use smtp::server::TlsMode;
use spool::Settlement;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

type Script = fn(u32, &str) -> Say;

/// A house in which every step may take a second, and the next attempt comes much later.
async fn hasty(port: u16) -> House {
    House::with(port, |config| {
        let timeouts = &mut config.timeouts;
        for seconds in [
            &mut timeouts.greeting_seconds,
            &mut timeouts.hello_seconds,
            &mut timeouts.starttls_seconds,
            &mut timeouts.mail_seconds,
            &mut timeouts.rcpt_seconds,
            &mut timeouts.data_seconds,
            &mut timeouts.block_seconds,
            &mut timeouts.final_seconds,
        ] {
            *seconds = 1;
        }
        config.retry_seconds = vec![600];
    })
    .await
}

/// More than the buffers of both sides.
fn long_message() -> Bytes {
    Bytes::from("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(400_000))
}

/// N9: the window of the site closes in the middle of a message.
#[tokio::test]
async fn a_site_that_reads_no_further_costs_the_time_of_one_block_and_its_place_is_free_again() {
    fn script(connection: u32, line: &str) -> Say {
        if connection == 1 && line == "DATA" { Say::Deaf("354 go") } else { usual(line) }
    }
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let site = scripted(117, port, script).await;
    let mut house = House::with(port, |config| {
        config.timeouts.block_seconds = 1;
        config.limits.connections = Some(1);
        config.retry_seconds = vec![600];
    })
    .await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send_body(&["a@dest.example"], long_message(), |_| {}).await;
    let attempted = house.attempted().await;
    assert_eq!(attempted.outcome.stage, "data");
    assert!(attempted.outcome.trouble.unwrap().contains("in time"));
    assert!((1_000..4_000).contains(&attempted.duration_ms), "{} ms", attempted.duration_ms);
    assert_eq!(metrics.timeouts("body"), 1);
    // One failure to reach it with one connection: it is probed in a minute, or when somebody says so.
    let path = house.handle().paths().await.unwrap().remove(0);
    house.handle().resume(path.path).await.unwrap();
    house.send(&["b@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.stop().await;
}

/// N9: no block is late, and yet it would take half a minute.
#[tokio::test]
async fn a_site_that_reads_slowly_costs_the_time_of_a_slow_line_and_no_more() {
    fn script(_: u32, line: &str) -> Say {
        if line == "DATA" { Say::Sip("354 go") } else { usual(line) }
    }
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let site = scripted(118, port, script).await;
    let text = long_message();
    let mut house = House::with(port, |config| {
        config.timeouts.body_seconds = 1;
        config.timeouts.body_octets_per_second_min = text.len() as u64;
        config.retry_seconds = vec![600];
    })
    .await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send_body(&["a@dest.example"], text, |_| {}).await;
    let attempted = house.attempted().await;
    assert_eq!(attempted.outcome.stage, "data");
    assert!(attempted.outcome.trouble.unwrap().contains("in time"));
    assert!((2_000..8_000).contains(&attempted.duration_ms), "{} ms", attempted.duration_ms);
    assert_eq!(metrics.timeouts("body"), 1);
    house.stop().await;
}

/// N9: a handshake that is half done. It is gone on with in clear, so nobody but the operator sees it.
#[tokio::test]
async fn a_handshake_that_hangs_is_counted() {
    fn script(_: u32, line: &str) -> Say {
        match line {
            "STARTTLS" => Say::Deaf("220 go"),
            _ if line.starts_with("EHLO") => Say::Line("250-mx\r\n250 STARTTLS"),
            _ => usual(line),
        }
    }
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let site = scripted(119, port, script).await;
    let mut house = hasty(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
    assert_eq!((site.connections(), settled.outcome.unwrap().tls), (2, None));
    assert_eq!(metrics.timeouts("starttls"), 1);
    house.stop().await;
}

/// N9: a host that answers nothing at all, because its backlog is full: our SYNs are dropped.
#[tokio::test]
async fn a_host_that_drops_our_syns_costs_one_timeout_and_the_next_one_is_tried() {
    let metrics = Metrics::new();
    let _counting = metrics.count();
    let (port, _keep) = free_port().await;
    let hole = SocketAddr::new(address(120), port);
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&hole.into()).unwrap();
    listener.listen(0).unwrap();
    let mut fill = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&hole, Duration::from_millis(300)) {
        fill.push(stream);
    }
    let site = good(121, port, TlsMode::None).await;
    let mut house = House::with(port, |config| config.connect_seconds_max = 1).await;
    house.route("hole.example", 10, "mx.hole.example", address(120));
    house.route("dest.example", 10, "mx1.dest.example", address(120));
    house.route("dest.example", 20, "mx2.dest.example", site.address);
    house.send(&["a@hole.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!((attempted.outcome.stage, attempted.outcome.class.as_str()), ("connect", "remote.down"));
    assert!(attempted.outcome.trouble.unwrap().contains("no answer in 1 s"));
    assert!((1_000..4_000).contains(&attempted.duration_ms), "{} ms", attempted.duration_ms);
    assert_eq!(metrics.timeouts("connect"), 1);
    assert!(house.handle().paths().await.unwrap().iter().all(|path| path.open == 0));
    house.send(&["a@dest.example"]).await;
    loop {
        match house.told().await {
            Told::Settled(one) => {
                assert_eq!((one.settlement, one.attempt), (Settlement::Delivered, 1));
                assert_eq!(one.outcome.unwrap().mx.as_deref(), Some("mx2.dest.example"));
                break;
            }
            // The other one is still tried now and then.
            Told::Attempted(one) => assert_eq!(one.outcome.stage, "connect"),
        }
    }
    house.stop().await;
}

/// Between two messages, the first of which was refused, stands RSET. What happens to it is no answer to the second.
#[tokio::test]
async fn a_site_that_goes_away_between_two_messages_is_called_again_and_one_that_hangs_is_left_alone() {
    fn closes(connection: u32, line: &str) -> Say {
        match line {
            "RSET" if connection == 1 => Say::Close,
            _ if line.starts_with("RCPT TO:<no@") => Say::Line("550 5.1.1 no such user"),
            _ => usual(line),
        }
    }
    fn hangs(connection: u32, line: &str) -> Say {
        if line == "RSET" { Say::Silence } else { closes(connection, line) }
    }
    fn refuses(connection: u32, line: &str) -> Say {
        if line == "RSET" { Say::Line("500 5.5.1 what?") } else { closes(connection, line) }
    }
    for (last, script, told) in [
        (130, closes as Script, None),
        (131, hangs, Some("in time")),
        (132, refuses, Some("500 5.5.1 what?")),
    ] {
        let (port, _keep) = free_port().await;
        let site = scripted(last, port, script).await;
        let mut house = House::with(port, |config| {
            config.timeouts.reset_seconds = 1;
            config.limits.connections = Some(1);
            config.retry_seconds = vec![600];
        })
        .await;
        house.route("dest.example", 10, "mx.dest.example", site.address);
        house.send(&["no@dest.example"]).await;
        assert_eq!(house.settled().await.settlement, Settlement::Bounced);
        house.send(&["a@dest.example"]).await;
        match (house.told().await, told) {
            (Told::Settled(one), None) => {
                assert_eq!((one.settlement, one.attempt), (Settlement::Delivered, 1));
                assert_eq!(site.connections(), 2);
            }
            (Told::Attempted(one), Some(words)) => {
                assert_eq!((one.outcome.verdict, one.outcome.stage), (Verdict::Deferred, "mail"));
                let reply = one.outcome.reply.map(|reply| reply.to_line());
                assert!(reply.or(one.outcome.trouble).unwrap().contains(words));
            }
            (other, _) => panic!("{other:?}"),
        }
        assert_eq!(site.final_dots(), u32::from(told.is_none()));
        house.stop().await;
    }
}

/// N3: one message, each recipient answered otherwise; each gets what is his, once.
#[tokio::test]
async fn every_recipient_of_a_message_gets_the_answer_that_was_his() {
    fn script(_: u32, line: &str) -> Say {
        let to = line.strip_prefix("RCPT TO:<").and_then(|rest| rest.split('@').next()).unwrap_or_default();
        Say::Line(match to.trim_end_matches(char::is_numeric) {
            "ok" => "250 2.1.5 fine",
            "later" => "450 4.2.1 not now",
            "full" => "452 4.2.2 over quota",
            "unknown" => "550 5.1.1 no such user",
            "toolarge" => "552 5.3.4 too large",
            "spam" => "554 5.7.1 rejected as spam",
            _ => return usual(line),
        })
    }
    let (port, _keep) = free_port().await;
    let site = scripted(126, port, script).await;
    let mut house = hasty(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    let table = [
        ("ok", Some(Settlement::Delivered), "delivered"),
        ("later", None, ""),
        ("full", None, "recipient.full"),
        ("unknown", Some(Settlement::Bounced), "recipient.unknown"),
        ("toolarge", Some(Settlement::Failed), "content.size"),
        ("spam", Some(Settlement::Failed), "content.spam"),
    ];
    let names: Vec<String> =
        (0..60).map(|number| format!("{}{number}@dest.example", table[number % 6].0)).collect();
    house.send(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut told = HashMap::new();
    for _ in 0..60 {
        let (recipient, settlement, outcome) = match house.told().await {
            Told::Settled(one) => (one.recipient, Some(one.settlement), one.outcome.unwrap()),
            Told::Attempted(one) => (one.recipient, None, one.outcome),
        };
        let (name, expected, class) = table[recipient as usize % 6];
        assert_eq!(settlement, expected, "{name}: {outcome:?}");
        assert!(class.is_empty() || outcome.class.as_str() == class, "{name}: {outcome:?}");
        assert!(told.insert(recipient, ()).is_none(), "recipient {recipient} was told of twice");
    }
    assert_eq!(site.final_dots(), 10, "once for each that was taken");
    house.stop().await;
}

/// A code that is good for a minute must not arrive four minutes later.
#[tokio::test]
async fn what_expires_while_a_host_says_nothing_is_not_given_to_the_next_one() {
    let (port, _keep) = free_port().await;
    let silent = tokio::net::TcpListener::bind(SocketAddr::new(address(122), port)).await.unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(stream) = silent.accept().await {
            held.push(stream);
        }
    });
    let next = good(123, port, TlsMode::None).await;
    let mut house = hasty(port).await;
    house.route("dest.example", 10, "mx1.dest.example", address(122));
    house.route("dest.example", 20, "mx2.dest.example", next.address);
    let soon = house.clock_now().saturating_add(Duration::from_millis(300));
    house.send_with(&["a@dest.example"], |accepted| accepted.expires_at = soon).await;
    assert_eq!(house.attempted().await.outcome.stage, "greeting");
    let settled = house.settled().await;
    assert_eq!((settled.settlement, next.connections()), (Settlement::Expired, 0), "{:?}", settled.outcome);
    // One that has the time goes by the second host.
    house.send(&["b@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    holding.abort();
    house.stop().await;
}
