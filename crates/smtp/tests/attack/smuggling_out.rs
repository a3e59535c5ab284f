//! M2: nothing that a message holds makes another message of it at the next site.
//!
//! The client machine is given texts full of ends that are none. What it writes is read by receivers that are as lenient
//! as any that was ever attacked: each takes another of the nine sequences for an end. All of them must see one message,
//! the one that was given, or nothing must have been written at all.

use crate::nine::NINE;
use bytes::Bytes;
use mail::{Envelope, ForwardPath, Instant, Random, Recipient, ReversePath};
use smtp::client::{Action, ClientConfig, ClientTls, Failure, Missing, Session, Transaction};

const CASES: u64 = 20_000;
/// The one that is an end: within a text it must not be seen.
const END: &[u8] = b"\r\n.\r\n";
const TEXT: [&[u8]; 12] = [
    b"a",
    b".",
    b"..",
    b".\r\n",
    b"\r\n",
    b"\r\n.\r\n",
    b"\r\n..\r\n",
    b"\r\n\r\n",
    b"\xc3\xa9",
    b"QUIT\r\n",
    b"x\r\n.",
    b"RSET\r\n",
];
const FOUL: [&[u8]; 4] = [b"\n", b"\r", b"\0", b"\r\r\n"];
/// What the site says to EHLO.
const OFFERS: [&str; 4] = [
    "250-mx\r\n250 8BITMIME\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    "250-mx\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
    "250-mx\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
];

/// The commands, the text as written, and whether it was a chunk; none if the machine would not send it.
fn written(offer: &str, raw: &Bytes) -> Option<(Vec<u8>, bool)> {
    let mut session = Session::new(ClientConfig::new("out.example", ClientTls::Never), Instant::ZERO);
    session.handle_bytes(b"220 mx\r\n", Instant::ZERO);
    while session.poll_action().is_some() {}
    session.handle_bytes(offer.as_bytes(), Instant::ZERO);
    while session.poll_action().is_some() {}
    assert!(session.is_ready(), "{offer}");
    let recipient = Recipient::new(ForwardPath::parse("b@example.org").unwrap());
    let envelope = Envelope::new(ReversePath::Null, vec![recipient]);
    session.deliver(Transaction { envelope, raw: raw.clone() }, Instant::ZERO);
    let mut wire = Vec::new();
    let mut answers = 0;
    loop {
        while let Some(action) = session.poll_action() {
            match action {
                Action::Send(octets) => wire.extend_from_slice(&octets),
                Action::Report(report) => {
                    let clean = report.results[0] != Err(Failure::Missing(Missing::CleanLines));
                    assert!(clean || wire.is_empty(), "something of a foul message was written");
                    return clean.then(|| text_of(wire));
                }
                other => panic!("{other:?}"),
            }
        }
        answers += 1;
        assert!(answers < 10, "the session does not end: {}", wire.escape_ascii());
        // MAIL and RCPT have their answers first, however they were grouped.
        let by_data = wire.windows(8).any(|window| window == b"\r\nDATA\r\n");
        let code = if answers == 3 && by_data { "354 go" } else { "250 ok" };
        session.handle_bytes(format!("{code}\r\n").as_bytes(), Instant::ZERO);
    }
}

/// Behind the command that announces the text.
fn text_of(wire: Vec<u8>) -> (Vec<u8>, bool) {
    let command = |name: &[u8]| wire.windows(name.len()).position(|window| window == name);
    if let Some(at) = command(b"\r\nBDAT ") {
        let end = at + 2 + wire[at + 2..].iter().position(|octet| *octet == b'\n').unwrap() + 1;
        let line = std::str::from_utf8(&wire[at + 2..end]).unwrap();
        let size: usize = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(line.ends_with(" LAST\r\n"), "{line}");
        assert_eq!(size, wire.len() - end, "the size of a chunk is what follows");
        return (wire[end..].to_vec(), true);
    }
    let at = command(b"\r\nDATA\r\n").unwrap() + 8;
    (wire[at..].to_vec(), false)
}

/// What every lenient receiver makes of a text by DATA; the CRLF of the command stands in front of it.
fn judge(text: &[u8], raw: &[u8]) {
    let shown = text.escape_ascii().to_string();
    assert_eq!(smtp::data::check_lines(text, None), Ok(()), "{shown}");
    let whole = [b"\r\n", text].concat();
    for end in NINE.into_iter().map(str::as_bytes).chain([END]) {
        let found: Vec<usize> = (0..whole.len()).filter(|at| whole[*at..].starts_with(end)).collect();
        // The one end there is may be found by a receiver that needs less; nobody finds another.
        let last = whole.len() - 3;
        assert!(found.iter().all(|at| at + end.len() > last), "{} in {shown}", end.escape_ascii());
    }
    assert!(text.ends_with(b".\r\n") && whole.ends_with(b"\r\n.\r\n"), "{shown}");
    let mut read = Vec::new();
    for line in text[..text.len() - 3].split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_prefix(b".").unwrap_or(line);
        read.extend_from_slice(line);
    }
    let wanted =
        if raw.is_empty() || raw.ends_with(b"\r\n") { raw.to_vec() } else { [raw, b"\r\n"].concat() };
    assert_eq!(read.escape_ascii().to_string(), wanted.escape_ascii().to_string());
}

#[test]
fn every_receiver_sees_the_one_message_that_was_given() {
    let mut random = Random::from_number(51_764);
    let (mut sent, mut held) = (0, 0);
    for case in 0..CASES {
        let mut raw = Vec::new();
        let foul = random.below(4) == 0;
        for _ in 0..=random.below(12) {
            let words: &[&[u8]] = if foul && random.below(3) == 0 { &FOUL } else { &TEXT };
            raw.extend_from_slice(words[random.below(words.len() as u64) as usize]);
        }
        let raw = Bytes::from(raw);
        let clean = smtp::data::check_lines(&raw, None).is_ok();
        match written(OFFERS[case as usize % OFFERS.len()], &raw) {
            None => {
                assert!(!clean, "a clean message was held back: {}", raw.escape_ascii());
                held += 1;
            }
            Some((text, true)) => {
                assert!(clean && text == raw, "{}", raw.escape_ascii());
                sent += 1;
            }
            Some((text, false)) => {
                assert!(clean, "{}", raw.escape_ascii());
                judge(&text, &raw);
                sent += 1;
            }
        }
    }
    println!("M2: {sent} messages written, {held} held back for their line ends");
    assert!(sent > 5_000 && held > 1_000);
}

/// Where the machine cuts a long text into blocks, a dot may stand on either side of the cut.
#[test]
fn dots_at_the_edge_of_a_block_are_doubled() {
    const BLOCK: usize = 64 * 1024;
    for shift in 0..12 {
        // Lines of 900 octets up to a few before the edge, then dots across it.
        let mut raw = [&[b'x'; 898][..], b"\r\n"].concat().repeat((BLOCK - 16) / 900);
        raw.resize(BLOCK - 8 + shift, b'x');
        raw.extend_from_slice(b"\r\n.\r\n..\r\n.end\r\n");
        raw.extend_from_slice(&b"more\r\n.\r\n".repeat(40_000));
        let raw = Bytes::from(raw);
        let (text, chunk) = written(OFFERS[0], &raw).unwrap();
        assert!(!chunk);
        judge(&text, &raw);
    }
}
