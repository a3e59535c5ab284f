//! Sealing: how private keys and webhook secrets lie in the tables.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce, so no counter has to be kept. The associated data names the
//! tenant, the purpose and the row: a sealed value moved to another row does not open. Every value begins with the
//! version of the key that sealed it, so keys can be rotated while old values still open. The key itself comes from
//! the caller and never touches the database.

use crate::error::Fault;
use aws_lc_rs::hmac;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mail::Random;
use registry::SecretKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use zeroize::Zeroizing;

const NONCE_OCTETS: usize = 24;
const VERSION_OCTETS: usize = 4;

/// Every secret of the installation that the database layer works with.
#[derive(Clone)]
pub struct Keys {
    /// For what must be read again: DKIM keys, webhook secrets, kept answers.
    pub sealing: Arc<SealingKeys>,
    /// For passwords, API keys and tokens, of which only a hash is stored.
    pub secrets: Arc<SecretKey>,
}

/// The keys that seal and open, by version; the highest seals.
pub struct SealingKeys(BTreeMap<u32, Zeroizing<[u8; 32]>>);

/// What a sealed value is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub purpose: &'static str,
    /// Nil for what belongs to no tenant.
    pub tenant: Uuid,
    pub row: Uuid,
}

impl Keys {
    /// Both keys from one master secret; the sealing key gets version 1.
    pub fn from_master(master: &[u8; 32]) -> Keys {
        let sealing = SealingKeys::new([(1, derive(master, "sealing 1"))]);
        Keys { sealing: Arc::new(sealing), secrets: Arc::new(SecretKey::new(&derive(master, "secrets"))) }
    }
}

impl SealingKeys {
    /// At least one, or nothing can be sealed.
    pub fn new(keys: impl IntoIterator<Item = (u32, [u8; 32])>) -> SealingKeys {
        SealingKeys(keys.into_iter().map(|(version, key)| (version, Zeroizing::new(key))).collect())
    }

    pub(crate) fn seal(&self, binding: Binding, plain: &[u8], random: &mut Random) -> Result<Vec<u8>, Fault> {
        let fault = || Fault::Sealing { what: "seal a secret" };
        let (version, key) = self.0.last_key_value().ok_or_else(fault)?;
        let nonce = random.bytes::<NONCE_OCTETS>();
        let data = binding.to_bytes();
        let cipher = XChaCha20Poly1305::new_from_slice(&key[..]).map_err(|_| fault())?;
        let sealed =
            cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &data }).map_err(|_| fault())?;
        Ok([&version.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    pub(crate) fn open(&self, binding: Binding, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let fault = || Fault::Sealing { what: "open a sealed secret; was the master key changed?" };
        let (version, rest) = sealed.split_first_chunk::<VERSION_OCTETS>().ok_or_else(fault)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_OCTETS>().ok_or_else(fault)?;
        let key = self.0.get(&u32::from_be_bytes(*version)).ok_or_else(fault)?;
        let data = binding.to_bytes();
        let cipher = XChaCha20Poly1305::new_from_slice(&key[..]).map_err(|_| fault())?;
        let plain = cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &data })
            .map_err(|_| fault())?;
        Ok(Zeroizing::new(plain))
    }
}

impl Binding {
    fn to_bytes(self) -> Vec<u8> {
        [self.purpose.as_bytes(), b"\0", self.tenant.as_bytes(), self.row.as_bytes()].concat()
    }
}

fn derive(master: &[u8; 32], purpose: &str) -> [u8; 32] {
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, master), format!("posthouse {purpose}").as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl std::fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKeys(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ROW: Binding = Binding { purpose: "dkim", tenant: Uuid::from_u128(1), row: Uuid::from_u128(2) };

    #[test]
    fn a_value_that_was_moved_changed_or_cut_does_not_open() {
        let keys = SealingKeys::new([(1, [1; 32])]);
        let sealed = keys.seal(ROW, b"secret", &mut Random::from_number(1)).unwrap();
        assert!(keys.open(Binding { tenant: Uuid::from_u128(9), ..ROW }, &sealed).is_err());
        assert!(keys.open(Binding { row: Uuid::from_u128(9), ..ROW }, &sealed).is_err());
        assert!(keys.open(Binding { purpose: "webhook", ..ROW }, &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(keys.open(ROW, &sealed[..length]).is_err());
        }
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(keys.open(ROW, &changed).is_err());
    }

    #[test]
    fn old_values_open_after_a_new_key_and_new_ones_use_it() {
        let mut random = Random::from_number(1);
        let old = SealingKeys::new([(1, [1; 32])]).seal(ROW, b"secret", &mut random).unwrap();
        let both = SealingKeys::new([(1, [1; 32]), (2, [2; 32])]);
        assert_eq!(**both.open(ROW, &old).unwrap(), b"secret"[..]);
        let new = both.seal(ROW, b"secret", &mut random).unwrap();
        assert!(SealingKeys::new([(1, [1; 32])]).open(ROW, &new).is_err());
        assert!(!new.windows(6).any(|window| window == b"secret"));
    }
}
