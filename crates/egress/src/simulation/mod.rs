//! The dispatcher in a made-up world: one thread, one seed, hours in milliseconds.
//!
//! Model sites take mail slowly or fast, refuse, go down and come back, close sessions, allow few connections. At the
//! end of every world the same is checked: each recipient was settled exactly once and never touched after, no path
//! had more connections than its rule allows, and nobody starved.
#![allow(clippy::unwrap_used)]

mod cancel;
mod domains;
mod house;
mod polite;
mod ways;
mod worlds;

use crate::config::Config;
use crate::dispatch::{Action, Dispatcher, Event, Order, Report};
use crate::record::Now;
use crate::resolve::{Exchanger, Route, Unresolved};
use crate::trouble::{Cause, Circumstances};
use house::Ids;
use mail::classify::Profiles;
use mail::{Domain, Instant, MessageId, Random, Reply, SiteName, Timestamp};
use queue::TlsNeed;
use registry::SourceState;
use smtp::client::{Break, BreakKind, Failure, Stage};
use spool::{OutcomeRecord, Settled};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const START: i64 = 1_795_425_249_120;

/// How a site behaves.
#[derive(Clone)]
struct Model {
    /// How long one transaction takes.
    pace: Duration,
    /// Connections that it takes; the next one gets a 421.
    connections_max: usize,
    /// Per thousand: 4yz, 5yz, breaks.
    deferred: u64,
    bounced: u64,
    broken: u64,
    /// Nobody answers between these.
    down: Option<(Duration, Duration)>,
    /// What it says in place of a greeting while it is down.
    down_words: Option<&'static str>,
    /// We have nothing to connect with between these.
    short: Option<(Duration, Duration)>,
    /// Messages over one connection; then it says so and closes.
    messages_max: usize,
}

enum Happening {
    Resolved(Domain),
    Opened(u64),
    Served(u64),
    Gone(u64),
}

struct Line {
    site: String,
    tls: TlsNeed,
    orders: VecDeque<Order>,
    open: bool,
    busy: bool,
    closing: bool,
    served: usize,
}

struct World {
    dispatcher: Dispatcher,
    clock: Duration,
    random: Random,
    agenda: BTreeMap<(Duration, u64), Happening>,
    happenings: u64,
    lines: HashMap<u64, Line>,
    models: HashMap<String, Model>,
    records: Vec<(Duration, OutcomeRecord)>,
    most_lines: HashMap<String, usize>,
    attempts_while_down: u32,
    /// When each connection was begun.
    opened: Vec<Duration>,
    /// What the site says to these messages.
    refused: HashMap<MessageId, Reply>,
    /// How long these messages take.
    slow: HashMap<MessageId, Duration>,
    /// The journal does not give these.
    unreadable: HashSet<MessageId>,
    /// Which message was given to a connection opened for what.
    carried: Vec<(MessageId, TlsNeed)>,
    ids: Ids,
}

