//! To and Cc by hand, and the octet where the body begins by hand. What is read has one reading, what is not is refused where
//! it would decide who gets a message.

use crate::{disagreements, ours};

/// The value of To, and how many addresses it has; none for what cannot be read without doubt.
const VALUES: [(&str, Option<usize>); 44] = [
    ("", Some(0)),
    ("b@example.org", Some(1)),
    ("<b@example.org>", Some(1)),
    ("Bert <b@example.org>", Some(1)),
    ("b@example.org, c@example.org", Some(2)),
    ("b@example.org,c@example.org,d@example.org", Some(3)),
    ("Bert <b@example.org>,\r\n Cleo <c@example.org>", Some(2)),
    ("\"Example, Bert\" <b@example.org>, c@example.org", Some(2)),
    ("\"b@example.org, x@bank.example\" <c@example.org>", Some(1)),
    ("\"Bert <x@bank.example>\" <b@example.org>", Some(1)),
    ("b@example.org (x@bank.example)", Some(1)),
    ("(x@bank.example) b@example.org, c@example.org (Cleo)", Some(2)),
    ("=?utf-8?q?J=C3=B6rg?= <j@example.org>, =?utf-8?b?TcO8bGxlcg==?= <m@example.org>", Some(2)),
    ("=?utf-8?q?x=40bank=2Eexample=2C?= <b@example.org>", Some(1)),
    ("J. R. Public <j@example.org>, b@example.org", Some(2)),
    ("\r\n b@example.org", Some(1)),
    ("b+list=x.example@example.org", Some(1)),
    ("B@EXAMPLE.ORG", Some(1)),
    ("b@xn--bcher-kva.example , c@example.org", Some(2)),
    ("b@example.org,", None),
    (",b@example.org", None),
    ("b@example.org,,c@example.org", None),
    ("b@example.org; c@example.org", None),
    ("b@example.org c@example.org", None),
    ("b@example.org <c@example.org>", None),
    ("<b@example.org><c@example.org>", None),
    ("<b@example.org> <c@example.org>", None),
    ("Example, Bert <b@example.org>", None),
    ("Friends: b@example.org, c@example.org;", None),
    ("undisclosed-recipients:;", None),
    ("b@example.org, Friends: c@example.org;", None),
    ("<@bank.example:b@example.org>", None),
    ("\"b c\"@example.org", None),
    ("\"b@bank.example\"@example.org", None),
    ("b(x)@example.org", None),
    ("b@example.org (x", None),
    ("\"Bert <b@example.org>", None),
    ("Bert <b@example.org", None),
    ("b@@example.org", None),
    ("b@example.org@bank.example", None),
    ("b@[192.0.2.1]", None),
    ("Bert", None),
    ("=?utf-8?q?b=40example.org?=", None),
    ("<b@example.org, c@example.org>", None),
];

/// The rest of the section behind To, and the body.
const BODIES: [(&str, &str); 12] = [
    ("", ""),
    ("\r\n", ""),
    ("\r\n", "\r\n"),
    ("\r\n", "\r\n\r\n"),
    ("\r\n", "x"),
    ("\r\n", " x\r\n"),
    ("\r\n", "\tx\r\n"),
    ("\r\n", "To: x@bank.example\r\n\r\nx"),
    ("\r\n", "From x@bank.example\r\n"),
    ("\r\n", " \r\nTo: x@bank.example\r\n"),
    ("Content-Type: multipart/mixed; boundary=x\r\n\r\n", "--x\r\n\r\none\r\n--x--\r\n"),
    ("Content-Type: message/rfc822\r\n\r\n", "To: x@bank.example\r\n\r\nx"),
];

/// What somebody takes for the end of a section and somebody does not. (A bare line end behind the right one is the body's, and
/// refused by the door that has such.)
const NO_BODIES: [&str; 7] = ["\n", "\n\n", "\r\r\n", " \r\n", "\t\r\nx", "\0\r\n", "no field\r\n\r\n"];

#[test]
fn hand_written_recipients_have_one_reading_or_none() {
    let mut messages = Vec::new();
    for name in ["To", "Cc", "tO"] {
        for (value, count) in VALUES {
            let raw = format!("From: a@client.example\r\n{name}: {value}\r\n\r\nTo: body@bank.example\r\n")
                .into_bytes();
            let reading = ours::read(&raw).unwrap_or_else(|error| panic!("{name} {value:?}: {error}"));
            let (list, other) =
                if name == "Cc" { (reading.cc, reading.to) } else { (reading.to, reading.cc) };
            assert_eq!(list.map(|list| list.len()), count, "{name} {value:?}");
            assert_eq!(other, Some(Vec::new()), "{name} {value:?}");
            messages.push(raw);
        }
    }
    println!(
        "{} fields, {} of them read",
        messages.len(),
        3 * VALUES.iter().filter(|(_, count)| count.is_some()).count()
    );
    let found = disagreements(&messages);
    assert!(found.is_empty(), "{} two readings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn hand_written_ends_of_the_section_have_one_reading_or_are_refused() {
    let message = |end: &str| format!("From: a@client.example\r\nTo: b@example.org\r\n{end}").into_bytes();
    let mut messages = Vec::new();
    for (end, body) in BODIES {
        let raw = message(&format!("{end}{body}"));
        assert_eq!(ours::read(&raw).unwrap().body.as_deref(), Some(body.as_bytes()), "{end:?} {body:?}");
        messages.push(raw);
    }
    for end in NO_BODIES {
        let refused = ours::read(&message(end)).unwrap_err();
        assert!(refused.contains("of the header section"), "{end:?}: {refused}");
    }
    println!("{} ends are read, {} refused", BODIES.len(), NO_BODIES.len());
    let found = disagreements(&messages);
    assert!(found.is_empty(), "{} two readings:\n{}", found.len(), found.join("\n"));
}
