//! Mailboxes and domains: parsed once at the edge, trusted everywhere after.
//!
//! `Domain`, `LocalPart` and `Mailbox` follow the grammar of RFC 5321 §4.1.2, widened to UTF-8 by RFC 6531 §3.3.
//! They refuse everything that has two readings: source routes, comments, folding, control characters, empty
//! labels, `xn--` labels that do not decode. A domain is kept in one canonical form (lower case, A-labels), so that
//! comparing two of them is comparing bytes; a local-part is kept exactly as it was given, because only the
//! receiving site knows whether its case matters (RFC 5321 §2.4).
//!
//! Called by both SMTP machines, the API and the registry. What may surprise: address literals (`[192.0.2.1]`) are
//! refused on purpose; a provider of bulk mail has no use for them and they are a way around MX policy.

use std::fmt;
use std::sync::Arc;

/// Octets of a domain, RFC 5321 §4.5.3.1.2; RFC 1035 allows two less for the text form.
pub const DOMAIN_OCTETS_MAX: usize = 253;
/// Octets of a label, RFC 1035 §2.3.4.
pub const LABEL_OCTETS_MAX: usize = 63;
/// Octets of a local-part, RFC 5321 §4.5.3.1.1.
pub const LOCAL_PART_OCTETS_MAX: usize = 64;

/// Why some text is not an address. The sentences are public: they are shown to whoever sent the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("the address has no @")]
    NoAt,
    #[error("the part before the @ is empty")]
    EmptyLocalPart,
    #[error("the part before the @ is longer than 64 octets")]
    LongLocalPart,
    #[error("the part before the @ has a character that must be quoted or is not allowed")]
    BadLocalPart,
    #[error("the domain is empty")]
    EmptyDomain,
    #[error("the domain is longer than 253 octets")]
    LongDomain,
    #[error("the domain has a label that is empty, too long or has a character that is not allowed")]
    BadLabel,
    #[error("the domain needs at least two labels, such as client.example")]
    SingleLabel,
    #[error("an IP address in brackets cannot be used here; use a domain")]
    AddressLiteral,
    #[error("the domain is not valid as an internationalized name")]
    BadInternationalName,
    #[error("a route before the address (@a,@b:user@domain) is not accepted")]
    SourceRoute,
}

/// A domain name in canonical form: ASCII, lower case, no trailing dot, at least two labels.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// The part of a mailbox before the `@`, exactly as given (quotes included).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart(Box<str>);

/// `local-part@domain`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    local_part: LocalPart,
    domain: Domain,
}

impl Domain {
    /// Parses a domain as a person or a protocol writes it: U-labels and upper case are folded (RFC 5891 §4), one
    /// trailing dot is dropped.
    ///
    /// # Errors
    /// The first thing that is wrong; the sentence is for the client. `EmptyDomain`, `AddressLiteral`,
    /// `LongDomain` (more than [`DOMAIN_OCTETS_MAX`] as written or as A-labels), `BadInternationalName` (RFC
    /// 5891 §4 does not allow a U-label or a decoded A-label), `BadLabel` (also for a last label of digits
    /// only) or `SingleLabel`.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::EmptyDomain);
        }
        if text.starts_with('[') {
            return Err(AddressError::AddressLiteral);
        }
        if text.len() > DOMAIN_OCTETS_MAX {
            return Err(AddressError::LongDomain);
        }
        let ascii = if text.is_ascii() && !has_punycode(text) {
            text.to_ascii_lowercase()
        } else {
            // Non-transitional UTS 46 with STD3 rules; decodes and re-encodes `xn--` labels, so `xn--example-.org`
            // cannot stand for `example.org`.
            idna::domain_to_ascii_strict(text).map_err(|_| AddressError::BadInternationalName)?
        };
        check_labels(&ascii)?;
        Ok(Domain(ascii.into()))
    }

    /// The canonical form: lower case, A-labels, without a dot at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Domain) -> bool {
        self.0.strip_suffix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The domain one label up, if that still has two labels.
    pub fn parent(&self) -> Option<Domain> {
        let (_, rest) = self.0.split_once('.')?;
        rest.contains('.').then(|| Domain(rest.into()))
    }

    /// `label.self`, for the host names of DNS records. The label may hold dots and underscores (`a._domainkey`).
    pub fn host_below(&self, label: &str) -> String {
        format!("{label}.{}", self.0)
    }
}

