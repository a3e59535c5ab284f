//! The signature of a call: HMAC-SHA-256 over `id.timestamp.body` with every secret of the endpoint.
//!
//! During a rotation an endpoint has two secrets and a call carries both signatures, so a receiver can change when it
//! likes. Also used by whoever tests an endpoint; says nothing about where the call goes.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{EventId, Timestamp};

const PREFIX: &str = "whsec_";
/// Standard Webhooks asks for 24 to 64 octets.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a secret cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum SecretError {
    #[error("a webhook secret is whsec_ and the base 64 of 24 to 64 octets")]
    Form,
    #[error("the endpoint has no secret")]
    None,
}

/// The three header values of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `webhook-id`: the id of the event, the same at every try; receivers recognise repetitions by it.
    pub id: String,
    /// `webhook-timestamp`: seconds, of this try.
    pub timestamp: String,
    /// `webhook-signature`: one `v1,…` for each secret, separated by spaces.
    pub signature: String,
}

/// Signs `body` for a try made `now`, with every secret, newest first (Standard Webhooks).
///
/// # Errors
/// `None` if there is no secret; `Form` if one is not `whsec_` and the base64 (RFC 4648 §4) of 24 to 64
/// octets.
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    event: EventId,
    now: Timestamp,
    body: &[u8],
) -> Result<Signature, SecretError> {
    let id = event.to_string();
    let timestamp = now.as_millis().div_euclid(1000).to_string();
    let mut signatures = Vec::new();
    for secret in secrets {
        signatures.push(format!("v1,{}", mac(secret, &id, &timestamp, body)?));
    }
    if signatures.is_empty() {
        return Err(SecretError::None);
    }
    Ok(Signature { id, timestamp, signature: signatures.join(" ") })
}

fn mac(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> Result<String, SecretError> {
    let text = secret.strip_prefix(PREFIX).ok_or(SecretError::Form)?;
    let octets = STANDARD.decode(text).map_err(|_| SecretError::Form)?;
    if !SECRET_OCTETS.contains(&octets.len()) {
        return Err(SecretError::Form);
    }
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &octets));
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    Ok(STANDARD.encode(context.sign()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Random;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_secret_that_is_none_signs_nothing() {
        let event = EventId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(1));
        for secret in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"] {
            assert_eq!(sign([secret], event, Timestamp::UNIX_EPOCH, b""), Err(SecretError::Form), "{secret}");
        }
        assert_eq!(sign([], event, Timestamp::UNIX_EPOCH, b""), Err(SecretError::None));
    }

    #[test]
    fn the_vector_of_the_reference_libraries_comes_out() {
        let mac = mac(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(mac.unwrap(), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_give_two_signatures_newest_first() {
        let event = EventId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(1));
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let now = Timestamp::from_millis(1_614_265_330_999);
        let both = sign([other, SECRET], event, now, b"{}").unwrap();
        let old = sign([SECRET], event, now, b"{}").unwrap();
        assert_eq!((both.timestamp.as_str(), both.id.starts_with("evt_")), ("1614265330", true));
        assert!(
            both.signature.starts_with("v1,") && both.signature.ends_with(&format!(" {}", old.signature))
        );
    }
}
