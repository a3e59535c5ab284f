//! One command line into one `Command` (RFC 5321 §4.1.1 and the extensions offered here).
//!
//! Refuses whatever has two readings; an error carries the reply code it deserves and none of the client's own
//! words but the keyword of a parameter. Paths and parameters are parsed here too: after this nothing looks at text again. What may surprise: a
//! space after `FROM:` and `TO:` is let pass, as every large server does.

use crate::extension::Extension;
use crate::parameter::{self, Keyword, MailParameters, RcptParameters};
use mail::{AddressError, EnhancedStatus, ForwardPath, Reply, ReversePath};

/// A command as it was understood; the text is the client's and has no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// With the argument, which need not be a domain: many clients say less.
    Ehlo(&'a str),
    /// Without extensions (RFC 5321 §4.1.1.1).
    Helo(&'a str),
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth {
        /// Upper or lower case, as it came.
        mechanism: &'a str,
        /// The initial response, still in base 64; empty for `=`.
        initial: Option<&'a [u8]>,
    },
    /// Begins a transaction.
    Mail {
        /// Null for returned mail.
        reverse_path: ReversePath,
        /// None of them twice.
        parameters: MailParameters,
    },
    /// One recipient.
    Rcpt {
        /// A mailbox, or `Postmaster` alone.
        forward_path: RcptPath,
        /// None of them twice.
        parameters: RcptParameters,
    },
    /// The message follows, until the dot on a line of its own.
    Data,
    /// A chunk follows (RFC 3030 §2).
    Bdat {
        /// Octets that follow the line.
        octets: u64,
        /// It is the last one, and may be empty.
        last: bool,
    },
    /// Ends a transaction without a message.
    Rset,
    /// Does nothing.
    Noop,
    /// Says nothing about anybody: `252`.
    Vrfy,
    /// A pointer for people.
    Help,
    /// Ends the session.
    Quit,
    /// Known to the standard, not to us: EXPN, TURN, SEND and their like.
    NotImplemented,
}

/// The argument of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcptPath {
    /// A mailbox with its domain.
    Mailbox(ForwardPath),
    /// `<postmaster>` without a domain, in any case (RFC 5321 §4.5.1).
    Postmaster,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// No verb we know.
    Unknown,
    /// A verb of HTTP: somebody, or somebody's browser, is at the wrong door (cross-protocol requests).
    Http,
    /// The arguments do not have the form of the command.
    Syntax(&'static str),
    /// BDAT without a size that can be read. What follows may be commands or a message: nobody can say.
    ChunkSize,
    /// The argument of MAIL FROM.
    ReversePath(AddressError),
    /// The argument of RCPT TO.
    ForwardPath(AddressError),
    /// A parameter that we do not know.
    UnknownParameter(Option<Keyword>),
    /// A parameter of an extension that is not offered here, or not yet.
    NotOffered(Extension),
    /// A parameter that is offered, twice or with a value it cannot have.
    BadParameter(&'static str),
    /// An address that needs SMTPUTF8, without it (RFC 6531 §3.5).
    NeedsSmtpUtf8,
    /// The line has more octets than `command_octets_max`.
    TooLong,
    /// With a bare CR or a NUL inside.
    BadLineEnd,
    /// Ended by LF alone. What follows is another command to some and the rest of this one to others.
    BareLineFeed,
}

impl CommandError {
    /// 5yz with the enhanced code of RFC 2034; none of the client's own words but a keyword.
    pub fn to_reply(self) -> Reply {
        let reply = |code, (class, subject, detail), text: &str| {
            Reply::new(code, Some(EnhancedStatus::new(class, subject, detail)), text)
        };
        match self {
            CommandError::Unknown => reply(500, (5, 5, 2), "command not recognized"),
            CommandError::Http => reply(554, (5, 5, 0), "this is a mail server"),
            CommandError::Syntax(form) => reply(501, (5, 5, 4), &format!("expected {form}")),
            CommandError::ChunkSize => reply(501, (5, 5, 4), "expected BDAT size [LAST]; closing"),
            CommandError::ReversePath(error) => reply(501, (5, 1, 7), &error.to_string()),
            CommandError::ForwardPath(error) => reply(501, (5, 1, 3), &error.to_string()),
            CommandError::UnknownParameter(None) => reply(555, (5, 5, 4), "parameter not recognized"),
            CommandError::UnknownParameter(Some(keyword)) => {
                reply(555, (5, 5, 4), &format!("parameter {} not recognized", keyword.as_str()))
            }
            CommandError::NotOffered(extension) => {
                let text = format!("a parameter needs {}, which is not offered here", extension.keyword());
                reply(555, (5, 5, 4), &text)
            }
            CommandError::BadParameter(name) => {
                reply(501, (5, 5, 4), &format!("{name} was given twice or has a value it cannot have"))
            }
            CommandError::NeedsSmtpUtf8 => reply(553, (5, 6, 7), "this address needs SMTPUTF8"),
            CommandError::TooLong => reply(500, (5, 5, 6), "line too long"),
            CommandError::BareLineFeed => {
                reply(500, (5, 5, 2), "a line ends with CR LF and not with LF alone; closing")
            }
            CommandError::BadLineEnd => {
                reply(500, (5, 5, 2), "a line ends with CR LF and holds no other CR, LF or NUL")
            }
        }
    }
}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// What the client is told; nothing has happened then. `Unknown` or `Http` for the verb; `Syntax`,
    /// `ChunkSize`, `ReversePath`, `ForwardPath`, `UnknownParameter` or `BadParameter` for what follows it;
    /// `NeedsSmtpUtf8` if a reverse-path is not ASCII and SMTPUTF8 was not given. The other cases are the
    /// session's.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let (verb, rest) = match memchr::memchr(b' ', line) {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (line, &line[line.len()..]),
        };
        let mut upper = [0; 8];
        let Some(upper) = upper.get_mut(..verb.len()) else { return Err(CommandError::Unknown) };
        upper.copy_from_slice(verb);
        upper.make_ascii_uppercase();
        match &*upper {
            b"MAIL" => parse_mail(rest),
            b"RCPT" => parse_rcpt(rest),
            b"DATA" => without_argument(rest, Command::Data, "DATA without an argument"),
            b"BDAT" => parse_bdat(rest),
            b"EHLO" => Ok(Command::Ehlo(client_name(rest)?)),
            b"HELO" => Ok(Command::Helo(client_name(rest)?)),
            b"STARTTLS" => without_argument(rest, Command::StartTls, "STARTTLS without an argument"),
            b"AUTH" => parse_auth(rest),
            b"RSET" => without_argument(rest, Command::Rset, "RSET without an argument"),
            b"QUIT" => without_argument(rest, Command::Quit, "QUIT without an argument"),
            b"NOOP" => Ok(Command::Noop),
            b"HELP" => Ok(Command::Help),
            b"VRFY" if trim(rest).is_empty() => Err(CommandError::Syntax("VRFY mailbox")),
            b"VRFY" => Ok(Command::Vrfy),
            b"EXPN" | b"TURN" | b"ETRN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" | b"BURL" => {
                Ok(Command::NotImplemented)
            }
            b"GET" | b"POST" | b"PUT" | b"HEAD" | b"OPTIONS" | b"CONNECT" | b"DELETE" | b"PATCH"
            | b"TRACE" => Err(CommandError::Http),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn trim(argument: &[u8]) -> &[u8] {
    argument.trim_ascii()
}

/// RFC 5321 §4.1.1: trailing spaces are let pass.
fn without_argument<'a>(
    rest: &[u8],
    command: Command<'a>,
    form: &'static str,
) -> Result<Command<'a>, CommandError> {
    if trim(rest).is_empty() { Ok(command) } else { Err(CommandError::Syntax(form)) }
}

