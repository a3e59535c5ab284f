//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2; SIZE, BODY, SMTPUTF8, REQUIRETLS, AUTH and those of RFC 3461).
//!
//! A parameter twice, without the value it needs, or with one it does not take is refused; so is one we do not know.
//! Whether a parameter was offered is the session's question: it knows about TLS and roles, this file does not.

use crate::command::CommandError;
use crate::extension::{Extension, Extensions};
use mail::{BodyKind, DsnReturn, Notify};

/// RFC 3461 §4.4.
const ENVELOPE_ID_OCTETS_MAX: usize = 100;
/// Octets of an unknown keyword that is repeated.
const KEYWORD_OCTETS_MAX: usize = 20;
/// RFC 3461 §4.2.
const ORIGINAL_RECIPIENT_OCTETS_MAX: usize = 500;

/// Of MAIL; what was not said is none or false.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParameters {
    /// `SIZE=`: octets, as the client reckons (RFC 1870 §6).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<BodyKind>,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689 §2).
    pub require_tls: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub dsn_return: Option<DsnReturn>,
    /// `ENVID=`, in xtext as it came (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// What has to have been offered for these parameters.
    pub needs: Extensions,
}

/// Of RCPT; what was not said is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParameters {
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=`: type and address, the address in xtext as it came (RFC 3461 §4.2).
    pub original: Option<String>,
    /// What a session must have offered for them to be taken.
    pub needs: Extensions,
}

/// A keyword that we do not know, as a reply repeats it: letters, digits and hyphens only (RFC 5321 §4.1.2), and short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyword {
    octets: [u8; KEYWORD_OCTETS_MAX],
    length: usize,
}

impl Keyword {
    pub(crate) fn of(text: &str) -> Option<Keyword> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if text.is_empty() || !text.bytes().all(legal) {
            return None;
        }
        let mut octets = [0; KEYWORD_OCTETS_MAX];
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Keyword { octets, length: text.len() })
    }

    /// Upper case, printable: the only word of a client that is repeated to it.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.octets[..self.length]).unwrap_or_default()
    }
}

/// One to twenty digits that fit.
pub(crate) fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.iter().all(u8::is_ascii_digit);
    if !digits {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

pub(crate) fn parse_mail(text: &str) -> Result<MailParameters, CommandError> {
    let mut parameters = MailParameters::default();
    let mut auth_given = false;
    for (keyword, value) in words(text) {
        let need = if keyword.eq_ignore_ascii_case("SIZE") {
            let size = value.and_then(|v| parse_number(v.as_bytes()));
            once("SIZE", &mut parameters.size, size)?;
            Extension::Size
        } else if keyword.eq_ignore_ascii_case("BODY") {
            once("BODY", &mut parameters.body, value.and_then(body_kind))?;
            Extension::EightBitMime
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") {
            flag("SMTPUTF8", &mut parameters.smtputf8, value)?;
            Extension::SmtpUtf8
        } else if keyword.eq_ignore_ascii_case("REQUIRETLS") {
            flag("REQUIRETLS", &mut parameters.require_tls, value)?;
            Extension::RequireTls
        } else if keyword.eq_ignore_ascii_case("RET") {
            once("RET", &mut parameters.dsn_return, value.and_then(dsn_return))?;
            Extension::Dsn
        } else if keyword.eq_ignore_ascii_case("ENVID") {
            let id = value.filter(|v| v.len() <= ENVELOPE_ID_OCTETS_MAX && is_xtext(v)).map(str::to_owned);
            once("ENVID", &mut parameters.envelope_id, id)?;
            Extension::Dsn
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            // RFC 4954 §5: a submitter without special trust may say it; it is not passed on.
            let wrong = value.unwrap_or_default();
            flag(
                "AUTH",
                &mut auth_given,
                Some(wrong).filter(|v| *v != "<>" && (v.is_empty() || !is_xtext(v))),
            )?;
            Extension::Auth
        } else {
            return Err(CommandError::UnknownParameter(Keyword::of(keyword)));
        };
        parameters.needs = parameters.needs.with(need);
    }
    Ok(parameters)
}

pub(crate) fn parse_rcpt(text: &str) -> Result<RcptParameters, CommandError> {
    let mut parameters = RcptParameters::default();
    for (keyword, value) in words(text) {
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            once("NOTIFY", &mut parameters.notify, value.and_then(notify))?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            let original = value.filter(|v| is_original_recipient(v)).map(str::to_owned);
            once("ORCPT", &mut parameters.original, original)?;
        } else {
            return Err(CommandError::UnknownParameter(Keyword::of(keyword)));
        }
        parameters.needs = parameters.needs.with(Extension::Dsn);
    }
    Ok(parameters)
}

fn words(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(' ').filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    })
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: Option<T>) -> Result<(), CommandError> {
    if place.is_some() || value.is_none() {
        return Err(CommandError::BadParameter(name));
    }
    *place = value;
    Ok(())
}

fn flag(name: &'static str, place: &mut bool, value: Option<&str>) -> Result<(), CommandError> {
    if *place || value.is_some() {
        return Err(CommandError::BadParameter(name));
    }
    *place = true;
    Ok(())
}

/// BINARYMIME (RFC 3030) is not offered, so it is no value.
fn body_kind(value: &str) -> Option<BodyKind> {
    if value.eq_ignore_ascii_case("8BITMIME") {
        Some(BodyKind::EightBitMime)
    } else if value.eq_ignore_ascii_case("7BIT") {
        Some(BodyKind::SevenBit)
    } else {
        None
    }
}

fn dsn_return(value: &str) -> Option<DsnReturn> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(DsnReturn::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(DsnReturn::Headers)
    } else {
        None
    }
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let place = if word.eq_ignore_ascii_case("SUCCESS") {
            &mut success
        } else if word.eq_ignore_ascii_case("FAILURE") {
            &mut failure
        } else if word.eq_ignore_ascii_case("DELAY") {
            &mut delay
        } else {
            return None;
        };
        *place = true;
    }
    Some(Notify::When { success, failure, delay })
}

/// RFC 3461 §4: printable ASCII but `+` and `=`; a `+` begins two upper case hexadecimal digits.
fn is_xtext(text: &str) -> bool {
    let mut octets = text.bytes();
    let is_hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    while let Some(b) = octets.next() {
        let good = match b {
            b'+' => is_hex(octets.next()) && is_hex(octets.next()),
            b'=' => false,
            _ => b.is_ascii_graphic(),
        };
        if !good {
            return false;
        }
    }
    !text.is_empty()
}

/// `addr-type;xtext` (RFC 3461 §4.2). With SMTPUTF8 the address type `utf-8` also uses only ASCII here (RFC 6533 §3).
fn is_original_recipient(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    value.len() <= ORIGINAL_RECIPIENT_OCTETS_MAX
        && !kind.is_empty()
        && kind.bytes().all(atom)
        && is_xtext(address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_cannot_be_is_refused() {
        for text in [
            " SIZE",
            " SIZE=",
            " SIZE=-1",
            " SIZE=1 SIZE=1",
            " SIZE=99999999999999999999",
            " BODY=BINARYMIME",
            " BODY",
            " SMTPUTF8=1",
            " SMTPUTF8 SMTPUTF8",
            " REQUIRETLS=YES",
            " RET=SOME",
            " ENVID=",
            " ENVID=a+zz",
            " ENVID=a=b",
            " ENVID=\u{2028}",
            " AUTH=a b=",
            " AUTH",
            " AUTH=",
        ] {
            assert!(parse_mail(text).is_err(), "{text:?}");
        }
        let long = format!(" ENVID={}", "a".repeat(101));
        assert_eq!(parse_mail(&long), Err(CommandError::BadParameter("ENVID")));
        assert_eq!(parse_mail(" X-OTHER=1"), Err(CommandError::UnknownParameter(Keyword::of("X-OTHER"))));
        for odd in ["X_OTHER", "X\u{1b}", "\u{e4}", "=1", &"X".repeat(21)] {
            assert_eq!(parse_rcpt(&format!(" {odd}")), Err(CommandError::UnknownParameter(None)), "{odd}");
        }
        assert_eq!(Keyword::of("X-OTHER").unwrap().as_str(), "X-OTHER");
        for text in [
            " NOTIFY=",
            " NOTIFY=NEVER,SUCCESS",
            " NOTIFY=SOMETIMES",
            " NOTIFY=NEVER NOTIFY=NEVER",
            " ORCPT=a@b.example",
            " ORCPT=rfc822;",
            " ORCPT=rfc822;a\u{7f}",
            " ORCPT=rf c;x",
            " SIZE=1",
        ] {
            assert!(parse_rcpt(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn all_parameters_of_mail_are_kept() {
        let parameters =
            parse_mail(" SIZE=1000 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+20314159 AUTH=<> REQUIRETLS")
                .unwrap();
        assert_eq!(parameters.size, Some(1000));
        assert_eq!(parameters.body, Some(BodyKind::EightBitMime));
        assert!(parameters.smtputf8 && parameters.require_tls);
        assert_eq!(parameters.dsn_return, Some(DsnReturn::Headers));
        assert_eq!(parameters.envelope_id.as_deref(), Some("QQ+20314159"));
        assert!(parameters.needs.contains(Extension::Auth) && parameters.needs.contains(Extension::Dsn));
    }

    #[test]
    fn the_wishes_of_an_originator_are_kept() {
        let parameters = parse_rcpt(" NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2B@example.org").unwrap();
        assert_eq!(parameters.notify, Some(Notify::When { success: true, failure: false, delay: true }));
        assert_eq!(parameters.original.as_deref(), Some("rfc822;Bob+2B@example.org"));
        assert_eq!(parse_rcpt(" NOTIFY=never").unwrap().notify, Some(Notify::Never));
    }
}
