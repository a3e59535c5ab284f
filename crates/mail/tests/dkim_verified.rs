//! Our signatures before an independent verifier: dkimpy, in a Python process of its own.
//!
//! Without `python3` and dkimpy (`pip install dkimpy pynacl`) the tests say so and pass.
#![allow(clippy::unwrap_used)]

use mail::dkim::{SigningKey, SigningRequest, body_hash, sign};
use mail::message::{HeaderLimits, HeaderSection};
use mail::{Domain, Timestamp};
use std::io::Write;
use std::process::{Command, Stdio};

const VERIFY: &str = r#"
import sys, dkim
record = sys.argv[1].encode()
raw = sys.stdin.buffer.read()
names = []
def lookup(name, timeout=5):
    names.append(name)
    return record
sys.stdout.write("yes" if dkim.verify(raw, dnsfunc=lookup) else "no")
assert all(n.rstrip(b".") == b"ph1._domainkey.client.example" for n in names), names
"#;

fn has_dkimpy(with_ed25519: bool) -> bool {
    let program = if with_ed25519 { "import dkim, nacl.signing" } else { "import dkim" };
    let status = Command::new("python3").args(["-c", program]).stderr(Stdio::null()).status();
    let found = status.is_ok_and(|status| status.success());
    if !found {
        testkit::lacking("signatures", "python3 with dkimpy and pynacl is not here, nobody verified them");
    }
    found
}

fn verifies(message: &[u8], key: &SigningKey) -> bool {
    let mut python = Command::new("python3")
        .args(["-c", VERIFY, &key.public_record()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(message).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout == b"yes"
}

fn signed(message: &[u8], key: &SigningKey) -> Vec<u8> {
    let header = HeaderSection::parse(message, &HeaderLimits::default()).unwrap();
    let field = sign(&SigningRequest {
        domain: &Domain::parse("client.example").unwrap(),
        selector: "ph1",
        key,
        header: &header,
        body_hash: &body_hash(header.body()),
        timestamp: Timestamp::from_millis(1_700_000_000_000),
    });
    [field.unwrap().as_bytes(), message].concat()
}

fn messages() -> Vec<Vec<u8>> {
    let header = "Received: from x\r\nFrom: \"Anna, A\"\r\n <a@client.example>\r\nTo: b@example.org,\r\n\tc@example.org\r\n\
        Subject:   Hello \t there  \r\nDate: Mon, 23 Nov 2026 09:14:09 +0000\r\nMessage-ID: <1@client.example>\r\n\
        List-Id: one\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nList-Id: two\r\n\
        List-Unsubscribe: <https://client.example/u>\r\nFeedback-ID: a:b:c:d\r\n\r\n";
    let long = format!("{}\r\n", "word  and\ttab ".repeat(5000));
    [
        "Hello\r\n",
        "",
        "\r\n",
        "no line end",
        "Hello \t \r\n  \r\n\t\r\n\r\n",
        "a\r\n \r\n\tb  c\r\n\r\n",
        &long,
    ]
    .iter()
    .map(|body| [header.as_bytes(), body.as_bytes()].concat())
    .collect()
}

#[test]
fn dkimpy_accepts_our_rsa_signatures_and_sees_changes() {
    if !has_dkimpy(false) {
        return;
    }
    let key = SigningKey::generate_rsa2048().unwrap();
    for message in messages() {
        assert!(verifies(&signed(&message, &key), &key), "{}", String::from_utf8_lossy(&message));
    }
    let whole = String::from_utf8(signed(&messages()[0], &key)).unwrap();
    for (change, from, to) in [
        ("another subject", "Hello \t", "Bye \t"),
        ("another body", "\r\n\r\nHello", "\r\n\r\nHullo"),
        ("a second From", "Received: from x", "From: Eve <e@client.example>"),
        (
            "a second From below",
            "Feedback-ID: a:b:c:d\r\n",
            "Feedback-ID: a:b:c:d\r\nFrom: Eve <e@client.example>\r\n",
        ),
        ("a second Subject", "Received: from x", "Subject: Bye"),
    ] {
        assert!(whole.contains(from));
        assert!(!verifies(whole.replace(from, to).as_bytes(), &key), "{change} was not seen");
    }
    // Relaxed: folding and white space may change on the way.
    let refolded =
        whole.replace("\"Anna, A\"\r\n ", "\"Anna, A\" ").replace("Hello \t there  ", "Hello there");
    assert!(verifies(refolded.as_bytes(), &key));
}

#[test]
fn dkimpy_accepts_our_ed25519_signatures() {
    if !has_dkimpy(true) {
        return;
    }
    let key = SigningKey::generate_ed25519().unwrap();
    for message in messages() {
        assert!(verifies(&signed(&message, &key), &key), "{}", String::from_utf8_lossy(&message));
    }
}