/// A domain or an address literal by the standard; in practice also `localhost` and names with an underscore. It goes
/// into the Received field, so nothing that means something there is let in.
fn client_name(rest: &[u8]) -> Result<&str, CommandError> {
    let name = trim(rest);
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(b);
    match std::str::from_utf8(name) {
        Ok(text) if !name.is_empty() && name.len() <= 255 && name.iter().all(legal) => Ok(text),
        _ => Err(CommandError::Syntax("the name of the client after EHLO or HELO")),
    }
}

fn parse_auth(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    const FORM: CommandError = CommandError::Syntax("AUTH mechanism [initial-response]");
    let mut words = trim(rest).split(|b| *b == b' ');
    let mechanism = words.next().filter(|word| !word.is_empty()).ok_or(FORM)?;
    let mechanism = std::str::from_utf8(mechanism).map_err(|_| FORM)?;
    let initial = match words.next() {
        // RFC 4954 §4: a single = is an initial response of no octets.
        Some(b"=") => Some(&b""[..]),
        Some(b"") => return Err(FORM),
        other => other,
    };
    if words.next().is_some() { Err(FORM) } else { Ok(Command::Auth { mechanism, initial }) }
}

fn parse_bdat(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    let mut words = trim(rest).split(|b| *b == b' ');
    let octets = words.next().and_then(parameter::parse_number).ok_or(CommandError::ChunkSize)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(CommandError::ChunkSize),
    };
    if words.next().is_some() { Err(CommandError::ChunkSize) } else { Ok(Command::Bdat { octets, last }) }
}

