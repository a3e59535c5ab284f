//! Letters beyond ASCII on their way out (M8): what a site cannot take is failed with its reason, what it can take arrives as
//! it was sent, and names of domains are A-labels on the wire and wherever they are compared.

use crate::house::{House, Plot, Tenant, wait_for};
use posthouse_tests::client::{Client, Door};
use posthouse_tests::exchanger::{Exchanger, Received};
use posthouse_tests::lab::Lab;
use serde_json::{Value, json};

/// Sites by what they offer; the last has a name with an umlaut, bücher.example.
const SITES: [(&str, &str, &[&str]); 4] = [
    ("seven.example", "127.99.0.65", &[]),
    ("eight.example", "127.99.0.66", &["8BITMIME"]),
    ("utf.example", "127.99.0.67", &["8BITMIME", "SMTPUTF8"]),
    ("xn--bcher-kva.example", "127.99.0.68", &[]),
];

struct Scene {
    house: House,
    sites: Vec<Exchanger>,
    tenant: Tenant,
    door: Door,
    _lab: Lab,
    _plot: Plot,
}

fn scene(name: &str, domain: &str, source: &str, host: u8) -> Scene {
    let (lab, mut plot) = Lab::with_plot();
    plot.send_freely();
    plot.set("ingress.session.errors_max", "1000");
    // Each test has addresses of its own.
    let address = |address: &str| address.replace("127.99.0.", &format!("127.99.{host}."));
    let sites = SITES.map(|(domain, at, offer)| Exchanger::offering(&lab, domain, &address(at), offer));
    let house = plot.start_in(&lab);
    let (tenant, _) = house.onboard(name, domain, source);
    let door = Door::of(&house, &tenant);
    Scene { house, sites: sites.into(), tenant, door, _lab: lab, _plot: plot }
}

impl Scene {
    /// What came for a recipient, at whichever site.
    fn arrived(&self, recipient: &str) -> Received {
        wait_for(&format!("the message for {recipient}"), || {
            let received = self.sites.iter().flat_map(Exchanger::received);
            received.into_iter().find(|one| one.recipients.iter().any(|to| to == recipient))
        })
    }

    /// What is told of a recipient whose message was failed.
    fn failed(&self, recipient: &str) -> Value {
        wait_for(&format!("the failure of {recipient}"), || {
            let page = self.house.get("/v1/tenants/self/events?limit=200", &self.tenant.key);
            let events = page["data"].as_array().unwrap();
            let is_it =
                |event: &&Value| event["type"] == "message.failed" && event["data"]["recipient"] == recipient;
            events.iter().find(is_it).map(|event| event["data"]["outcome"].clone())
        })
    }

    /// Nothing of a recipient was said to any site.
    fn never_came(&self, recipient: &str) {
        let received = self.sites.iter().flat_map(Exchanger::received);
        let said: Vec<_> = received.flat_map(|one| one.recipients).filter(|to| to == recipient).collect();
        assert_eq!(said, Vec::<String>::new());
    }

    fn post(&self, body: &Value) -> (u16, Value) {
        self.house.api("POST", "/v1/tenants/self/messages", &self.tenant.key, Some(body))
    }

    /// A transaction with these parameters of MAIL; the last reply.
    fn submit(&self, parameters: &str, recipients: &[&str], text: &[u8]) -> (u16, String) {
        let mut client = self.door.connect().unwrap();
        let mail = format!("MAIL FROM:<{}> {parameters}", self.door.sender);
        let mut replies = vec![client.command(mail.trim_end()).unwrap()];
        replies.extend(recipients.iter().map(|to| client.command(&format!("RCPT TO:<{to}>")).unwrap()));
        if let Some(refusal) = replies.into_iter().find(|reply| reply.code != 250) {
            return (refusal.code, refusal.text);
        }
        assert_eq!(client.command("DATA").unwrap().code, 354);
        client.write(&posthouse_tests::client::stuffed(text)).unwrap();
        let reply = client.reply().unwrap();
        (reply.code, reply.text)
    }

    fn letter(&self, header: &str, body: &str) -> Vec<u8> {
        format!("From: {}\r\nMessage-ID: <1@client.example>\r\nDate: Fri, 27 Nov 2026 01:00:00 +0000\r\n{header}\r\n\r\n{body}\r\n", self.door.sender)
            .into_bytes()
    }
}

