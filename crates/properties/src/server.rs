//! Target `server`: the server machine, with whatever a client sends, in whatever pieces.
//!
//! Input: an octet of settings, an octet of piece length, then what the client says. Holds: the pieces change nothing of
//! what is said, asked and accepted; a message needs an end of its own in the input, so that one is never two; what is
//! accepted has clean lines; what is kept is bounded; whoever did not log in gets nothing accepted.

use crate::{pieces, setting};
use mail::{Domain, Instant, Refusal, RefusalKind, Reply};
use smtp::Limits;
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode, Transaction};

const MESSAGE_OCTETS_MAX: usize = 2_000;
const INBOUND: u8 = 1;
const IN_CLEAR: u8 = 2;
const LOGGED_IN: u8 = 4;
const HELLO: &[u8] = b"EHLO c.example\r\nAUTH PLAIN AGFubmEAc2VjcmV0\r\n";

/// All that a client can see or cause.
#[derive(Debug, PartialEq, Eq, Default)]
struct Heard {
    said: Vec<u8>,
    asked: Vec<String>,
    by_data: usize,
    by_chunk: usize,
    logged_in: bool,
}

/// Panics if a property of the server's machine does not hold for a client that sends these octets.
pub fn check(octets: &[u8]) {
    let (settings, rest) = setting(octets);
    let (length, input) = setting(rest);
    let whole = converse(settings, &[input]);
    let same = "the pieces in which the octets came changed what followed";
    assert_eq!(whole, converse(settings, &pieces(input, 1)), "{same}");
    assert_eq!(whole, converse(settings, &pieces(input, usize::from(length))), "{same}");

    let ends = input.windows(5).filter(|window| *window == b"\r\n.\r\n").count();
    let lasts = input.windows(4).filter(|window| window.eq_ignore_ascii_case(b"LAST")).count();
    assert!(whole.by_data <= ends, "a message was accepted by DATA without an end of its own");
    assert!(whole.by_chunk <= lasts, "a message was accepted by BDAT without a LAST of its own");
    let invited = whole.said.windows(4).filter(|window| *window == b"354 ").count();
    assert!(whole.by_data <= invited, "a message was accepted that nobody was invited to send");
    let lines = smtp::data::check_lines(&whole.said, Some(512));
    assert_eq!(lines, Ok(()), "a reply has a line that is none");
}

fn converse(settings: u8, pieces: &[&[u8]]) -> Heard {
    let Ok(hostname) = Domain::parse("mx.posthouse.test") else { unreachable!("a constant") };
    let role = if settings & INBOUND != 0 { Role::Inbound } else { Role::Submission };
    let tls = if settings & IN_CLEAR != 0 { TlsMode::Offered } else { TlsMode::Implicit };
    let limits = Limits {
        message_octets_max: MESSAGE_OCTETS_MAX,
        recipients_max: 3,
        errors_max: 50,
        ..Limits::default()
    };
    let mut session = Session::new(ServerConfig::new(hostname, role, tls, limits), Instant::ZERO);
    let mut heard = Heard::default();
    let hello = if settings & LOGGED_IN != 0 { HELLO } else { b"" };
    for piece in std::iter::once(&hello).chain(pieces) {
        session.handle_bytes(piece, Instant::ZERO);
        while let Some(action) = session.poll_action() {
            if let Some(answer) = heard.take(action, role) {
                session.handle_answer(answer, Instant::ZERO);
            }
        }
        assert!(
            session.claimed_octets() <= MESSAGE_OCTETS_MAX,
            "room is kept for more than a message may have"
        );
    }
    heard
}

impl Heard {
    fn take(&mut self, action: Action, role: Role) -> Option<Answer> {
        let (question, answer) = match action {
            Action::Send(octets) => {
                self.said.extend_from_slice(&octets);
                return None;
            }
            Action::Close => {
                self.asked.push("close".to_owned());
                return None;
            }
            // What follows STARTTLS in the same piece is thrown away, so here the pieces would matter.
            Action::StartTls => ("TLS".to_owned(), Answer::TlsFailed),
            Action::CheckCredential { username, password } => {
                let good = username == "anna" && password.reveal() == "secret";
                let refusal = Refusal::new(RefusalKind::BadCredential, "wrong user name or password");
                self.logged_in |= good;
                (username, if good { Answer::CredentialOk } else { Answer::Refused(refusal) })
            }
            Action::CheckReversePath { path, .. } => {
                let refused = path.to_string().starts_with("no");
                let refusal = Refusal::new(RefusalKind::SenderNotAllowed, "not yours");
                (path.to_string(), if refused { Answer::Refused(refusal) } else { Answer::ReversePathOk })
            }
            Action::CheckRecipient(path) => {
                let refused = path.to_string().starts_with("no");
                let refusal = Refusal::new(RefusalKind::NoSuchRecipient, "no such recipient");
                (path.to_string(), if refused { Answer::Refused(refusal) } else { Answer::RecipientOk })
            }
            Action::CheckRoom { octets } => {
                assert!(octets <= MESSAGE_OCTETS_MAX, "room is asked for more than a message may have");
                ("room".to_owned(), Answer::RoomOk)
            }
            Action::Accept(transaction) => {
                self.accept(&transaction, role);
                let reply = Reply::new(250, None, "taken");
                (transaction.raw.escape_ascii().to_string(), Answer::Accepted { reply })
            }
        };
        self.asked.push(question);
        Some(answer)
    }

    fn accept(&mut self, transaction: &Transaction, role: Role) {
        let raw = &transaction.raw;
        assert_eq!(smtp::data::check_lines(raw, Some(998)), Ok(()), "a message has lines that are none");
        assert!(raw.is_empty() || raw.ends_with(b"\r\n"), "a message does not end with its last line");
        assert!(!transaction.envelope.recipients.is_empty(), "a message for nobody");
        assert!(role == Role::Inbound || self.logged_in, "a message of somebody who did not log in");
        let name = &transaction.client_name;
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)),
            "a name of a client"
        );
        *(if transaction.via_bdat { &mut self.by_chunk } else { &mut self.by_data }) += 1;
    }
}
