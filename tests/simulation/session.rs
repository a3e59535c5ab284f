//! Sessions of the house with sites: what `egress/src/session.rs` and `link.rs` do around the same machine, over a line
//! instead of a socket, without TLS.

use crate::agenda::Happening;
use crate::door::ready;
use crate::network::{Packet, Purpose, Side};
use crate::site::Reach;
use crate::world::World;
use egress::stepped::{Cause, Circumstances, Event, Job, Order, Report, targets, transaction};
use mail::{EgressPath, Instant, Timestamp};
use smtp::client::{self, Action, Break, BreakKind, ClientConfig, ClientTls, Failure, Stage};
use spool::Position;
use std::collections::VecDeque;
use std::time::Duration;

pub struct Session {
    job: Job,
    pub path: EgressPath,
    /// Exchangers that are still to be tried.
    targets: VecDeque<String>,
    orders: VecDeque<Order>,
    current: Option<Current>,
    link: Option<Link>,
    at: Circumstances,
    failed: Cause,
    closing: bool,
    /// Deliveries given in all.
    given: u32,
    /// The site has it, and the journal does not know yet.
    unproven: Option<u64>,
    /// Nothing is left but to wait for that.
    over: bool,
}

struct Link {
    line: u64,
    machine: client::Session,
    ready: bool,
}

#[derive(Clone, Copy)]
struct Current {
    order: Order,
    timestamp: Timestamp,
    instant: Instant,
}

/// Addresses tried in one attempt.
const ADDRESSES_MAX: usize = 5;

impl Session {
    pub fn line(&self) -> Option<u64> {
        self.link.as_ref().map(|link| link.line)
    }

    pub fn waits_for(&self, order: u64) -> bool {
        self.unproven == Some(order)
    }
}

impl World {
    pub fn connect(&mut self, job: Job) {
        let hosts = targets(&job, ADDRESSES_MAX).into_iter().map(|(host, _)| host.to_owned()).collect();
        let path = EgressPath { source: job.source.name.clone(), site: job.destination.route.site.clone() };
        let number = job.session;
        self.trace.say(self.now, format_args!("session {number} to {}", path.site.as_str()));
        self.count_connection(&path, &job.destination.limits);
        let at =
            Circumstances { egress: Some(job.source.address), tls_need: job.tls, ..Circumstances::default() };
        let session = Session {
            job,
            path,
            targets: hosts,
            orders: VecDeque::new(),
            current: None,
            link: None,
            at,
            failed: Cause::NoCommonFamily,
            closing: false,
            given: 0,
            unproven: None,
            over: false,
        };
        self.house.as_mut().unwrap().sessions.insert(number, session);
    }

    pub fn deliver(&mut self, number: u64, order: Order) {
        self.trace.say(
            self.now,
            format_args!("session {number} is given {} of {}", order.recipient, order.message),
        );
        let house = self.house.as_mut().unwrap();
        let Some(session) = house.sessions.get_mut(&number) else { return };
        session.given += 1;
        let limits = &session.job.destination.limits;
        assert!(session.given <= limits.messages_per_connection, "session {number} carries too much");
        session.orders.push_back(order);
        let (path, limits) = (session.path.clone(), *limits);
        self.truth.attempt(order.message, order.recipient, self.available());
        self.count_message(&path, &limits);
        self.next_order(number);
    }

    pub fn close(&mut self, number: u64) {
        if let Some(session) = self.session(number) {
            session.closing = true;
            self.next_order(number);
        }
    }

    fn session(&mut self, number: u64) -> Option<&mut Session> {
        self.house.as_mut()?.sessions.get_mut(&number)
    }