impl Default for Model {
    fn default() -> Model {
        let pace = Duration::from_millis(50);
        Model {
            pace,
            connections_max: 1000,
            deferred: 0,
            bounced: 0,
            broken: 0,
            down: None,
            down_words: None,
            short: None,
            messages_max: 1000,
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, change: impl FnOnce(&mut Config)) -> World {
        let mut random = Random::from_number(seed);
        let ids = Ids::new(&mut random);
        let mut config = Config::default();
        config.limits.connections_per_minute = Some(0);
        config.limits.messages_per_second = Some(0);
        change(&mut config);
        let snapshot = Arc::new(ids.registry(&[SourceState::Active], &[]));
        let profiles = Arc::new(Profiles::shipped());
        let start = Instant::from_micros(1_000_000);
        let dispatcher = Dispatcher::new(Arc::new(config), profiles, snapshot, random.fork(), start);
        World {
            dispatcher,
            clock: Duration::ZERO,
            random,
            agenda: BTreeMap::new(),
            happenings: 0,
            lines: HashMap::new(),
            models: HashMap::new(),
            records: Vec::new(),
            most_lines: HashMap::new(),
            attempts_while_down: 0,
            opened: Vec::new(),
            refused: HashMap::new(),
            slow: HashMap::new(),
            unreadable: HashSet::new(),
            carried: Vec::new(),
            ids,
        }
    }

    fn now(&self) -> Now {
        Now {
            instant: Instant::from_micros(1_000_000) + self.clock,
            timestamp: Timestamp::from_millis(START).saturating_add(self.clock),
        }
    }

    /// Lets time pass until nothing is left to happen before `until`.
    pub(super) fn run(&mut self, until: Duration) {
        loop {
            let now = self.now();
            self.dispatcher.handle_timeout(now);
            self.act();
            let timer =
                self.dispatcher.poll_timeout().map(|at| at.saturating_since(Instant::from_micros(1_000_000)));
            let agenda = self.agenda.keys().next().map(|(at, _)| *at);
            let Some(next) = [timer, agenda].into_iter().flatten().min().filter(|next| *next <= until) else {
                self.clock = self.clock.max(until);
                return;
            };
            self.clock = self.clock.max(next);
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.clock) {
                let happening = entry.remove();
                self.happen(happening);
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.dispatcher.poll_action() {
            match action {
                Action::Resolve(domain) => {
                    let dead = domain.as_str().starts_with("dead");
                    let time = if dead { Duration::from_secs(10) } else { Duration::from_millis(5) };
                    self.later(time, Happening::Resolved(domain));
                }
                Action::Connect(job) => {
                    let site = job.destination.route.site.as_str().to_owned();
                    let line = Line {
                        site: site.clone(),
                        tls: job.tls,
                        orders: VecDeque::new(),
                        open: false,
                        busy: false,
                        closing: false,
                        served: 0,
                    };
                    self.opened.push(self.clock);
                    self.lines.insert(job.session, line);
                    let open = self.lines.values().filter(|line| line.site == site).count();
                    let most = self.most_lines.entry(site).or_default();
                    *most = open.max(*most);
                    self.later(Duration::from_millis(10), Happening::Opened(job.session));
                }
                Action::Deliver { session, order } => {
                    if let Some(line) = self.lines.get_mut(&session) {
                        self.carried.push((order.message, line.tls));
                        line.orders.push_back(order);
                    }
                    self.serve(session);
                }
                Action::Close(session) => {
                    if let Some(line) = self.lines.get_mut(&session) {
                        line.closing = true;
                    }
                    self.serve(session);
                }
                Action::Record { record, .. } => self.records.push((self.clock, record)),
            }
        }
    }

    fn later(&mut self, time: Duration, happening: Happening) {
        self.happenings += 1;
        self.agenda.insert((self.clock + time, self.happenings), happening);
    }

    fn model(&self, site: &str) -> Model {
        self.models.get(site).cloned().unwrap_or_default()
    }

    /// Begins the next transaction of a session that is open and idle.
    fn serve(&mut self, session: u64) {
        let Some(line) = self.lines.get_mut(&session) else { return };
        if !line.open || line.busy {
            return;
        }
        if line.orders.is_empty() {
            if line.closing {
                self.lines.remove(&session);
                self.later(Duration::from_millis(1), Happening::Gone(session));
            }
            return;
        }
        line.busy = true;
        let slow = line.orders.front().and_then(|order| self.slow.get(&order.message)).copied();
        let pace = slow.unwrap_or_else(|| self.model(&self.lines[&session].site).pace);
        self.later(pace, Happening::Served(session));
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Resolved(domain) => {
                let answer = match domain.as_str().starts_with("dead") {
                    true => Err(Unresolved::Temporary("no answer".to_owned())),
                    false => Ok(route(&format!("mx.{domain}"))),
                };
                self.dispatcher.handle_resolved(&domain, answer, now);
            }
            Happening::Opened(session) => self.opened(session),
            Happening::Served(session) => self.served(session),
            Happening::Gone(session) => self.dispatcher.handle_event(Event::Closed { session }, now),
        }
    }

    fn opened(&mut self, session: u64) {
        let site = self.lines[&session].site.clone();
        let model = self.model(&site);
        let down = model.down.is_some_and(|(from, to)| (from..to).contains(&self.clock));
        let open = self.lines.values().filter(|line| line.site == site && line.open).count();
        let short = model.short.is_some_and(|(from, to)| (from..to).contains(&self.clock));
        let first = self.lines[&session].orders.front().map(|order| order.message);
        if first.is_some_and(|message| self.unreadable.contains(&message)) {
            self.fail(session, Cause::Unreadable);
        } else if short {
            self.fail(session, Cause::Shortage);
        } else if down {
            self.attempts_while_down += 1;
            self.fail(
                session,
                match model.down_words {
                    Some(words) => refusal(Stage::Greeting, 421, words),
                    None => Cause::NoConnection("no answer".to_owned()),
                },
            );
        } else if open >= model.connections_max {
            self.fail(session, refusal(Stage::Greeting, 421, "too many connections"));
        } else {
            self.lines.get_mut(&session).unwrap().open = true;
            self.serve(session);
        }
    }

    /// The session ends with its first order.
    fn fail(&mut self, session: u64, cause: Cause) {
        let mut line = self.lines.remove(&session).unwrap();
        if let Some(order) = line.orders.pop_front() {
            self.tell(session, order, cause, false);
        }
        let now = self.now();
        self.dispatcher.handle_event(Event::Closed { session }, now);
    }

    fn served(&mut self, session: u64) {
        let model = self.model(&self.lines[&session].site);
        let line = &self.lines[&session];
        if line.served >= model.messages_max {
            return self.fail(session, refusal(Stage::Mail, 421, "Too many messages in this session"));
        }
        let drawn = self.random.below(1000);
        let own = line.orders.front().and_then(|order| self.refused.get(&order.message)).cloned();
        let cause = if let Some(reply) = own {
            Cause::Failed(Failure::Refused { stage: Stage::Rcpt, reply })
        } else if drawn < model.broken {
            Cause::Failed(Failure::Broken(Break {
                stage: Stage::Data,
                kind: BreakKind::Eof,
                maybe_delivered: false,
            }))
        } else if drawn < model.broken + model.deferred {
            refusal(Stage::Rcpt, 450, "not now")
        } else if drawn < model.broken + model.deferred + model.bounced {
            Cause::Failed(Failure::Refused {
                stage: Stage::Rcpt,
                reply: Reply::new(550, mail::EnhancedStatus::parse("5.1.1"), "no such user"),
            })
        } else {
            Cause::Delivered(Reply::new(250, None, "taken"))
        };
        if drawn < model.broken {
            return self.fail(session, cause);
        }
        let line = self.lines.get_mut(&session).unwrap();
        line.busy = false;
        line.served += 1;
        let order = line.orders.pop_front().unwrap();
        self.tell(session, order, cause, true);
        self.serve(session);
    }

    fn tell(&mut self, session: u64, order: Order, cause: Cause, usable: bool) {
        let now = self.now();
        let duration = Duration::from_millis(50);
        let started = Timestamp::from_millis(now.timestamp.as_millis() - 50);
        let report = Report { cause, at: Circumstances::default(), started, duration, usable };
        self.dispatcher.handle_event(Event::Done { session, order: order.number, report }, now);
    }

    pub(super) fn settled(&self) -> impl Iterator<Item = (Duration, &Settled)> {
        self.records.iter().filter_map(|(at, record)| match record {
            OutcomeRecord::Settled(settled) => Some((*at, settled)),
            OutcomeRecord::Attempted(_) => None,
        })
    }

    /// What must hold at the end of every world.
    pub(super) fn check(&self, recipients: usize) {
        let mut over = HashMap::new();
        for (when, record) in &self.records {
            let (key, is_settled, at) = match record {
                OutcomeRecord::Attempted(one) => ((one.message, one.recipient), false, one.at),
                OutcomeRecord::Settled(one) => ((one.message, one.recipient), true, one.at),
            };
            let ended = Timestamp::from_millis(START).saturating_add(*when);
            assert_eq!(at, ended, "{record:?} is not dated when it ended");
            assert!(!over.contains_key(&key), "a recipient was touched after it was settled");
            if is_settled {
                over.insert(key, ());
            }
        }
        let open = self.dispatcher.queue.len() as usize;
        assert_eq!(over.len() + open, recipients, "a recipient is lost");
        for (site, most) in &self.most_lines {
            assert!(*most <= 10, "{most} connections to {site}");
        }
    }
}

fn refusal(stage: Stage, code: u16, words: &str) -> Cause {
    Cause::Failed(Failure::Refused { stage, reply: Reply::new(code, None, words) })
}

fn route(host: &str) -> Route {
    let addresses = vec!["192.0.2.9".parse().unwrap()];
    let exchanger = Exchanger { host: host.to_owned(), preference: 0, addresses };
    Route { site: SiteName::new(host), exchangers: vec![exchanger], lifetime: Duration::from_secs(300) }
}
