//! A transaction of the client, from MAIL to the report (RFC 5321 §3.3; pipelining by RFC 2920).
//!
//! Commands are sent in groups where PIPELINING is offered and one by one where it is not; every reply is matched with
//! the command it answers. Whatever happens, every recipient has exactly one result in the end.

use super::site::{Site, broken};
use super::state::State;
use super::{Action, BreakKind, DeliveryReport, Failure, Missing, Stage, Transaction, data, rcpt};
use crate::data::check_lines;
use crate::extension::Extension;
use ::mail::{BodyKind, DsnReturn, Reply};
use bytes::Bytes;
use std::collections::VecDeque;

/// Commands without an answer at one time: a group that fits into the buffers of both sides (RFC 2920 §3.1).
const GROUP_COMMANDS_MAX: usize = 100;

/// A command whose reply has not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// The message, by its dot or its last chunk.
    Final,
    /// The empty message that must be sent if DATA is taken although no recipient was.
    Abandoned,
}

/// What is sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Reset,
    Mail,
    Rcpt(usize),
    /// DATA or the chunk.
    Body,
    /// The end of a text that was written.
    Dot(Bytes),
    Nothing,
}

pub(super) struct Delivery {
    pub transaction: Transaction,
    /// `None` for a recipient that was accepted or not yet answered.
    pub results: Vec<Option<Result<Reply, Failure>>>,
    pub accepted: usize,
    pub expected: VecDeque<Expected>,
    pub next: Next,
}

impl Delivery {
    pub fn begin(transaction: Transaction, site: &mut Site) -> State {
        site.body_by = None;
        let recipients = transaction.envelope.recipients.len();
        let next = if site.needs_reset { Next::Reset } else { Next::Mail };
        let mut delivery = Box::new(Delivery {
            transaction,
            results: vec![None; recipients],
            accepted: 0,
            expected: VecDeque::new(),
            next,
        });
        if let Some(missing) = delivery.missing(site) {
            delivery.settle_open(&Failure::Missing(missing));
            return delivery.report(site);
        }
        delivery.go_on(site)
    }

    pub fn on_reply(mut self: Box<Self>, reply: Reply, site: &mut Site) -> State {
        let Some(expected) = self.expected.pop_front() else {
            return self.on_word_while_held(reply, site);
        };
        if reply.code.as_u16() == 421 {
            // RFC 5321 §3.8: the site closes now; it is its answer for everybody who has none.
            self.settle_open(&Failure::Refused { stage: stage_of(expected, site), reply });
            return self.report_and_close(site);
        }
        let understood = match expected {
            Expected::Reset => self.on_reset(reply),
            Expected::Mail => self.on_mail(reply, site),
            Expected::Rcpt(index) => rcpt::on_reply(&mut self, index, reply),
            Expected::Data => data::on_reply(&mut self, reply, site),
            Expected::Final => data::on_final(&mut self, reply, site),
            Expected::Abandoned => Ok(()),
        };
        match understood {
            Ok(()) => self.go_on(site),
            Err(kind) => {
                self.settle_open(&broken(stage_of(expected, site), kind));
                self.report_and_close(site)
            }
        }
    }

    /// The site waits for the end of the message. All it can say is that it waits no longer: no answer to the message,
    /// and our doing.
    fn on_word_while_held(mut self: Box<Self>, reply: Reply, site: &mut Site) -> State {
        if reply.code.as_u16() != 421 {
            return self.on_break(BreakKind::Protocol, site);
        }
        if self.waits_for_us(site) {
            return self.on_break(BreakKind::Eof, site);
        }
        self.settle_open(&Failure::Refused { stage: self.stage(), reply });
        self.report_and_close(site)
    }

    pub fn on_break(mut self, kind: BreakKind, site: &mut Site) -> State {
        let stage = self.expected.front().map_or(self.stage(), |expected| stage_of(*expected, site));
        // However a site that waits for us stops waiting: an attempt that we delayed is not held against it.
        // One that speaks out of turn is at fault at any time.
        let kind = match kind {
            BreakKind::Timeout if self.waits_for_us(site) => BreakKind::Withheld,
            BreakKind::Eof | BreakKind::Io if self.waits_for_us(site) => BreakKind::Impatient,
            kind => kind,
        };
        self.settle_open(&broken(stage, kind));
        self.report_and_close(site)
    }

