//! The signed token of a reverse-path: `b+<token>@<return-path domain>` leads a returned mail back to its recipient.
//!
//! The token holds the message id, the number of the recipient and a shortened HMAC-SHA-256 over both, so that
//! nobody can invent bounces for somebody else's message. It survives sites that fold case: base 32, lower case. It
//! is an address, not a secret; it says nothing to anybody without the key.

use crate::address::{Domain, LocalPart, Mailbox};
use crate::ids::MessageId;
use crate::{Succession, Timestamp};
use aws_lc_rs::hmac;
use std::time::Duration;
use uuid::Uuid;

/// Octets of the shortened HMAC: 2^80 guesses against an online check.
const MAC_LEN: usize = 10;
/// After a new key is in force: nodes are restarted one after the other.
const OVERLAP: Duration = Duration::from_secs(7 * 86_400);
const BODY_LEN: usize = 16 + 4;
const PREFIX: &str = "b+";
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The keys of this installation for return-path tokens.
///
/// Which of them it is follows from the time in the message id, so that a token of months ago is read with the key it was
/// made with. A node that does not know a new key yet makes tokens with the one before: for a while both are tried.
pub struct TokenKey(Succession<hmac::Key>);

/// Whom a returned mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenSubject {
    /// The message that came back.
    pub message: MessageId,
    /// Number of the recipient in its message, from 0.
    pub recipient: u32,
}

