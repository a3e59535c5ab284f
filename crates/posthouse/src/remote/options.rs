//! Options that every command has which is a call of the API, and times as people say them.

use crate::remote::access::Plaintext;
use clap::builder::{OsStringValueParser, TypedValueParser};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Among the options of a command: after all of its own.
const WHOSE_PLACE: usize = 900;
const JSON_PLACE: usize = 901;
/// The tenant of whoever asks.
const OWN: &str = "self";

/// Where the API is and who is asking. The first of these that is there decides: `--api-key`, the login that `posthouse
/// login` keeps, the operator of the ready file that `posthouse up` writes. A variable that is empty is as if it were not
/// set, since many a shell cannot unset one for a single command.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiOptions {
    /// Where the API is, such as https://mail.example.net
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_API",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "API"
    )]
    api: Option<String>,
    /// An API key. Better in the environment: everybody on a host can read its command lines
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "API"
    )]
    api_key: Option<String>,
    /// The ready file of a node on this machine; `.posthouse/ready.json` is looked for without being told
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_READY_FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "API"
    )]
    ready_file: Option<PathBuf>,
    /// Trust this certificate authority as well, in PEM
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_CA",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "API"
    )]
    ca: Option<PathBuf>,
    /// Send credentials over http:// to another host: everybody on the way can read them
    #[arg(long, global = true, help_heading = "API")]
    pub allow_plaintext: bool,
    /// Where the login is kept, instead of `.config/posthouse/session.json` in the home directory
    #[arg(
        long,
        global = true,
        env = "POSTHOUSE_SESSION",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "API"
    )]
    session: Option<PathBuf>,
    /// The API's answer as JSON, for programs
    #[arg(long, global = true, display_order = JSON_PLACE)]
    pub json: bool,
}

/// Whose: for everything that a tenant has.
#[derive(Debug, Clone, clap::Args)]
pub struct Whose {
    /// The tenant, by name or id; `self` is the one of the API key, and operators have to name one
    #[arg(
        long,
        short,
        global = true,
        env = "POSTHOUSE_TENANT",
        hide_env_values = true,
        display_order = WHOSE_PLACE,
        value_name = "TENANT",
        value_parser = tenant,
        default_value = OWN
    )]
    pub tenant: String,
}

/// A time: `2026-11-23T09:14:09Z`, or how far from now: `90m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy)]
pub enum When {
    At(Timestamp),
    Away(Span),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        if let Ok(time) = text.parse() {
            return Ok(When::At(time));
        }
        let span: Span = text
            .parse()
            .map_err(|_| "say 2026-11-23T09:14:09Z, or a span such as 90m, 2h or 7d".to_owned())?;
        if span.is_negative() {
            return Err(
                "a span has no sign: 2h means two hours from now, or ago where the past is meant".to_owned()
            );
        }
        Ok(When::Away(span))
    }
}

fn tenant(text: &str) -> Result<String, Infallible> {
    Ok(if text.is_empty() { OWN.to_owned() } else { text.to_owned() })
}

fn path(option: &Option<PathBuf>) -> Option<&Path> {
    option.as_deref().filter(|path| !path.as_os_str().is_empty())
}

impl ApiOptions {
    pub fn api(&self) -> Option<&str> {
        self.api.as_deref().filter(|api| !api.is_empty())
    }

    pub fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref().filter(|key| !key.is_empty())
    }

    pub fn ready_file(&self) -> Option<&Path> {
        path(&self.ready_file)
    }

    pub fn ca(&self) -> Option<&Path> {
        path(&self.ca)
    }

    pub fn session(&self) -> Option<&Path> {
        path(&self.session)
    }

    pub fn plaintext(&self) -> Plaintext {
        if self.allow_plaintext { Plaintext::Allowed } else { Plaintext::Refused }
    }
}

impl When {
    /// So long ago.
    pub fn before(self, now: Timestamp) -> String {
        self.moved(now, |span| -span)
    }

    /// So far ahead.
    pub fn after(self, now: Timestamp) -> String {
        self.moved(now, |span| span)
    }

    fn moved(self, now: Timestamp, turn: impl FnOnce(Span) -> Span) -> String {
        match self {
            When::At(time) => time.to_string(),
            // In UTC a day has 24 hours; a span that leads out of the calendar ends where it began.
            When::Away(span) => {
                let moved = now.to_zoned(TimeZone::UTC).checked_add(turn(span));
                moved.map_or(now, |zoned| zoned.timestamp()).to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in ["", "yesterday", "2026-13-01", "5", "-2h"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
        assert!("soon".parse::<When>().unwrap_err().contains("90m"));
    }

    #[test]
    fn a_span_is_counted_from_now() {
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let when = |text: &str| text.parse::<When>().unwrap();
        assert_eq!(when("90m").before(now), "2026-11-23T07:30:00Z");
        assert_eq!(when("7d").after(now), "2026-11-30T09:00:00Z");
        assert_eq!(when("2026-01-01T00:00:00Z").after(now), "2026-01-01T00:00:00Z");
    }
}