impl LocalPart {
    /// Parses a dot-string or a quoted-string (RFC 5321 §4.1.2; UTF-8 by RFC 6531 §3.3).
    ///
    /// # Errors
    /// `EmptyLocalPart`, `LongLocalPart` (more than [`LOCAL_PART_OCTETS_MAX`], quotes included) or
    /// `BadLocalPart`: an empty atom, a quoted-string that does not end at the end, a character neither
    /// allows, or an invisible one.
    pub fn parse(text: &str) -> Result<LocalPart, AddressError> {
        if text.is_empty() {
            return Err(AddressError::EmptyLocalPart);
        }
        if text.len() > LOCAL_PART_OCTETS_MAX {
            return Err(AddressError::LongLocalPart);
        }
        let valid = match text.strip_prefix('"') {
            Some(rest) => is_quoted_content(rest),
            None => text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char)),
        };
        if valid { Ok(LocalPart(text.into())) } else { Err(AddressError::BadLocalPart) }
    }

    /// As it was given; quoted if it was.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// False: it can be sent only to a site with SMTPUTF8 (RFC 6531 §3.3).
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

impl Mailbox {
    /// Parses `local-part@domain` without angle brackets. The last `@` outside quotes divides.
    ///
    /// # Errors
    /// `Empty`, `SourceRoute` (RFC 5321 §4.1.2 A-d-l) or `NoAt`; else as [`LocalPart::parse`] and then
    /// [`Domain::parse`] do. The sentence is for the client.
    pub fn parse(text: &str) -> Result<Mailbox, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.starts_with('@') && text.contains(':') {
            return Err(AddressError::SourceRoute);
        }
        let at = text.rfind('@').ok_or(AddressError::NoAt)?;
        Ok(Mailbox { local_part: LocalPart::parse(&text[..at])?, domain: Domain::parse(&text[at + 1..])? })
    }

    /// Puts together what was parsed before; any two halves fit.
    pub fn new(local_part: LocalPart, domain: Domain) -> Mailbox {
        Mailbox { local_part, domain }
    }

    /// What stands before the @; case counts, for only the site knows whether it does (RFC 5321 §2.4).
    pub fn local_part(&self) -> &LocalPart {
        &self.local_part
    }

    /// What stands behind the @, in its canonical form.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether a site without SMTPUTF8 can be offered this mailbox. The domain always can: it is kept as A-labels.
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii()
    }
}

/// RFC 5321 Atom, which is RFC 5322 atext; any printable non-ASCII character by RFC 6531.
fn is_atom_char(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{'
        | '|' | '}' | '~' => true,
        _ => !c.is_ascii() && !c.is_control() && !c.is_whitespace() && !is_invisible(c),
    }
}

/// Characters that change how text around them is shown: two mailboxes must never look the same because of them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Everything after the opening quote: qtext and quoted pairs, then exactly one closing quote at the end.
fn is_quoted_content(rest: &str) -> bool {
    let mut escaped = false;
    for (index, c) in rest.char_indices() {
        if c.is_control() || is_invisible(c) {
            return false;
        }
        match (escaped, c) {
            (true, _) => escaped = false,
            (false, '\\') => escaped = true,
            (false, '"') => return index + 1 == rest.len(),
            (false, _) => {}
        }
    }
    false
}

fn has_punycode(text: &str) -> bool {
    text.split('.').any(|label| label.len() >= 4 && label.as_bytes()[..4].eq_ignore_ascii_case(b"xn--"))
}

fn check_labels(ascii: &str) -> Result<(), AddressError> {
    if ascii.len() > DOMAIN_OCTETS_MAX {
        return Err(AddressError::LongDomain);
    }
    let mut labels = 0;
    for label in ascii.split('.') {
        labels += 1;
        // Underscores are not host names, but mail to such domains exists and MX lookups work.
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        let bytes = label.as_bytes();
        if bytes.len() > LABEL_OCTETS_MAX || !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(AddressError::BadLabel);
        }
        if !bytes.iter().all(|b| legal(*b)) {
            return Err(AddressError::BadLabel);
        }
    }
    if labels < 2 {
        return Err(AddressError::SingleLabel);
    }
    // 1.2.3.4 without brackets is an address, not a name.
    if ascii.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(AddressError::BadLabel);
    }
    Ok(())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Debug output ends up in logs, and no address belongs there.
impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalPart(…)")
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox(…@{})", self.domain)
    }
}

impl std::str::FromStr for Domain {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Domain, AddressError> {
        Domain::parse(text)
    }
}

impl std::str::FromStr for Mailbox {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Mailbox, AddressError> {
        Mailbox::parse(text)
    }
}

impl serde::Serialize for Domain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Domain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Domain, D::Error> {
        let text = String::deserialize(deserializer)?;
        Domain::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Mailbox {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Mailbox {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mailbox, D::Error> {
        let text = String::deserialize(deserializer)?;
        Mailbox::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_canonical_form() {
        for text in ["News.Client.EXAMPLE", "news.client.example."] {
            assert_eq!(Domain::parse(text).unwrap().as_str(), "news.client.example");
        }
        assert_eq!(Domain::parse("bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!(Domain::parse("XN--BCHER-KVA.example").unwrap(), Domain::parse("bücher.example").unwrap());
    }

    #[test]
    fn a_domain_with_two_readings_is_refused() {
        let cases = [
            ("", AddressError::EmptyDomain),
            (".", AddressError::EmptyDomain),
            ("localhost", AddressError::SingleLabel),
            ("a..example", AddressError::BadLabel),
            (".example.org", AddressError::BadLabel),
            ("-a.example", AddressError::BadLabel),
            ("a b.example", AddressError::BadLabel),
            ("a\r\n.example", AddressError::BadLabel),
            ("[192.0.2.1]", AddressError::AddressLiteral),
            ("192.0.2.1", AddressError::BadLabel),
            ("xn--example-.org", AddressError::BadInternationalName),
            ("exa\u{200B}mple.or\u{7f}g", AddressError::BadInternationalName),
        ];
        for (text, error) in cases {
            assert_eq!(Domain::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Domain::parse(&"a.".repeat(130)), Err(AddressError::LongDomain));
        assert_eq!(Domain::parse(&format!("{}.example", "a".repeat(64))), Err(AddressError::BadLabel));
    }

    #[test]
    fn a_mailbox_is_divided_at_the_last_at_sign() {
        let quoted = Mailbox::parse("\"a@evil.example x\"@good.example").unwrap();
        assert_eq!(quoted.domain().as_str(), "good.example");
        assert_eq!(Mailbox::parse("a@evil.example@good.example"), Err(AddressError::BadLocalPart));
    }

    #[test]
    fn a_local_part_keeps_its_case_and_its_quotes() {
        for local in ["Anna.Meier+tag", "\"a b\"", "\"a\\\"b\"", "用户"] {
            let text = format!("{local}@example.org");
            assert_eq!(Mailbox::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_local_part_that_could_break_out_is_refused() {
        let control = ["a\r\nRCPT", "a\0b", "a\u{202E}b", "\"a\rb\""];
        for local in
            ["", "a..b", ".a", "a.", "a b", "\"a\"b\"", "\"a", "a,b", "<a>"].into_iter().chain(control)
        {
            assert!(Mailbox::parse(&format!("{local}@example.org")).is_err(), "{local:?}");
        }
        assert_eq!(Mailbox::parse("@a,@b:c@example.org"), Err(AddressError::SourceRoute));
        assert_eq!(
            Mailbox::parse(&format!("{}@example.org", "a".repeat(65))),
            Err(AddressError::LongLocalPart)
        );
    }

    #[test]
    fn within_means_the_same_domain_or_below_it() {
        let domain = |text| Domain::parse(text).unwrap();
        assert!(domain("example.org").is_within(&domain("example.org")));
        assert!(domain("a.b.example.org").is_within(&domain("example.org")));
        assert!(!domain("badexample.org").is_within(&domain("example.org")));
        assert_eq!(domain("a.example.org").parent(), Some(domain("example.org")));
        assert_eq!(domain("example.org").parent(), None);
    }

    #[test]
    fn no_address_appears_in_debug_output() {
        let shown = format!("{:?}", Mailbox::parse("anna@example.org").unwrap());
        assert!(!shown.contains("anna"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_to_something_that_parses_to_the_same(text in "\\PC{1,20}@\\PC{1,20}") {
            if let Ok(mailbox) = Mailbox::parse(&text) {
                proptest::prop_assert_eq!(Mailbox::parse(&mailbox.to_string()), Ok(mailbox));
            }
        }
    }
}
