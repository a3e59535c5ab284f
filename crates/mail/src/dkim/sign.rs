//! One signature over a header section and a body hash (RFC 6376 §3.5, §5, §3.7).
//!
//! Signed are the fields that receivers show or act on, when they are there; From, To, Subject and Date are listed
//! once more than they occur, so that adding one breaks the signature (§5.4.2, §8.15). Trace fields and everything
//! that the way changes stay out. The result is a whole field for the top of the message.

use super::canonical::relax_field;
use super::key::{KeyError, SigningKey};
use crate::message::HeaderSection;
use crate::{Domain, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Signed when present, in this order.
const SIGNED_FIELDS: [&str; 24] = [
    "from",
    "to",
    "subject",
    "date",
    "cc",
    "reply-to",
    "sender",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "list-id",
    "list-help",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
    "list-owner",
    "feedback-id",
    "cfbl-address",
];
/// Listed once more than they occur. They come first in `SIGNED_FIELDS`.
const OVERSIGNED_FIELDS: usize = 4;
/// Fields of one name that are listed; more of a list field or Content-Type is nothing a receiver understands.
const OCCURRENCES_MAX: usize = 16;
/// Column at which `h=` and `b=` are folded.
const FOLD_COLUMN: usize = 76;

/// What to sign, as whom, with what.
#[derive(Debug)]
pub struct SigningRequest<'a> {
    /// The `d=` domain.
    pub domain: &'a Domain,
    /// The `s=` selector; `is_selector` says what may stand here.
    pub selector: &'a str,
    /// The private half whose public one is published below the selector.
    pub key: &'a SigningKey,
    /// The section as it will be sent, but for the signature itself.
    pub header: &'a HeaderSection<'a>,
    /// From `body_hash` over the body that will be sent.
    pub body_hash: &'a [u8; 32],
    /// The `t=` tag, to the second.
    pub timestamp: Timestamp,
}

/// Why nothing was signed. All are our own trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum SignError {
    #[error("a message without From cannot be signed")]
    NoFrom,
    #[error("the selector is not a name of letters, digits, hyphens and dots")]
    Selector,
    #[error("cannot sign")]
    Key(#[source] KeyError),
}

/// The whole `DKIM-Signature:` field, folded, ended with CRLF. Goes on top of the message it was made for.
///
/// # Errors
/// `Selector` if it is not what [`is_selector`] allows, `NoFrom` without a From field (RFC 6376 §5.4 wants it
/// signed), `Key` if the cryptographic library does not sign.
pub fn sign(request: &SigningRequest<'_>) -> Result<String, SignError> {
    if !is_selector(request.selector) {
        return Err(SignError::Selector);
    }
    if request.header.first("from").is_none() {
        return Err(SignError::NoFrom);
    }
    let mut data = Vec::with_capacity(4096);
    let names = relax_signed_fields(request.header, &mut data);
    let mut field = format!(
        "DKIM-Signature: v=1; a={}-sha256; c=relaxed/relaxed;\r\n\td={}; s={};\r\n\tt={}; bh={};\r\n\t",
        request.key.algorithm().as_str(),
        request.domain,
        request.selector,
        request.timestamp.as_millis().div_euclid(1000).max(0),
        STANDARD.encode(request.body_hash),
    );
    push_names(&names, &mut field);
    // The signature covers its own field with an empty b= and without the last CRLF (§3.7).
    let (name, value) = field.split_once(':').unwrap_or_default();
    relax_field(name, value.as_bytes(), &mut data);
    let signature = STANDARD.encode(request.key.sign(&data).map_err(SignError::Key)?);
    push_folded(&signature, &mut field);
    field.push_str("\r\n");
    Ok(field)
}

/// A selector as RFC 6376 §3.1 has it: labels of a domain name.
pub fn is_selector(text: &str) -> bool {
    let legal = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 128 && text.split('.').all(legal)
}

