//! The clients of the house: each drives a real client machine over a line that may break, and comes back when it was
//! not told 250. What they were told is what the house is held to.

use crate::agenda::Happening;
use crate::network::{Packet, Purpose, Side};
use crate::registry::PASSWORD;
use crate::world::World;
use mail::{Envelope, ForwardPath, MessageId, Recipient, ReversePath};
use smtp::client::{Action, ClientConfig, ClientTls, DeliveryReport, Failure, Login, Session, Transaction};
use std::collections::VecDeque;
use std::time::Duration;

/// How often a client comes back with a letter.
const TRIES_MAX: u32 = 8;

/// One connection of a client.
pub struct Caller {
    machine: Session,
    letters: VecDeque<usize>,
    current: Option<usize>,
}

/// What has become of a letter, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Posted {
    tries: u32,
    calling: bool,
    pub message: Option<MessageId>,
    pub refused: bool,
}

impl World {
    /// Calls the house with this letter and those that follow it.
    pub fn submit(&mut self, first: usize) {
        let mut letters = VecDeque::from([first]);
        while self.plan.letters.get(first + letters.len()).is_some_and(|letter| letter.follows) {
            letters.push_back(first + letters.len());
        }
        letters.retain(|number| {
            let posted = &self.posted[*number];
            posted.message.is_none() && !posted.refused && !posted.calling && posted.tries < TRIES_MAX
        });
        let Some(first) = letters.front().copied() else { return };
        if self.quiet {
            return;
        }
        letters.iter().for_each(|number| self.posted[*number].tries += 1);
        if self.house.is_none() {
            return self.come_back(letters);
        }
        letters.iter().for_each(|number| self.posted[*number].calling = true);
        let line = self.open_line(Purpose::Submission, self.plan.breaks_percent);
        let mut config = ClientConfig::new("client.example", ClientTls::Implicit);
        let username = format!("tenant-{}", self.plan.letters[first].tenant);
        config.login = Some(Login { username, password: smtp::Password::new(PASSWORD) });
        let machine = Session::new(config, self.now);
        self.trace.say(self.now, format_args!("line {line}: a client calls with letters {letters:?}"));
        self.callers.insert(line, Caller { machine, letters, current: None });
        self.open_door(line);
        self.drive_caller(line);
    }

    /// Reads what arrived for the client, and goes on.
    pub fn drive_caller(&mut self, line: u64) {
        while let Some(caller) = self.callers.get_mut(&line) {
            if let Some(action) = caller.machine.poll_action() {
                self.act_for_caller(line, action);
                continue;
            }
            if !caller.machine.wants_input() {
                break;
            }
            let now = self.now;
            match self.read(line, Side::Caller) {
                Some(Packet::Octets(octets)) => self.caller(line).machine.handle_bytes(&octets, now),
                Some(Packet::End) => self.caller(line).machine.handle_eof(),
                None => break,
            }
        }
        if let Some(caller) = self.callers.get(&line) {
            let at = caller.machine.poll_timeout();
            self.arm(line, Side::Caller, at);
        }
    }

    pub fn alarm_caller(&mut self, line: u64) {
        if let Some(caller) = self.callers.get_mut(&line) {
            caller.machine.handle_timeout(self.now);
            self.drive_caller(line);
        }
    }

    fn caller(&mut self, line: u64) -> &mut Caller {
        self.callers.get_mut(&line).unwrap()
    }

    fn act_for_caller(&mut self, line: u64, action: Action) {
        match action {
            Action::Send(octets) => {
                let now = self.now;
                self.send(line, Side::Caller, &octets);
                self.caller(line).machine.handle_written(now);
            }
            Action::Ready => self.next_letter(line),
            Action::Report(report) => self.take_report(line, report),
            Action::OpeningFailed(failure) => {
                self.trace.say(self.now, format_args!("line {line}: no session, {failure:?}"));
            }
            Action::Close => self.end_call(line),
            Action::StartTls => unreachable!("TLS is there from the first octet"),
        }
    }

    fn next_letter(&mut self, line: u64) {
        let now = self.now;
        let caller = self.callers.get_mut(&line).unwrap();
        caller.current = caller.letters.pop_front();
        let Some(number) = caller.current else { return caller.machine.quit(now) };
        let letter = &self.plan.letters[number];
        let recipient = |(site, mailbox): &(usize, u32)| {
            Recipient::new(ForwardPath::parse(&format!("m{mailbox}@{}", World::domain(*site))).unwrap())
        };
        let reverse_path = ReversePath::parse(&format!("a@t{}.example", letter.tenant)).unwrap();
        let envelope = Envelope::new(reverse_path, letter.recipients.iter().map(recipient).collect());
        caller.machine.deliver(Transaction { envelope, raw: letter.raw.clone() }, now);
    }

    fn take_report(&mut self, line: u64, report: DeliveryReport) {
        let number = self.caller(line).current.take().unwrap();
        self.posted[number].calling = false;
        let refused = |result: &Result<mail::Reply, Failure>| matches!(result, Err(Failure::Refused { reply, .. }) if reply.code.as_u16() >= 500);
        match report.results.iter().find_map(|result| result.as_ref().ok()) {
            Some(reply) => {
                assert!(report.results.iter().all(Result::is_ok), "letter {number} is taken in part");
                let text = reply.to_line();
                let id = text.rsplit(' ').next().map(MessageId::parse).unwrap().unwrap();
                self.trace.say(self.now, format_args!("letter {number} is acknowledged as {id}"));
                self.posted[number].message = Some(id);
                self.truth.acknowledge(id, number);
            }
            None => {
                self.trace
                    .say(self.now, format_args!("letter {number} was not taken: {:?}", report.results[0]));
                self.posted[number].refused = report.results.iter().any(refused);
                self.come_back(VecDeque::from([number]));
            }
        }
        if report.session_usable {
            self.next_letter(line);
        }
    }

    fn end_call(&mut self, line: u64) {
        self.hang_up(line, Side::Caller);
        let caller = self.callers.remove(&line).unwrap();
        let left: VecDeque<usize> = caller.current.into_iter().chain(caller.letters).collect();
        left.iter().for_each(|number| self.posted[*number].calling = false);
        self.come_back(left);
    }

    /// Each on its own, in a while.
    fn come_back(&mut self, letters: VecDeque<usize>) {
        for number in letters {
            let pause = Duration::from_millis(500 + self.random.below(60_000));
            self.agenda.add(self.now + pause, Happening::Submit(number));
        }
    }
}
