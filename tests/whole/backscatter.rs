//! Nobody hears from us who did not write to us (M11): what cannot be taken is refused in its session, what cannot be
//! delivered is told to the tenant by one event for each recipient, and no mail of our own is ever made of it.

use crate::house::{House, Plot, let_pass, wait_for};
use posthouse_tests::client::Door;
use posthouse_tests::exchanger::Exchanger;
use posthouse_tests::lab::Lab;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A session at a door without TLS.
struct Stranger(BufReader<TcpStream>);

impl Stranger {
    fn at(house: &House, door: &str) -> Stranger {
        let stream = TcpStream::connect(house.text(door)).unwrap();
        stream.set_read_timeout(Some(crate::house::PATIENCE)).unwrap();
        let mut stranger = Stranger(BufReader::new(stream));
        assert!(stranger.reply().starts_with("220"));
        assert!(stranger.say("EHLO mx.victim.example").starts_with("250"));
        stranger
    }

    /// The last line of a reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the door closed");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }
}

const REVERSE_PATHS: [&str; 5] = [
    "",
    "victim@victim.example",
    "x@victim-tenant.example",
    "postmaster@victim.example",
    "mailer-daemon@victim.example",
];
/// Texts that must never be answered by a machine, and one that may.
const TEXTS: [&str; 4] = [
    "From: a@victim.example\r\nAuto-Submitted: auto-replied\r\nSubject: out of office\r\n\r\nx\r\n.",
    "From: a@victim.example\r\nList-Id: <l.victim.example>\r\nPrecedence: bulk\r\nSubject: list\r\n\r\nx\r\n.",
    "From: <>\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b--\r\n.",
    "From: a@victim.example\r\nSubject: person\r\n\r\nx\r\n.",
];

/// Where our answers to a forged or a real sender would arrive.
struct Scene {
    house: House,
    victims: [Exchanger; 2],
    door: Door,
    key: String,
    tenant: String,
    _lab: Lab,
    _plot: Plot,
}

fn scene() -> Scene {
    let (lab, plot) = Lab::with_plot();
    let victims = [("victim.example", "127.99.0.63"), ("victim-tenant.example", "127.99.0.64")]
        .map(|(domain, address)| Exchanger::start(&lab, domain, address, |_| {}, |_| {}));
    let house = plot.start_in(&lab);
    let (tenant, _) = house.onboard("victim", "victim-tenant.example", "127.2.0.163");
    Scene {
        door: Door::of(&house, &tenant),
        house,
        victims,
        key: tenant.key,
        tenant: tenant.id,
        _lab: lab,
        _plot: plot,
    }
}

impl Scene {
    fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.house.get("/v1/tenants/self/events?limit=200", &self.key);
        page["data"].as_array().unwrap().iter().filter(|event| event["type"] == kind).cloned().collect()
    }

    /// Nothing was sent to anybody who is not a recipient of the tenant's mail.
    fn nobody_heard(&self) {
        for victim in &self.victims {
            assert_eq!(victim.received(), [], "mail of our own");
        }
    }
}

/// `b+token@rp.victim-tenant.example`, as a site sees it.
fn return_path(house: &House) -> String {
    house.arrivals("anna@gmail.com", 1)[0]["mail_from"].as_str().unwrap().to_owned()
}

