//! The client session as its shell sees it: octets, answers and time in, actions out.

use super::mail::Delivery;
use super::site::{Site, broken};
use super::state::State;
use super::{Action, Answer, BreakKind, ClientConfig, DeliveryReport, Stage, Transaction};
use crate::extension::Offer;
use crate::reply::ReplyReader;
use ::mail::Instant;
use bytes::BytesMut;
use std::mem;

/// One connection to a site.
pub struct Session {
    state: State,
    site: Site,
    reader: ReplyReader,
    /// Half a line.
    waiting: BytesMut,
    said_close: bool,
}

impl Session {
    /// The connection is open (and encrypted, with implicit TLS); the greeting has not come.
    pub fn new(config: ClientConfig, now: Instant) -> Session {
        let reader =
            ReplyReader::new(config.reply_line_octets_max, config.reply_lines_max, config.reply_octets_max);
        let site = Site::new(config, now);
        Session { state: State::Greeting, site, reader, waiting: BytesMut::new(), said_close: false }
    }

    /// Begins a transaction; exactly one `Report` follows. If the session was lost since `Ready`, the report says so.
    /// A session that is not ready must not be given one.
    pub fn deliver(&mut self, transaction: Transaction, now: Instant) {
        self.site.now = now;
        match mem::replace(&mut self.state, State::Closed) {
            State::Ready => self.state = Delivery::begin(transaction, &mut self.site),
            State::Quitting | State::Closed => {
                let lost = Err(broken(Stage::Mail, BreakKind::Eof));
                let results = vec![lost; transaction.envelope.recipients.len()];
                let report = DeliveryReport { results, session_usable: false };
                self.site.actions.push_back(Action::Report(report));
            }
            other => unreachable!("a transaction was given to a session at {}", other.name()),
        }
        self.settle();
    }

    /// No message comes to its end before `resume_end`.
    pub fn hold_end(&mut self) {
        self.site.end_held = true;
    }

    /// Ends what `hold_end` began: the rest of the message goes, and the final answer is waited for from now on.
    pub fn resume_end(&mut self, now: Instant) {
        self.site.now = now;
        self.site.end_held = false;
        match mem::replace(&mut self.state, State::Closed) {
            State::Delivering(delivery) => self.state = delivery.on_resume(&mut self.site),
            other => self.state = other,
        }
        self.settle();
    }

    /// Ends the session. In the middle of something it just closes.
    pub fn quit(&mut self, now: Instant) {
        self.site.now = now;
        if !self.is_ready() {
            return self.handle_break(BreakKind::Io);
        }
        self.site.say(&["QUIT"]);
        self.site.wait_at(Stage::Quit);
        self.state = State::Quitting;
    }

    /// What was read from the connection; half a line is kept.
    pub fn handle_bytes(&mut self, octets: &[u8], now: Instant) {
        self.site.now = now;
        if self.waiting.is_empty() {
            let used = self.read(octets);
            self.keep_waiting(&octets[used..]);
        } else {
            self.waiting.extend_from_slice(octets);
            let octets = mem::take(&mut self.waiting);
            let used = self.read(&octets);
            self.keep_waiting(&octets[used..]);
        }
        self.settle();
    }

    /// What became of the question that `poll_action` gave last.
    pub fn handle_answer(&mut self, answer: Answer, now: Instant) {
        self.site.now = now;
        let state = mem::replace(&mut self.state, State::Closed);
        self.state = state.on_answer(answer, &mut self.site);
        self.settle();
    }

    /// So far everything that `Send` gave was written. Only long messages need it: it keeps the time running anew.
    pub fn handle_written(&mut self, now: Instant) {
        self.site.now = now;
        let State::Delivering(delivery) = &self.state else { return };
        if delivery.waits_for_us(&self.site) {
            self.site.wait_held();
        } else if delivery.stage() == Stage::Body {
            self.site.wait_at(Stage::Body);
        } else if delivery.stage() == Stage::Final {
            self.site.wait_at(if self.site.texts.is_empty() { Stage::Final } else { Stage::Body });
        }
    }