#[test]
fn an_address_beyond_ascii_goes_to_sites_that_take_it_and_to_no_other() {
    let scene = scene("umlaut", "umlaut.example", "127.2.0.164", 65);
    let text = scene.letter("Subject: hello", "hello");
    // Not without SMTPUTF8 at our door.
    let (code, said) = scene.submit("", &["jörg@utf.example"], &text);
    assert!(code == 553 && said.starts_with("5.6.7"), "{code} {said}");
    let all = ["jörg@utf.example", "jörg@eight.example", "anna@eight.example", "jörg@seven.example"];
    assert_eq!(scene.submit("SMTPUTF8 BODY=8BITMIME", &all, &text).0, 250);
    let arrived = scene.arrived("jörg@utf.example");
    assert!(arrived.said[0].ends_with(" SMTPUTF8"), "{:?}", arrived.said);
    assert_eq!(arrived.said[1], "RCPT TO:<jörg@utf.example>");
    // Who needs nothing is served although another recipient of the message is not.
    let arrived = scene.arrived("anna@eight.example");
    assert!(!arrived.said[0].contains("SMTPUTF8"), "{:?}", arrived.said);
    for recipient in ["jörg@eight.example", "jörg@seven.example"] {
        let outcome = scene.failed(recipient);
        assert_eq!(outcome["class"], "content.format");
        assert_eq!(outcome["enhanced"], "5.6.7", "{outcome}");
        scene.never_came(recipient);
    }
    // The same by the other door.
    let body = json!({"from": scene.door.sender, "to": ["zoë@utf.example", "zoë@eight.example"], "subject": "x", "text": "x"});
    assert_eq!(scene.post(&body).0, 202);
    assert!(scene.arrived("zoë@utf.example").said[0].ends_with(" SMTPUTF8"));
    assert_eq!(scene.failed("zoë@eight.example")["enhanced"], "5.6.7");
    // A header section that says it is UTF-8 needs the same.
    let text = scene.letter("Subject: Grüße", "hello");
    assert_eq!(
        scene.submit("SMTPUTF8 BODY=8BITMIME", &["head@utf.example", "head@eight.example"], &text).0,
        250
    );
    assert!(contains(&scene.arrived("head@utf.example").raw, "Subject: Grüße\r\n".as_bytes()));
    assert_eq!(scene.failed("head@eight.example")["enhanced"], "5.6.7");
    // What we compose needs nothing of a site.
    let body = json!({"from": scene.door.sender, "to": "composed@seven.example", "subject": "Grüße", "text": "Grüße"});
    assert_eq!(scene.post(&body).0, 202);
    assert!(scene.arrived("composed@seven.example").raw.is_ascii());
    assert_eq!(scene.house.stop().code(), Some(0));
}

