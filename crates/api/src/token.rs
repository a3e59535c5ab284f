//! The short token of a person: a JWT signed with Ed25519, good for a quarter of an hour.
//!
//! It names a user, a role and, for people of a tenant, the tenant, and the version of the user's tokens: when that
//! goes up (`database/src/user.rs`), every token that was given out before has ended, which `auth.rs` sees; so has one whose
//! session (`sid`) ended (`database/src/session.rs`). The key that signed it stands in `kid`, which finds one of our own
//! keys or none; keys are exchanged with an overlap: each is known before its time and signs from then on. Time is
//! handed in: the library's own look at the clock is switched off and `exp` is checked here. Called by `auth.rs` only.

use crate::error::Fault;
use crate::kept::KeptAnswers;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mail::{SessionId, Succession, TenantId, Timestamp, UserId};
use registry::{Role, User};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const ISSUER: &str = "posthouse";
/// Octets of the digest of a public key by which tokens name it.
const KEY_ID_OCTETS: usize = 8;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    pub sub: UserId,
    pub role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Tokens from before there were versions are of the first.
    #[serde(default)]
    pub ver: i32,
    /// None in tokens from before sessions were told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
    iat: i64,
    exp: i64,
}

/// Signs and reads tokens of this installation.
#[derive(Clone)]
pub struct TokenKeys(Succession<Arc<TokenKey>>);

struct TokenKey {
    id: String,
    signing: EncodingKey,
    reading: DecodingKey,
    /// For answers kept for their idempotency key.
    kept: KeptAnswers,
}

impl TokenKeys {
    /// From an Ed25519 key as PKCS#8 (RFC 8410), as `TokenKeys::generate` makes it.
    ///
    /// # Errors
    /// `TokenKey` for anything but an Ed25519 key as PKCS#8; `Seal` if no key for kept answers follows from
    /// it.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<TokenKeys, Fault> {
        // Another crate may have switched on a second backend; without a chosen one the library panics on first use.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Ok(TokenKeys(Succession::new(Arc::new(TokenKey::from_pkcs8(pkcs8)?))))
    }

    /// With another key that signs from that time on. What the ones before signed goes on being read.
    ///
    /// # Errors
    /// As [`from_pkcs8`](TokenKeys::from_pkcs8).
    pub fn followed_by(self, from: Timestamp, pkcs8: &[u8]) -> Result<TokenKeys, Fault> {
        Ok(TokenKeys(self.0.followed_by(from, Arc::new(TokenKey::from_pkcs8(pkcs8)?))))
    }

    /// Keeps an answer for its idempotency key.
    pub(crate) fn seal_answer(
        &self,
        owner: &str,
        key: &str,
        answer: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, Fault> {
        self.0.in_force(now).kept.seal(owner, key, answer)
    }

    /// None if a key sealed it that is not among ours, or it was kept for another call, or changed.
    pub(crate) fn open_answer(&self, owner: &str, key: &str, kept: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().find_map(|own| own.kept.open(owner, key, kept))
    }

    /// A new Ed25519 key for this installation as PKCS#8 (RFC 8410), to be kept in a file.
    ///
    /// # Errors
    /// `TokenKey` if the system has no randomness.
    pub fn generate() -> Result<Vec<u8>, Fault> {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&rng).map_err(|_| Fault::TokenKey)?;
        Ok(document.as_ref().to_vec())
    }

    /// A JWT for a login of this person (RFC 7519), good for so long, in whole seconds.
    ///
    /// # Errors
    /// `TokenKey` if the library cannot sign.
    pub fn issue(
        &self,
        user: &User,
        session: SessionId,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, Fault> {
        let iat = now.as_millis() / 1000;
        let exp = iat.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let User { id: sub, tenant, role, token_version: ver } = *user;
        let (iss, aud, sid) = (ISSUER.into(), ISSUER.into(), Some(session));
        let claims = Claims { iss, aud, sub, role, tenant, ver, sid, iat, exp };
        let key = self.0.in_force(now);
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &key.signing).map_err(|_| Fault::TokenKey)
    }

    /// The claims of a token that we signed and that is still good; none for anything else, whatever is wrong with it.
    pub fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        // Tokens from before keys had names are of the first.
        let key = match jsonwebtoken::decode_header(token).ok()?.kid {
            None => self.0.iter().next()?,
            Some(id) => self.0.iter().find(|key| key.id == id)?,
        };
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.reading, &validation).ok()?.claims;
        (now.as_millis() / 1000 < claims.exp).then_some(claims)
    }
}

impl TokenKey {
    fn from_pkcs8(pkcs8: &[u8]) -> Result<TokenKey, Fault> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| Fault::TokenKey)?;
        let public = pair.public_key().as_ref();
        let id = digest::digest(&digest::SHA256, public);
        Ok(TokenKey {
            id: URL_SAFE_NO_PAD.encode(&id.as_ref()[..KEY_ID_OCTETS]),
            signing: EncodingKey::from_ed_der(pkcs8),
            reading: DecodingKey::from_ed_der(public),
            kept: KeptAnswers::new(&derived(pkcs8, "kept answers"))?,
        })
    }
}

