//! What a client session knows of the site it talks to, and what it has to do next: the context of every transition.

use super::{Action, Break, BreakKind, ClientConfig, ClientTls, Failure, Stage};
use crate::extension::{Extension, Offer};
use crate::text::{BLOCK_OCTETS, Text};
use ::mail::{Instant, Reply};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A message up to this size goes out together with its command, in one write; a longer one goes in blocks.
const TOGETHER_OCTETS_MAX: usize = BLOCK_OCTETS;

pub(super) struct Site {
    pub config: ClientConfig,
    pub now: Instant,
    pub out: BytesMut,
    /// Commands and messages in `out` and `texts` that have an answer.
    said: usize,
    /// Answers to what was handed out, that have not come.
    owed: usize,
    /// What follows `out`. None of them is empty.
    pub texts: VecDeque<Text>,
    /// When the text that is being written must be with the site.
    pub body_by: Option<Instant>,
    /// What follows the octets.
    pub actions: VecDeque<Action>,
    pub offer: Offer,
    pub encrypted: bool,
    /// The last transaction did not come to an end of its own.
    pub needs_reset: bool,
    /// No message may come to its end now.
    pub end_held: bool,
    pub deadline: Option<Instant>,
}

impl Site {
    pub fn new(config: ClientConfig, now: Instant) -> Site {
        let encrypted = config.tls == ClientTls::Implicit;
        let mut site = Site {
            config,
            now,
            out: BytesMut::new(),
            said: 0,
            // The greeting.
            owed: 1,
            texts: VecDeque::new(),
            body_by: None,
            actions: VecDeque::new(),
            offer: Offer::default(),
            encrypted,
            needs_reset: false,
            end_held: false,
            deadline: None,
        };
        site.wait_at(Stage::Greeting);
        site
    }

    pub fn offers(&self, extension: Extension) -> bool {
        self.offer.extensions.contains(extension)
    }

    pub fn say(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self.said += 1;
    }

    /// The message itself has an answer, and no command is said for it.
    pub fn await_final(&mut self) {
        self.said += 1;
    }

    /// The next octets for the shell. From here on their answers may come.
    pub fn hand_out(&mut self) -> Option<Bytes> {
        let octets = if self.out.is_empty() { self.next_block()? } else { self.out.split().freeze() };
        self.owed += std::mem::take(&mut self.said);
        Some(octets)
    }

    /// Whether something that has an answer was not handed out yet.
    pub fn is_unsaid(&self) -> bool {
        self.said > 0 || !self.texts.is_empty()
    }

    /// Takes a reply into account. False if there is nothing that it could be the answer to.
    pub fn was_asked(&mut self) -> bool {
        let asked = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        asked
    }

    fn next_block(&mut self) -> Option<Bytes> {
        let text = self.texts.front_mut()?;
        let block = text.next_block();
        if text.is_empty() {
            self.texts.pop_front();
        }
        Some(block)
    }

    pub fn send_text(&mut self, text: Text) {
        if self.texts.is_empty() && text.octets() <= TOGETHER_OCTETS_MAX {
            text.append_to(&mut self.out);
        } else {
            self.texts.push_back(text);
        }
    }

    /// From now on runs the time for all of a text, however steadily the site takes it.
    pub fn begin_body(&mut self, octets: usize) {
        self.body_by = Some(self.now + self.config.timeouts.whole_body(octets));
    }

    pub fn wait_at(&mut self, stage: Stage) {
        let by = self.now + self.config.timeouts.at(stage);
        let whole = self.body_by.filter(|_| stage == Stage::Body);
        self.deadline = Some(whole.map_or(by, |whole| whole.min(by)));
    }

    /// The end of the message is held back, and the site waits for us.
    pub fn wait_held(&mut self) {
        self.deadline = Some(self.now + self.config.timeouts.hold());
    }

    /// The session never became ready. A site that only said no is told goodbye, without waiting for its answer.
    pub fn fail_opening(&mut self, failure: Failure) -> super::state::State {
        let polite = match &failure {
            Failure::Refused { reply, .. } => reply.code.as_u16() != 421,
            Failure::Missing(_) => true,
            Failure::Broken(_) => false,
        };
        // What was about to be said has its answer.
        self.out.clear();
        if polite {
            self.say(&["QUIT"]);
        }
        self.actions.push_back(Action::OpeningFailed(failure));
        super::state::State::Closed
    }

    pub fn refuse_opening(&mut self, stage: Stage, reply: Reply) -> super::state::State {
        if reply.code.is_positive() {
            return self.fail_opening(broken(stage, BreakKind::Protocol));
        }
        self.fail_opening(Failure::Refused { stage, reply })
    }
}

pub(super) fn broken(stage: Stage, kind: BreakKind) -> Failure {
    Failure::Broken(Break { stage, kind, maybe_delivered: stage.maybe_delivered() })
}