impl TokenKey {
    /// A key for HMAC-SHA-256, of any length; the binary derives it (RFC 5869).
    pub fn new(secret: &[u8]) -> TokenKey {
        TokenKey(Succession::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// With another key for messages whose ids are of that time or later.
    #[must_use]
    pub fn followed_by(self, from: Timestamp, secret: &[u8]) -> TokenKey {
        TokenKey(self.0.followed_by(from, hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// `b+<token>@domain`.
    pub fn reverse_path(&self, subject: TokenSubject, domain: &Domain) -> Mailbox {
        let mut bytes = [0; BODY_LEN + MAC_LEN];
        bytes[..16].copy_from_slice(subject.message.uuid().as_bytes());
        bytes[16..BODY_LEN].copy_from_slice(&subject.recipient.to_be_bytes());
        let mac = hmac::sign(self.0.in_force(made(&bytes)), &bytes[..BODY_LEN]);
        bytes[BODY_LEN..].copy_from_slice(&mac.as_ref()[..MAC_LEN]);
        let text = format!("{PREFIX}{}", encode(&bytes));
        // 2 + 48 characters of the alphabet above: always a local-part.
        let local_part = LocalPart::parse(&text).unwrap_or_else(|_| unreachable!("a token is an atom"));
        Mailbox::new(local_part, domain.clone())
    }

    /// The subject of a local-part that this installation made; none for anything else.
    pub fn read(&self, local_part: &LocalPart) -> Option<TokenSubject> {
        let folded = local_part.as_str().to_ascii_lowercase();
        let bytes = decode(folded.strip_prefix(PREFIX)?)?;
        let (body, mac) = bytes.split_at(BODY_LEN);
        let is_of = |key: &hmac::Key| {
            let wanted = hmac::sign(key, body);
            aws_lc_rs::constant_time::verify_slices_are_equal(&wanted.as_ref()[..MAC_LEN], mac).is_ok()
        };
        if !self.0.around(made(body), OVERLAP).any(is_of) {
            return None;
        }
        let message = MessageId::from_uuid(Uuid::from_slice(&body[..16]).ok()?);
        Some(TokenSubject { message, recipient: u32::from_be_bytes(body[16..].try_into().ok()?) })
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// The first six octets of a UUID of version 7 are milliseconds (RFC 9562 §5.7).
fn made(message: &[u8]) -> Timestamp {
    Timestamp::from_millis(message.iter().take(6).fold(0, |millis, octet| millis << 8 | i64::from(*octet)))
}

/// 30 octets are exactly 48 characters; no padding can arise.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks_exact(5) {
        let number = chunk.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        text.extend((0..8).rev().map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31])));
    }
    text
}

fn decode(text: &str) -> Option<[u8; BODY_LEN + MAC_LEN]> {
    let mut bytes = [0; BODY_LEN + MAC_LEN];
    if text.len() != (BODY_LEN + MAC_LEN) / 5 * 8 {
        return None;
    }
    for (chunk, out) in text.as_bytes().chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
        let mut number = 0u64;
        for byte in chunk {
            number = number << 5 | ALPHABET.iter().position(|known| known == byte)? as u64;
        }
        out.copy_from_slice(&number.to_be_bytes()[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Random, Timestamp};

    fn subject() -> TokenSubject {
        let message = MessageId::mint(Timestamp::from_millis(1_795_425_249_120), &mut Random::from_number(9));
        TokenSubject { message, recipient: 70_000 }
    }

    #[test]
    fn a_token_leads_back_even_in_upper_case() {
        let key = TokenKey::new(b"secret");
        let mailbox = key.reverse_path(subject(), &Domain::parse("rp.client.example").unwrap());
        assert_eq!(key.read(mailbox.local_part()), Some(subject()));
        let upper = LocalPart::parse(&mailbox.local_part().as_str().to_uppercase()).unwrap();
        assert_eq!(key.read(&upper), Some(subject()));
        assert!(mailbox.local_part().as_str().len() <= 64);
    }

    #[test]
    fn a_message_keeps_the_key_of_its_time() {
        let (domain, from) =
            (Domain::parse("rp.client.example").unwrap(), Timestamp::from_millis(1_795_500_000_000));
        let (old, new) = (TokenKey::new(b"old"), TokenKey::new(b"new"));
        let both = TokenKey::new(b"old").followed_by(from, b"new");
        let week = 7 * 86_400_000;
        // Made with the key in force; read also if a node made it that knew only the one before.
        for (millis, own, other, read) in [
            (-1, &old, &new, None),
            (0, &new, &old, Some(())),
            (week - 1, &new, &old, Some(())),
            (week, &new, &old, None),
        ] {
            let at = Timestamp::from_millis(from.as_millis() + millis);
            let message = MessageId::mint(at, &mut Random::from_number(1));
            let subject = TokenSubject { message, recipient: 3 };
            let mailbox = both.reverse_path(subject, &domain);
            assert_eq!(mailbox, own.reverse_path(subject, &domain));
            assert_eq!(both.read(mailbox.local_part()), Some(subject));
            let late = other.reverse_path(subject, &domain);
            assert_eq!(both.read(late.local_part()), read.map(|()| subject), "{millis}");
        }
        let third = TokenKey::new(b"third").reverse_path(subject(), &domain);
        assert_eq!(both.read(third.local_part()), None);
        // Two in a row, of which the first was never in force.
        let three = TokenKey::new(b"old").followed_by(from, b"never").followed_by(from, b"new");
        let message = MessageId::mint(from, &mut Random::from_number(1));
        let subject = TokenSubject { message, recipient: 3 };
        assert_eq!(three.reverse_path(subject, &domain), new.reverse_path(subject, &domain));
        assert_eq!(three.read(old.reverse_path(subject, &domain).local_part()), Some(subject));
    }

    #[test]
    fn a_changed_or_foreign_token_leads_nowhere() {
        let key = TokenKey::new(b"secret");
        let mailbox = key.reverse_path(subject(), &Domain::parse("rp.client.example").unwrap());
        let text = mailbox.local_part().as_str();
        assert_eq!(TokenKey::new(b"other").read(mailbox.local_part()), None);
        for index in 2..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            let changed = LocalPart::parse(std::str::from_utf8(&changed).unwrap()).unwrap();
            assert_eq!(key.read(&changed), None);
        }
        for other in ["postmaster", "b+", "b+0", "anna+x"] {
            assert_eq!(key.read(&LocalPart::parse(other).unwrap()), None);
        }
    }
}