fn parse_mail(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    let (path, parameters) = split_path(rest, b"FROM:", "MAIL FROM:<reverse-path> [parameters]")?;
    let reverse_path = ReversePath::parse(path).map_err(CommandError::ReversePath)?;
    let parameters = parameter::parse_mail(parameters)?;
    // A domain is kept as A-labels, so only the local-part can need it.
    if !reverse_path.is_ascii() && !parameters.smtputf8 {
        return Err(CommandError::NeedsSmtpUtf8);
    }
    Ok(Command::Mail { reverse_path, parameters })
}

fn parse_rcpt(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    let (path, parameters) = split_path(rest, b"TO:", "RCPT TO:<forward-path> [parameters]")?;
    let forward_path = if path.eq_ignore_ascii_case("postmaster") {
        RcptPath::Postmaster
    } else {
        RcptPath::Mailbox(ForwardPath::parse(path).map_err(CommandError::ForwardPath)?)
    };
    Ok(Command::Rcpt { forward_path, parameters: parameter::parse_rcpt(parameters)? })
}

/// `FROM:<path> parameters` into the inside of the brackets and the rest.
fn split_path<'a>(
    rest: &'a [u8],
    keyword: &[u8],
    form: &'static str,
) -> Result<(&'a str, &'a str), CommandError> {
    let form = CommandError::Syntax(form);
    let text = std::str::from_utf8(trim(rest)).map_err(|_| form)?;
    let (head, tail) = text.as_bytes().split_at_checked(keyword.len()).ok_or(form)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(form);
    }
    let open = tail.iter().take_while(|b| **b == b' ').count();
    if tail.get(open) != Some(&b'<') {
        return Err(form);
    }
    let inside = keyword.len() + open + 1;
    let close = inside + closing_bracket(&text.as_bytes()[inside..]).ok_or(form)?;
    let parameters = &text[close + 1..];
    if parameters.is_empty() || parameters.starts_with(' ') {
        Ok((&text[inside..close], parameters))
    } else {
        Err(form)
    }
}

