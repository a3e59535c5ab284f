//! Record data as the lab keeps it, and the text form in which records are published.
//!
//! Names are lower-case ASCII without the trailing dot. TXT values may come as one string or quoted as in a zone
//! file. A record of the API carries more fields (`purpose`, `state`, …): they are ignored here on purpose, so that
//! the array can be posted as it came.

use serde::Deserialize;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a published value; a 4096-bit RSA key in DKIM needs 800.
const VALUE_OCTETS_MAX: usize = 8_192;

/// The types that are answered (RFC 1035, RFC 3596).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// An alias.
    Cname,
    /// A mail exchanger.
    Mx,
    /// A name for an address.
    Ptr,
    /// Text.
    Txt,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name it stands for.
    Cname(String),
    /// The exchange of a null MX (RFC 7505) is the empty name.
    Mx(u16, String),
    /// The name of the address.
    Ptr(String),
    /// Its strings, joined.
    Txt(String),
}

/// One record to publish.
#[derive(Debug, Clone, Deserialize)]
pub struct Publication {
    /// The name that it stands at.
    #[serde(alias = "name")]
    pub host: String,
    /// `A`, `TXT` and so on, upper or lower case.
    #[serde(rename = "type")]
    pub kind: String,
    /// As one types it in a zone file, without quotes.
    pub value: String,
    /// Of an MX record whose value is the exchange alone.
    #[serde(default, alias = "preference")]
    pub priority: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum PublicationError {
    #[error("{0:?} is not a host name")]
    Host(String),
    #[error("records of type {0:?} cannot be published here; A, AAAA, CNAME, MX, PTR and TXT can")]
    Kind(String),
    #[error("the value of the {kind:?} record of {host} cannot be read")]
    Value { host: String, kind: Kind },
    #[error("the lab holds {0} published records and takes no more")]
    TooMany(usize),
}

impl Kind {
    /// The type with this name; none if it is not answered.
    pub fn parse(text: &str) -> Option<Kind> {
        match text.to_ascii_uppercase().as_str() {
            "A" => Some(Kind::A),
            "AAAA" => Some(Kind::Aaaa),
            "CNAME" => Some(Kind::Cname),
            "MX" => Some(Kind::Mx),
            "PTR" => Some(Kind::Ptr),
            "TXT" => Some(Kind::Txt),
            _ => None,
        }
    }

    /// As in zone files: `AAAA`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Cname => "CNAME",
            Kind::Mx => "MX",
            Kind::Ptr => "PTR",
            Kind::Txt => "TXT",
        }
    }
}

impl Publication {
    /// The host, in the lab's form, and its data.
    ///
    /// # Errors
    /// `Host` for what is no host name (labels of 1 to 63 octets, 253 in all: RFC 1035 §2.3.4); `Kind` for a
    /// type that is not answered; `Value` for one that its type does not take or that is longer than 8192
    /// octets.
    pub fn parse(&self) -> Result<(String, Data), PublicationError> {
        let host = host_name(&self.host).ok_or_else(|| PublicationError::Host(self.host.clone()))?;
        let kind = Kind::parse(&self.kind).ok_or_else(|| PublicationError::Kind(self.kind.clone()))?;
        let value = self.value.trim();
        let data = if value.len() > VALUE_OCTETS_MAX { None } else { parse_data(kind, value, self.priority) };
        data.map(|data| (host.clone(), data)).ok_or(PublicationError::Value { host, kind })
    }
}

impl Data {
    /// Its type.
    pub const fn kind(&self) -> Kind {
        match self {
            Data::A(_) => Kind::A,
            Data::Aaaa(_) => Kind::Aaaa,
            Data::Cname(_) => Kind::Cname,
            Data::Mx(..) => Kind::Mx,
            Data::Ptr(_) => Kind::Ptr,
            Data::Txt(_) => Kind::Txt,
        }
    }

    /// As it is published and shown.
    pub fn to_value(&self) -> String {
        match self {
            Data::A(address) => address.to_string(),
            Data::Aaaa(address) => address.to_string(),
            Data::Cname(name) | Data::Ptr(name) => name.clone(),
            Data::Mx(preference, exchange) => format!("{preference} {exchange}."),
            Data::Txt(text) => text.clone(),
        }
    }
}

