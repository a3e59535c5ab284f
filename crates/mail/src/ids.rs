//! Every id of the house: one type each, so that they do not mix, printed with a prefix (`ten_…`, `msg_…`).
//!
//! An id is a UUID of version 7 (RFC 9562 §5.7): sortable by the time it was made, unguessable enough to be shown,
//! never a secret. As text it is the prefix and 26 characters of lower-case Crockford base 32, which keeps the order
//! and survives being read aloud. The database holds the UUID itself.

use crate::{Random, Timestamp};
use std::fmt;
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 26;

/// Why some text is not an id of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum IdError {
    #[error("the id must begin with {0}_")]
    Prefix(&'static str),
    #[error("after the prefix the id must have 26 characters of 0-9 and a-z without i, l, o, u")]
    Text,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id. Ids made in the same millisecond are in no particular order.
            pub fn mint(now: Timestamp, random: &mut Random) -> $name {
                $name(mint(now, random))
            }

            /// Takes over what a table or a record holds; nothing is checked, for nothing can be wrong.
            pub const fn from_uuid(uuid: Uuid) -> $name {
                $name(uuid)
            }

            /// As tables and records hold it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Parses the text form, prefix included.
            ///
            /// # Errors
            /// `Prefix` if it begins with another one or none, `Text` if what follows is not 26 digits of the
            /// alphabet (lower case only) or more than 128 bits.
            pub fn parse(text: &str) -> Result<$name, IdError> {
                let rest = text.strip_prefix($prefix).and_then(|rest| rest.strip_prefix('_'));
                decode(rest.ok_or(IdError::Prefix($prefix))?).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<$name, IdError> {
                $name::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Who is answerable for mail.
    TenantId "ten";
    /// One kind of a tenant's mail.
    StreamId "str";
    /// A sending domain.
    DomainId "dom";
    /// A DKIM key of a domain.
    DkimKeyId "dkm";
    /// An API key.
    ApiKeyId "key";
    /// An SMTP credential.
    CredentialId "crd";
    /// A weighted set of egress sources.
    PoolId "pol";
    /// An address that mail leaves from.
    SourceId "src";
    /// A webhook endpoint.
    EndpointId "whk";
    /// An accepted message; it is in the 250 and in reverse-paths.
    MessageId "msg";
    /// Something that is told: receivers know by it what they have seen.
    EventId "evt";
    /// A person who may log in.
    UserId "usr";
    /// A login of a person, from the password to the log-out.
    SessionId "ses";
    /// An entry of the audit.
    AuditId "aud";
    /// A request to the API, for its answer and the log.
    RequestId "req";
    /// An abuse report.
    ReportId "rpt";
    /// Something about a tenant that is looked into.
    FindingId "fnd";
}

fn mint(now: Timestamp, random: &mut Random) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random.bytes::<10>()).into_uuid()
}

fn encode(uuid: Uuid) -> String {
    let number = uuid.as_u128();
    (0..TEXT_LEN).rev().map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31])).collect()
}

fn decode(text: &str) -> Result<Uuid, IdError> {
    if text.len() != TEXT_LEN {
        return Err(IdError::Text);
    }
    let mut number: u128 = 0;
    for (index, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|known| *known == byte).ok_or(IdError::Text)?;
        // 26 × 5 = 130 bits: the first character carries three.
        if index == 0 && digit > 7 {
            return Err(IdError::Text);
        }
        number = number << 5 | digit as u128;
    }
    Ok(Uuid::from_u128(number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_and_id_go_both_ways_and_keep_the_order() {
        let mut random = Random::from_number(3);
        let early = MessageId::mint(Timestamp::from_millis(1_000), &mut random);
        let late = MessageId::mint(Timestamp::from_millis(2_000), &mut random);
        assert_eq!(MessageId::parse(&early.to_string()), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        assert!(early.to_string().starts_with("msg_") && early.to_string().len() == 30);
    }

    #[test]
    fn other_kinds_and_damaged_text_are_refused() {
        let id = TenantId::mint(Timestamp::from_millis(5), &mut Random::from_number(1)).to_string();
        assert_eq!(MessageId::parse(&id), Err(IdError::Prefix("msg")));
        assert_eq!(TenantId::parse(&id.to_uppercase()), Err(IdError::Prefix("ten")));
        assert_eq!(TenantId::parse(&id[..29]), Err(IdError::Text));
        assert_eq!(TenantId::parse(&format!("ten_{}", "z".repeat(26))), Err(IdError::Text));
        assert_eq!(TenantId::parse(&format!("ten_{}", "u".repeat(26))), Err(IdError::Text));
        assert!(TenantId::parse("").is_err());
    }
}
