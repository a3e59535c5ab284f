//! What a whole house puts on the wire (M2) and into its log (M13), whatever tenants and strangers put into it.
//!
//! Bodies and fields full of ends that are none go in by every door: SMTP by DATA and BDAT, HTTP as a finished message and
//! as parts. They are refused or arrive at an exchanger that keeps the octets of its socket.

use crate::house::{House, Plot, wait_for, web};
use posthouse_tests::client::Door;
use posthouse_tests::exchanger::{Exchanger, Received};
use posthouse_tests::lab::Lab;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const SMUGGLED: &str =
    "MAIL FROM:<evil@sender.example>\r\nRCPT TO:<evil@wire.example>\r\nDATA\r\nsmuggled\r\n.\r\n";
const SEQUENCES: [&str; 14] = [
    "\n.\n",
    "\n.\r",
    "\r.\n",
    "\r.\r",
    "\n.\r\n",
    "\r.\r\n",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\n\0.\r\n",
    // These are clean, and need their dots doubled.
    "\r\n.\r\n",
    "\r\n..\r\n",
    "\r\n\r\n.\r\n",
    "\r\n.QUIT\r\n",
    "\r\n...",
];

struct Scene {
    plot: Plot,
    _lab: Lab,
    house: House,
    door: Door,
    key: String,
    exchanger: Exchanger,
}

fn scene(name: &str, address: &str, source: &str) -> Scene {
    let (lab, mut plot) = Lab::with_plot();
    plot.send_freely();
    plot.set("ingress.session.errors_max", "100000");
    plot.set("log.format", "json");
    plot.set("log.filter", "info,posthouse=trace,api=trace,ingress=trace,egress=trace,smtp=trace,mail=trace");
    let exchanger = Exchanger::start(&lab, "wire.example", address, |_| {}, |_| {});
    let house = plot.start_in(&lab);
    let (tenant, _) = house.onboard(name, &format!("{name}-sender.example"), source);
    let door = Door::of(&house, &tenant);
    Scene { plot, _lab: lab, house, door, key: tenant.key, exchanger }
}

impl Scene {
    /// A status.
    fn post(&self, body: &Value) -> u16 {
        let (status, _) = self.house.api("POST", "/v1/tenants/self/messages", &self.key, Some(body));
        status
    }

    /// What came, when `count` messages have.
    fn received(&self, count: usize) -> Vec<Received> {
        wait_for("the messages at the exchanger", || {
            let received = self.exchanger.received();
            (received.len() >= count).then_some(received)
        })
    }
}

#[test]
fn whatever_goes_in_leaves_as_one_message_with_clean_lines() {
    let scene = scene("wire", "127.99.0.61", "127.2.0.161");
    let sender = scene.door.sender.clone();
    let (mut accepted, mut refused) = (0, 0);
    let mut count = |taken: bool| if taken { accepted += 1 } else { refused += 1 };
    let long = "x".repeat(5_000);
    for (number, sequence) in SEQUENCES.iter().copied().chain([long.as_str(), "Grüße\r\n.\r\n"]).enumerate()
    {
        let text = format!("a{sequence}{SMUGGLED}");
        let to = |way: &str| vec![format!("{way}{number}@wire.example")];
        let raw = format!("From: {sender}\r\nSubject: {number}\r\n\r\n{text}\r\n").into_bytes();
        let mut client = scene.door.connect().unwrap();
        count(client.submit_in_chunks(&sender, &to("bdat"), &raw).unwrap().code == 250);
        // Dots are doubled as a client does it: where an LF is. The house finds the end by its own rule.
        let mut client = scene.door.connect().unwrap();
        count(client.submit(&sender, &to("data"), &raw).unwrap().code == 250);
        count(scene.door.post(&to("raw"), &raw).unwrap().status == 202);
        count(scene.post(&json!({"from": sender, "to": to("text"), "subject": "x", "text": text})) == 202);
        count(scene.post(&json!({"from": sender, "to": to("html"), "subject": "x", "html": text})) == 202);
        let field = json!({"X-Own": text});
        count(
            scene.post(
                &json!({"from": sender, "to": to("own"), "subject": "x", "text": "x", "headers": field}),
            ) == 202,
        );
        count(scene.post(&json!({"from": sender, "to": to("subject"), "subject": text, "text": "x"})) == 202);
        let file = json!([{"filename": "a.txt", "content_type": "text/plain", "content": base64(&text)}]);
        count(
            scene.post(
                &json!({"from": sender, "to": to("file"), "subject": "x", "text": "x", "attachments": file}),
            ) == 202,
        );
    }
    println!("M2: {accepted} accepted, {refused} refused");
    assert!(accepted >= 40 && refused >= 40, "{accepted} accepted, {refused} refused");
    let received = scene.received(accepted);
    assert_eq!(received.len(), accepted, "one message for each that was accepted");
    for message in &received {
        judge(message);
    }
    for way in ["bdat", "data", "raw", "text", "html", "file"] {
        assert!(received.iter().any(|one| one.recipients[0].starts_with(way)), "nothing by {way}");
    }
    assert_eq!(scene.house.stop().code(), Some(0));
}

