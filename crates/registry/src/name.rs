//! Names that people give: a display name (free text) and a slug (a word that headers, URLs and logs can carry).
//!
//! Both are parsed once, at the API or when a row is read; nothing after that asks whether a name is sane. They
//! refuse control characters, so that no name can end a header or a log line.

use std::fmt;
use std::sync::Arc;

/// Characters of a display name.
pub const DISPLAY_NAME_CHARS_MAX: usize = 120;
/// Octets of a slug.
pub const SLUG_OCTETS_MAX: usize = 63;

/// Why some text is not a name. The sentences are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum NameError {
    #[error("the name is empty")]
    Empty,
    #[error("the name is longer than {0} characters")]
    Long(usize),
    #[error("the name has a control character")]
    Control,
    #[error("use a-z, 0-9, - and _, beginning with a letter or a digit")]
    NotASlug,
}

/// Free text for people: a tenant's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DisplayName(Arc<str>);

/// A word in lower case: the name of a stream, a pool, a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(Arc<str>);

impl DisplayName {
    /// Parses free text; blanks around it are dropped.
    ///
    /// # Errors
    /// `Empty`, `Long` (more than 120 characters) or `Control`, each a sentence for people.
    pub fn parse(text: &str) -> Result<DisplayName, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > DISPLAY_NAME_CHARS_MAX {
            return Err(NameError::Long(DISPLAY_NAME_CHARS_MAX));
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Ok(DisplayName(text.into()))
    }

    /// Free text without control characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Slug {
    /// Parses a slug as it stands; upper case is refused rather than folded, so that one name has one
    /// spelling.
    ///
    /// # Errors
    /// `Empty`, `Long` (more than 63 octets) or `NotASlug`, each a sentence for people.
    pub fn parse(text: &str) -> Result<Slug, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let legal = |b: u8| word(b) || b == b'-' || b == b'_';
        if !text.bytes().all(legal) || !text.bytes().next().is_some_and(word) {
            return Err(NameError::NotASlug);
        }
        // Each is a character of one octet.
        if text.len() > SLUG_OCTETS_MAX {
            return Err(NameError::Long(SLUG_OCTETS_MAX));
        }
        Ok(Slug(text.into()))
    }

    /// Of a to z, 0 to 9, hyphen and underscore.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for DisplayName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl serde::Serialize for Slug {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DisplayName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DisplayName, D::Error> {
        DisplayName::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> serde::Deserialize<'de> for Slug {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Slug, D::Error> {
        Slug::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_break_a_line_or_have_two_spellings_are_refused() {
        assert_eq!(DisplayName::parse("  "), Err(NameError::Empty));
        assert_eq!(DisplayName::parse("a\r\nb"), Err(NameError::Control));
        assert_eq!(DisplayName::parse(&"ä".repeat(121)), Err(NameError::Long(120)));
        for text in ["Marketing", "-a", "_a", "a b", "a.b", "ä"] {
            assert_eq!(Slug::parse(text), Err(NameError::NotASlug), "{text}");
        }
        assert_eq!(Slug::parse(&"a".repeat(64)), Err(NameError::Long(63)));
        assert_eq!(Slug::parse("marketing-2_x").unwrap().as_str(), "marketing-2_x");
        assert_eq!(DisplayName::parse(" Äpfel & Co ").unwrap().as_str(), "Äpfel & Co");
    }
}
