//! M14, S8: messages that are made to cost time or memory. Each is read in about a second for a megabyte without optimisation, or
//! refused before it is; the doors let no header section of more than 128 KB come this far.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use mail::message::{HeaderLimits, HeaderSection, encoded_word, mailbox_list, normalize_line_endings};
use std::time::Duration;
use testkit::held::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MEGABYTE: usize = 1_000_000;

fn header(field: &str, body: &str) -> Vec<u8> {
    format!("{field}\r\n\r\n{body}").into_bytes()
}

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let words = "=?utf-8?q?=C3=A9?= ".repeat(50_000);
    let boundary = "--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n".repeat(20_000);
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(30_000);
    vec![
        ("a million empty fields", "A:\r\n".repeat(MEGABYTE).into_bytes()),
        ("thirty megabytes of one field", header(&format!("Subject: {}", "x".repeat(30 * MEGABYTE)), "")),
        ("one field folded a million times", header(&format!("From: a{}", "\r\n a".repeat(MEGABYTE)), "")),
        ("a From of many addresses", header(&format!("From: {}", "a@b.example,".repeat(20_000)), "")),
        ("comments within comments", header(&format!("From: {}", "(".repeat(100_000)), "")),
        ("comments side by side", header(&format!("From: {}a@b.example", "(x)".repeat(60_000)), "")),
        ("quotes that never end", header(&format!("From: {}", "\"\\".repeat(100_000)), "")),
        ("brackets that never end", header(&format!("From: {}", "<".repeat(200_000)), "")),
        ("ats", header(&format!("From: {}", "@".repeat(200_000)), "")),
        ("encoded words", header(&format!("Subject: {words}"), "")),
        ("encoded words that never end", header(&format!("Subject: {}", "=?utf-8?b?".repeat(100_000)), "")),
        ("received fields", "Received: x\r\n".repeat(100_000).into_bytes()),
        ("parts within parts", header("Content-Type: multipart/mixed; boundary=x", &boundary)),
        ("messages within messages", header("Content-Type: message/rfc822", &nested)),
        ("a name of a megabyte", header(&format!("{}: x", "A".repeat(MEGABYTE)), "")),
        ("colons", ":".repeat(MEGABYTE).into_bytes()),
        ("line feeds", "\n".repeat(MEGABYTE).into_bytes()),
        ("returns", "\r".repeat(MEGABYTE).into_bytes()),
        ("NULs", vec![0; MEGABYTE]),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long something takes is what is measured")]
fn no_message_costs_more_time_than_its_length_deserves() {
    for (name, raw) in bombs() {
        let began = std::time::Instant::now();
        let held = held::most(|| read(name, &raw, &HeaderLimits::default()));
        let took = began.elapsed();
        // And as if there were no limits.
        let wide =
            HeaderLimits { octets_max: usize::MAX, fields_max: usize::MAX, line_octets_max: usize::MAX };
        let began = std::time::Instant::now();
        let held_wide = held::most(|| {
            read(name, &raw, &wide);
            let raw = normalize_line_endings(&raw);
            let _ = mailbox_list::parse(&raw);
            let _ = encoded_word::decode(&String::from_utf8_lossy(&raw), 256);
        });
        let took_wide = began.elapsed();
        let (size, kept, kept_wide) = (raw.len() / 1000, held / 1000, held_wide / 1000);
        println!(
            "M14 {name}: {size} KB in {took:?} and {kept} KB; without limits {took_wide:?}, {kept_wide} KB"
        );
        // Generous: without optimisation, on a machine that is busy. What grows with the square takes minutes.
        let allowed = Duration::from_secs(10 + raw.len() as u64 / MEGABYTE as u64);
        assert!(took + took_wide <= allowed, "{name}: {took:?}, {took_wide:?}");
        assert!(held.max(held_wide) <= 100 * MEGABYTE, "{name}: {held} and {held_wide} octets");
    }
}

/// What the doors read of a message.
fn read(name: &str, raw: &[u8], limits: &HeaderLimits) {
    let raw = normalize_line_endings(raw);
    let Ok(section) = HeaderSection::parse(&raw, limits) else { return };
    let _ =
        (section.from_addresses(), section.message_id(), section.received_count(), section.repeated_field());
    assert!(section.subject().is_none_or(|subject| subject.chars().count() <= 256), "{name}");
}
