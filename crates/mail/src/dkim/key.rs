//! Signing keys: made, loaded from PKCS #8, shown as the DNS record to publish.
//!
//! RSA below 2048 bits is refused by name: half of the receivers no longer trust it and the library cannot sign with
//! it. Making a key draws from the operating system through the cryptographic library; a simulator loads keys.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// RFC 8301 §3.2 asks signers for 2048.
const RSA_BITS_MIN: usize = 2048;
/// More is slow for receivers and does not fit one DNS packet.
const RSA_BITS_MAX: usize = 4096;

/// The `k=` of the record and the first half of `a=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyAlgorithm {
    /// RSA-SHA256, 2048 to 4096 bits (RFC 8301 §3).
    Rsa,
    /// Ed25519-SHA256 (RFC 8463).
    Ed25519,
}

/// Why bytes are not a key we sign with. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum KeyError {
    #[error("the key is not an unencrypted private key of type RSA or Ed25519")]
    NotAKey,
    #[error("the RSA key is shorter than 2048 bits; make a new one, many receivers ignore shorter keys")]
    TooSmall,
    #[error("the RSA key is longer than 4096 bits")]
    TooLarge,
    #[error("the cryptographic library cannot make or write a key")]
    Library,
}

/// A private key with its public half.
pub struct SigningKey(Inner);

enum Inner {
    Rsa(Box<KeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// A new key of 2048 bits; takes tens to hundreds of milliseconds, so not on a thread that serves others.
    ///
    /// # Errors
    /// `Library` if the cryptographic library cannot make one, such as without randomness.
    pub fn generate_rsa2048() -> Result<SigningKey, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Library)?;
        Ok(SigningKey(Inner::Rsa(Box::new(pair))))
    }

    /// A new key, made at once.
    ///
    /// # Errors
    /// `Library` if the cryptographic library cannot make one, such as without randomness.
    pub fn generate_ed25519() -> Result<SigningKey, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Library)?;
        Ok(SigningKey(Inner::Ed25519(Box::new(pair))))
    }

    /// Loads an unencrypted PKCS #8 key (DER). The older form of RSA keys (RFC 8017 §A.1.2) is taken as well, because
    /// `openssl genpkey -outform DER` writes it.
    ///
    /// # Errors
    /// `TooSmall` or `TooLarge` for an RSA key of fewer than 2048 or more than 4096 bits (RFC 8301 §3.2),
    /// `NotAKey` for everything else that is not an RSA or Ed25519 key: PEM, encryption, another algorithm.
    pub fn from_pkcs8(der: &[u8]) -> Result<SigningKey, KeyError> {
        // OpenSSL leaves the public half out of Ed25519 keys; it is derived then.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(SigningKey(Inner::Ed25519(Box::new(pair))));
        }
        match KeyPair::from_pkcs8(der)
            .or_else(|first| KeyPair::from_der(der).map_err(|second| pick(first, second)))
        {
            Ok(pair) if pair.public_modulus_len() * 8 < RSA_BITS_MIN => Err(KeyError::TooSmall),
            Ok(pair) if pair.public_modulus_len() * 8 > RSA_BITS_MAX => Err(KeyError::TooLarge),
            Ok(pair) => Ok(SigningKey(Inner::Rsa(Box::new(pair)))),
            // The library tells the reason only by name.
            Err(rejected) => Err(match rejected.to_string().as_str() {
                "TooSmall" => KeyError::TooSmall,
                "TooLarge" => KeyError::TooLarge,
                _ => KeyError::NotAKey,
            }),
        }
    }

    /// The key as PKCS #8 (DER), to be sealed and stored.
    ///
    /// # Errors
    /// `Library` if the cryptographic library cannot write it.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let der: Pkcs8V1Der<'static> = match &self.0 {
            Inner::Rsa(pair) => pair.as_der(),
            Inner::Ed25519(pair) => pair.as_der(),
        }
        .map_err(|_| KeyError::Library)?;
        Ok(der.as_ref().to_vec())
    }

    /// What `a=` and `k=` will say.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            Inner::Rsa(_) => KeyAlgorithm::Rsa,
            Inner::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// The TXT record at `<selector>._domainkey.<domain>` (RFC 6376 §3.6.1; RFC 8463 §4 for Ed25519).
    pub fn public_record(&self) -> String {
        let public = match &self.0 {
            Inner::Rsa(pair) => {
                let der: Result<PublicKeyX509Der<'static>, _> = pair.public_key().as_der();
                // Encoding a public key that was parsed or generated cannot fail.
                der.map(|der| der.as_ref().to_vec()).unwrap_or_default()
            }
            Inner::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        format!("v=DKIM1; k={}; p={}", self.algorithm().as_str(), STANDARD.encode(public))
    }

    /// Signs what RFC 6376 §3.7 calls the data hash. RSA signs the data (and hashes it), Ed25519 signs its SHA-256
    /// (RFC 8463 §3).
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Inner::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // PKCS #1 v1.5 needs no randomness; the parameter is there for other paddings.
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| KeyError::Library)?;
                Ok(signature)
            }
            Inner::Ed25519(pair) => {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
                Ok(pair.sign(digest.as_ref()).as_ref().to_vec())
            }
        }
    }
}

/// Of two reasons the one that is not about the encoding.
fn pick(first: KeyRejected, second: KeyRejected) -> KeyRejected {
    if first.to_string() == "InvalidEncoding" { second } else { first }
}

impl KeyAlgorithm {
    /// As `k=` in a key record and the API write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyAlgorithm::Rsa => "rsa",
            KeyAlgorithm::Ed25519 => "ed25519",
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, …)", self.algorithm().as_str())
    }
}