    /// Begins what is next for a session that rests: a connection, a delivery, the goodbye.
    fn next_order(&mut self, number: u64) {
        let (now, timestamp) = (self.now, self.wall());
        let idle = |session: &&mut Session| session.current.is_none() && !session.over;
        let Some(session) = self.session(number).filter(idle) else { return };
        let begin = |order| Current { order, timestamp, instant: now };
        match (&mut session.link, session.orders.pop_front()) {
            (None, Some(order)) => {
                session.current = Some(begin(order));
                self.dial(number);
            }
            (Some(link), Some(order)) if link.ready => {
                session.current = Some(begin(order));
                self.speak(number);
            }
            (Some(link), None) if link.ready && session.closing => {
                link.ready = false;
                link.machine.quit(now);
                self.drive_session(number);
            }
            (None, None) if session.closing => self.end_session(number),
            (Some(_), Some(order)) => session.orders.push_front(order),
            (Some(_) | None, None) => {}
        }
    }

    /// Tries the next exchanger.
    fn dial(&mut self, number: u64) {
        let Some(session) = self.session(number) else { return };
        let Some(host) = session.targets.pop_front() else {
            let cause = std::mem::replace(&mut session.failed, Cause::NoCommonFamily);
            self.report(number, cause, false);
            return;
        };
        session.at.mx = Some(host.clone());
        let pause = match self.reach(World::site_of(&host)) {
            Reach::Answers | Reach::Refuses => Duration::from_micros(500 + self.random.below(80_000)),
            Reach::Nothing => Duration::from_secs(self.plan.egress.connect_seconds_max),
        };
        let life = self.house.as_ref().unwrap().life;
        self.agenda.add(self.now + pause, Happening::Opened(life, number));
    }

    /// The connection is there, or it is known that it will not be.
    pub fn opened(&mut self, number: u64) {
        let Some(host) = self.session(number).and_then(|session| session.at.mx.clone()) else { return };
        let site = World::site_of(&host);
        if self.reach(site) != Reach::Answers {
            let session = self.session(number).unwrap();
            if !matches!(session.failed, Cause::Failed(_)) {
                session.failed = Cause::NoConnection(format!("connecting to {host}: refused"));
            }
            return self.dial(number);
        }
        let breaks = if site == crate::plan::CALM { 0 } else { self.plan.breaks_percent };
        let line = self.open_line(Purpose::Delivery { session: number, site }, breaks);
        let now = self.now;
        let session = self.session(number).unwrap();
        let mut config = ClientConfig::new(session.job.source.ehlo.as_str(), ClientTls::Opportunistic);
        config.timeouts = session.job.destination.timeouts.clone();
        let machine = client::Session::new(config, now);
        session.link = Some(Link { line, machine, ready: false });
        self.open_site(line, site);
        self.drive_session(number);
    }

    /// Reads what arrived for the house, and goes on.
    pub fn drive_session(&mut self, number: u64) {
        while let Some(link) = self.session(number).and_then(|session| session.link.as_mut()) {
            if let Some(action) = link.machine.poll_action() {
                self.act_in_session(number, action);
                continue;
            }
            let (line, wants_input, idle) = (link.line, link.machine.wants_input(), link.ready);
            if !wants_input {
                break;
            }
            let Some(packet) = self.read(line, Side::Caller) else { break };
            let now = self.now;
            let session = self.session(number).unwrap();
            if idle && session.current.is_none() {
                // Whatever a site says to a session that rests, it is of no more use.
                self.end_session(number);
                break;
            }
            let link = session.link.as_mut().unwrap();
            match packet {
                Packet::Octets(octets) => link.machine.handle_bytes(&octets, now),
                Packet::End => link.machine.handle_eof(),
            }
        }
        if let Some(link) = self.session(number).and_then(|session| session.link.as_ref()) {
            let (line, at) = (link.line, link.machine.poll_timeout());
            self.arm(line, Side::Caller, at);
        }
    }

    pub fn alarm_session(&mut self, number: u64) {
        let now = self.now;
        if let Some(link) = self.session(number).and_then(|session| session.link.as_mut()) {
            link.machine.handle_timeout(now);
            self.drive_session(number);
        }
    }