/// The first `>` outside a quoted-string. Both ends are ASCII, so slicing there never cuts a character.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    if memchr::memchr(b'"', text).is_none() {
        return memchr::memchr(b'>', text);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (index, b) in text.iter().enumerate() {
        match (*b, quoted, escaped) {
            (_, true, true) => escaped = false,
            (b'\\', true, false) => escaped = true,
            (b'"', _, _) => quoted = !quoted,
            (b'>', false, _) => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(line: &[u8]) -> CommandError {
        Command::parse(line).unwrap_err()
    }

    #[test]
    fn what_is_no_command_gets_the_code_it_deserves() {
        for line in [&b""[..], b"FOO", b"MAILFROM:<a@b.example>", b"\xff\xfe", b" NOOP", b"VERYLONGVERB x"] {
            assert_eq!(error(line), CommandError::Unknown, "{line:?}");
        }
        assert_eq!(error(b"GET / HTTP/1.1"), CommandError::Http);
        for line in [
            &b"MAIL"[..],
            b"MAIL FROM",
            b"MAIL FROM:",
            b"MAIL FROM:a@b.example",
            b"MAIL FROM:<a@b.example",
            b"MAIL FROM:<a@b.example>SIZE=1",
            b"MAIL TO:<a@b.example>",
            b"RCPT FROM:<a@b.example>",
            b"RCPT TO",
            b"DATA now",
            b"STARTTLS x",
            b"QUIT x",
            b"EHLO",
            b"EHLO ",
            b"EHLO a b",
            b"HELO <x>",
            b"EHLO b\xc3\xbc.example",
            b"VRFY",
            b"AUTH",
            b"AUTH PLAIN a b",
            b"MAIL FROM:<\"a@b.example>",
            b"MAIL FROM:<a\xff@b.example>",
        ] {
            assert!(matches!(error(line), CommandError::Syntax(_)), "{line:?}");
        }
        for line in [
            &b"BDAT"[..],
            b"BDAT x",
            b"BDAT -1",
            b"BDAT 1 FIRST",
            b"BDAT 1 LAST x",
            b"BDAT 18446744073709551616",
        ] {
            assert_eq!(error(line), CommandError::ChunkSize, "{line:?}");
        }
    }

    #[test]
    fn an_address_with_two_readings_is_refused() {
        assert_eq!(error(b"MAIL FROM:<a>"), CommandError::ReversePath(AddressError::NoAt));
        assert_eq!(error(b"RCPT TO:<>"), CommandError::ForwardPath(AddressError::Empty));
        assert_eq!(
            error(b"RCPT TO:<@a.example:b@c.example>"),
            CommandError::ForwardPath(AddressError::SourceRoute)
        );
        assert_eq!(
            error(b"RCPT TO:<a@[192.0.2.1]>"),
            CommandError::ForwardPath(AddressError::AddressLiteral)
        );
        assert_eq!(error("MAIL FROM:<用户@b.example>".as_bytes()), CommandError::NeedsSmtpUtf8);
        assert!(Command::parse("MAIL FROM:<用户@b.example> SMTPUTF8".as_bytes()).is_ok());
    }

    #[test]
    fn a_command_is_known_in_any_case_and_with_spaces_behind() {
        assert_eq!(Command::parse(b"data  "), Ok(Command::Data));
        assert_eq!(Command::parse(b"eHlO client.example "), Ok(Command::Ehlo("client.example")));
        assert_eq!(Command::parse(b"ehlo [192.0.2.1]"), Ok(Command::Ehlo("[192.0.2.1]")));
        assert_eq!(Command::parse(b"bdat 86 last"), Ok(Command::Bdat { octets: 86, last: true }));
        assert_eq!(Command::parse(b"NOOP whatever"), Ok(Command::Noop));
        assert_eq!(
            Command::parse(b"AUTH PLAIN ="),
            Ok(Command::Auth { mechanism: "PLAIN", initial: Some(b"") })
        );
    }

    #[test]
    fn a_bracket_inside_quotes_is_part_of_the_address() {
        let line = br#"MAIL FROM: <"a> \" b"@b.example> SIZE=5"#;
        let Ok(Command::Mail { reverse_path, parameters }) = Command::parse(line) else { panic!("refused") };
        assert_eq!(reverse_path.to_string(), r#""a> \" b"@b.example"#);
        assert_eq!(parameters.size, Some(5));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Command::parse(&line);
            let _ = Command::parse(&[b"MAIL FROM:<", &line[..]].concat());
            let _ = Command::parse(&[b"RCPT TO:<a@b.example>", &line[..]].concat());
        }
    }
}
