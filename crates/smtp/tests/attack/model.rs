//! What a server has to do, a second time and as simply as can be: the whole input at once, no pieces, no buffers.
//!
//! Knows the commands that `chunks.rs` sends, and reads everything else as no command. Written from RFC 5321, RFC 3030
//! and our rules (nothing malformed is accepted, a chunk is never commands), not from the machine.

pub const OCTETS_MAX: usize = 40;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub codes: Vec<u16>,
    pub accepted: Vec<Vec<u8>>,
    pub closed: bool,
}

enum At {
    Ready,
    Mail { refused: bool },
    Rcpt,
    Chunks(Vec<u8>),
}

pub fn expect(input: &[u8]) -> Expected {
    let mut expected = Expected::default();
    let (mut at, mut rest) = (At::Ready, input);
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        if expected.closed {
            break;
        }
        let line = &rest[..=end];
        rest = &rest[end + 1..];
        let chunk = line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"BDAT");
        let text = line.strip_suffix(b"\r\n").filter(|text| !text.contains(&b'\r') && !text.contains(&0));
        let text = text.map(|text| String::from_utf8_lossy(text).to_uppercase());
        if chunk {
            let Some((octets, last)) = text.as_deref().and_then(size) else {
                // What follows may be a message: nothing of it is looked at.
                expected.codes.push(501);
                expected.closed = true;
                continue;
            };
            if octets > 2 * OCTETS_MAX as u64 {
                expected.codes.push(552);
                expected.closed = true;
                continue;
            }
            let octets = octets as usize;
            let Some(contents) = rest.get(..octets) else { break };
            rest = &rest[octets..];
            at = on_chunk(at, contents, last, &mut expected);
            continue;
        }
        let Some(text) = text else {
            expected.codes.push(500);
            // Where such a line ends is a matter of opinion.
            expected.closed = !line.ends_with(b"\r\n");
            continue;
        };
        if text == "DATA" && matches!(at, At::Rcpt) {
            expected.codes.push(354);
            let Some(end) = (0..rest.len()).find(|end| ends_at(rest, *end)) else { break };
            let message = without_dots(&rest[..end]);
            rest = &rest[end + 3..];
            finish(message, &mut expected);
            at = At::Ready;
            continue;
        }
        let (code, then) = on_command(&text, at);
        expected.codes.push(code);
        at = then;
    }
    expected
}

fn size(line: &str) -> Option<(u64, bool)> {
    let words: Vec<&str> = line.split(' ').collect();
    let octets = words.get(1)?;
    let octets = octets.bytes().all(|b| b.is_ascii_digit()).then(|| octets.parse().ok()).flatten()?;
    match words[..] {
        ["BDAT", _] => Some((octets, false)),
        ["BDAT", _, "LAST"] => Some((octets, true)),
        _ => None,
    }
}

fn on_chunk(at: At, contents: &[u8], last: bool, expected: &mut Expected) -> At {
    let mut message = match at {
        At::Ready | At::Mail { refused: false } => {
            expected.codes.push(503);
            return at;
        }
        At::Mail { refused: true } => {
            expected.codes.push(554);
            return at;
        }
        At::Rcpt => Vec::new(),
        At::Chunks(message) => message,
    };
    if message.len() + contents.len() > OCTETS_MAX {
        expected.codes.push(552);
        return At::Ready;
    }
    message.extend_from_slice(contents);
    if !last {
        expected.codes.push(250);
        return At::Chunks(message);
    }
    if !is_clean(&message) {
        expected.codes.push(554);
        return At::Ready;
    }
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        message.extend_from_slice(b"\r\n");
    }
    expected.codes.push(250);
    expected.accepted.push(message);
    At::Ready
}

fn on_command(text: &str, at: At) -> (u16, At) {
    match (text, at) {
        ("RSET", _) | ("EHLO C.EXAMPLE", _) => (250, At::Ready),
        ("NOOP", at) => (250, at),
        ("MAIL FROM:<A@CLIENT.EXAMPLE>", At::Ready) => (250, At::Mail { refused: false }),
        ("RCPT TO:<B@EXAMPLE.ORG>", At::Mail { .. } | At::Rcpt) => (250, At::Rcpt),
        ("RCPT TO:<NOBODY@EXAMPLE.ORG>", At::Mail { .. }) => (550, At::Mail { refused: true }),
        ("RCPT TO:<NOBODY@EXAMPLE.ORG>", At::Rcpt) => (550, At::Rcpt),
        ("DATA", At::Mail { refused: true }) => (554, At::Mail { refused: true }),
        ("DATA" | "MAIL FROM:<A@CLIENT.EXAMPLE>", at) => (503, at),
        ("RCPT TO:<B@EXAMPLE.ORG>" | "RCPT TO:<NOBODY@EXAMPLE.ORG>", at) => (503, at),
        (_, at) => (500, at),
    }
}

/// Whether the end of a message stands here: CRLF . CRLF, the first of which may be that of the command.
fn ends_at(text: &[u8], at: usize) -> bool {
    text[at..].starts_with(b".\r\n") && (at == 0 || text[..at].ends_with(b"\r\n"))
}

fn without_dots(text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for (index, octet) in text.iter().enumerate() {
        if *octet != b'.' || !(index == 0 || text[..index].ends_with(b"\r\n")) {
            message.push(*octet);
        }
    }
    message
}

fn finish(message: Vec<u8>, expected: &mut Expected) {
    if !is_clean(&message) {
        expected.codes.push(554);
    } else if message.len() > OCTETS_MAX {
        expected.codes.push(552);
    } else {
        expected.codes.push(250);
        expected.accepted.push(message);
    }
}

fn is_clean(message: &[u8]) -> bool {
    let returns = message.iter().filter(|octet| **octet == b'\r').count();
    let feeds = message.iter().filter(|octet| **octet == b'\n').count();
    let pairs = message.windows(2).filter(|pair| *pair == b"\r\n").count();
    returns == pairs && feeds == pairs && !message.contains(&0)
}