    /// Everything but the end of the message is said and answered.
    pub fn waits_for_us(&self, site: &Site) -> bool {
        self.expected.is_empty() && self.next != Next::Nothing && site.out.is_empty() && site.texts.is_empty()
    }

    /// The end of the message may come.
    pub fn on_resume(self: Box<Self>, site: &mut Site) -> State {
        if self.expected.is_empty() { self.go_on(site) } else { State::Delivering(self) }
    }

    pub fn stage(&self) -> Stage {
        match self.expected.front() {
            None if matches!(self.next, Next::Dot(_)) => Stage::Body,
            None if self.next == Next::Body => Stage::Data,
            None | Some(Expected::Mail) => Stage::Mail,
            Some(Expected::Reset) => Stage::Reset,
            Some(Expected::Rcpt(_)) => Stage::Rcpt,
            Some(Expected::Data) => Stage::Data,
            Some(Expected::Final | Expected::Abandoned) => Stage::Final,
        }
    }

    /// Sends what may be sent now; reports when nothing more will come.
    fn go_on(mut self: Box<Self>, site: &mut Site) -> State {
        let group = if site.offers(Extension::Pipelining) { GROUP_COMMANDS_MAX } else { 1 };
        while self.next != Next::Nothing && self.expected.len() < group {
            if !self.send_next(site) {
                break;
            }
        }
        match self.expected.front() {
            Some(expected) => {
                let stage = stage_of(*expected, site);
                // While blocks are written `handle_written` begins this anew for each, and at last for the answer.
                let together = stage == Stage::Body && site.texts.is_empty();
                site.wait_at(if together { Stage::Final } else { stage });
                State::Delivering(self)
            }
            // What was said has its answers; what is left is held.
            None if self.next != Next::Nothing => {
                match site.texts.is_empty() {
                    true => site.wait_held(),
                    false => site.wait_at(Stage::Body),
                }
                State::Delivering(self)
            }
            None => self.report(site),
        }
    }

    /// False if a reply has to come first.
    fn send_next(&mut self, site: &mut Site) -> bool {
        let expected = match &self.next {
            Next::Nothing => return false,
            Next::Reset => {
                site.say(&["RSET"]);
                self.next = Next::Mail;
                Expected::Reset
            }
            Next::Mail => {
                self.say_mail(site);
                self.next = Next::Rcpt(0);
                Expected::Mail
            }
            &Next::Rcpt(index) => {
                rcpt::say(&self.transaction.envelope.recipients[index], site);
                let more = index + 1 < self.results.len();
                self.next = if more { Next::Rcpt(index + 1) } else { Next::Body };
                Expected::Rcpt(index)
            }
            Next::Body => match data::begin(self, site) {
                Some(expected) => {
                    self.next = Next::Nothing;
                    expected
                }
                None => return false,
            },
            Next::Dot(dot) => match data::end(dot.clone(), site) {
                Some(expected) => {
                    self.next = Next::Nothing;
                    expected
                }
                None => return false,
            },
        };
        self.expected.push_back(expected);
        true
    }

    fn say_mail(&self, site: &mut Site) {
        let envelope = &self.transaction.envelope;
        site.out.extend_from_slice(format!("MAIL FROM:<{}>", envelope.reverse_path).as_bytes());
        if site.offers(Extension::Size) {
            site.out.extend_from_slice(format!(" SIZE={}", self.transaction.raw.len()).as_bytes());
        }
        if site.offers(Extension::EightBitMime) && self.is_eight_bit() {
            site.out.extend_from_slice(b" BODY=8BITMIME");
        }
        if site.offers(Extension::SmtpUtf8) && self.needs_smtputf8() {
            site.out.extend_from_slice(b" SMTPUTF8");
        }
        if envelope.require_tls {
            site.out.extend_from_slice(b" REQUIRETLS");
        }
        if site.offers(Extension::Dsn) {
            match envelope.dsn_return {
                Some(DsnReturn::Full) => site.out.extend_from_slice(b" RET=FULL"),
                Some(DsnReturn::Headers) => site.out.extend_from_slice(b" RET=HDRS"),
                None => {}
            }
            rcpt::say_parameter(site, " ENVID=", envelope.envelope_id.as_deref());
        }
        site.say(&[]);
    }

