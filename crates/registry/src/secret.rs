//! Secrets that clients hold: how they are made, written, and checked without being kept.
//!
//! An API key and an SMTP password are random (at least 200 bits), so a keyed hash is enough: HMAC-SHA-256 with the
//! installation's key, over the kind and the secret. No argon2 here on purpose: 19 MiB and milliseconds for every
//! AUTH would be a gift to whoever wants to stop us, and slow hashing only helps against guessable secrets. The
//! comparison takes constant time, and an unknown name costs the same hash as a known one.

use crate::throttle::Guess;
use aws_lc_rs::{constant_time, hmac};
use mail::{ApiKeyId, Random};
use zeroize::Zeroizing;

/// What every API key begins with, so that leak scanners know one when they see it.
pub const API_KEY_PREFIX: &str = "ph_live_";

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 200 bits, 40 characters.
const SECRET_OCTETS: usize = 25;

/// The installation's key for stored secrets. Without it a stolen table opens nothing.
pub struct SecretKey(hmac::Key);

/// A fresh secret, to be shown once, and what is kept of it.
pub struct MintedSecret {
    /// Wiped when dropped; shown once and kept nowhere.
    pub text: Zeroizing<String>,
    /// What goes into the table.
    pub mac: [u8; 32],
}

impl SecretKey {
    /// The binary derives it from the master key (RFC 5869).
    pub fn new(key: &[u8; 32]) -> SecretKey {
        SecretKey(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A password of an SMTP credential.
    pub fn mint_password(&self, random: &mut Random) -> MintedSecret {
        let text = mint_text(random);
        let mac = self.password_mac(&text);
        MintedSecret { text, mac }
    }

    /// An API key: `ph_live_<id>_<secret>`.
    pub fn mint_api_key(&self, id: ApiKeyId, random: &mut Random) -> MintedSecret {
        let secret = mint_text(random);
        let mac = self.api_key_mac(&secret);
        let id = id.to_string();
        let short = id.rsplit('_').next().unwrap_or_default();
        MintedSecret { text: Zeroizing::new(format!("{API_KEY_PREFIX}{short}_{}", *secret)), mac }
    }

    /// An opaque token such as a refresh token: random text and its hash.
    pub fn mint_token(&self, random: &mut Random) -> MintedSecret {
        let text = mint_text(random);
        let mac = self.token_mac(&text);
        MintedSecret { text, mac }
    }

    /// Of an SMTP password.
    pub fn password_mac(&self, password: &str) -> [u8; 32] {
        self.mac(b"smtp\0", password)
    }

    /// `secret` is the part after the id, as `parse_api_key` gives it.
    pub fn api_key_mac(&self, secret: &str) -> [u8; 32] {
        self.mac(b"api\0", secret)
    }

    /// Of a refresh token.
    pub fn token_mac(&self, token: &str) -> [u8; 32] {
        self.mac(b"token\0", token)
    }

    /// Of the hash of a request, which may have a password in it: without our key nobody can try passwords against it.
    pub fn request_mac(&self, hash: &[u8; 32]) -> [u8; 32] {
        self.mac(b"request\0", hash)
    }

    /// By which a wrong secret is known again, for a while and in memory only.
    pub fn guess(&self, name: &str, secret: &str) -> Guess {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [&b"guess\0"[..], name.as_bytes(), b"\0", secret.as_bytes()] {
            context.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&context.sign().as_ref()[..16]);
        Guess(short)
    }

    /// Whether `computed` is what was kept. With nothing kept the work is the same and the answer is no.
    pub fn matches(kept: Option<&[u8; 32]>, computed: &[u8; 32]) -> bool {
        let equal = constant_time::verify_slices_are_equal(kept.unwrap_or(&[0; 32]), computed).is_ok();
        equal && kept.is_some()
    }

    /// The kind keeps an API secret from ever being a password, whatever the tables say.
    fn mac(&self, kind: &[u8], secret: impl AsRef<[u8]>) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind);
        context.update(secret.as_ref());
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

/// Divides `ph_live_<id>_<secret>` into id and secret.
pub fn parse_api_key(text: &str) -> Option<(ApiKeyId, &str)> {
    let (id, secret) = text.strip_prefix(API_KEY_PREFIX)?.split_once('_')?;
    let id = ApiKeyId::parse(&format!("{}_{id}", ApiKeyId::PREFIX)).ok()?;
    Some((id, secret))
}

fn mint_text(random: &mut Random) -> Zeroizing<String> {
    let bytes = Zeroizing::new(random.bytes::<SECRET_OCTETS>());
    let mut text = Zeroizing::new(String::with_capacity(SECRET_OCTETS * 8 / 5));
    for chunk in bytes.chunks_exact(5) {
        let number = chunk.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        text.extend((0..8).rev().map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31])));
    }
    text
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl std::fmt::Debug for MintedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MintedSecret(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Timestamp;

    #[test]
    fn what_is_not_an_api_key_is_not_taken_for_one() {
        for text in ["", "ph_live_", "ph_live_x_y", "ph_test_00000000000000000000000000_x", "Bearer"] {
            assert!(parse_api_key(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_matches_only_under_its_key_and_kind() {
        let (key, other) = (SecretKey::new(&[1; 32]), SecretKey::new(&[2; 32]));
        let minted = key.mint_password(&mut Random::from_number(1));
        assert_eq!(minted.text.len(), 40);
        assert!(SecretKey::matches(Some(&minted.mac), &key.password_mac(&minted.text)));
        assert!(!SecretKey::matches(Some(&minted.mac), &other.password_mac(&minted.text)));
        assert!(!SecretKey::matches(Some(&minted.mac), &key.api_key_mac(&minted.text)));
        assert!(!SecretKey::matches(None, &[0; 32]));
        assert!(!format!("{minted:?}").contains(minted.text.as_str()));
    }

    #[test]
    fn a_guess_is_known_again_only_as_the_same_secret_of_the_same_name() {
        let key = SecretKey::new(&[1; 32]);
        assert_eq!(key.guess("anna", "x"), key.guess("anna", "x"));
        for other in [key.guess("anna", "y"), key.guess("ann", "ax"), key.guess("bob", "x")] {
            assert_ne!(key.guess("anna", "x"), other);
        }
        assert_ne!(key.guess("anna", "x"), SecretKey::new(&[2; 32]).guess("anna", "x"));
    }

    #[test]
    fn an_api_key_carries_its_id() {
        let mut random = Random::from_number(2);
        let id = ApiKeyId::mint(Timestamp::from_millis(1), &mut random);
        let key = SecretKey::new(&[1; 32]);
        let minted = key.mint_api_key(id, &mut random);
        let (found, secret) = parse_api_key(&minted.text).unwrap();
        assert_eq!(found, id);
        assert_eq!(key.api_key_mac(secret), minted.mac);
    }
}