    /// The time of `poll_timeout` has come. Called too early it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.site.now = now;
        if self.site.deadline.is_some_and(|deadline| deadline <= now) {
            self.handle_break(BreakKind::Timeout);
        }
    }

    /// The site closed its side.
    pub fn handle_eof(&mut self) {
        self.handle_break(BreakKind::Eof);
    }

    /// The connection broke in another way.
    pub fn handle_break(&mut self, kind: BreakKind) {
        let state = mem::replace(&mut self.state, State::Closed);
        self.state = state.on_break(kind, &mut self.site);
        self.settle();
    }

    /// What the shell does next; none until something is handed in.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(octets) = self.site.hand_out() {
            return Some(Action::Send(octets));
        }
        if let Some(action) = self.site.actions.pop_front() {
            return Some(action);
        }
        if matches!(self.state, State::Closed) && !mem::replace(&mut self.said_close, true) {
            return Some(Action::Close);
        }
        None
    }

    /// When to call `handle_timeout`. An idle session has no limit of its own: its owner knows how long it is of use.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.site.deadline
    }

    /// False while the handshake runs and after the end.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Handshake | State::Closed)
    }

    /// Whether `deliver` may be called.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// The handshake is done.
    pub fn is_encrypted(&self) -> bool {
        self.site.encrypted
    }

    /// What the site offers now.
    pub fn offer(&self) -> &Offer {
        &self.site.offer
    }

    /// For logs and metrics.
    pub fn phase_name(&self) -> &'static str {
        match &self.state {
            // The answer to the end is awaited, and the end is not written.
            State::Delivering(_) if !self.site.texts.is_empty() => Stage::Body.name(),
            state => state.name(),
        }
    }

    fn read(&mut self, octets: &[u8]) -> usize {
        let mut used = 0;
        while used < octets.len() {
            if !self.wants_input() {
                return octets.len();
            }
            match self.reader.read(&octets[used..]) {
                Ok((reply, taken)) => {
                    used += taken;
                    let Some(reply) = reply else { break };
                    // RFC 5321 §3.8: only a 421 may come at any time.
                    if !self.site.was_asked() && reply.code.as_u16() != 421 {
                        self.handle_break(BreakKind::Protocol);
                        return octets.len();
                    }
                    let state = mem::replace(&mut self.state, State::Closed);
                    self.state = state.on_reply(reply, &mut self.site);
                }
                Err(_) => {
                    self.handle_break(BreakKind::Protocol);
                    return octets.len();
                }
            }
        }
        used
    }

    fn keep_waiting(&mut self, octets: &[u8]) {
        if self.wants_input() && !octets.is_empty() {
            self.waiting = BytesMut::from(octets);
        }
    }

    fn settle(&mut self) {
        if matches!(self.state, State::Closed) {
            self.site.deadline = None;
            self.site.texts.clear();
        }
        if !self.wants_input() {
            // RFC 3207 §4.2: what came in clear behind the 220 is not known any more.
            self.waiting.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::client::ClientTls;
    use ::mail::{Envelope, ForwardPath, Recipient, ReversePath};
    use std::time::Duration;

    /// A session in which the text of a message of 900,000 octets comes next.
    fn in_a_long_message(prepare: impl FnOnce(&mut Session)) -> Session {
        let mut session = Session::new(ClientConfig::new("out.example", ClientTls::Never), Instant::ZERO);
        let now = Instant::ZERO;
        session.handle_bytes(b"220 mx\r\n", now);
        while session.poll_action().is_some() {}
        session.handle_bytes(b"250 mx\r\n", now);
        let recipient = Recipient::new(ForwardPath::parse("b@example.org").unwrap());
        let envelope = Envelope::new(ReversePath::Null, vec![recipient]);
        prepare(&mut session);
        session.deliver(Transaction { envelope, raw: "x".repeat(900_000).into() }, now);
        for reply in ["250 ok", "250 ok", "354 go"] {
            while session.poll_action().is_some() {}
            session.handle_bytes(format!("{reply}\r\n").as_bytes(), now);
        }
        session
    }

    /// A site that takes the beginning of a long message and reads no further (N9).
    #[test]
    fn each_block_of_a_long_message_has_the_time_of_a_block_and_its_answer_that_of_an_answer() {
        let (mut session, mut now) = (in_a_long_message(|_| {}), Instant::ZERO);
        let (block, answer) =
            (session.site.config.timeouts.at(Stage::Body), session.site.config.timeouts.at(Stage::Final));
        while session.poll_action().is_some() {
            assert_eq!(session.poll_timeout(), Some(now + block));
            now = now + block / 6;
            session.handle_written(now);
        }
        assert_eq!(session.poll_timeout(), Some(now + answer));
    }

    /// One that takes a block in time, again and again, would keep the message in our memory for as long as it likes.
    #[test]
    fn all_blocks_together_have_the_time_of_a_slow_line_and_no_more() {
        let (mut session, mut now) = (in_a_long_message(|_| {}), Instant::ZERO);
        let nearly = session.site.config.timeouts.at(Stage::Body) - Duration::from_secs(1);
        let report = loop {
            match session.poll_action() {
                Some(Action::Send(_)) => {
                    let by = session.poll_timeout().unwrap();
                    now = by.min(now + nearly);
                    if now == by { session.handle_timeout(now) } else { session.handle_written(now) }
                }
                Some(Action::Report(report)) => break report,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(now.saturating_since(Instant::ZERO).as_secs(), 600 + 900_000 / 8_192);
        assert_eq!(report.results, [Err(broken(Stage::Body, BreakKind::Timeout))]);
        assert!(!report.session_usable);
    }

    /// What is held is the end, not the way there: a site that takes its text slowly has the time of each block.
    #[test]
    fn a_long_message_is_written_under_its_own_times_and_then_held_under_ours() {
        let (mut session, mut now) = (in_a_long_message(Session::hold_end), Instant::ZERO);
        let timeouts = session.site.config.timeouts.clone();
        let mut octets = 0;
        while let Some(Action::Send(block)) = session.poll_action() {
            octets += block.len();
            now = now + Duration::from_secs(30);
            let left = octets < 900_000;
            session.handle_written(now);
            let limit = if left { timeouts.at(Stage::Body) } else { timeouts.hold() };
            assert_eq!(session.poll_timeout(), Some(now + limit));
        }
        assert_eq!(octets, 900_000);
        session.resume_end(now);
        let Some(Action::Send(end)) = session.poll_action() else { panic!("the end follows") };
        assert_eq!(&end[..], b"\r\n.\r\n");
        assert_eq!(session.poll_timeout(), Some(now + timeouts.at(Stage::Final)));
    }
}
