//! Answers that are kept for their `Idempotency-Key`, sealed: some hold secrets that are shown once.
//!
//! AES-256-GCM with a key that follows from the installation's token key, and the caller and the idempotency key as
//! associated data, so an answer that was moved to another row does not open. Nothing is compressed, and no version is
//! written: an answer lives for a day, and after a new token key (`token.rs`) each is tried.

use crate::error::Fault;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

pub struct KeptAnswers(RandomizedNonceKey);

impl KeptAnswers {
    pub fn new(key: &[u8; 32]) -> Result<KeptAnswers, Fault> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(KeptAnswers).map_err(|_| Fault::Seal)
    }

    pub fn seal(&self, owner: &str, key: &str, answer: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut sealed = answer.to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(binding(owner, key), &mut sealed).map_err(|_| Fault::Seal)?;
        Ok([&nonce.as_ref()[..], &sealed].concat())
    }

    /// None if it was sealed with another key, for another row, or changed.
    pub fn open(&self, owner: &str, key: &str, kept: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = kept.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let answer = self.0.open_in_place(nonce, binding(owner, key), &mut sealed).ok()?;
        Some(answer.to_vec())
    }
}

fn binding(owner: &str, key: &str) -> Aad<Vec<u8>> {
    Aad::from([owner.as_bytes(), b"\0", key.as_bytes()].concat())
}

impl std::fmt::Debug for KeptAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptAnswers(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_opens_for_its_caller_and_key_only() {
        let kept = KeptAnswers::new(&[1; 32]).unwrap();
        let sealed = kept.seal("usr_1", "k", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(kept.open("usr_1", "k", &sealed).unwrap(), b"secret");
        assert_eq!(kept.open("usr_2", "k", &sealed), None);
        assert_eq!(kept.open("usr_1", "other", &sealed), None);
        assert_eq!(KeptAnswers::new(&[2; 32]).unwrap().open("usr_1", "k", &sealed), None);
        for length in 0..sealed.len() {
            assert_eq!(kept.open("usr_1", "k", &sealed[..length]), None);
        }
    }
}