#[test]
fn what_comes_back_is_refused_in_its_session_and_never_answered_by_mail() {
    let scene = scene();
    let Scene { house, door, .. } = &scene;
    let raw = format!("From: {0}\r\nTo: anna@gmail.com\r\nSubject: s\r\n\r\nx\r\n", door.sender);
    assert_eq!(door.post(&["anna@gmail.com".to_owned()], raw.as_bytes()).unwrap().status, 202);
    let token = return_path(house);
    let settled = wait_for("the only message to be settled", || {
        Some(house.metric("posthouse_egress_settled_total")).filter(|count| *count >= 1.0)
    });
    let forged = token.replacen("b+", "b+a", 1);
    let unknown = [
        "unknown@victim-tenant.example",
        "x@rp.victim-tenant.example",
        "postmaster@victim-tenant.example",
        "abuse@posthouse.test",
        "b+@rp.victim-tenant.example",
        &forged,
    ];
    let (mut refused, mut deferred, mut taken) = (0, 0, 0);
    for reverse_path in REVERSE_PATHS {
        let mut stranger = Stranger::at(house, "/smtp/inbound");
        assert!(stranger.say(&format!("MAIL FROM:<{reverse_path}>")).starts_with("250"));
        for recipient in unknown {
            let reply = stranger.say(&format!("RCPT TO:<{recipient}> NOTIFY=SUCCESS,FAILURE,DELAY"));
            assert!(reply.starts_with("550 5.1.1"), "{recipient}: {reply}");
            refused += 1;
        }
        // Nobody's address, in whatever form.
        for nobody in ["<>", "<postmaster>", "<@posthouse.test:x@victim.example>", "<x>"] {
            let reply = stranger.say(&format!("RCPT TO:{nobody}"));
            assert!(reply.starts_with('5'), "{nobody}: {reply}");
            refused += 1;
        }
        assert!(stranger.say("DATA").starts_with('5'), "there is no recipient");
        // For a return path of ours the whole is either kept or refused, whatever it is.
        for text in TEXTS {
            let mut stranger = Stranger::at(house, "/smtp/inbound");
            stranger.say(&format!("MAIL FROM:<{reverse_path}>"));
            let reply = stranger.say(&format!("RCPT TO:<{token}>"));
            assert!(reply.starts_with("250"), "{reply}");
            assert!(stranger.say("DATA").starts_with("354"));
            match stranger.say(text).get(..3) {
                Some("250") => taken += 1,
                Some("451") => deferred += 1,
                code => panic!("{code:?} for {text}"),
            }
        }
    }
    // What would be sent would have been sent by now: nothing is in the journal that waits.
    let_pass(Duration::from_secs(2));
    assert_eq!(
        house.metric("posthouse_queue_recipients") + house.metric("posthouse_spool_waiting_messages"),
        0.0
    );
    assert_eq!(house.metric("posthouse_egress_settled_total"), settled, "something was sent");
    scene.nobody_heard();
    println!(
        "M11: {refused} recipients refused, {deferred} messages deferred and {taken} kept, 0 answers by mail"
    );
    assert_eq!(scene.house.stop().code(), Some(0));
}

#[test]
fn a_forged_sender_is_refused_in_the_session() {
    let scene = scene();
    let Scene { door, tenant, .. } = &scene;
    let mut client = door.connect().unwrap();
    for forged in [
        "",
        "victim@victim.example",
        "anna@gmail.com",
        "x@sub.victim-tenant.example",
        "@victim-tenant.example",
    ] {
        let reply = client.command(&format!("MAIL FROM:<{forged}>")).unwrap();
        assert!((500..=559).contains(&reply.code), "{forged}: {} {}", reply.code, reply.text);
    }
    let raw = b"From: victim@victim.example\r\nSubject: s\r\n\r\nx\r\n";
    let reply = client.submit(&door.sender, &["anna@gmail.com".to_owned()], raw).unwrap();
    assert_eq!((reply.code, reply.text.starts_with("5.7.1")), (550, true), "{}", reply.text);
    let answer = door.post(&["anna@gmail.com".to_owned()], raw).unwrap();
    assert_eq!(answer.status, 403, "{tenant}: {}", answer.body);
    scene.nobody_heard();
    assert_eq!(scene.house.stop().code(), Some(0));
}

#[test]
fn a_recipient_that_is_refused_is_told_of_once_and_not_by_mail() {
    let scene = scene();
    let Scene { house, door, .. } = &scene;
    let recipients: Vec<String> = (0..20).map(|n| format!("unknown-{n}@gmail.com")).collect();
    let mut client = door.connect().unwrap();
    let mail = format!("MAIL FROM:<{}> RET=FULL ENVID=e1", door.sender);
    assert_eq!(client.command(&mail).unwrap().code, 250);
    for recipient in &recipients {
        let line = format!("RCPT TO:<{recipient}> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{recipient}");
        assert_eq!(client.command(&line).unwrap().code, 250);
    }
    assert_eq!(client.command("DATA").unwrap().code, 354);
    let text = format!("From: {}\r\nReturn-Receipt-To: {0}\r\nSubject: s\r\n\r\nx\r\n.", door.sender);
    assert_eq!(client.command(&text).unwrap().code, 250);
    let told = wait_for("every recipient to be told of", || {
        Some(scene.events("message.bounced")).filter(|events| events.len() >= recipients.len())
    });
    let_pass(Duration::from_secs(2));
    let mut about: Vec<String> =
        told.iter().map(|event| event["data"]["recipient"].as_str().unwrap().to_owned()).collect();
    about.sort();
    let mut expected = recipients;
    expected.sort();
    assert_eq!(about, expected, "one event for each recipient");
    assert_eq!(scene.events("message.bounced").len(), about.len());
    scene.nobody_heard();
    assert_eq!(house.metric("posthouse_queue_recipients"), 0.0);
    assert_eq!(scene.house.stop().code(), Some(0));
}
