//! The states of a server session and the commands that lead from one to the next. Read this first.
//!
//! `State::on_command` is the whole order of commands (RFC 5321 §4.1.4) on one page; `on_answer` is what the shell's
//! answers lead to. What a transition does stands in the file named after the command. Beside them a state changes where
//! no command is read: a response to a challenge (`auth.rs`), a line that cannot be read and the close (`session.rs`),
//! the end of a message or chunk (`data.rs`).
//!
//! A transcript is run by `tests/transcripts.rs`, whose header explains `>`, `A:`, `C~` and `T:`; the shell that asks
//! and answers is `ingress/src/session.rs`. `Peer` is what outlives a transaction; `Claim` the room that a message holds
//! before its octets are here.

use super::claim::Claim;
use super::data::Announced;
use super::peer::Peer;
use super::{Answer, auth, data, greet, mail, rcpt, starttls};
use crate::command::Command;
use crate::data::{ChunkReader, DataReader};
use ::mail::{Envelope, Instant, Recipient, Refusal};

//        ┌────── STARTTLS; when TLS is up everything is forgotten (RFC 3207 §4.2) ──────┐
//        ▼                                                                              │
//   Connected ───── EHLO, HELO ─────► Ready ───────────────────────────────────────────►┘
//                                     │ ▲ └─ AUTH ─► Auth ─ response, or * to cancel ─► Ready
//                                MAIL │ │
//                                     ▼ │ RSET, EHLO, HELO: from Mail, Rcpt and Chunks (RFC 5321 §4.1.1.5)
//                                    Mail
//                                RCPT │
//                                     ▼
//                            RCPT ┌► Rcpt ─── DATA ──► Data ─── CRLF . CRLF ──────────► Ready
//                                 └─┘ └───── BDAT ──► Chunk ── its last octet of LAST ─► Ready
//                                                     ▲    └── of any other ─► Chunks ─┐
//                                                     └────────────── BDAT ────────────┘
//   DATA and BDAT ask for room first.
//   In every state NOOP, HELP and VRFY stay where they are and QUIT closes; what is not implemented is 502 and
//   stays. Every other case is 503 and stays.
//   `Waiting` stands on an arrow: the command was understood, the shell is asked, its answer completes the step; a
//   refusal leads back to where the arrow began; one of room or of a message ends the transaction: Ready. TLS that
//   fails closes.
pub(super) enum State {
    /// Nothing is known of the client: after the greeting, and again after STARTTLS.
    Connected,
    /// No transaction is open.
    Ready,
    /// A challenge was sent; the next line is a response and no command (RFC 4954 §4).
    Auth(auth::Challenge),
    /// MAIL was accepted, no RCPT yet.
    Mail(Open),
    /// At least one RCPT was accepted.
    Rcpt(Open),
    /// 354 was said; what comes is the message.
    Data(Open, Box<DataReader>),
    /// Between two BDAT of one message (RFC 3030).
    Chunks(Open, Box<ChunkReader>),
    /// Inside a chunk: so many octets are no commands.
    Chunk(data::Chunk),
    /// The shell was asked.
    Waiting(Question),
    /// Nothing is read any more.
    Closing,
}

/// A transaction before its message.
pub(super) struct Open {
    pub envelope: Envelope,
    /// As the client declared it (RFC 1870).
    pub size: Option<u64>,
    /// A RCPT was refused: if all are, DATA gets another answer than out of order (RFC 2920 §3.1).
    pub refused_recipient: bool,
    /// RCPTs that named a recipient again.
    pub repeated: usize,
    pub claim: Claim,
}

impl Open {
    /// Within the limit of a message, or MAIL was refused.
    pub fn declared(&self) -> usize {
        self.size.map_or(0, |size| size as usize)
    }
}

/// What the shell was asked, with what is needed to go on.
pub(super) enum Question {
    Tls,
    Credential,
    ReversePath(Open),
    Recipient(Open, Recipient),
    Room(data::Beginning),
    /// With the octets of the message, which the shell holds now.
    Acceptance(usize),
}

impl State {
    pub fn on_command(self, command: Command<'_>, peer: &mut Peer) -> State {
        use State::{Chunks, Connected, Mail, Rcpt, Ready};
        match (self, command) {
            (state, Command::Noop) => greet::noop(state, peer),
            (state, Command::Help) => greet::help(state, peer),
            (state, Command::Vrfy) => greet::verify(state, peer),
            (state, Command::NotImplemented) => greet::not_implemented(state, peer),
            (_, Command::Quit) => greet::quit(peer),

            (Connected, Command::Rset) => greet::reset(Connected, peer),
            (Ready | Mail(_) | Rcpt(_) | Chunks(..), Command::Rset) => greet::reset(Ready, peer),
            (Connected | Ready | Mail(_) | Rcpt(_) | Chunks(..), Command::Ehlo(name)) => {
                greet::ehlo(name, peer)
            }
            (Connected | Ready | Mail(_) | Rcpt(_) | Chunks(..), Command::Helo(name)) => {
                greet::helo(name, peer)
            }

            (Ready, Command::StartTls) => starttls::begin(peer),
            (Ready, Command::Auth { mechanism, initial }) => auth::begin(mechanism, initial, peer),
            (Ready, Command::Mail { reverse_path, parameters }) => {
                mail::begin(reverse_path, parameters, peer)
            }
            (state @ (Mail(_) | Rcpt(_)), Command::Rcpt { forward_path, parameters }) => {
                rcpt::offer(state, forward_path, parameters, peer)
            }
            (Mail(open), Command::Data) if open.refused_recipient => data::no_recipient(open, peer),
            (Rcpt(open), Command::Data) => data::ask_room(data::Beginning::Data(open), peer),
            // The octets of a chunk follow its command in any case: they must never be read as commands.
            (state, Command::Bdat { octets, last }) => data::chunk(state, Announced { octets, last }, peer),

            (state, command) => state.out_of_order(&command, peer),
        }
    }

