//! Sites that break off, speak out of turn, listen to nobody or answer each recipient otherwise (catalogue N2, N3, N9):
//! the attempt ends within its time, is judged rightly, and the place of the connection is free again.
#![allow(clippy::unwrap_used)]

mod house;

use bytes::Bytes;
use house::site::{Say, free_port, good, scripted, usual};
use house::{House, Told};
use mail::Verdict;
use smtp::server::TlsMode;
use spool::{Attempted, Settlement};
use std::collections::HashMap;

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

/// One attempt at a site that follows `script`, and whether its connection was given back.
async fn attempt(last: u8, script: Script) -> Attempted {
    let (port, _keep) = free_port().await;
    let site = scripted(last, port, script).await;
    let mut house = hasty(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let attempted = house.attempted().await;
    assert_eq!(attempted.outcome.verdict, Verdict::Deferred);
    assert!(attempted.duration_ms < 2_500, "{} ms", attempted.duration_ms);
    while house.handle().paths().await.unwrap().iter().any(|path| path.open > 0) {
        tokio::task::yield_now().await;
    }
    house.stop().await;
    attempted
}

#[tokio::test]
async fn a_site_that_drops_us_at_any_command_is_judged_by_where_it_was() {
    macro_rules! at {
        ($verb:literal, $say:expr) => {
            |_, line| if line.starts_with($verb) { $say } else { usual(line) }
        };
    }
    let cases: [(Script, &str); 8] = [
        (|_, line| if line.is_empty() { Say::Close } else { usual(line) }, "greeting"),
        (at!("EHLO", Say::Close), "ehlo"),
        (at!("MAIL", Say::Close), "mail"),
        (at!("RCPT", Say::Close), "rcpt"),
        (at!("DATA", Say::Close), "data"),
        (at!(".", Say::Close), "final-dot"),
        (at!("MAIL", Say::HalfClose), "mail"),
        (at!(".", Say::HalfClose), "final-dot"),
    ];
    for (number, (script, stage)) in cases.into_iter().enumerate() {
        let attempted = attempt(101 + number as u8, script).await;
        let trouble = attempted.outcome.trouble.unwrap();
        assert_eq!(attempted.outcome.stage, stage, "{trouble}");
        assert!(trouble.contains("closed the connection"), "{trouble}");
        assert_eq!(trouble.contains("may have it"), stage == "final-dot", "{trouble}");
    }
}

#[tokio::test]
async fn an_answer_before_the_question_is_no_answer() {
    fn greeting(_: u32, line: &str) -> Say {
        if line.is_empty() {
            Say::Octets(b"220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n")
        } else {
            usual(line)
        }
    }
    fn message(_: u32, line: &str) -> Say {
        if line == "DATA" { Say::Octets(b"354 go\r\n250 taken\r\n") } else { usual(line) }
    }
    let attempted = attempt(111, greeting).await;
    assert_eq!((attempted.outcome.stage, attempted.outcome.reply), ("ehlo", None));
    let attempted = attempt(112, message).await;
    assert_eq!((attempted.outcome.stage, attempted.outcome.reply), ("data", None));
}

#[tokio::test]
async fn a_reply_of_many_long_lines_ends_before_it_fills_the_memory() {
    fn script(_: u32, line: &str) -> Say {
        let more = || format!("250-{}\r\n", "x".repeat(4_000)).repeat(50);
        if line.starts_with("RCPT") { Say::Owned(more()) } else { usual(line) }
    }
    let attempted = attempt(113, script).await;
    assert_eq!(attempted.outcome.stage, "rcpt");
    assert!(attempted.outcome.trouble.unwrap().contains("no SMTP reply"));
}

#[tokio::test]
async fn a_refusal_in_eight_bits_is_a_refusal_in_printable_words() {
    fn script(_: u32, line: &str) -> Say {
        if line.starts_with("RCPT") {
            Say::Octets(b"550 5.1.1 Empf\xe4nger \x1b[31munbekannt\r\n")
        } else {
            usual(line)
        }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(114, port, script).await;
    let mut house = hasty(port).await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    house.send(&["a@dest.example"]).await;
    let settled = house.settled().await;
    assert_eq!(settled.settlement, Settlement::Bounced);
    assert_eq!(
        settled.outcome.unwrap().reply.unwrap().to_line(),
        "550 5.1.1 Empf\u{fffd}nger  [31munbekannt"
    );
    house.stop().await;
}

/// A handshake that is refused by an alert, and one that never goes on: the mail goes in clear to the same host.
#[tokio::test]
async fn tls_that_breaks_or_hangs_costs_one_step_and_no_mail() {
    fn offer(line: &str) -> Say {
        if line.starts_with("EHLO") { Say::Line("250-mx\r\n250 STARTTLS") } else { usual(line) }
    }
    fn alert(_: u32, line: &str) -> Say {
        if line == "STARTTLS" { Say::Octets(b"220 go\r\n\x15\x03\x01\x00\x02\x02\x28") } else { offer(line) }
    }
    fn hangs(_: u32, line: &str) -> Say {
        if line == "STARTTLS" { Say::Deaf("220 go") } else { offer(line) }
    }
    for (last, script) in [(115, alert as Script), (116, hangs)] {
        let (port, _keep) = free_port().await;
        let site = scripted(last, port, script).await;
        let mut house = hasty(port).await;
        house.route("dest.example", 10, "mx.dest.example", site.address);
        let began = tokio::time::Instant::now();
        house.send(&["a@dest.example"]).await;
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
        assert_eq!((site.connections(), settled.outcome.unwrap().tls), (2, None));
        assert!(began.elapsed().as_millis() < 2_500, "{:?}", began.elapsed());
        house.stop().await;
    }
}

/// N9: the window of the site closes in the middle of a message.
#[tokio::test]
async fn a_site_that_reads_no_further_costs_the_time_of_one_block_and_its_place_is_free_again() {
    fn script(connection: u32, line: &str) -> Say {
        if connection == 1 && line == "DATA" { Say::Deaf("354 go") } else { usual(line) }
    }
    let (port, _keep) = free_port().await;
    let site = scripted(117, port, script).await;
    let mut house = House::with(port, |config| {
        config.timeouts.block_seconds = 1;
        config.limits.connections = Some(1);
        config.retry_seconds = vec![600];
    })
    .await;
    house.route("dest.example", 10, "mx.dest.example", site.address);
    // More than the buffers of both sides.
    let text = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(400_000);
    house.send_body(&["a@dest.example"], Bytes::from(text), |_| {}).await;
    let attempted = house.attempted().await;
    assert_eq!(attempted.outcome.stage, "data");
    assert!(attempted.outcome.trouble.unwrap().contains("in time"));
    assert!((1_000..4_000).contains(&attempted.duration_ms), "{} ms", attempted.duration_ms);
    // One failure to reach it with one connection: it is probed in a minute, or when somebody says so.
    let path = house.handle().paths().await.unwrap().remove(0);
    house.handle().resume(path.path).await.unwrap();
    house.send(&["b@dest.example"]).await;
    assert_eq!(house.settled().await.settlement, Settlement::Delivered);
    house.stop().await;
}

#[tokio::test]
async fn an_exchanger_that_breaks_off_in_a_session_does_not_hide_the_next_one() {
    fn drops(_: u32, line: &str) -> Say {
        if line.starts_with("MAIL") { Say::Close } else { usual(line) }
    }
    fn silent(_: u32, line: &str) -> Say {
        if line.starts_with("RCPT") { Say::Silence } else { usual(line) }
    }
    for (last, script) in [(118, drops as Script), (120, silent)] {
        let (port, _keep) = free_port().await;
        let first = scripted(last, port, script).await;
        let second = good(last + 1, port, TlsMode::None).await;
        let mut house = hasty(port).await;
        house.route("dest.example", 10, "mx1.dest.example", first.address);
        house.route("dest.example", 20, "mx2.dest.example", second.address);
        house.send(&["a@dest.example"]).await;
        let settled = house.settled().await;
        assert_eq!((settled.settlement, settled.attempt), (Settlement::Delivered, 1));
        assert_eq!(settled.outcome.unwrap().mx.as_deref(), Some("mx2.dest.example"));
        assert_eq!((first.connections(), second.arrivals().len()), (1, 1));
        house.stop().await;
    }
}

/// One that may have the message, and one that refuses, are the end of the attempt: nothing is sent twice, and no
/// refusal is carried to the next door.
#[tokio::test]
async fn an_exchanger_that_may_have_it_or_refuses_is_the_last_one_of_the_attempt() {
    fn dot(_: u32, line: &str) -> Say {
        if line == "." { Say::Close } else { usual(line) }
    }
    fn refuses(_: u32, line: &str) -> Say {
        if line.starts_with("MAIL") { Say::Last("421 4.7.0 not from you") } else { usual(line) }
    }
    for (last, script) in [(122, dot as Script), (124, refuses)] {
        let (port, _keep) = free_port().await;
        let first = scripted(last, port, script).await;
        let second = good(last + 1, port, TlsMode::None).await;
        let mut house = hasty(port).await;
        house.route("dest.example", 10, "mx1.dest.example", first.address);
        house.route("dest.example", 20, "mx2.dest.example", second.address);
        house.send(&["a@dest.example"]).await;
        assert_eq!(house.attempted().await.outcome.mx.as_deref(), Some("mx1.dest.example"));
        assert_eq!(second.connections(), 0);
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