    fn on_reset(&mut self, reply: Reply) -> Result<(), BreakKind> {
        if reply.code.as_u16() / 100 == 2 {
            return Ok(());
        }
        // Without a clean start nothing that follows means what it says.
        self.settle_open(&Failure::Refused { stage: Stage::Reset, reply });
        self.next = Next::Nothing;
        Err(BreakKind::Protocol)
    }

    fn on_mail(&mut self, reply: Reply, site: &mut Site) -> Result<(), BreakKind> {
        match reply.code.as_u16() / 100 {
            2 => {
                site.needs_reset = true;
                Ok(())
            }
            4 | 5 => {
                self.settle_open(&Failure::Refused { stage: Stage::Mail, reply });
                self.next = Next::Nothing;
                Ok(())
            }
            _ => Err(BreakKind::Protocol),
        }
    }

    /// Gives a result to everybody who has none.
    pub fn settle_open(&mut self, failure: &Failure) {
        for result in self.results.iter_mut().filter(|result| result.is_none()) {
            *result = Some(Err(failure.clone()));
        }
        self.accepted = 0;
    }

    pub fn settle_accepted(&mut self, reply: &Reply) {
        for result in self.results.iter_mut().filter(|result| result.is_none()) {
            *result = Some(Ok(reply.clone()));
        }
    }

    fn report(self, site: &mut Site) -> State {
        site.deadline = None;
        let results = self.into_results();
        site.actions.push_back(Action::Report(DeliveryReport { results, session_usable: true }));
        State::Ready
    }

    fn report_and_close(self, site: &mut Site) -> State {
        site.texts.clear();
        site.out.clear();
        let results = self.into_results();
        site.actions.push_back(Action::Report(DeliveryReport { results, session_usable: false }));
        State::Closed
    }

    fn into_results(self) -> Vec<Result<Reply, Failure>> {
        let unanswered = || Err(broken(Stage::Mail, BreakKind::Protocol));
        self.results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect()
    }

    /// What this message needs and this session does not offer.
    fn missing(&self, site: &Site) -> Option<Missing> {
        let Transaction { envelope, raw } = &self.transaction;
        if check_lines(raw, None).is_err() {
            return Some(Missing::CleanLines);
        }
        if envelope.require_tls && !(site.encrypted && site.offers(Extension::RequireTls)) {
            return Some(Missing::RequireTls);
        }
        if self.needs_smtputf8() && !site.offers(Extension::SmtpUtf8) {
            return Some(Missing::SmtpUtf8);
        }
        if !site.offers(Extension::EightBitMime) && !raw.is_ascii() {
            return Some(Missing::EightBitMime);
        }
        let too_long = site.offer.size_max.is_some_and(|octets_max| raw.len() as u64 > octets_max);
        too_long.then_some(Missing::Size)
    }

    /// Declared, or found to be so although nobody declared it.
    fn is_eight_bit(&self) -> bool {
        self.transaction.envelope.body == BodyKind::EightBitMime || !self.transaction.raw.is_ascii()
    }

    /// RFC 6531 §3.4: only a message that has it in an address or in the header section needs it, whatever was asked.
    fn needs_smtputf8(&self) -> bool {
        let Transaction { envelope, raw } = &self.transaction;
        let paths = envelope.recipients.iter().all(|recipient| recipient.forward_path.mailbox().is_ascii());
        if !envelope.reverse_path.is_ascii() || !paths {
            return true;
        }
        let header = memchr::memmem::find(raw, b"\r\n\r\n").map_or(&raw[..], |end| &raw[..end]);
        envelope.smtputf8 && !header.is_ascii()
    }
}

/// Once the message is being written its answer is awaited; until it is all written it cannot have been taken.
fn stage_of(expected: Expected, site: &Site) -> Stage {
    match expected {
        Expected::Reset => Stage::Reset,
        Expected::Mail => Stage::Mail,
        Expected::Rcpt(_) => Stage::Rcpt,
        Expected::Data => Stage::Data,
        Expected::Final if !site.is_unsaid() => Stage::Final,
        Expected::Final | Expected::Abandoned => Stage::Body,
    }
}