/// Appends the relaxed form of every signed field, each with CRLF, and gives the names in the same order.
/// Several fields of one name are taken from the bottom up (§5.4.2).
fn relax_signed_fields(header: &HeaderSection<'_>, data: &mut Vec<u8>) -> Vec<&'static str> {
    let mut names = Vec::with_capacity(SIGNED_FIELDS.len() + OVERSIGNED_FIELDS);
    for (index, name) in SIGNED_FIELDS.into_iter().enumerate() {
        for field in header.all(name).rev().take(OCCURRENCES_MAX) {
            relax_field(name, field.folded(), data);
            data.extend_from_slice(b"\r\n");
            names.push(name);
        }
        // A field that is listed and not there adds nothing to the data; one that is added later does.
        if index < OVERSIGNED_FIELDS {
            names.push(name);
        }
    }
    names
}

/// `h=from:from:…;` and an open `b=`.
fn push_names(names: &[&str], field: &mut String) {
    field.push_str("h=");
    let mut column = 8 + 2;
    for (index, name) in names.iter().enumerate() {
        if column + name.len() + 1 > FOLD_COLUMN {
            field.push_str("\r\n\t ");
            column = 9;
        }
        field.push_str(name);
        field.push(if index + 1 == names.len() { ';' } else { ':' });
        column += name.len() + 1;
    }
    field.push_str("\r\n\tb=");
}

/// Base 64 may be folded anywhere (§3.2, §3.5 b=).
fn push_folded(signature: &str, field: &mut String) {
    let (first, rest) = signature.split_at(signature.len().min(FOLD_COLUMN - 10));
    field.push_str(first);
    let mut rest = rest;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(FOLD_COLUMN - 9));
        field.push_str("\r\n\t ");
        field.push_str(line);
        rest = after;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dkim::body_hash;
    use crate::message::HeaderLimits;

    const MESSAGE: &str = "Received: x\r\nFrom: Anna <a@client.example>\r\nTo: b@example.org\r\nSubject: Hi\r\n\tthere\r\nDate: Mon, 23 Nov 2026 09:14:09 +0000\r\nList-Id: one\r\nList-Id: two\r\nX-Other: x\r\n\r\nBody\r\n";

    fn signed(message: &str, key: &SigningKey, selector: &str) -> Result<String, SignError> {
        let header = HeaderSection::parse(message.as_bytes(), &HeaderLimits::default()).unwrap();
        let domain = Domain::parse("client.example").unwrap();
        let hash = body_hash(header.body());
        let timestamp = Timestamp::from_millis(1_795_425_249_120);
        let body_hash = &hash;
        sign(&SigningRequest { domain: &domain, selector, key, header: &header, body_hash, timestamp })
    }

    fn tag(field: &str, name: &str) -> String {
        let value = field
            .split(';')
            .find_map(|tag| tag.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_string));
        value.unwrap().split_whitespace().collect()
    }

    #[test]
    fn a_message_without_from_and_a_bad_selector_are_not_signed() {
        let key = SigningKey::generate_ed25519().unwrap();
        assert_eq!(signed("To: x\r\n\r\n", &key, "ph1"), Err(SignError::NoFrom));
        for selector in ["", "a b", "a;b", "-a", "a-", "a..b", "ä", &"a".repeat(64)] {
            assert_eq!(signed(MESSAGE, &key, selector), Err(SignError::Selector), "{selector:?}");
        }
    }

    #[test]
    fn keys_that_are_none_or_too_short_are_refused_by_name() {
        assert_eq!(SigningKey::from_pkcs8(b"").err(), Some(KeyError::NotAKey));
        assert_eq!(SigningKey::from_pkcs8(&[0x30; 200]).err(), Some(KeyError::NotAKey));
        for short in [
            &include_bytes!("../../tests/data/rsa1024.pk8")[..],
            include_bytes!("../../tests/data/rsa1024.pk1"),
        ] {
            assert_eq!(SigningKey::from_pkcs8(short).err(), Some(KeyError::TooSmall));
        }
    }

    #[test]
    fn the_important_fields_are_listed_once_more_than_they_occur() {
        let field = signed(MESSAGE, &SigningKey::generate_ed25519().unwrap(), "ph1").unwrap();
        assert_eq!(tag(&field, "h"), "from:from:to:to:subject:subject:date:date:list-id:list-id");
        assert_eq!(
            (tag(&field, "d"), tag(&field, "t")),
            ("client.example".to_string(), "1795425249".to_string())
        );
        assert!(field.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n\td="));
        assert!(field.ends_with("\r\n") && field.split("\r\n").all(|line| line.len() <= 80), "{field}");
    }

    #[test]
    fn a_key_survives_being_stored() {
        for key in [SigningKey::generate_rsa2048().unwrap(), SigningKey::generate_ed25519().unwrap()] {
            let again = SigningKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
            assert_eq!(again.public_record(), key.public_record());
            // Both algorithms are deterministic.
            assert_eq!(signed(MESSAGE, &again, "ph1").unwrap(), signed(MESSAGE, &key, "ph1").unwrap());
        }
    }

    #[test]
    fn the_record_of_the_standard_comes_out_of_its_key() {
        // RFC 8463 §A.1 and §A.2: seed and record.
        let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let der =
            [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20], seed.as_slice()]
                .concat();
        let key = SigningKey::from_pkcs8(&der).unwrap();
        assert_eq!(key.public_record(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }
}
