//! Sealing: how private keys and webhook secrets lie in the tables.
//!
//! XChaCha20-Poly1305 with a random 24-byte nonce, so no counter has to be kept. The associated data names the
//! tenant, the purpose and the row: a sealed value moved to another row does not open. Every value begins with the
//! version of the key that sealed it, so keys can be rotated while old values still open (`reseal.rs` seals them anew).
//! A key seals from a time on and opens before that, so that all nodes can have it before the first uses it. The keys
//! themselves come from the caller and never touch the database.

use crate::error::Fault;
use aws_lc_rs::hmac;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mail::{Random, Timestamp};
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

/// The keys that seal and open, by version; of those whose time has come the highest seals.
pub struct SealingKeys(BTreeMap<u32, SealingKey>);

struct SealingKey {
    from: Timestamp,
    key: Zeroizing<[u8; 32]>,
}

/// One of the secrets that everything here is derived from.
pub struct MasterKey {
    /// Counted from 1; what it seals names it.
    pub version: u32,
    /// Used from then on, known before.
    pub from: Timestamp,
    /// None of one that was retired: it opens nothing any more.
    pub sealing: Option<Zeroizing<[u8; 32]>>,
    /// For the hashes that were made under it.
    pub secrets: Zeroizing<[u8; 32]>,
}

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
        Keys::of(MasterKey::derived(1, Timestamp::UNIX_EPOCH, master), [])
    }

    /// For a command that neither seals nor opens nor checks anything.
    pub fn none() -> Keys {
        let sealing = SealingKeys(BTreeMap::new());
        Keys { sealing: Arc::new(sealing), secrets: Arc::new(SecretKey::new(&[0; 32])) }
    }

    /// From several: the first that there was and those after it.
    pub fn of(first: MasterKey, later: impl IntoIterator<Item = MasterKey>) -> Keys {
        let mut secrets = SecretKey::new(&first.secrets);
        let mut sealing = SealingKeys(BTreeMap::new());
        sealing.add(first);
        for key in later {
            secrets = secrets.followed_by(key.from, &key.secrets);
            sealing.add(key);
        }
        Keys { sealing: Arc::new(sealing), secrets: Arc::new(secrets) }
    }
}

impl MasterKey {
    /// A whole one.
    pub fn derived(version: u32, from: Timestamp, master: &[u8; 32]) -> MasterKey {
        let (sealing, secrets) = (derive(master, "sealing 1"), derive(master, "secrets"));
        MasterKey { version, from, sealing: Some(Zeroizing::new(sealing)), secrets: Zeroizing::new(secrets) }
    }
}

impl SealingKeys {
    /// Of version, time from which it seals, and key. At least one, or nothing can be sealed.
    pub fn new(keys: impl IntoIterator<Item = (u32, Timestamp, [u8; 32])>) -> SealingKeys {
        let key = |(version, from, key)| (version, SealingKey { from, key: Zeroizing::new(key) });
        SealingKeys(keys.into_iter().map(key).collect())
    }

    fn add(&mut self, master: MasterKey) {
        if let Some(key) = master.sealing {
            self.0.insert(master.version, SealingKey { from: master.from, key });
        }
    }

    /// The version that seals.
    pub(crate) fn in_force(&self, now: Timestamp) -> Option<u32> {
        // Before the time of all of them, which only a clock that was set back shows, the oldest.
        let due = self.0.iter().rev().find(|(_, key)| key.from <= now);
        due.or_else(|| self.0.first_key_value()).map(|(version, _)| *version)
    }

    /// The versions before that.
    pub(crate) fn earlier(&self, now: Timestamp) -> impl Iterator<Item = u32> {
        let in_force = self.in_force(now);
        self.0.keys().copied().take_while(move |version| Some(*version) != in_force)
    }

    pub(crate) fn seal(
        &self,
        binding: Binding,
        plain: &[u8],
        now: Timestamp,
        random: &mut Random,
    ) -> Result<Vec<u8>, Fault> {
        let fault = || Fault::Sealing { what: "seal a secret" };
        let version = self.in_force(now).ok_or_else(fault)?;
        let SealingKey { key, .. } = self.0.get(&version).ok_or_else(fault)?;
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
        let unknown =
            || Fault::Sealing { what: "open a secret that a master key sealed which is not in the key file" };
        let SealingKey { key, .. } = self.0.get(&u32::from_be_bytes(*version)).ok_or_else(unknown)?;
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

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({} from {:?})", self.version, self.from)
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

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_000);
    const ROW: Binding = Binding { purpose: "dkim", tenant: Uuid::from_u128(1), row: Uuid::from_u128(2) };

    #[test]
    fn a_value_that_was_moved_changed_or_cut_does_not_open() {
        let keys = SealingKeys::new([(1, NOW, [1; 32])]);
        let sealed = keys.seal(ROW, b"secret", NOW, &mut Random::from_number(1)).unwrap();
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
        let (before, after) = (Timestamp::from_millis(NOW.as_millis() - 1), NOW);
        let first = || SealingKeys::new([(1, Timestamp::UNIX_EPOCH, [1; 32])]);
        let old = first().seal(ROW, b"secret", after, &mut random).unwrap();
        let both = SealingKeys::new([(1, Timestamp::UNIX_EPOCH, [1; 32]), (2, NOW, [2; 32])]);
        assert_eq!(**both.open(ROW, &old).unwrap(), b"secret"[..]);
        let early = both.seal(ROW, b"secret", before, &mut random).unwrap();
        assert!(first().open(ROW, &early).is_ok(), "not before its time");
        let new = both.seal(ROW, b"secret", after, &mut random).unwrap();
        assert!(first().open(ROW, &new).is_err());
        assert!(!new.windows(6).any(|window| window == b"secret"));
        assert_eq!((both.in_force(before), both.in_force(after)), (Some(1), Some(2)));
        assert_eq!(both.earlier(before).count(), 0);
        assert_eq!(both.earlier(after).collect::<Vec<_>>(), [1]);
    }
}
