//! Sites that take the mail, more or less: each end of a line is a real server machine whose questions a model answers.
//!
//! A model takes, puts off, refuses, is slow, breaks off before or after it took the message, is dead for a while or cut
//! off. Whatever it takes is a copy in the ledger of truth, whether the house learns of it or not.

use crate::agenda::Happening;
use crate::network::{Packet, Side};
use crate::plan::Model;
use crate::world::World;
use mail::{Domain, EnhancedStatus, ForwardPath, Refusal, RefusalKind, Reply, ReversePath};
use smtp::Limits;
use smtp::server::{Action, Answer, Role, ServerConfig, Session, TlsMode, Transaction};
use std::time::Duration;

pub struct SiteEnd {
    machine: Session,
    pub site: usize,
    /// What is said when the time for it comes.
    answer: Option<Said>,
}

enum Said {
    Answer(Answer),
    /// The answer, and the end of the connection.
    Last(Answer),
    /// Nothing: the line is dropped.
    Nothing,
}

/// Whether somebody would answer a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Answers,
    Refuses,
    Nothing,
}

impl World {
    pub fn domain(site: usize) -> String {
        format!("s{site}.example")
    }

    pub fn host(site: usize) -> String {
        format!("mx.s{site}.example")
    }

    pub fn site_of(name: &str) -> usize {
        let number = name.trim_start_matches("mx.").trim_start_matches('s').trim_end_matches(".example");
        number.parse().unwrap()
    }

    fn model(&self, site: usize) -> Model {
        if self.quiet {
            Model { connections_max: 50, ..Model::default() }
        } else {
            self.plan.sites[site].clone()
        }
    }

    pub fn reach(&self, site: usize) -> Reach {
        let elapsed = Duration::from_micros(self.now.as_micros());
        let dead = self.model(site).dead.is_some_and(|(from, to)| (from..to).contains(&elapsed));
        match (self.cut_off[site] > 0, dead) {
            (true, _) => Reach::Nothing,
            (false, true) if site.is_multiple_of(2) => Reach::Nothing,
            (false, true) => Reach::Refuses,
            (false, false) => Reach::Answers,
        }
    }

    pub fn open_site(&mut self, line: u64, site: usize) {
        let hostname = Domain::parse(&World::host(site)).unwrap();
        let config = ServerConfig::new(hostname, Role::Inbound, TlsMode::None, Limits::default());
        let mut machine = Session::new(config, self.now);
        let open = self.site_ends.values().filter(|end| end.site == site).count();
        if open >= self.model(site).connections_max {
            machine.refuse_connection(Refusal::new(RefusalKind::TooManyConnections, "too many connections"));
        }
        self.site_ends.insert(line, SiteEnd { machine, site, answer: None });
        self.drive_site(line);
    }

    pub fn drive_site(&mut self, line: u64) {
        while let Some(end) = self.site_ends.get_mut(&line) {
            if let Some(action) = end.machine.poll_action() {
                self.act_at_site(line, action);
                continue;
            }
            if !end.machine.wants_input() {
                break;
            }
            let packet = self.read(line, Side::Called);
            let (now, machine) = (self.now, &mut self.site_ends.get_mut(&line).unwrap().machine);
            match packet {
                Some(Packet::Octets(octets)) => machine.handle_bytes(&octets, now),
                Some(Packet::End) => machine.handle_eof(),
                None => break,
            }
        }
        if let Some(end) = self.site_ends.get(&line) {
            let at = end.machine.poll_timeout();
            self.arm(line, Side::Called, at);
        }
    }

    pub fn alarm_site(&mut self, line: u64) {
        if let Some(end) = self.site_ends.get_mut(&line) {
            end.machine.handle_timeout(self.now);
            self.drive_site(line);
        }
    }