    fn act_in_session(&mut self, number: u64, action: Action) {
        let now = self.now;
        let session = self.session(number).unwrap();
        let link = session.link.as_mut().unwrap();
        match action {
            Action::Send(octets) => {
                link.machine.handle_written(now);
                let line = link.line;
                self.send(line, Side::Caller, &octets);
            }
            Action::Ready => {
                link.ready = true;
                self.speak(number);
            }
            Action::OpeningFailed(failure) => {
                session.failed = Cause::Failed(failure);
                let line = link.line;
                session.link = None;
                self.hang_up(line, Side::Caller);
                self.dial(number);
            }
            Action::Report(mut report) => {
                let cause = match report.results.pop() {
                    Some(Ok(reply)) => Cause::Delivered(reply),
                    Some(Err(failure)) => Cause::Failed(failure),
                    None => lost(),
                };
                self.report(number, cause, report.session_usable);
            }
            Action::Close => self.end_session(number),
            Action::StartTls => unreachable!("no site offers it"),
        }
    }

    /// Gives the machine the message of the current order.
    fn speak(&mut self, number: u64) {
        let now = self.now;
        let house = self.house.as_mut().unwrap();
        let session = house.sessions.get_mut(&number).unwrap();
        let order = session.current.unwrap().order;
        let stored = ready(house.bodies.message(Position::from_u64(order.position))).unwrap();
        match stored.ok().and_then(|stored| transaction(stored, order.recipient)) {
            Some(transaction) => {
                session.link.as_mut().unwrap().machine.deliver(transaction, now);
                self.drive_session(number);
            }
            None => self.report(number, Cause::Unreadable, true),
        }
    }

    fn report(&mut self, number: u64, cause: Cause, usable: bool) {
        let now = self.both_clocks();
        let house = self.house.as_mut().unwrap();
        let session = house.sessions.get_mut(&number).unwrap();
        let Current { order, timestamp, instant } = session.current.take().unwrap();
        self.trace.say(self.now, format_args!("session {number}, order {}: {cause:?}", order.number));
        if matches!(cause, Cause::Delivered(_)) {
            let line = session.line().unwrap();
            self.truth.delivered(order.message, order.recipient, line);
        }
        self.truth.came_back(order.message, order.recipient);
        if cause.needs_proof() {
            session.unproven = Some(order.number);
            session.link.as_mut().unwrap().machine.hold_end();
        }
        let at = session.at.clone();
        session.at.warm = true;
        let duration = self.now.saturating_since(instant);
        let report = Report { cause, at, started: timestamp, duration, usable };
        house.dispatcher.handle_event(Event::Done { session: number, order: order.number, report }, now);
        self.plan_dispatch(self.now);
        match usable {
            true => self.next_order(number),
            false => self.end_session(number),
        }
    }

    /// The record of its last delivery is durable.
    pub fn prove(&mut self, number: u64) {
        let now = self.now;
        let Some(session) = self.session(number) else { return };
        session.unproven = None;
        if session.over {
            return self.end_session(number);
        }
        if let Some(link) = &mut session.link {
            link.machine.resume_end(now);
            self.drive_session(number);
        }
    }

    fn end_session(&mut self, number: u64) {
        let now = self.both_clocks();
        let Some(session) = self.session(number) else { return };
        if session.unproven.is_some() {
            session.over = true;
            if let Some(line) = session.link.take().map(|link| link.line) {
                self.hang_up(line, Side::Caller);
            }
            return;
        }
        let house = self.house.as_mut().unwrap();
        let Some(session) = house.sessions.remove(&number) else { return };
        house.dispatcher.handle_event(Event::Closed { session: number }, now);
        for order in session.current.map(|current| current.order).into_iter().chain(session.orders) {
            self.truth.came_back(order.message, order.recipient);
        }
        self.trace.say(self.now, format_args!("session {number} ends"));
        if let Some(link) = session.link {
            self.hang_up(link.line, Side::Caller);
        }
        self.plan_dispatch(self.now);
    }
}

fn lost() -> Cause {
    let broken = Break { stage: Stage::Mail, kind: BreakKind::Eof, maybe_delivered: false };
    Cause::Failed(Failure::Broken(broken))
}
