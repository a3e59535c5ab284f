//! The server session as its shell sees it: octets, answers and time in, actions out.
//!
//! Owns the octets that are not yet understood and decides what they are: a command, a response to a challenge, part
//! of a message. Keeps the one deadline. Order of commands is `state.rs`.

use super::peer::Peer;
use super::state::{Question, State};
use super::{Action, Answer, ServerConfig, auth, data};
use crate::command::{Command, CommandError};
use crate::data::Progress;
use crate::line::{self, Line};
use ::mail::{Instant, Refusal};
use bytes::{Buf, Bytes, BytesMut};
use std::mem;

/// Replies are sent before they grow beyond this, even while commands are still waiting.
const OUT_OCTETS_MAX: usize = 16 * 1024;

/// The last octet of what was thrown away of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipped {
    Cr,
    Other,
}

/// One connection of a client.
pub struct Session {
    state: State,
    peer: Peer,
    /// Read and not yet understood: half a line, or what came while a question was open.
    waiting: BytesMut,
    /// Within a line that was too long, by its last octet so far.
    skipping: Option<Skipped>,
    deadline: Option<Instant>,
    said_greeting: bool,
    said_close: bool,
}

impl Session {
    /// The connection is open (and encrypted, with implicit TLS). The greeting is the first action.
    pub fn new(config: ServerConfig, now: Instant) -> Session {
        let deadline = Some(now + config.limits.command_time());
        Session {
            state: State::Connected,
            peer: Peer::new(config, now),
            waiting: BytesMut::new(),
            skipping: None,
            deadline,
            said_greeting: false,
            said_close: false,
        }
    }

    /// Says no instead of the greeting; or, later, at the next place between two transactions (drain).
    pub fn refuse_connection(&mut self, refusal: Refusal) {
        if !self.said_greeting {
            self.peer.out.clear();
        }
        self.peer.leave = Some(refusal);
        self.leave_if_idle();
        self.settle();
    }

    /// What was read from the connection; half a line is kept.
    pub fn handle_bytes(&mut self, octets: &[u8], now: Instant) {
        self.peer.now = now;
        if self.waiting.is_empty() {
            let used = self.read(octets);
            self.keep_waiting(&octets[used..]);
        } else {
            self.keep_waiting(octets);
            self.read_waiting();
        }
        self.settle();
    }

    /// The answer to the question that `poll_action` gave last.
    pub fn handle_answer(&mut self, answer: Answer, now: Instant) {
        self.peer.now = now;
        self.step(|state, peer| state.on_answer(answer, peer));
        self.arm();
        self.read_waiting();
        self.settle();
    }

