//! SMTP commands as text becomes values (RFC 5321 §4.1.1), for the lab's server.
//!
//! Strict where a large site is strict: no space after the colon, brackets required, only parameters that were
//! offered.

use crate::provider::Features;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ehlo(String),
    Helo(String),
    Mail(String, Parameters),
    Rcpt(String, Parameters),
    Data,
    Bdat {
        octets: usize,
        last: bool,
    },
    Rset,
    Noop,
    Vrfy,
    StartTls,
    Quit,
    Unknown,
    /// With the reply it deserves.
    Malformed(&'static str),
}

/// ESMTP parameters as given, keywords in upper case.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Parameters(Vec<(String, Option<String>)>);

impl Command {
    pub fn parse(line: &[u8]) -> Command {
        let Ok(line) = std::str::from_utf8(line) else {
            return Command::Malformed("500 5.5.2 Error: bad UTF-8 syntax");
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let argument = rest.trim();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if argument.is_empty() => Command::Malformed("501 5.5.4 Syntax: EHLO hostname"),
            "EHLO" => Command::Ehlo(argument.to_owned()),
            "HELO" => Command::Helo(argument.to_owned()),
            "MAIL" => {
                path(argument, "FROM:").map_or(BAD_MAIL, |(path, parameters)| Command::Mail(path, parameters))
            }
            "RCPT" => {
                path(argument, "TO:").map_or(BAD_RCPT, |(path, parameters)| Command::Rcpt(path, parameters))
            }
            "BDAT" => bdat(argument).unwrap_or(Command::Malformed("501 5.5.4 Syntax: BDAT count [LAST]")),
            "NOOP" => Command::Noop,
            "VRFY" => Command::Vrfy,
            "DATA" | "RSET" | "STARTTLS" | "QUIT" if !argument.is_empty() => {
                Command::Malformed("501 5.5.4 Syntax error, no parameters allowed")
            }
            "DATA" => Command::Data,
            "RSET" => Command::Rset,
            "STARTTLS" => Command::StartTls,
            "QUIT" => Command::Quit,
            _ => Command::Unknown,
        }
    }
}

const BAD_MAIL: Command = Command::Malformed("501 5.5.4 Syntax: MAIL FROM:<address>");
const BAD_RCPT: Command = Command::Malformed("501 5.5.4 Syntax: RCPT TO:<address>");

impl Parameters {
    pub fn has(&self, keyword: &str) -> bool {
        self.0.iter().any(|(own, _)| own == keyword)
    }

    pub fn number(&self, keyword: &str) -> Option<usize> {
        self.0.iter().find(|(own, _)| own == keyword)?.1.as_ref()?.parse().ok()
    }

    /// The reply if something was not offered, or has no sense.
    pub fn refuse_for_mail(&self, features: &Features, encrypted: bool) -> Option<&'static str> {
        let fits = |(keyword, value): &(String, Option<String>)| match (keyword.as_str(), value.as_deref()) {
            ("SIZE", Some(_)) => self.number("SIZE").is_some(),
            ("BODY", Some(value)) => {
                let kinds = [
                    ("7BIT", true),
                    ("8BITMIME", features.offers("8BITMIME")),
                    ("BINARYMIME", features.offers("BINARYMIME")),
                ];
                kinds.iter().any(|(kind, offered)| *offered && value.eq_ignore_ascii_case(kind))
            }
            ("SMTPUTF8", None) => features.smtputf8,
            ("REQUIRETLS", None) => features.require_tls && encrypted,
            ("RET" | "ENVID", Some(_)) => features.offers("DSN"),
            _ => false,
        };
        (!self.0.iter().all(fits)).then_some("555 5.5.4 Unsupported option in MAIL FROM")
    }

    pub fn refuse_for_rcpt(&self, features: &Features) -> Option<&'static str> {
        let fits = |(keyword, value): &(String, Option<String>)| {
            matches!(keyword.as_str(), "NOTIFY" | "ORCPT") && value.is_some() && features.offers("DSN")
        };
        (!self.0.iter().all(fits)).then_some("555 5.5.4 Unsupported option in RCPT TO")
    }
}

