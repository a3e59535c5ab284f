//! A server machine whose shell says yes to everything, and all that came of what it was told.

use bytes::Bytes;
use mail::{Domain, Instant, Refusal, RefusalKind, Reply};
use smtp::Limits;
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode};

/// How the client came in before the attack begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ImplicitTls,
    StartTls,
    /// Returned mail: in clear and without a login.
    Inbound,
}

pub const WAYS: [Way; 3] = [Way::ImplicitTls, Way::StartTls, Way::Inbound];

pub struct Door {
    session: Session,
    said: Vec<u8>,
    pub accepted: Vec<Bytes>,
    /// Every path that the shell was asked about.
    pub paths: Vec<String>,
    pub closed: bool,
}

impl Door {
    pub fn new(role: Role, tls: TlsMode, limits: Limits) -> Door {
        let config = ServerConfig::new(Domain::parse("mx.posthouse.test").unwrap(), role, tls, limits);
        let session = Session::new(config, Instant::ZERO);
        Door { session, said: Vec::new(), accepted: Vec::new(), paths: Vec::new(), closed: false }
    }

    /// A client that may send now; nothing of how it came there is left to see.
    pub fn open(way: Way, limits: Limits) -> Door {
        let (role, tls) = match way {
            Way::ImplicitTls => (Role::Submission, TlsMode::Implicit),
            Way::StartTls => (Role::Submission, TlsMode::Offered),
            Way::Inbound => (Role::Inbound, TlsMode::Offered),
        };
        let mut door = Door::new(role, tls, limits);
        door.hear(b"EHLO client.example\r\n");
        if way == Way::StartTls {
            door.hear(b"STARTTLS\r\n");
            door.hear(b"EHLO client.example\r\n");
        }
        if way != Way::Inbound {
            door.hear(b"AUTH PLAIN AGFubmEAc2VjcmV0\r\n");
        }
        assert!(!door.closed);
        door.said.clear();
        door
    }

    pub fn hear(&mut self, octets: &[u8]) {
        self.session.handle_bytes(octets, Instant::ZERO);
        while let Some(action) = self.session.poll_action() {
            let refused = |kind, text: &str| Answer::Refused(Refusal::new(kind, text));
            let answer = match action {
                Action::Send(octets) => {
                    self.said.extend_from_slice(&octets);
                    continue;
                }
                Action::Close => {
                    self.closed = true;
                    continue;
                }
                Action::StartTls => Answer::TlsDone { version: "TLSv1.3".into(), cipher: "AES".into() },
                Action::CheckCredential { .. } => Answer::CredentialOk,
                Action::CheckReversePath { path, .. } => {
                    self.paths.push(path.to_string());
                    Answer::ReversePathOk
                }
                Action::CheckRecipient(path) if path.mailbox().local_part().as_str() == "nobody" => {
                    refused(RefusalKind::NoSuchRecipient, "no such recipient")
                }
                Action::CheckRecipient(path) => {
                    self.paths.push(path.to_string());
                    Answer::RecipientOk
                }
                Action::CheckRoom { .. } => Answer::RoomOk,
                Action::Accept(transaction) => {
                    self.accepted.push(transaction.raw);
                    Answer::Accepted { reply: Reply::new(250, None, "taken") }
                }
            };
            self.session.handle_answer(answer, Instant::ZERO);
        }
    }

    /// The codes of all replies since the last time.
    pub fn codes(&mut self) -> Vec<u16> {
        let said = std::mem::take(&mut self.said);
        assert_eq!(smtp::data::check_lines(&said, Some(510)), Ok(()), "{}", said.escape_ascii());
        let text = String::from_utf8(said).unwrap();
        let last_lines = text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last_lines.map(|line| line[..3].parse().unwrap()).collect()
    }

    /// Everything said since the last time.
    pub fn text(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    pub fn claimed_octets(&self) -> usize {
        self.session.claimed_octets()
    }
}