fn parse_data(kind: Kind, value: &str, priority: Option<u16>) -> Option<Data> {
    match kind {
        Kind::A => value.parse().ok().map(Data::A),
        Kind::Aaaa => value.parse().ok().map(Data::Aaaa),
        Kind::Cname => host_name(value).map(Data::Cname),
        Kind::Ptr => host_name(value).map(Data::Ptr),
        Kind::Mx => {
            let (preference, exchange) = match value.split_once(char::is_whitespace) {
                Some((preference, exchange)) => (preference.parse().ok()?, exchange.trim()),
                None => (priority?, value),
            };
            let exchange = if exchange == "." { String::new() } else { host_name(exchange)? };
            Some(Data::Mx(preference, exchange))
        }
        Kind::Txt => unquote(value).map(Data::Txt),
    }
}

/// Lower case, no trailing dot, labels as DNS allows them; underscores are welcome (`_dmarc`, `x._domainkey`).
pub(crate) fn host_name(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    (text.len() <= 253 && text.split('.').all(label)).then_some(text)
}

/// `"v=DKIM1; p=abc" "def"` as a zone file has it, or the bare text.
fn unquote(value: &str) -> Option<String> {
    if !value.starts_with('"') {
        return Some(value.to_owned());
    }
    let (mut text, mut inside, mut escaped) = (String::with_capacity(value.len()), false, false);
    for c in value.chars() {
        match (inside, escaped, c) {
            (true, true, c) => {
                text.push(c);
                escaped = false;
            }
            (true, false, '\\') => escaped = true,
            (_, false, '"') => inside = !inside,
            (true, false, c) => text.push(c),
            (false, _, c) if c.is_whitespace() => {}
            (false, ..) => return None,
        }
    }
    (!inside).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn publication(host: &str, kind: &str, value: &str) -> Publication {
        Publication { host: host.into(), kind: kind.into(), value: value.into(), priority: None }
    }

    #[test]
    fn what_cannot_be_a_record_is_refused_by_name() {
        assert_eq!(
            publication("a..example", "TXT", "x").parse(),
            Err(PublicationError::Host("a..example".into()))
        );
        assert_eq!(publication("", "TXT", "x").parse(), Err(PublicationError::Host(String::new())));
        assert_eq!(
            publication("a.example", "HINFO", "x").parse(),
            Err(PublicationError::Kind("HINFO".into()))
        );
        for (kind, value) in
            [("A", "::1"), ("AAAA", "127.0.0.1"), ("MX", "mx.a.example"), ("TXT", "\"open"), ("CNAME", "a b")]
        {
            assert!(
                matches!(publication("a.example", kind, value).parse(), Err(PublicationError::Value { .. })),
                "{kind} {value}"
            );
        }
        assert!(publication("a.example", "TXT", &"x".repeat(VALUE_OCTETS_MAX + 1)).parse().is_err());
    }

    #[test]
    fn a_record_is_read_as_people_and_apis_write_it() {
        let parse = |host: &str, kind: &str, value: &str| publication(host, kind, value).parse().unwrap();
        assert_eq!(
            parse("X._DomainKey.A.example.", "txt", "v=DKIM1"),
            ("x._domainkey.a.example".into(), Data::Txt("v=DKIM1".into()))
        );
        assert_eq!(
            parse("a.example", "TXT", "\"v=DKIM1; p=ab\" \"cd\"").1,
            Data::Txt("v=DKIM1; p=abcd".into())
        );
        assert_eq!(parse("a.example", "MX", "10 MX.a.example.").1, Data::Mx(10, "mx.a.example".into()));
        assert_eq!(parse("a.example", "MX", "0 .").1, Data::Mx(0, String::new()));
        let mut apart = publication("a.example", "MX", "mx.a.example");
        apart.priority = Some(5);
        assert_eq!(apart.parse().unwrap().1, Data::Mx(5, "mx.a.example".into()));
    }

    #[test]
    fn the_fields_that_an_api_adds_are_ignored() {
        let json = r#"{"purpose":"dkim1","type":"TXT","host":"a.example","value":"x","required":true,"state":"missing","found":[],"hint":"…"}"#;
        let publication: Publication = serde_json::from_str(json).unwrap();
        assert_eq!(publication.parse().unwrap().1, Data::Txt("x".into()));
    }
}
