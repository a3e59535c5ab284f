//! Secrets that clients hold: how they are made, written, and checked without being kept.
//!
//! An API key and an SMTP password are random (at least 200 bits), so a keyed hash is enough: HMAC-SHA-256 with the
//! installation's key, over the kind and the secret. No argon2 here on purpose: 19 MiB and milliseconds for every
//! AUTH would be a gift to whoever wants to stop us, and slow hashing only helps against guessable secrets. The
//! comparison takes constant time, and an unknown name costs the same hash as a known one.

use crate::throttle::Guess;
use aws_lc_rs::{constant_time, hmac};
use mail::{ApiKeyId, Random, Succession, Timestamp};
use zeroize::Zeroizing;

/// What every API key begins with, so that leak scanners know one when they see it.
pub const API_KEY_PREFIX: &str = "ph_live_";

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 200 bits, 40 characters.
const SECRET_OCTETS: usize = 25;

/// The installation's keys for stored secrets. Without them a stolen table opens nothing.
///
/// What is stored under an earlier key is still known: a hash cannot be made anew without the secret.
pub struct SecretKey(Succession<hmac::Key>);

/// What may be stored of a secret that was shown: its hash under each key, the oldest first.
pub struct Macs(Vec<[u8; 32]>);

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
        SecretKey(Succession::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// With another key for what is stored from that time on.
    #[must_use]
    pub fn followed_by(self, from: Timestamp, key: &[u8; 32]) -> SecretKey {
        SecretKey(self.0.followed_by(from, hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// A password of an SMTP credential.
    pub fn mint_password(&self, now: Timestamp, random: &mut Random) -> MintedSecret {
        let text = mint_text(random);
        let mac = self.password_mac(&text, now);
        MintedSecret { text, mac }
    }

    /// An API key: `ph_live_<id>_<secret>`.
    pub fn mint_api_key(&self, id: ApiKeyId, now: Timestamp, random: &mut Random) -> MintedSecret {
        let secret = mint_text(random);
        let mac = mac(self.0.in_force(now), b"api\0", &*secret);
        let id = id.to_string();
        let short = id.rsplit('_').next().unwrap_or_default();
        MintedSecret { text: Zeroizing::new(format!("{API_KEY_PREFIX}{short}_{}", *secret)), mac }
    }

    /// An opaque token such as a refresh token: random text and its hash.
    pub fn mint_token(&self, now: Timestamp, random: &mut Random) -> MintedSecret {
        let text = mint_text(random);
        let mac = mac(self.0.in_force(now), b"token\0", &*text);
        MintedSecret { text, mac }
    }

    /// What is stored of an SMTP password now.
    pub fn password_mac(&self, password: &str, now: Timestamp) -> [u8; 32] {
        mac(self.0.in_force(now), b"smtp\0", password)
    }

    /// Of an SMTP password that was shown.
    pub fn password_macs(&self, password: &str) -> Macs {
        self.macs(b"smtp\0", password)
    }

    /// `secret` is the part after the id, as `parse_api_key` gives it.
    pub fn api_key_macs(&self, secret: &str) -> Macs {
        self.macs(b"api\0", secret)
    }

    /// Of a refresh token that was shown.
    pub fn token_macs(&self, token: &str) -> Macs {
        self.macs(b"token\0", token)
    }

    /// What is stored now of the hash of a request, which may have a password in it: without our key nobody can try
    /// passwords against it.
    pub fn request_mac(&self, hash: &[u8; 32], now: Timestamp) -> [u8; 32] {
        mac(self.0.in_force(now), b"request\0", hash)
    }

    /// Of the hash of a request that may have come before.
    pub fn request_macs(&self, hash: &[u8; 32]) -> Macs {
        self.macs(b"request\0", hash)
    }

    fn macs(&self, kind: &[u8], secret: impl AsRef<[u8]>) -> Macs {
        Macs(self.0.iter().map(|key| mac(key, kind, secret.as_ref())).collect())
    }

    /// By which a wrong secret is known again, for a while and in memory only.
    pub fn guess(&self, name: &str, secret: &str) -> Guess {
        // The same key always: a guess must not be a new one because an hour struck.
        let mut context = hmac::Context::with_key(self.0.in_force(Timestamp::UNIX_EPOCH));
        for part in [&b"guess\0"[..], name.as_bytes(), b"\0", secret.as_bytes()] {
            context.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&context.sign().as_ref()[..16]);
        Guess(short)
    }
}

impl Macs {
    /// Whether one of them is what was kept. With nothing kept the work is the same and the answer is no.
    pub fn matches(&self, kept: Option<&[u8; 32]>) -> bool {
        let wanted = kept.unwrap_or(&[0; 32]);
        let is_equal = |mac: &[u8; 32]| constant_time::verify_slices_are_equal(wanted, mac).is_ok();
        let equal = self.iter().fold(false, |equal, mac| equal | is_equal(mac));
        equal && kept.is_some()
    }

    /// Of the oldest key first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter()
    }
}

/// The kind keeps an API secret from ever being a password, whatever the tables say.
fn mac(key: &hmac::Key, kind: &[u8], secret: impl AsRef<[u8]>) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(kind);
    context.update(secret.as_ref());
    let mut mac = [0; 32];
    mac.copy_from_slice(context.sign().as_ref());
    mac
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

impl std::fmt::Debug for Macs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Macs(…)")
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

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_000);

    #[test]
    fn what_is_not_an_api_key_is_not_taken_for_one() {
        for text in ["", "ph_live_", "ph_live_x_y", "ph_test_00000000000000000000000000_x", "Bearer"] {
            assert!(parse_api_key(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_matches_only_under_its_key_and_kind() {
        let (key, other) = (SecretKey::new(&[1; 32]), SecretKey::new(&[2; 32]));
        let minted = key.mint_password(NOW, &mut Random::from_number(1));
        assert_eq!(minted.text.len(), 40);
        assert!(key.password_macs(&minted.text).matches(Some(&minted.mac)));
        assert!(!other.password_macs(&minted.text).matches(Some(&minted.mac)));
        assert!(!key.api_key_macs(&minted.text).matches(Some(&minted.mac)));
        assert!(!key.password_macs(&minted.text).matches(None));
        let nothing = Macs(vec![[0; 32]]);
        assert!(!nothing.matches(None));
        assert!(!format!("{minted:?}").contains(minted.text.as_str()));
    }

    #[test]
    fn a_later_key_is_used_from_its_time_on_and_known_before() {
        let (old, new) = (SecretKey::new(&[1; 32]), SecretKey::new(&[2; 32]));
        let both = || SecretKey::new(&[1; 32]).followed_by(NOW, &[2; 32]);
        let mut random = Random::from_number(1);
        for (millis, by) in [(-1, &old), (0, &new), (1, &new)] {
            let at = Timestamp::from_millis(NOW.as_millis() + millis);
            let minted = both().mint_password(at, &mut random);
            assert!(by.password_macs(&minted.text).matches(Some(&minted.mac)));
            // A node knows it whatever its own clock says.
            assert!(both().password_macs(&minted.text).matches(Some(&minted.mac)));
            let token = both().mint_token(at, &mut random);
            assert!(both().token_macs(&token.text).iter().any(|mac| *mac == token.mac));
            let hash = both().request_mac(&[9; 32], at);
            assert_eq!(hash, by.request_mac(&[9; 32], at));
            assert!(both().request_macs(&[9; 32]).matches(Some(&hash)));
        }
        let third = SecretKey::new(&[3; 32]).mint_password(NOW, &mut random);
        assert!(!both().password_macs(&third.text).matches(Some(&third.mac)));
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
        let minted = key.mint_api_key(id, NOW, &mut random);
        let (found, secret) = parse_api_key(&minted.text).unwrap();
        assert_eq!(found, id);
        assert!(key.api_key_macs(secret).matches(Some(&minted.mac)));
    }
}
