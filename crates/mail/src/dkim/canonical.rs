//! Relaxed canonicalization of header fields and body (RFC 6376 §3.4.2, §3.4.4), hashed on the way.

use aws_lc_rs::digest::{Context, SHA256};

/// Octets gathered before they are hashed: one call for many short lines.
const BUFFER_OCTETS: usize = 4096;

/// The SHA-256 of the relaxed body, the `bh=` of any number of signatures.
pub fn body_hash(body: &[u8]) -> [u8; 32] {
    let mut output = Output { context: Context::new(&SHA256), buffer: Vec::with_capacity(BUFFER_OCTETS) };
    let mut empty_lines = 0u64;
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest);
        let line = trim_end(&rest[..end.unwrap_or(rest.len())]);
        rest = end.map_or(&[], |at| &rest[at + 1..]);
        // White space at the end of a line goes first, so a line of only white space counts as empty; empty lines at
        // the end of the body are ignored (§3.4.4 a, then b).
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            output.write(b"\r\n");
        }
        output.write_relaxed(line);
        output.write(b"\r\n");
    }
    output.context.update(&output.buffer);
    let mut hash = [0; 32];
    hash.copy_from_slice(output.context.finish().as_ref());
    hash
}

/// Appends the relaxed form of a field, without CRLF: `name:value`.
pub(super) fn relax_field(name: &str, folded_value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
    out.push(b':');
    let mut space_before = false;
    let mut begun = false;
    for byte in folded_value {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            space_before = true;
            continue;
        }
        if space_before && begun {
            out.push(b' ');
        }
        out.push(*byte);
        (space_before, begun) = (false, true);
    }
}

struct Output {
    context: Context,
    buffer: Vec<u8>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_OCTETS {
            self.context.update(&self.buffer);
            self.buffer.clear();
        }
        if bytes.len() > BUFFER_OCTETS {
            self.context.update(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// A line whose end is trimmed, every run of white space as one space.
    fn write_relaxed(&mut self, line: &[u8]) {
        let mut rest = line;
        while let Some(at) = memchr::memchr2(b' ', b'\t', rest) {
            self.write(&rest[..at]);
            self.write(b" ");
            let run = rest[at..].iter().take_while(|b| is_wsp(**b)).count();
            rest = &rest[at + run..];
        }
        self.write(rest);
    }
}

/// Without the CR of its CRLF and without white space at its end.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let kept = line.iter().rposition(|b| !is_wsp(*b)).map_or(0, |last| last + 1);
    &line[..kept]
}

const fn is_wsp(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use proptest::prelude::*;

    fn hash(body: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(body_hash(body))
    }

    /// The rule of §3.4.4 written down as slowly as it reads.
    fn slow(body: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(body).into_owned();
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_string).collect();
        for line in &mut lines {
            let mut relaxed = String::new();
            for c in line.trim_end_matches([' ', '\t']).chars() {
                let c = if c == '\t' { ' ' } else { c };
                if !(c == ' ' && relaxed.ends_with(' ')) {
                    relaxed.push(c);
                }
            }
            *line = relaxed;
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
    }

    #[test]
    fn white_space_lines_at_the_end_count_as_empty() {
        assert_eq!(hash(b"hello\r\n   \r\n\t\r\n\r\n"), hash(b"hello\r\n"));
        assert_eq!(hash(b"hello"), hash(b"hello\r\n"));
        assert_eq!(hash(b" \t\r\n"), hash(b""));
        assert_ne!(hash(b"hello\r\n \r\nx\r\n"), hash(b"hello\r\nx\r\n"));
    }

    #[test]
    fn known_hashes_agree() {
        // RFC 6376 §3.4.4 gives the empty body, RFC 8463 §A.3 a whole message.
        assert_eq!(hash(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        let body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        assert_eq!(hash(body), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    }

    #[test]
    fn the_example_of_the_standard_is_relaxed_as_it_says() {
        // RFC 6376 §3.4.5.
        let mut out = Vec::new();
        relax_field("A", b" X\r\n", &mut out);
        out.extend_from_slice(b"\r\n");
        relax_field("B ", b" Y\t\r\n\tZ  \r\n", &mut out);
        assert_eq!(out, b"a:X\r\nb :Y Z");
        assert_eq!(slow(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
    }

    proptest! {
        #[test]
        fn fast_and_slow_agree(parts in prop::collection::vec(
            prop_oneof![Just("\r\n"), Just(" "), Just("\t"), Just("a"), Just("bc")], 0..60), long in 0usize..6000) {
            let body = format!("{}{}", "x ".repeat(long), parts.concat());
            let digest = aws_lc_rs::digest::digest(&SHA256, &slow(body.as_bytes()));
            prop_assert_eq!(&body_hash(body.as_bytes())[..], digest.as_ref());
        }
    }
}
