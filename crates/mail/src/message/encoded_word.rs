//! Encoded words (RFC 2047) decoded for display: subjects in lists, events and the console.
//!
//! Nothing is decided on decoded text. UTF-8, US-ASCII, ISO-8859-1 and Windows-1252 are decoded; a word in another
//! character set, or a damaged one, stays as it is. The result is bounded and has no control characters.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Lenient about padding: many programs cut it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Octets of one encoded word. RFC 2047 §2 allows 75, some programs write more; without an end the search for each
/// beginning would go through the whole rest of a field.
const WORD_OCTETS_MAX: usize = 1024;

/// Decodes the encoded words of an unfolded value and keeps the first `chars_max` characters of the result.
pub fn decode(value: &str, chars_max: usize) -> String {
    let mut bytes: Vec<u8> = Vec::with_capacity(value.len());
    let mut rest = value;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, word_and_rest) = rest.split_at(at);
        let Some((decoded, length)) = word(word_and_rest) else {
            bytes.extend_from_slice(&rest.as_bytes()[..at + 2]);
            rest = &rest[at + 2..];
            after_word = false;
            continue;
        };
        // White space between two encoded words is not shown (RFC 2047 §6.2).
        if !(after_word && before.bytes().all(|b| b == b' ' || b == b'\t')) {
            bytes.extend_from_slice(before.as_bytes());
        }
        // Octets, not characters: some programs split a character between two words.
        bytes.extend_from_slice(&decoded);
        rest = &word_and_rest[length..];
        after_word = true;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let text = String::from_utf8_lossy(&bytes);
    text.chars().take(chars_max).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The encoded word at the start of `text`, as UTF-8, and its length.
fn word(text: &str) -> Option<(Vec<u8>, usize)> {
    let text = &text[..text.floor_char_boundary(WORD_OCTETS_MAX)];
    let inside = text.strip_prefix("=?")?;
    let (charset, rest) = inside.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let end = rest.find("?=")?;
    let encoded = &rest[..end];
    if encoded.contains([' ', '\t']) {
        return None;
    }
    let octets = match encoding {
        "b" | "B" => BASE64.decode(encoded).ok()?,
        "q" | "Q" => decode_q(encoded.as_bytes())?,
        _ => return None,
    };
    let length = text.len() - rest.len() + end + 2;
    Some((to_utf8(charset, octets)?, length))
}

/// RFC 2047 §4.2.
fn decode_q(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        octets.push(match byte {
            b'_' => b' ',
            b'=' => {
                let high = char::from(*rest.next()?).to_digit(16)?;
                let low = char::from(*rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            other => *other,
        });
    }
    Some(octets)
}

/// The charset may carry a language tag after `*` (RFC 2231 §5).
fn to_utf8(charset: &str, octets: Vec<u8>) -> Option<Vec<u8>> {
    let charset = charset.split('*').next()?.to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => Some(octets),
        "iso-8859-1" | "latin1" | "windows-1252" | "cp1252" => {
            Some(octets.into_iter().map(windows_1252).collect::<String>().into_bytes())
        }
        _ => None,
    }
}

/// Windows-1252 is ISO-8859-1 with printable characters in 80-9F; mail labelled with either means the former.
fn windows_1252(octet: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match octet {
        0x80..=0x9f => HIGH[usize::from(octet - 0x80)],
        other => char::from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn damaged_and_foreign_words_stay_as_they_are() {
        for text in [
            "=?",
            "=?utf-8?q?",
            "=?utf-8?q?abc",
            "=?utf-8?x?abc?=",
            "=?utf-8?q?=Z1?=",
            "=?utf-8?q?=4?=",
            "=?utf-8?b?*?=",
            "=?gb2312?b?xOO6ww==?=",
            "=?utf-8?q?a b?=",
            "plain = ? text",
        ] {
            assert_eq!(decode(text, 100), text);
        }
    }

    #[test]
    fn words_are_joined_and_decoded() {
        assert_eq!(decode("=?UTF-8?B?SGVsbG8g?= =?utf-8?q?W=C3=B6rld?= !", 100), "Hello Wörld !");
        assert_eq!(decode("=?utf-8?b?w6k?= x", 100), "é x");
        assert_eq!(decode("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", 100), "é");
        assert_eq!(decode("=?iso-8859-1*fr?q?50_=80_=E9?=", 100), "50 € é");
        assert_eq!(decode("Jörg =?utf-8?q?=0D=0AX:_1?=", 100), "Jörg   X: 1");
        assert_eq!(decode("abcdef", 3), "abc");
    }

    #[test]
    fn a_word_of_any_length_is_looked_for_in_a_short_stretch_only() {
        let long = format!("=?utf-8?q?{}?= x", "a".repeat(WORD_OCTETS_MAX));
        assert_eq!(decode(&long, 5000), long);
        let most = "a".repeat(WORD_OCTETS_MAX - "=?utf-8?q??=".len());
        assert_eq!(decode(&format!("=?utf-8?q?{most}?= x"), 5000), format!("{most} x"));
        // A character of three octets across the limit is no end and no panic.
        let across = format!("=?utf-8?q?{}€€€€", "a".repeat(WORD_OCTETS_MAX - 11));
        assert_eq!(decode(&across, 5000), across);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_grow(text in "[=?bqé_ A0-9utf-]{0,60}") {
            prop_assert!(decode(&text, 20).chars().count() <= 20);
        }
    }
}