/// A key of its own for another purpose.
fn derived(pkcs8: &[u8], purpose: &str) -> [u8; 32] {
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pkcs8), format!("posthouse api {purpose}").as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Random;

    const NOW: Timestamp = Timestamp::from_millis(1_795_425_249_000);

    fn issued(keys: &TokenKeys) -> String {
        issued_at(keys, NOW)
    }

    fn issued_at(keys: &TokenKeys, now: Timestamp) -> String {
        let id = UserId::mint(NOW, &mut Random::from_number(1));
        let user = User { id, tenant: None, role: Role::Auditor, token_version: 3 };
        let session = SessionId::mint(NOW, &mut Random::from_number(2));
        keys.issue(&user, session, now, Duration::from_secs(900)).unwrap()
    }

    #[test]
    fn a_token_ends_by_the_clock_that_was_handed_in() {
        let keys = TokenKeys::from_pkcs8(&TokenKeys::generate().unwrap()).unwrap();
        let token = issued(&keys);
        let claims = keys.read(&token, NOW).unwrap();
        assert_eq!((claims.role, claims.ver), (Role::Auditor, 3));
        assert!(keys.read(&token, NOW.saturating_add(Duration::from_secs(899))).is_some());
        assert!(keys.read(&token, NOW.saturating_add(Duration::from_secs(900))).is_none());
    }

    #[test]
    fn a_token_of_another_key_or_without_a_signature_is_nobody() {
        let keys = TokenKeys::from_pkcs8(&TokenKeys::generate().unwrap()).unwrap();
        let other = TokenKeys::from_pkcs8(&TokenKeys::generate().unwrap()).unwrap();
        let token = issued(&keys);
        assert!(other.read(&token, NOW).is_none());
        let payload = token.split('.').nth(1).unwrap();
        let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
        assert!(keys.read(&unsigned, NOW).is_none());
        let changed = token.replacen(payload, &URL_SAFE_NO_PAD.encode(r#"{"iss":"posthouse"}"#), 1);
        assert!(keys.read(&changed, NOW).is_none());
        for text in ["", ".", "..", "a.b.c"] {
            assert!(keys.read(text, NOW).is_none());
        }
    }

    #[test]
    fn a_key_is_exchanged_and_no_good_token_is_refused() {
        let (old, new) = (TokenKeys::generate().unwrap(), TokenKeys::generate().unwrap());
        let only = |pkcs8: &[u8]| TokenKeys::from_pkcs8(pkcs8).unwrap();
        let both = only(&old).followed_by(NOW, &new).unwrap();
        for (millis, signer, other) in [(-1, &old, &new), (0, &new, &old), (899_000, &new, &old)] {
            let now = Timestamp::from_millis(NOW.as_millis() + millis);
            let token = issued_at(&both, now);
            // Nodes that were not restarted yet, that were, and that have forgotten the old one.
            assert!(only(signer).read(&token, now).is_some(), "{millis}");
            assert!(both.read(&token, now).is_some(), "{millis}");
            assert!(only(other).read(&token, now).is_none(), "{millis}");
            let answer = both.seal_answer("usr_1", "k", b"x", now).unwrap();
            assert_eq!(both.open_answer("usr_1", "k", &answer).unwrap(), b"x");
            assert_eq!(only(signer).open_answer("usr_1", "k", &answer).unwrap(), b"x");
            assert_eq!(only(other).open_answer("usr_1", "k", &answer), None);
        }
    }

    #[test]
    fn a_name_finds_one_of_our_keys_or_none_and_a_token_without_one_is_of_the_first() {
        let (old, new) = (TokenKeys::generate().unwrap(), TokenKeys::generate().unwrap());
        let both = TokenKeys::from_pkcs8(&old).unwrap().followed_by(NOW, &new).unwrap();
        let claims = both.read(&issued(&both), NOW).unwrap();
        let signed = |pkcs8: &[u8], kid: Option<&str>| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
            jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(pkcs8)).unwrap()
        };
        assert!(both.read(&signed(&old, None), NOW).is_some());
        assert!(both.read(&signed(&new, None), NOW).is_none());
        assert!(both.read(&signed(&new, Some(&both.0.iter().nth(1).unwrap().id)), NOW).is_some());
        assert!(both.read(&signed(&new, Some(&both.0.iter().next().unwrap().id)), NOW).is_none());
        for kid in ["", "../../keys/session.key", "' OR 1=1 --", &"k".repeat(1 << 20)] {
            assert!(both.read(&signed(&old, Some(kid)), NOW).is_none());
        }
    }

    #[test]
    fn a_damaged_key_is_a_fault() {
        assert!(TokenKeys::from_pkcs8(b"not a key").is_err());
    }
}
