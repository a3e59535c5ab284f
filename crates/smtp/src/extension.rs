//! The service extensions we know, as a set, and what an EHLO answer says about them (RFC 5321 §4.1.1.1).
//!
//! The server prints a set, the client reads one. Keywords we do not know are not kept: nothing could be done with them.

/// One service extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Extension {
    /// RFC 2920
    Pipelining = 1 << 0,
    /// RFC 1870
    Size = 1 << 1,
    /// RFC 6152
    EightBitMime = 1 << 2,
    /// RFC 6531
    SmtpUtf8 = 1 << 3,
    /// RFC 2034
    EnhancedStatusCodes = 1 << 4,
    /// RFC 3030
    Chunking = 1 << 5,
    /// RFC 3461
    Dsn = 1 << 6,
    /// RFC 3207
    StartTls = 1 << 7,
    /// RFC 4954
    Auth = 1 << 8,
    /// RFC 8689
    RequireTls = 1 << 9,
}

/// In the order in which an EHLO answer lists them.
const ALL: [(Extension, &str); 10] = [
    (Extension::Pipelining, "PIPELINING"),
    (Extension::Size, "SIZE"),
    (Extension::EightBitMime, "8BITMIME"),
    (Extension::SmtpUtf8, "SMTPUTF8"),
    (Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
    (Extension::Chunking, "CHUNKING"),
    (Extension::Dsn, "DSN"),
    (Extension::StartTls, "STARTTLS"),
    (Extension::Auth, "AUTH"),
    (Extension::RequireTls, "REQUIRETLS"),
];

/// A set of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions(u16);

/// What a server said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// Those of ours that it knows too.
    pub extensions: Extensions,
    /// The SIZE limit in octets of a message (RFC 1870 §4); `None` if there is none or it is not said.
    pub size_max: Option<u64>,
    /// AUTH with PLAIN among its mechanisms (RFC 4954 §3).
    pub auth_plain: bool,
}

impl Extension {
    /// As EHLO has it, upper case.
    pub fn keyword(self) -> &'static str {
        ALL[(self as u16).trailing_zeros() as usize].1
    }
}

impl Extensions {
    /// Offers nothing.
    pub const NONE: Extensions = Extensions(0);

    /// A set of these.
    pub fn of(extensions: &[Extension]) -> Extensions {
        extensions.iter().fold(Extensions::NONE, |set, extension| set.with(*extension))
    }

    /// The set and this one.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Extensions {
        Extensions(self.0 | extension as u16)
    }

    /// The set without this one.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Extensions {
        Extensions(self.0 & !(extension as u16))
    }

    /// Whether it is offered.
    pub const fn contains(self, extension: Extension) -> bool {
        self.0 & extension as u16 != 0
    }

    /// In the order in which EHLO names them.
    pub fn iter(self) -> impl Iterator<Item = Extension> {
        ALL.iter().map(|(extension, _)| *extension).filter(move |extension| self.contains(*extension))
    }
}

impl Offer {
    /// Reads one line of an EHLO answer, without its code. The first line, the server's name, is not given to this.
    pub(crate) fn read_line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        // `AUTH=PLAIN` is how some servers spoke before RFC 2554; clients of that age are gone, so it is not read.
        let Some((extension, _)) = ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(keyword)) else {
            return;
        };
        self.extensions = self.extensions.with(*extension);
        if *extension == Extension::Size {
            // RFC 1870 §4: zero is "no fixed limit".
            self.size_max = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        } else if *extension == Extension::Auth {
            self.auth_plain = words.any(|word| word.eq_ignore_ascii_case("PLAIN"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_whatever_its_case_and_order() {
        let mut offer = Offer::default();
        for line in ["size 1000", "Pipelining", "AUTH login plain", "X-FUTURE yes", "", "AUTH=PLAIN"] {
            offer.read_line(line);
        }
        assert_eq!(offer.size_max, Some(1000));
        assert!(offer.auth_plain);
        let known: Vec<_> = offer.extensions.iter().map(Extension::keyword).collect();
        assert_eq!(known, ["PIPELINING", "SIZE", "AUTH"]);
    }

    #[test]
    fn a_size_that_is_no_number_or_zero_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE many", "SIZE 99999999999999999999999"] {
            let mut offer = Offer::default();
            offer.read_line(line);
            assert_eq!(offer.size_max, None, "{line}");
            assert!(offer.extensions.contains(Extension::Size));
        }
    }

    #[test]
    fn a_keyword_belongs_to_its_extension() {
        for (extension, keyword) in ALL {
            assert_eq!(extension.keyword(), keyword);
        }
        assert!(!Extensions::of(&[Extension::Dsn]).without(Extension::Dsn).contains(Extension::Dsn));
    }
}