#[test]
fn eight_bits_arrive_as_they_were_sent_or_not_at_all() {
    let scene = scene("octet", "octet.example", "127.2.0.165", 66);
    let header = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit";
    for (number, octets) in
        [&b"Gr\xfc\xdfe\r\n"[..], "Grüße\r\n".as_bytes(), b"\xff\xfe\xc0\xaf\xed\xa0\x80\r\n"]
            .iter()
            .enumerate()
    {
        let text = [&scene.letter(header, "")[..], octets].concat();
        for parameters in ["BODY=8BITMIME", ""] {
            let to = |site: &str| format!("o{number}{}@{site}.example", parameters.len());
            let (seven, eight) = (to("seven"), to("eight"));
            let (code, said) = scene.submit(parameters, &[&seven, &eight], &text);
            assert_eq!(code, 250, "{said}");
            let arrived = scene.arrived(&eight);
            assert!(arrived.said[0].contains(" BODY=8BITMIME"), "{:?}", arrived.said);
            assert!(arrived.raw.ends_with(octets), "{}", arrived.raw.escape_ascii());
            let outcome = scene.failed(&seven);
            assert_eq!(outcome["class"], "content.format");
            assert_eq!(outcome["enhanced"], "5.6.3", "{outcome}");
            scene.never_came(&seven);
        }
    }
    assert_eq!(scene.house.stop().code(), Some(0));
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn octets_that_are_no_text_are_refused_in_the_session() {
    let scene = scene("invalid", "invalid-text.example", "127.2.0.166", 67);
    let mut client: Client = scene.door.connect().unwrap();
    // Latin-1, cut off, overlong, a surrogate, beyond the last character, and controls of C1.
    for octets in
        [&b"j\xf6rg"[..], b"j\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc2\x85", b"\xff"]
    {
        for (before, after) in
            [("MAIL FROM:<", "@invalid-text.example> SMTPUTF8"), ("RCPT TO:<", "@utf.example>")]
        {
            if before.starts_with("RCPT") {
                let mail = format!("MAIL FROM:<{}> SMTPUTF8", scene.door.sender);
                assert_eq!(client.command(&mail).unwrap().code, 250);
            }
            client.write(&[before.as_bytes(), octets, after.as_bytes(), b"\r\n"].concat()).unwrap();
            let reply = client.reply().unwrap();
            assert!(
                (500..=559).contains(&reply.code),
                "{}: {} {}",
                octets.escape_ascii(),
                reply.code,
                reply.text
            );
            assert!(reply.text.is_ascii(), "{}", reply.text);
            assert_eq!(client.command("RSET").unwrap().code, 250);
        }
    }
    // In a name for people such octets are refused or arrive as they were sent.
    for (number, octets) in [&b"j\xf6rg"[..], b"\xc0\xaf", b"\xff"].iter().enumerate() {
        let to = format!("n{number}@eight.example");
        let text = [b"Subject: ", *octets, b"\r\n", &scene.letter("X-A: b", "x")[..]].concat();
        let (code, said) = scene.submit("BODY=8BITMIME", &[&to], &text);
        println!("M8: a subject of {}: {code} {said}", octets.escape_ascii());
        match code {
            250 => assert!(contains(&scene.arrived(&to).raw, &[b"Subject: ", *octets, b"\r\n"].concat())),
            _ => assert!((500..=559).contains(&code), "{code} {said}"),
        }
    }
    assert_eq!(scene.house.stop().code(), Some(0));
}

#[test]
fn a_name_of_a_domain_is_compared_and_sent_as_its_a_label() {
    let scene = scene("haus", "bücher-haus.example", "127.2.0.167", 68);
    let domain = scene.tenant.onboarding["domain"]["name"].as_str().unwrap();
    assert_eq!(domain, "xn--bcher-haus-9db.example");
    let text = |from: &str| format!("From: {from}\r\nSubject: s\r\n\r\nx\r\n");
    for (number, from) in [
        "x@bücher-haus.example",
        "x@xn--bcher-haus-9db.example",
        "x@BÜCHER-Haus.Example",
        "x@XN--bcher-haus-9DB.example",
    ]
    .iter()
    .enumerate()
    {
        // The recipient's domain by both of its names.
        let to = [format!("u{number}@bücher.example"), format!("a{number}@XN--BCHER-KVA.example")];
        let body = json!({"from": from, "to": to, "subject": "s", "text": "t"});
        let (status, answer) = scene.post(&body);
        assert_eq!(status, 202, "{from}: {answer}");
        let mut client = scene.door.connect().unwrap();
        let mail = format!("MAIL FROM:<{from}> SMTPUTF8");
        assert_eq!(client.command(&mail).unwrap().code, 250, "{from}");
        assert_eq!(client.command(&format!("RCPT TO:<s{number}@Bücher.example>")).unwrap().code, 250);
        assert_eq!(client.command("DATA").unwrap().code, 354);
        client
            .write(&posthouse_tests::client::stuffed(text("x@xn--bcher-haus-9db.example").as_bytes()))
            .unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, 250, "{from}: {}", reply.text);
        for way in ["u", "a", "s"] {
            let arrived = scene.arrived(&format!("{way}{number}@xn--bcher-kva.example"));
            assert!(arrived.said.iter().all(|line| line.is_ascii()), "{:?}", arrived.said);
            assert!(arrived.said[0].contains("@rp.xn--bcher-haus-9db.example>"), "{:?}", arrived.said);
            assert!(
                contains(&arrived.raw, b"d=xn--bcher-haus-9db.example;"),
                "{}",
                arrived.raw.escape_ascii()
            );
        }
    }
    for foreign in [
        "x@bucher-haus.example",
        "x@bücher.example",
        "x@xn--bcher-kva.example",
        "x@bu\u{308}cher-hau\u{17f}e.example",
    ] {
        let body = json!({"from": foreign, "to": "a@utf.example", "subject": "s", "text": "t"});
        let (status, answer) = scene.post(&body);
        assert!(matches!(status, 403 | 422), "{foreign}: {status} {answer}");
    }
    // The same letters, composed otherwise (NFD): the same name.
    let body = json!({"from": "x@bu\u{308}cher-haus.example", "to": "nfd@xn--bcher-kva.example", "subject": "s", "text": "t"});
    assert_eq!(scene.post(&body).0, 202);
    scene.arrived("nfd@xn--bcher-kva.example");
    assert_eq!(scene.house.stop().code(), Some(0));
}
