//! M6: no value of a composition makes a field, a recipient or an author more than it is.
//!
//! Poison goes into every text that a call gives (names, subject, own fields, file names, content ids). It is refused, or
//! all readers see the fields, the author and the recipients of the same message without it.

use crate::others::{Reading, readers};
use mail::message::{Attachment, Composition, Disposition, NamedMailbox, compose};
use mail::{Domain, Mailbox, Random, Timestamp};

const POISON: [&str; 24] = [
    "\r\n--",
    "\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\nx\r\n--x--\r\n",
    "\r\nBcc: evil@bank.example",
    "\nBcc: evil@bank.example",
    "\rBcc: evil@bank.example",
    "\r\n Bcc: evil@bank.example",
    "\r\n\r\nbody",
    "\u{0}Bcc: evil",
    "\u{85}Bcc: evil@bank.example",
    "\u{2028}Bcc: evil@bank.example",
    "\u{2029}From: evil@bank.example",
    "\u{0b}\u{0c}",
    "%0d%0aBcc: evil@bank.example",
    "=?utf-8?q?=0D=0ABcc:_evil@bank.example?=",
    "=?utf-8?b?DQpCY2M6IGV2aWxAYmFuay5leGFtcGxl?=",
    "<evil@bank.example>",
    "\" <evil@bank.example>, \"",
    "evil@bank.example,",
    ", evil@bank.example",
    "(evil@bank.example",
    "\\",
    "\"",
    "; filename=evil.exe",
    "\u{202e}\u{200b}x",
];

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn simple() -> Composition {
    let named = |name: &str, text| NamedMailbox { name: Some(name.to_owned()), mailbox: mailbox(text) };
    Composition {
        from: named("Anna", "a@client.example"),
        to: vec![named("Bert", "b@example.org")],
        cc: vec![named("Cleo", "c@example.org")],
        reply_to: vec![named("Dora", "d@client.example")],
        subject: "Hello".to_owned(),
        text: Some("text\r\n".to_owned()),
        html: Some("<p>text".to_owned()),
        headers: vec![("X-Own".to_owned(), "value".to_owned())],
        attachments: vec![
            attachment("a.txt", Disposition::Attachment),
            attachment("b.txt", Disposition::Inline { content_id: "cid1".to_owned() }),
        ],
    }
}

fn attachment(name: &str, disposition: Disposition) -> Attachment {
    Attachment {
        filename: name.to_owned(),
        content_type: "text/plain".to_owned(),
        disposition,
        content: b"From: evil@bank.example\r\n.\r\n".to_vec(),
    }
}

/// The simple message with one text changed.
fn poisoned(poison: &str) -> Vec<(&'static str, Composition)> {
    let text = format!("x{poison}y");
    let mut list: Vec<(&'static str, Composition)> = Vec::new();
    let mut with = |what, change: &dyn Fn(&mut Composition, String)| {
        let mut composition = simple();
        change(&mut composition, text.clone());
        list.push((what, composition));
    };
    with("name of From", &|c, text| c.from.name = Some(text));
    with("name of To", &|c, text| c.to[0].name = Some(text));
    with("name of Cc", &|c, text| c.cc[0].name = Some(text));
    with("name of Reply-To", &|c, text| c.reply_to[0].name = Some(text));
    with("subject", &|c, text| c.subject = text);
    with("own value", &|c, text| c.headers[0].1 = text);
    with("own name", &|c, text| c.headers[0].0 = text);
    with("List-Unsubscribe", &|c, text| c.headers[0] = ("List-Unsubscribe".to_owned(), text));
    with("file name", &|c, text| c.attachments[0].filename = text);
    with("content type", &|c, text| c.attachments[0].content_type = text);
    with("content id", &|c, text| c.attachments[1].disposition = Disposition::Inline { content_id: text });
    with("text", &|c, text| c.text = Some(text));
    with("html", &|c, text| c.html = Some(text));
    list
}

fn raw(composition: &Composition) -> Option<Vec<u8>> {
    let domain = Domain::parse("client.example").unwrap();
    let now = Timestamp::from_millis(1_795_425_249_120);
    let raw = compose(composition, &domain, now, &mut Random::from_number(4)).ok()?;
    // What is composed goes through the same door as everything else, and a bare CR in a text is refused there.
    has_clean_lines(&raw).then_some(raw)
}

#[test]
fn no_value_adds_a_field_an_author_or_a_recipient() {
    let clean = raw(&simple()).unwrap();
    let (mut composed, mut refused) = (vec![("nothing".to_owned(), clean)], 0);
    let long = "x".repeat(100_000);
    for poison in POISON.into_iter().chain([long.as_str()]) {
        for (what, composition) in poisoned(poison) {
            let shown: String = poison.escape_debug().to_string().chars().take(60).collect();
            match raw(&composition) {
                Some(raw) => composed.push((format!("{what} with {shown}"), raw)),
                None => refused += 1,
            }
        }
    }
    println!("M6: {} composed, {refused} refused", composed.len());
    assert!(refused > 60 && composed.len() > 60);
    let raws: Vec<&[u8]> = composed.iter().map(|(_, raw)| raw.as_slice()).collect();
    for (name, read) in readers() {
        let Some(readings) = read(&raws) else { continue };
        let wanted = readings[0].clone().unwrap();
        assert_eq!(wanted.authors, ["a@client.example"], "{name}");
        assert_eq!(wanted.to.as_deref(), Some(&["b@example.org".to_owned()][..]), "{name}");
        assert_eq!(wanted.cc.as_deref(), Some(&["c@example.org".to_owned()][..]), "{name}");
        // The boundaries that we chose, read by who reads MIME at all.
        if let Some(parts) = &wanted.parts {
            assert_eq!(parts[..], ["text/plain", "text/html", "text/plain", "text/plain"], "{name}");
        }
        for ((what, _), reading) in composed.iter().zip(readings) {
            let Some(reading) = reading else { continue };
            assert_eq!(reading.authors, wanted.authors, "{name}: {what}");
            assert_eq!((&reading.to, &reading.cc), (&wanted.to, &wanted.cc), "{name}: {what}");
            // A content type may be another one; a part more or less is a boundary that somebody else has set.
            let parts = |reading: &Reading| reading.parts.as_ref().map(Vec::len);
            assert_eq!(parts(&reading), parts(&wanted), "{name}: {what}");
            let names = |names: &Option<Vec<String>>| {
                let known =
                    |one: &&String| *one != "x-own" && *one != "list-unsubscribe" && !one.starts_with('x');
                names.as_ref().map(|names| names.iter().filter(known).cloned().collect::<Vec<_>>())
            };
            assert_eq!(names(&reading.names), names(&wanted.names), "{name}: {what}");
            let count = reading.names.as_ref().map(Vec::len);
            assert_eq!(count, wanted.names.as_ref().map(Vec::len), "{name}: {what}");
        }
    }
}

/// Lines of 998 octets at most, ended by CRLF and nothing else, without NUL: what a message has on the wire.
fn has_clean_lines(raw: &[u8]) -> bool {
    raw.split_inclusive(|octet| *octet == b'\n').all(|line| {
        let text = line.strip_suffix(b"\r\n");
        text.is_some_and(|text| text.len() <= 998 && !text.iter().any(|octet| matches!(octet, b'\r' | 0)))
    })
}
