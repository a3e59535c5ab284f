//! Where the API is and as whom it is called: a decision over what was said, what is kept and what lies about.
//!
//! Whoever says where, must also be somebody there: the login of one house is never shown to another one.

use crate::exit::Failure;
use serde::Deserialize;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// What is known before the first call.
#[derive(Debug, Default)]
pub struct Known {
    /// `--api`.
    pub api: Option<String>,
    /// `--api-key`.
    pub key: Option<Zeroizing<String>>,
    /// The API that the kept login is for.
    pub session: Option<String>,
    /// The ready file, and whether it was asked for or only lay there.
    pub ready: Option<(ReadyFile, Found)>,
    pub plaintext: Plaintext,
}

/// Whether secrets may cross a network in the clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plaintext {
    #[default]
    Refused,
    Allowed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Asked,
    LyingThere,
}

/// What of the ready file matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReadyFile {
    pub api: String,
    pub operator: Option<Login>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Login {
    pub email: String,
    pub password: Zeroizing<String>,
}

/// Where to call, and with what.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    pub api: String,
    pub identity: Identity,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Identity {
    Key(Zeroizing<String>),
    Session,
    Operator(Login),
}

const NOWHERE: &str = "say where the API is: --api URL or POSTHOUSE_API; or run this beside a node of `posthouse up`, in the \
    directory with its .posthouse, or with --ready-file FILE";

/// The one way in, or what is missing.
pub fn decide(known: Known) -> Result<Access, Failure> {
    let Known { api, key, session, ready, plaintext } = known;
    if key.is_some() && api.is_none() && !matches!(ready, Some((_, Found::Asked))) {
        let text = "an API key is shown to nobody who was not named: say where it is for, --api URL or POSTHOUSE_API";
        return Err(Failure::Usage(text.to_owned()));
    }
    let asked = matches!(ready, Some((_, Found::Asked)));
    let ready = ready.map(|(file, _)| file);
    let api = api.map(|api| api.trim_end_matches('/').to_owned());
    // What lies about decides last: a person who logged in somewhere means that place, wherever they stand.
    let place = match (&api, asked) {
        (Some(api), _) => Some(api.clone()),
        (None, true) => ready.as_ref().map(|file| file.api.clone()),
        (None, false) => session.clone().or_else(|| ready.as_ref().map(|file| file.api.clone())),
    };
    let Some(place) = place else { return Err(Failure::Usage(NOWHERE.to_owned())) };
    check_way(&place, plaintext)?;
    let operator = ready.filter(|file| file.api == place).and_then(|file| file.operator);
    let identity = match (key, operator) {
        (Some(key), _) => Identity::Key(key),
        (None, Some(operator)) if asked || session.as_ref() != Some(&place) => Identity::Operator(operator),
        (None, _) if session.as_ref() == Some(&place) => Identity::Session,
        (None, _) => {
            return Err(Failure::NotPermitted(format!(
                "nobody is logged in at {place}: `posthouse login --api {place}`, or POSTHOUSE_API_KEY in the environment"
            )));
        }
    };
    Ok(Access { api: place, identity })
}

/// A secret crosses a network under TLS only, unless somebody says that this network is theirs.
pub fn check_way(api: &str, plaintext: Plaintext) -> Result<(), Failure> {
    let url = reqwest::Url::parse(api).map_err(|error| {
        Failure::Usage(format!("{api:?} is no URL ({error}); it looks like https://mail.example.net"))
    })?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    // A node that listens everywhere names the unspecified address.
    let here =
        host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified());
    match url.scheme() {
        "https" => Ok(()),
        "http" if here || plaintext == Plaintext::Allowed => Ok(()),
        "http" => Err(Failure::Usage(format!(
            "{api} is not on this host, and without TLS everybody on the way reads the credential; use https, or say \
             --allow-plaintext"
        ))),
        _ => Err(Failure::Usage(format!(
            "{api:?} is no URL of an API; it looks like https://mail.example.net"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(api: &str) -> ReadyFile {
        let login = Login { email: "o@x.example".to_owned(), password: Zeroizing::new("p".to_owned()) };
        ReadyFile { api: api.to_owned(), operator: Some(login) }
    }

    fn key() -> Option<Zeroizing<String>> {
        Some(Zeroizing::new("ph_live_x".to_owned()))
    }

    #[test]
    fn nowhere_and_nobody_are_told_apart() {
        assert!(matches!(decide(Known::default()), Err(Failure::Usage(text)) if text.contains("--api")));
        let known = Known { api: Some("https://a.example".to_owned()), ..Known::default() };
        assert!(
            matches!(decide(known), Err(Failure::NotPermitted(text)) if text.contains("posthouse login"))
        );
    }

    #[test]
    fn the_secrets_of_one_house_are_not_shown_to_another() {
        let other = Some("https://other.example".to_owned());
        let known = Known {
            api: other.clone(),
            session: Some("https://mine.example".to_owned()),
            ready: Some((ready("http://127.0.0.1:8025"), Found::LyingThere)),
            ..Known::default()
        };
        assert!(decide(known).is_err());
        let known = Known {
            api: other,
            ready: Some((ready("http://127.0.0.1:8025"), Found::Asked)),
            ..Known::default()
        };
        assert!(decide(known).is_err());
    }

    #[test]
    fn a_login_goes_before_a_file_that_lies_about_but_not_before_one_that_was_asked_for() {
        let both = |found| Known {
            session: Some("https://mine.example".to_owned()),
            ready: Some((ready("http://127.0.0.1:8025"), found)),
            ..Known::default()
        };
        let access = decide(both(Found::LyingThere)).unwrap();
        assert_eq!((access.api.as_str(), access.identity), ("https://mine.example", Identity::Session));
        let access = decide(both(Found::Asked)).unwrap();
        assert!(access.api == "http://127.0.0.1:8025" && matches!(access.identity, Identity::Operator(_)));
    }

    #[test]
    fn a_key_is_not_shown_to_a_house_that_nobody_named() {
        for found in [Found::LyingThere, Found::Asked] {
            let known =
                Known { key: key(), ready: Some((ready("http://127.0.0.1:1"), found)), ..Known::default() };
            assert_eq!(decide(known).is_ok(), found == Found::Asked);
        }
        let known =
            Known { key: key(), session: Some("https://mine.example".to_owned()), ..Known::default() };
        assert!(matches!(decide(known), Err(Failure::Usage(text)) if text.contains("--api URL")));
    }

    #[test]
    fn a_secret_does_not_cross_a_network_in_the_clear() {
        for api in
            ["http://mail.example.net", "http://192.0.2.1:8025", "ftp://a.example", "mail.example.net", ""]
        {
            assert!(check_way(api, Plaintext::Refused).is_err(), "{api}");
        }
        for api in [
            "https://mail.example.net",
            "http://127.0.0.1:8025",
            "http://[::1]:1",
            "http://localhost",
            "http://0.0.0.0:1",
        ] {
            assert!(check_way(api, Plaintext::Refused).is_ok(), "{api}");
        }
        assert!(check_way("http://10.0.0.5:8025", Plaintext::Allowed).is_ok());
    }

    #[test]
    fn a_key_goes_before_everything() {
        let known = Known { api: Some("https://a.example/".to_owned()), key: key(), ..Known::default() };
        let access = decide(known).unwrap();
        assert!(access.api == "https://a.example" && matches!(access.identity, Identity::Key(_)));
    }
}
