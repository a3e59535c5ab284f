//! AUTH PLAIN and AUTH LOGIN, after TLS only (RFC 4954, RFC 4616, RFC 8314 §4.1).
//!
//! A wrong secret, an unknown user name and a response that cannot be a credential get the same words. The growing
//! delay is the shell's: it answers later.

use super::peer::Peer;
use super::state::{Question, State};
use super::{Action, Role};
use crate::extension::Extension;
use crate::sasl::{self, Password, SaslError};
use ::mail::{Refusal, RefusalKind};

/// What the next line answers.
pub(super) enum Challenge {
    Plain,
    LoginUsername,
    LoginPassword { username: String },
}

/// `Username:` and `Password:` in base64: the prompts of LOGIN that every client knows.
const USERNAME_PROMPT: &str = "VXNlcm5hbWU6";
const PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

pub(super) fn begin(mechanism: &str, initial: Option<&[u8]>, peer: &mut Peer) -> State {
    if peer.config.role == Role::Inbound {
        peer.complain(502, "5.5.1 not offered");
        return State::Ready;
    }
    if !peer.channel.is_encrypted() {
        let refusal = Refusal::new(RefusalKind::EncryptionRequired, "must issue STARTTLS first");
        return State::Ready.refuse(&refusal, peer);
    }
    if !peer.offers(Extension::Auth) {
        peer.complain(503, "5.5.1 EHLO first");
        return State::Ready;
    }
    if peer.authenticated {
        // RFC 4954 §4: no second AUTH in one session.
        peer.complain(503, "5.5.1 already authenticated");
        return State::Ready;
    }
    if mechanism.eq_ignore_ascii_case("PLAIN") {
        match initial {
            Some(response) => plain(response, peer),
            None => challenge(Challenge::Plain, "", peer),
        }
    } else if mechanism.eq_ignore_ascii_case("LOGIN") {
        match initial {
            Some(response) => login_username(response, peer),
            None => challenge(Challenge::LoginUsername, USERNAME_PROMPT, peer),
        }
    } else {
        peer.complain(504, "5.5.4 mechanism not offered; there are PLAIN and LOGIN");
        State::Ready
    }
}

/// A line while a challenge is open.
pub(super) fn respond(challenge: Challenge, line: &[u8], peer: &mut Peer) -> State {
    if line == b"*" {
        peer.complain(501, "5.7.0 authentication cancelled");
        return State::Ready;
    }
    match challenge {
        Challenge::Plain => plain(line, peer),
        Challenge::LoginUsername => login_username(line, peer),
        Challenge::LoginPassword { username } => match sasl::decode_login(line) {
            Ok(secret) => check(username, Password::new(secret.as_str()), peer),
            Err(error) => unusable(error, peer),
        },
    }
}

pub(super) fn accepted(peer: &mut Peer) -> State {
    peer.authenticated = true;
    peer.say(235, "2.7.0 authentication successful");
    State::Ready
}

pub(super) fn refused(refusal: &Refusal, peer: &mut Peer) -> State {
    peer.reply(&refusal.to_reply());
    if matches!(refusal.kind, RefusalKind::BadCredential | RefusalKind::CredentialLocked) {
        peer.count_wrong_secret();
    }
    State::Ready
}

fn plain(response: &[u8], peer: &mut Peer) -> State {
    match sasl::decode_plain(response) {
        Ok((username, password)) => check(username, password, peer),
        Err(error) => unusable(error, peer),
    }
}

fn login_username(response: &[u8], peer: &mut Peer) -> State {
    match sasl::decode_login(response) {
        Ok(username) => {
            let username = username.as_str().to_owned();
            challenge(Challenge::LoginPassword { username }, PASSWORD_PROMPT, peer)
        }
        Err(error) => unusable(error, peer),
    }
}

fn challenge(challenge: Challenge, prompt: &str, peer: &mut Peer) -> State {
    peer.say(334, prompt);
    State::Auth(challenge)
}

fn check(username: String, password: Password, peer: &mut Peer) -> State {
    peer.ask(Action::CheckCredential { username, password });
    State::Waiting(Question::Credential)
}

fn unusable(error: SaslError, peer: &mut Peer) -> State {
    match error {
        SaslError::Malformed => {
            peer.complain(501, "5.5.2 the response cannot be decoded");
            State::Ready
        }
        SaslError::Unusable => {
            refused(&Refusal::new(RefusalKind::BadCredential, "wrong user name or password"), peer)
        }
    }
}