    /// The time of `poll_timeout` has come. Called too early it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.state.lapse_claim(now);
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.peer.close_with("4.4.2 too slow; closing");
            self.settle();
        }
    }

    /// The client closed its side. A message without its end is nothing.
    pub fn handle_eof(&mut self) {
        self.state = State::Closing;
        self.settle();
    }

    /// What the shell does next; none until something is handed in.
    pub fn poll_action(&mut self) -> Option<Action> {
        let holds_replies = match &self.peer.question {
            None | Some(Action::StartTls) => false,
            Some(_) => self.peer.out.len() <= OUT_OCTETS_MAX,
        };
        if !self.peer.out.is_empty() && !holds_replies {
            self.said_greeting = true;
            return Some(Action::Send(self.peer.out.split().freeze()));
        }
        if let Some(question) = self.peer.question.take() {
            return Some(question);
        }
        if matches!(self.state, State::Closing) && !mem::replace(&mut self.said_close, true) {
            return Some(Action::Close);
        }
        None
    }

    /// Replies to commands that came in one group with the question that is open, held back to go out with its answer. For
    /// whoever ends the session without answering: what was said yes to was said, and the next line is about the question.
    /// A greeting that was not said yet is not among them: the next line takes its place.
    pub fn held_replies(&mut self) -> Bytes {
        if self.said_greeting { self.peer.out.split().freeze() } else { Bytes::new() }
    }

    /// When to call `handle_timeout`. There is no time limit while a question is open.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.state.claim_deadline()).min()
    }

    /// False while a question is open or the session ends: the shell then stops reading.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Waiting(_) | State::Closing)
    }

    /// Octets for which room has to be kept: of the message that is coming, as it was declared or announced, for a while
    /// even before it begins, or as much as is here if that is more; or of the one that `Accept` gave away and that is not answered yet.
    pub fn claimed_octets(&self) -> usize {
        self.state.claimed_octets()
    }

    /// For logs and metrics.
    pub fn phase_name(&self) -> &'static str {
        self.state.name()
    }

    /// Messages accepted so far.
    pub fn accepted(&self) -> u32 {
        self.peer.transactions
    }

    fn read_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut octets = mem::take(&mut self.waiting);
        let used = self.read(&octets);
        octets.advance(used);
        self.waiting = if octets.is_empty() { BytesMut::new() } else { octets };
    }

    fn keep_waiting(&mut self, octets: &[u8]) {
        if !matches!(self.state, State::Closing | State::Waiting(Question::Tls)) {
            self.waiting.extend_from_slice(octets);
        }
        if self.waiting.len() > self.peer.config.limits.waiting_octets_max {
            self.waiting.clear();
            self.peer.close_with("4.7.0 too much sent ahead");
        }
    }

    /// Understands as much as it can; gives the octets used.
    fn read(&mut self, octets: &[u8]) -> usize {
        let mut used = 0;
        while used < octets.len() && !self.peer.closing {
            let rest = &octets[used..];
            let taken = match &mut self.state {
                State::Closing | State::Waiting(_) => break,
                State::Data(..) => self.read_data(rest),
                State::Chunk(_) => self.read_chunk(rest),
                State::Connected
                | State::Ready
                | State::Auth(_)
                | State::Mail(_)
                | State::Rcpt(_)
                | State::Chunks(..) => self.read_line(rest),
            };
            match taken {
                Some(taken) => used += taken,
                None => break,
            }
            if matches!(self.state, State::Waiting(Question::Tls)) {
                // RFC 3207 §4.2: what came behind STARTTLS in clear is not from whom we will talk to.
                return octets.len();
            }
        }
        used
    }

    fn read_line(&mut self, octets: &[u8]) -> Option<usize> {
        if let Some(before) = self.skipping.take() {
            let used = line::skip_line(octets);
            self.skip(&octets[..used], before);
            return Some(used);
        }
        let (line, used) = line::next_line(octets, self.peer.config.limits.command_octets_max);
        // Behind a BDAT that cannot be read comes a message, and nobody knows where it ends: it must not be obeyed.
        let announces_chunk = octets.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"));
        let parsed = match line {
            Line::Partial => return None,
            Line::Whole(text) => Ok(text),
            Line::Malformed | Line::TooLong if announces_chunk => Err(CommandError::ChunkSize),
            Line::Malformed if octets[..used].ends_with(b"\r\n") => Err(CommandError::BadLineEnd),
            Line::Malformed => Err(CommandError::BareLineFeed),
            Line::TooLong => Err(CommandError::TooLong),
        };
        let too_long = matches!(parsed, Err(CommandError::TooLong));
        self.step(|state, peer| match (state, parsed) {
            (State::Auth(challenge), Ok(text)) => auth::respond(challenge, text, peer),
            (State::Auth(_), Err(error)) => wrong(State::Ready, error, peer),
            (state, Ok(text)) => match Command::parse(text) {
                Ok(command) => state.on_command(command, peer),
                Err(CommandError::Unknown) if announces_chunk => wrong(state, CommandError::ChunkSize, peer),
                Err(error) => wrong(state, error, peer),
            },
            (state, Err(error)) => wrong(state, error, peer),
        });
        if too_long {
            self.skip(&octets[..used], Skipped::Other);
        }
        self.arm();
        Some(used)
    }

    /// A part of a line that was too long, up to its LF or to the end of what came. The line was refused; its end is held
    /// to the same rule as any other.
    fn skip(&mut self, part: &[u8], before: Skipped) {
        match part.last() {
            Some(b'\n') => {}
            Some(b'\r') => return self.skipping = Some(Skipped::Cr),
            Some(_) => return self.skipping = Some(Skipped::Other),
            None => return self.skipping = Some(before),
        }
        let crlf = part.ends_with(b"\r\n") || (part == b"\n" && before == Skipped::Cr);
        if !crlf && !self.peer.closing {
            self.step(|state, peer| wrong(state, CommandError::BareLineFeed, peer));
        }
    }

    fn read_data(&mut self, octets: &[u8]) -> Option<usize> {
        let State::Data(_, reader) = &mut self.state else { return None };
        match data::read(reader, octets, &mut self.peer) {
            Progress::More => {
                self.arm();
                Some(octets.len())
            }
            Progress::End(used) => {
                self.step(|state, peer| match state {
                    State::Data(open, reader) => data::end(open, *reader, peer),
                    other => other,
                });
                self.arm();
                Some(used)
            }
        }
    }

    fn read_chunk(&mut self, octets: &[u8]) -> Option<usize> {
        let State::Chunk(chunk) = &mut self.state else { return None };
        let (used, complete) = chunk.read(octets);
        if complete {
            self.step(|state, peer| match state {
                State::Chunk(chunk) => data::end_chunk(chunk, peer),
                other => other,
            });
        }
        self.arm();
        Some(used)
    }

    fn step(&mut self, transition: impl FnOnce(State, &mut Peer) -> State) {
        let state = mem::replace(&mut self.state, State::Closing);
        self.state = transition(state, &mut self.peer);
        self.leave_if_idle();
    }

    /// Between transactions nothing is lost by closing; a message under way is finished first.
    fn leave_if_idle(&mut self) {
        use State::{Auth, Connected, Mail, Rcpt, Ready};
        let idle = matches!(self.state, Connected | Ready | Auth(_) | Mail(_) | Rcpt(_));
        if idle && let Some(refusal) = self.peer.leave.take() {
            self.peer.reply(&refusal.to_reply());
            self.peer.closing = true;
        }
    }

    /// The time for a command runs from the reply to the one before; single octets do not prolong it. The next block of a
    /// message must come in time, and the whole of it fast enough, between its chunks as within them.
    fn arm(&mut self) {
        let limits = &self.peer.config.limits;
        let (next, received) = match &self.state {
            State::Data(_, reader) => (limits.data_time(), Some(reader.received())),
            State::Chunk(chunk) => (limits.data_time(), Some(chunk.received())),
            State::Chunks(_, reader) => (limits.command_time(), Some(reader.received())),
            State::Connected
            | State::Ready
            | State::Auth(_)
            | State::Mail(_)
            | State::Rcpt(_)
            | State::Waiting(_)
            | State::Closing => (limits.command_time(), None),
        };
        let next = self.peer.now + next;
        let whole = received.map(|received| self.peer.data_began + limits.time_for(received));
        self.deadline = Some(whole.map_or(next, |whole| whole.min(next)));
    }

    /// After every event: a session whose last reply is written reads nothing more.
    fn settle(&mut self) {
        if self.peer.closing {
            self.state = State::Closing;
        }
        if !self.wants_input() {
            self.deadline = None;
        }
        if matches!(self.state, State::Closing) {
            self.waiting = BytesMut::new();
            self.peer.question = None;
        }
    }
}

/// A line that is no command.
fn wrong(state: State, error: CommandError, peer: &mut Peer) -> State {
    peer.complain_with(&error.to_reply());
    match (error, state) {
        // What follows is not a mail client's, or cannot be told apart from a message.
        (CommandError::Http | CommandError::ChunkSize | CommandError::BareLineFeed, _) => State::Closing,
        (CommandError::ForwardPath(_) | CommandError::NeedsSmtpUtf8, State::Mail(mut open)) => {
            open.refused_recipient = true;
            State::Mail(open)
        }
        (_, state) => state,
    }
}