impl Features {
    fn offers(&self, keyword: &str) -> bool {
        self.lines.contains(&keyword)
    }
}

/// `FROM:<path> KEY=value KEY`.
fn path(argument: &str, prefix: &str) -> Option<(String, Parameters)> {
    let head = argument.get(..prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let rest = argument[prefix.len()..].strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.find(|c: char| {
        let closes = c == '>' && !quoted;
        if escaped {
            escaped = false;
        } else {
            escaped = quoted && c == '\\';
            quoted ^= c == '"';
        }
        closes
    })?;
    let tail = &rest[end + 1..];
    if !tail.is_empty() && !tail.starts_with(' ') {
        return None;
    }
    let parameter = |word: &str| match word.split_once('=') {
        Some((keyword, value)) => (keyword.to_ascii_uppercase(), Some(value.to_owned())),
        None => (word.to_ascii_uppercase(), None),
    };
    Some((rest[..end].to_owned(), Parameters(tail.split_ascii_whitespace().map(parameter).collect())))
}

fn bdat(argument: &str) -> Option<Command> {
    let mut words = argument.split_ascii_whitespace();
    let octets = words.next()?.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat { octets, last })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::provider::Voice;

    fn parameters(line: &str) -> Parameters {
        match Command::parse(line.as_bytes()) {
            Command::Mail(_, parameters) | Command::Rcpt(_, parameters) => parameters,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn what_a_strict_site_does_not_read_is_malformed() {
        for line in [
            "EHLO",
            "MAIL",
            "MAIL FROM:a@b.example",
            "MAIL FROM: <a@b.example>",
            "MAIL TO:<a@b.example>",
            "RCPT FROM:<a@b.example>",
            "RCPT TO:<a@b.example",
            "RCPT TO:<a@b.example>X",
            "DATA now",
            "BDAT",
            "BDAT x",
            "BDAT 1 LAST LAST",
            "BDAT -1",
            "QUIT x",
        ] {
            assert!(matches!(Command::parse(line.as_bytes()), Command::Malformed(_)), "{line}");
        }
        assert!(matches!(Command::parse(b"MAIL FROM:<\xff@b.example>"), Command::Malformed(_)));
        assert_eq!(Command::parse(b"EXPN list"), Command::Unknown);
    }

    #[test]
    fn only_offered_parameters_pass() {
        let (plain, yahoo) = (Voice::Plain.features(), Voice::Yahoo.features());
        let all = parameters("MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x");
        assert!(all.refuse_for_mail(&plain, false).is_none());
        assert!(all.refuse_for_mail(&yahoo, false).is_some());
        for line in [
            "MAIL FROM:<> SIZE=x",
            "MAIL FROM:<> BODY=16BIT",
            "MAIL FROM:<> AUTH=<>",
            "MAIL FROM:<> SMTPUTF8=1",
            "MAIL FROM:<> REQUIRETLS",
        ] {
            assert!(parameters(line).refuse_for_mail(&plain, false).is_some(), "{line}");
        }
        assert!(parameters("MAIL FROM:<> REQUIRETLS").refuse_for_mail(&plain, true).is_none());
        let rcpt = parameters("RCPT TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;a@b.example");
        assert!(rcpt.refuse_for_rcpt(&plain).is_none() && rcpt.refuse_for_rcpt(&yahoo).is_some());
    }

    #[test]
    fn a_path_ends_at_the_bracket_outside_quotes() {
        let parse = |line: &str| match Command::parse(line.as_bytes()) {
            Command::Mail(path, _) | Command::Rcpt(path, _) => path,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(parse("mail from:<>"), "");
        assert_eq!(parse("rcpt to:<\"a>b\"@c.example> NOTIFY=NEVER"), "\"a>b\"@c.example");
        assert_eq!(Command::parse(b"BDAT 10 last"), Command::Bdat { octets: 10, last: true });
    }
}