    pub fn on_answer(self, answer: Answer, peer: &mut Peer) -> State {
        let State::Waiting(question) = self else {
            // The session ended while the shell was busy.
            return self;
        };
        match (question, answer) {
            (Question::Tls, Answer::TlsDone { version, cipher }) => starttls::done(version, cipher, peer),
            (Question::Tls, Answer::TlsFailed) => State::Closing,
            (Question::Credential, Answer::CredentialOk) => auth::accepted(peer),
            (Question::Credential, Answer::Refused(refusal)) => auth::refused(&refusal, peer),
            (Question::ReversePath(open), Answer::ReversePathOk) => mail::accepted(open, peer),
            (Question::ReversePath(_), Answer::Refused(refusal)) => State::Ready.refuse(&refusal, peer),
            (Question::Recipient(open, recipient), Answer::RecipientOk) => {
                rcpt::accepted(open, recipient, peer)
            }
            (Question::Recipient(open, _), Answer::Refused(refusal)) => rcpt::refused(open, &refusal, peer),
            (Question::Room(beginning), Answer::RoomOk) => data::begin(beginning, peer),
            (Question::Room(beginning), Answer::Refused(refusal)) => {
                data::no_room(&beginning, &refusal, peer)
            }
            (Question::Acceptance(_), Answer::Accepted { reply }) => data::accepted(&reply, peer),
            (Question::Acceptance(_), Answer::Refused(refusal)) => State::Ready.refuse(&refusal, peer),
            (_, answer) => unreachable!("the shell gave {answer:?} to a question of another kind"),
        }
    }

    pub fn refuse(self, refusal: &Refusal, peer: &mut Peer) -> State {
        let reply = refusal.to_reply();
        // Our own trouble is no error of the client.
        if reply.code.is_permanent() {
            peer.complain_with(&reply);
        } else {
            peer.reply(&reply);
        }
        self
    }

    /// The arm for every other case, with a hint at what is missing.
    fn out_of_order(self, command: &Command<'_>, peer: &mut Peer) -> State {
        let hint = match (&self, command) {
            (State::Connected, _) => "5.5.1 EHLO first",
            (State::Ready, Command::Rcpt { .. } | Command::Data) => "5.5.1 MAIL first",
            (State::Mail(_), Command::Data) => "5.5.1 RCPT first",
            (State::Mail(_) | State::Rcpt(_), Command::Mail { .. }) => "5.5.1 a transaction is open already",
            (State::Chunks(..), Command::Data) => "5.5.1 BDAT and DATA do not mix",
            (State::Chunks(..), Command::Mail { .. } | Command::Rcpt { .. }) => {
                "5.5.1 BDAT LAST or RSET first"
            }
            _ => "5.5.1 not during a transaction",
        };
        peer.complain(503, hint);
        self
    }

    /// What is kept of a message that is not answered yet, here or in the shell, or will be.
    pub fn claimed_octets(&self) -> usize {
        match self {
            State::Mail(open) | State::Rcpt(open) | State::Waiting(Question::Recipient(open, _)) => {
                open.claim.octets()
            }
            State::Waiting(Question::Room(beginning)) => beginning.claimed_octets(),
            // Nothing is kept of a message that is refused at its end.
            State::Data(_, reader) if reader.has_failed() => 0,
            State::Data(open, reader) => reader.held_octets().max(open.claim.octets()),
            State::Chunks(open, reader) => reader.held_octets().max(open.claim.octets()),
            State::Chunk(data::Chunk::Keep { open, .. }) => open.claim.octets(),
            State::Waiting(Question::Acceptance(octets)) => *octets,
            State::Waiting(Question::Tls | Question::Credential | Question::ReversePath(_)) => 0,
            State::Connected | State::Ready | State::Auth(_) => 0,
            State::Chunk(data::Chunk::Drop { .. }) | State::Closing => 0,
        }
    }

    /// When words alone claim no room any longer, for `lapse_claim`.
    pub fn claim_deadline(&self) -> Option<Instant> {
        match self {
            State::Mail(open) | State::Rcpt(open) | State::Chunks(open, _) => open.claim.deadline(),
            State::Connected | State::Ready | State::Auth(_) | State::Data(..) | State::Chunk(_) => None,
            State::Waiting(_) | State::Closing => None,
        }
    }

    pub fn lapse_claim(&mut self, now: Instant) {
        if let State::Mail(open) | State::Rcpt(open) | State::Chunks(open, _) = self {
            open.claim.lapse(now);
        }
    }

    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            State::Connected => "connect",
            State::Ready => "ready",
            State::Auth(_) | State::Waiting(Question::Credential) => "auth",
            State::Mail(_) | State::Waiting(Question::ReversePath(_)) => "mail",
            State::Rcpt(_) | State::Waiting(Question::Recipient(..)) => "rcpt",
            State::Data(..) | State::Chunks(..) | State::Chunk(_) | State::Waiting(Question::Room(_)) => {
                "data"
            }
            State::Waiting(Question::Tls) => "starttls",
            State::Waiting(Question::Acceptance(_)) => "accept",
            State::Closing => "close",
        }
    }
}