fn base64(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}

fn judge(message: &Received) {
    let Received { recipients, wire, .. } = message;
    assert_eq!(recipients.len(), 1, "{recipients:?}");
    assert!(!recipients[0].starts_with("evil"), "a smuggled recipient");
    let lines = smtp::data::check_lines(wire, Some(998));
    assert_eq!(lines, Ok(()), "{recipients:?}: {}", wire.escape_ascii());
    let text: Vec<&[u8]> = wire.split_inclusive(|octet| *octet == b'\n').collect();
    let (end, lines) = text.split_last().unwrap();
    assert_eq!(*end, b".\r\n");
    let single = lines.iter().find(|line| line.starts_with(b".") && !line.starts_with(b".."));
    assert_eq!(single, None, "{recipients:?}: a dot that is not doubled");
}

/// M13, M5: one printable line of JSON for each event, and no reply that repeats what it was told.
#[test]
fn control_characters_from_anywhere_reach_no_log_and_no_reply() {
    const POISON: [&str; 6] = [
        "\u{1b}[31mcanary\u{7}",
        "canary\0x",
        "canary\r{\"level\":\"ERROR\"}",
        "\u{85}canary",
        "\u{2028}canary",
        "canary\u{202e}",
    ];
    let scene = scene("log", "127.99.0.62", "127.2.0.162");
    for poison in POISON {
        let mut stream = TcpStream::connect(scene.house.text("/smtp/submission")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for line in [
            "EHLO",
            "HELO x",
            "MAIL FROM:<",
            "RCPT TO:<",
            "AUTH PLAIN ",
            "X",
            "VRFY ",
            "MAIL FROM:<a@b.example> X=",
        ] {
            stream.write_all(format!("{line}{poison}\r\n").as_bytes()).unwrap();
        }
        stream.write_all(b"QUIT\r\n").unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("canary"), "{said:?}");
        assert!(said.bytes().all(|b| b == b'\r' || b == b'\n' || (32..127).contains(&b)), "{said:?}");

        let mut client = scene.door.connect().unwrap();
        let sender = &scene.door.sender;
        let raw = format!("From: {sender}\r\nSubject: {poison}\r\nX-Tag: {poison}\r\n\r\nx\r\n");
        client.submit(sender, &["a@wire.example".to_owned()], raw.as_bytes()).unwrap();
        let call = web().get(format!("{}/v1/tenants/{}", scene.house.text("/api"), "x%1b%5b31mcanary%0a%00"));
        call.header("user-agent", "canary \u{e9}").bearer_auth("canary").send().unwrap();
        scene.post(&json!({"from": sender, "to": "a@wire.example", "subject": poison, "text": poison, "tags": [poison]}));
    }
    assert_eq!(scene.house.stop().code(), Some(0));
    let log = scene.plot.log();
    let lines = log.split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>();
    assert!(lines.len() > 20, "{log}");
    for line in lines {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
        let shown =
            line.chars().all(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}'));
        assert!(shown, "{line:?}");
        assert!(!line.contains("canary"), "{line}");
    }
}