    fn act_at_site(&mut self, line: u64, action: Action) {
        let site = self.site_ends[&line].site;
        let model = self.model(site);
        let said = match action {
            Action::Send(octets) => return self.send(line, Side::Called, &octets),
            Action::Close => {
                self.site_ends.remove(&line);
                return self.hang_up(line, Side::Called);
            }
            // At once: what was sent before a crash of ours is taken when it comes, not after the next life has sent it too.
            Action::CheckRoom { .. } => {
                let (now, end) = (self.now, self.site_ends.get_mut(&line).unwrap());
                return end.machine.handle_answer(Answer::RoomOk, now);
            }
            Action::CheckReversePath { .. } => Said::Answer(Answer::ReversePathOk),
            Action::CheckRecipient(path) => Said::Answer(self.judge_recipient(site, &model, &path)),
            Action::Accept(transaction) => self.judge_message(line, &model, &transaction),
            Action::CheckCredential { .. } | Action::StartTls => unreachable!("neither is offered"),
        };
        let slow = if self.random.below(4) == 0 { model.slow_ms } else { model.slow_ms.min(50) };
        let pause = Duration::from_millis(self.random.below(slow + 1));
        self.site_ends.get_mut(&line).unwrap().answer = Some(said);
        self.agenda.add(self.now + pause, Happening::Answer(line));
    }

    /// The time for the answer has come.
    pub fn answer_at_site(&mut self, line: u64) {
        let now = self.now;
        let Some(end) = self.site_ends.get_mut(&line) else { return };
        match end.answer.take() {
            Some(Said::Answer(answer)) => {
                end.machine.handle_answer(answer, now);
                self.drive_site(line);
            }
            Some(Said::Last(answer)) => {
                end.machine.handle_answer(answer, now);
                end.machine.refuse_connection(Refusal::new(RefusalKind::ShuttingDown, "good bye"));
                self.drive_site(line);
            }
            Some(Said::Nothing) => {
                self.site_ends.remove(&line);
                self.hang_up(line, Side::Called);
            }
            None => {}
        }
    }

    fn judge_recipient(&mut self, site: usize, model: &Model, path: &ForwardPath) -> Answer {
        let mailbox = path.mailbox().to_string();
        if model.greylists && self.greylisted.insert((site, mailbox)) {
            return Answer::Refused(Refusal::new(RefusalKind::RateLimited, "come back later"));
        }
        let drawn = self.random.below(1_000);
        if drawn < model.deferred {
            return Answer::Refused(Refusal::new(RefusalKind::LocalTrouble, "not now"));
        }
        if drawn < model.deferred + model.bounced {
            return Answer::Refused(Refusal::new(RefusalKind::NoSuchRecipient, "nobody of that name"));
        }
        Answer::RecipientOk
    }

    fn judge_message(&mut self, line: u64, model: &Model, transaction: &Transaction) -> Said {
        let drawn = self.random.below(1_000);
        let refuse = |kind| Said::Answer(Answer::Refused(Refusal::new(kind, "no")));
        let mut limit = 0;
        let mut chance = |share: u64| {
            limit += share;
            drawn < limit
        };
        if chance(model.dropped) {
            return Said::Nothing;
        }
        if chance(model.closing) {
            return refuse(RefusalKind::ShuttingDown);
        }
        if chance(model.put_off) {
            return refuse(RefusalKind::LocalTrouble);
        }
        if chance(model.rejected) {
            return refuse(RefusalKind::MessageMalformed);
        }
        let (silent, leaves) = (chance(model.silent), chance(model.leaves));
        self.take_copies(line, transaction);
        let status = Some(EnhancedStatus::new(2, 0, 0));
        let taken = Answer::Accepted { reply: Reply::new(250, status, "taken") };
        match (silent, leaves) {
            (true, _) => Said::Nothing,
            (false, true) => Said::Last(taken),
            (false, false) => Said::Answer(taken),
        }
    }

    fn take_copies(&mut self, line: u64, transaction: &Transaction) {
        let ReversePath::Mailbox(mailbox) = &transaction.envelope.reverse_path else {
            panic!("a reverse-path does not lead back");
        };
        let subject =
            self.token_key.read(mailbox.local_part()).expect("the token in the reverse-path is ours");
        let [recipient] = transaction.envelope.recipients.as_slice() else {
            panic!("a transaction has {} recipients", transaction.envelope.recipients.len());
        };
        let mailbox = recipient.forward_path.mailbox().to_string();
        self.trace.say(
            self.now,
            format_args!(
                "line {line}: a site takes {} for {} ({mailbox})",
                subject.message, subject.recipient
            ),
        );
        self.truth.take_copy(subject, &mailbox, &transaction.raw, line);
    }
}
