//! The two SASL mechanisms clients use for submission: PLAIN (RFC 4616) and LOGIN (never standardised, still asked for).
//!
//! Decodes what a client sends and encodes what our client sends. It compares nothing: secrets are checked where they
//! are kept. A `Password` is wiped when it is dropped and cannot be printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A secret as a client gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes it over; it is wiped when dropped.
    pub fn new(secret: impl Into<String>) -> Password {
        Password(Zeroizing::new(secret.into()))
    }

    /// The one way to the secret, named so that it can be searched for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Why a response is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslError {
    /// Not base64, not UTF-8 or without the NULs that divide it: a syntax error.
    Malformed,
    /// It asks to act for somebody else, or a part is empty: refused like a wrong secret.
    Unusable,
}

/// `[authzid] NUL authcid NUL passwd` in base64 (RFC 4616 §2): the user name and the password.
///
/// # Errors
/// `Malformed` if it is not base64, not UTF-8 or not of this form; `Unusable` if the user name or the
/// password is empty, or if an authzid is given that is not the user name.
pub fn decode_plain(response: &[u8]) -> Result<(String, Password), SaslError> {
    let text = decode(response)?;
    let mut parts = text.split('\0');
    let (Some(acting_for), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    if username.is_empty() || password.is_empty() || !(acting_for.is_empty() || acting_for == username) {
        return Err(SaslError::Unusable);
    }
    Ok((username.to_owned(), Password::new(password)))
}

/// One answer of LOGIN.
///
/// # Errors
/// `Malformed` if it is not base64 or not UTF-8, `Unusable` if it is empty or has a NUL.
pub fn decode_login(response: &[u8]) -> Result<Zeroizing<String>, SaslError> {
    let text = decode(response)?;
    if text.is_empty() || text.contains('\0') { Err(SaslError::Unusable) } else { Ok(text) }
}

/// The initial response of PLAIN.
pub fn encode_plain(username: &str, password: &Password) -> Zeroizing<String> {
    let clear = Zeroizing::new(format!("\0{username}\0{}", password.reveal()));
    Zeroizing::new(STANDARD.encode(clear.as_bytes()))
}

fn decode(response: &[u8]) -> Result<Zeroizing<String>, SaslError> {
    // Decoded into memory of the final size: a vector that grows would leave copies of the secret behind.
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(response.len())]);
    let length = STANDARD.decode_slice(response, &mut octets).map_err(|_| SaslError::Malformed)?;
    let text = std::str::from_utf8(&octets[..length]).map_err(|_| SaslError::Malformed)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plain(clear: &str) -> Result<(String, Password), SaslError> {
        decode_plain(STANDARD.encode(clear).as_bytes())
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        for clear in ["", "anna", "\0anna", "\0anna\0secret\0more"] {
            assert!(plain(clear).err() == Some(SaslError::Malformed), "{clear:?}");
        }
        for clear in ["\0\0secret", "\0anna\0", "boss\0anna\0secret"] {
            assert!(plain(clear).err() == Some(SaslError::Unusable), "{clear:?}");
        }
        for response in [&b"***"[..], b"YQ", b"YQ==\r", b"/w==", b" YQ=="] {
            assert!(decode_login(response).err() == Some(SaslError::Malformed), "{response:?}");
        }
        assert!(decode_login(b"").err() == Some(SaslError::Unusable));
    }

    #[test]
    fn plain_survives_a_round_trip() {
        let password = Password::new("päss word");
        let (username, decoded) = decode_plain(encode_plain("anna", &password).as_bytes()).unwrap();
        assert!(username == "anna" && decoded == password);
        assert!(plain("anna\0anna\0x").is_ok());
    }
}
