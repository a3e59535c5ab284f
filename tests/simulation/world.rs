//! One world: everything that exists under one seed, and the loop that lets it happen.
//!
//! First things go wrong as the plan says. Then all faults end, and what was accepted has to be settled and told within
//! a bounded time: liveness. At every step the ledger of truth watches.

use crate::agenda::{Agenda, Happening, SimClock};
use crate::client::{Caller, Posted};
use crate::house::{Death, House};
use crate::limits::Counted;
use crate::network::{Line, Purpose, Side};
use crate::plan::{CHAOS, Fault, FaultKind, Plan};
use crate::registry::Registry;
use crate::site::SiteEnd;
use crate::trace::{Trace, Voice};
use crate::truth::Truth;
use ::registry::Snapshot;
use egress::{Exchanger, Route};
use mail::token::TokenKey;
use mail::{Clock, Domain, Instant, Random, SiteName, Timestamp};
use spool::Position;
use spool::lying::{LyingDisk, Times};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// After the last fault everything has to be through within this time.
const CALM_MAX: Duration = Duration::from_secs(6 * 3600);

pub struct World {
    pub plan: Plan,
    pub now: Instant,
    pub clock: Arc<SimClock>,
    pub agenda: Agenda,
    pub random: Random,
    pub trace: Trace,
    pub truth: Truth,
    pub lines: BTreeMap<u64, Line>,
    pub lines_opened: u64,
    pub callers: BTreeMap<u64, Caller>,
    pub posted: Vec<Posted>,
    pub site_ends: BTreeMap<u64, SiteEnd>,
    pub greylisted: BTreeSet<(usize, String)>,
    /// Partitions at work, by site.
    pub cut_off: Vec<u32>,
    pub registry: Registry,
    pub shared_snapshot: Arc<Mutex<Arc<Snapshot>>>,
    pub token_key: Arc<TokenKey>,
    pub disk: LyingDisk,
    pub capacity: Option<u64>,
    /// The power goes when the disk has done so many operations.
    pub dark_at: Option<u64>,
    /// Until the next start.
    pub reads_fail: bool,
    pub house: Option<House>,
    pub lives: u64,
    /// What the events' tables hold: how far they read.
    pub cursor: Position,
    pub counted: Counted,
    /// All faults are over.
    pub quiet: bool,
}

impl World {
    pub fn new(seed: u64, voice: Voice) -> World {
        let plan = Plan::new(seed);
        let mut random = Random::from_number(seed);
        let random = random.fork();
        let mut ids = Random::from_number(seed.wrapping_add(1 << 40));
        let mut registry = Registry::new(&mut ids);
        let shared_snapshot = Arc::new(Mutex::new(registry.snapshot()));
        let clock = Arc::new(SimClock::default());
        let now = Instant::from_micros(1_000_000);
        clock.set(now);
        World {
            now,
            clock,
            agenda: Agenda::default(),
            random,
            trace: Trace::new(voice),
            truth: Truth::new(),
            lines: BTreeMap::new(),
            lines_opened: 0,
            callers: BTreeMap::new(),
            posted: vec![Posted::default(); plan.letters.len()],
            site_ends: BTreeMap::new(),
            greylisted: BTreeSet::new(),
            cut_off: vec![0; plan.sites.len()],
            registry,
            shared_snapshot,
            token_key: Arc::new(TokenKey::new(&[7; 32])),
            disk: LyingDisk::new(),
            capacity: None,
            dark_at: None,
            reads_fail: false,
            house: None,
            lives: 0,
            cursor: Position::START,
            counted: Counted::default(),
            quiet: false,
            plan,
        }
    }

    pub fn run(&mut self) {
        let start = self.now;
        self.trace.say(start, format_args!("faults: {:?}", self.plan.faults));
        for (number, fault) in self.plan.faults.iter().enumerate() {
            self.agenda.add(start + fault.at, Happening::Begin(number));
            self.agenda.add(start + (fault.at + fault.lasts).min(CHAOS), Happening::End(number));
        }
        for (number, letter) in self.plan.letters.iter().enumerate() {
            if !letter.follows {
                self.agenda.add(start + letter.at, Happening::Submit(number));
            }
        }
        self.start_house();
        while self.step(start + CHAOS) {}
        self.calm_down();
        let until = self.now + CALM_MAX;
        while !self.is_done() {
            assert!(self.step(until), "it is not through after {CALM_MAX:?}: {}", self.what_waits());
        }
        self.truth.check_end();
        // What a last restart finds is nothing.
        self.die(Death::PowerCut);
        self.start_house();
        assert!(self.house.is_some(), "the house does not start on a good disk");
    }

    /// Lets the next thing happen. False if there is none before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let Some((at, happening)) = self.agenda.pop(until) else {
            self.go_to(until);
            return false;
        };
        self.go_to(at.max(self.now));
        self.happen(happening);
        self.look_at_disk();
        true
    }

    fn go_to(&mut self, at: Instant) {
        let passed = at.saturating_since(self.now);
        self.now = at;
        self.clock.set(at);
        // With no room for completion records sessions end no message: nothing is sent that might be sent again.
        if self.house.is_some() && self.registry.any_source() && self.capacity.is_none() {
            for (tenant, available) in self.truth.available.iter_mut().enumerate() {
                if !self.registry.paused[tenant] {
                    *available += passed;
                }
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        let lives_on = |life: u64| self.house.as_ref().is_some_and(|house| house.life == life);
        match happening {
            Happening::Submit(letter) => self.submit(letter),
            Happening::Arrive(line, side) => {
                if self.arrive(line, side) {
                    self.wake(line, side, Wake::Packet);
                }
            }
            Happening::Alarm(line, side) => {
                if self.disarm(line, side) {
                    self.wake(line, side, Wake::Alarm);
                }
            }
            Happening::Answer(line) => self.answer_at_site(line),
            Happening::Opened(life, session) if lives_on(life) => self.opened(session),
            Happening::Resolved(life, domain) if lives_on(life) => self.resolved(&domain),
            Happening::Sign(life) if lives_on(life) => self.sign(),
            Happening::Commit(life) if lives_on(life) => self.commit(),
            Happening::Dispatch(life) if lives_on(life) => self.dispatch(),
            Happening::Look(life) if lives_on(life) => self.look(),
            Happening::Stop(life) if lives_on(life) => self.stop(),
            Happening::Opened(..)
            | Happening::Resolved(..)
            | Happening::Sign(_)
            | Happening::Commit(_)
            | Happening::Dispatch(_)
            | Happening::Look(_)
            | Happening::Stop(_) => {}
            Happening::Begin(number) => self.begin_fault(self.plan.faults[number]),
            Happening::End(number) => self.end_fault(self.plan.faults[number].kind),
            Happening::Restart => self.start_house(),
        }
    }

    fn wake(&mut self, line: u64, side: Side, wake: Wake) {
        let Some(purpose) = self.lines.get(&line).map(|line| line.purpose) else { return };
        match (purpose, side, wake) {
            (Purpose::Submission, Side::Caller, Wake::Packet) => self.drive_caller(line),
            (Purpose::Submission, Side::Caller, Wake::Alarm) => self.alarm_caller(line),
            (Purpose::Submission, Side::Called, Wake::Packet) => self.drive_door(line),
            (Purpose::Submission, Side::Called, Wake::Alarm) => self.alarm_door(line),
            (Purpose::Delivery { session, .. }, Side::Caller, Wake::Packet) => self.drive_session(session),
            (Purpose::Delivery { session, .. }, Side::Caller, Wake::Alarm) => self.alarm_session(session),
            (Purpose::Delivery { .. }, Side::Called, Wake::Packet) => self.drive_site(line),
            (Purpose::Delivery { .. }, Side::Called, Wake::Alarm) => self.alarm_site(line),
        }
    }

    fn begin_fault(&mut self, fault: Fault) {
        self.trace.say(self.now, format_args!("fault: {:?}", fault.kind));
        match fault.kind {
            FaultKind::PowerCut => self.die(Death::PowerCut),
            FaultKind::Kill => self.die(Death::Kill),
            FaultKind::PowerCutAt(operation) => {
                self.disk.power_off_at(operation);
                self.dark_at = Some(self.disk.counts().operations + operation);
            }
            FaultKind::SyncFails(nth) => self.disk.fail_sync(nth, Times::Once),
            FaultKind::DirectorySyncFails(nth) => self.disk.fail_directory_sync(nth, Times::Once),
            FaultKind::DiskFull(left) => {
                self.capacity = Some(self.disk.used() + left);
                self.disk.set_capacity(self.capacity);
            }
            FaultKind::ReadsFail => self.fail_reads(),
            FaultKind::Shutdown => self.shut_down(),
            FaultKind::Partition(site) => {
                self.cut_off[site] += 1;
                self.cut_off_lines(site);
            }
            FaultKind::Jump(millis) => self.clock.jump(millis),
            FaultKind::Pause(tenant) => {
                self.registry.paused[tenant] = true;
                self.publish_registry();
            }
            FaultKind::HoldSource(source) => {
                self.registry.held[source] = true;
                self.publish_registry();
            }
            FaultKind::TakeBack(letter) => self.take_back(letter),
        }
    }

    fn end_fault(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::DiskFull(_) => {
                self.capacity = None;
                self.disk.set_capacity(None);
            }
            FaultKind::Partition(site) => self.cut_off[site] = self.cut_off[site].saturating_sub(1),
            FaultKind::Pause(tenant) => {
                self.registry.paused[tenant] = false;
                self.publish_registry();
            }
            FaultKind::HoldSource(source) => {
                self.registry.held[source] = false;
                self.publish_registry();
            }
            FaultKind::PowerCut
            | FaultKind::Kill
            | FaultKind::PowerCutAt(_)
            | FaultKind::SyncFails(_)
            | FaultKind::DirectorySyncFails(_)
            | FaultKind::ReadsFail
            | FaultKind::Shutdown
            | FaultKind::Jump(_)
            | FaultKind::TakeBack(_) => {}
        }
    }

    /// The oldest segment, if every reader is past it: only bodies are read there, and what is copied forward.
    fn fail_reads(&mut self) {
        let segments =
            self.disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg"));
        let number = |path: &std::path::PathBuf| {
            path.file_stem().and_then(|stem| u32::from_str_radix(stem.to_str()?, 16).ok())
        };
        let oldest = segments.filter_map(|path| Some((number(&path)?, path))).min();
        let passed = |number: u32| self.house.is_some() && number < self.cursor.segment();
        if let Some((_, path)) = oldest.filter(|(number, _)| passed(*number)) {
            let from = self.random.below(4_096);
            self.trace.say(self.now, format_args!("{} cannot be read from {from} on", path.display()));
            self.disk.fail_reads(&path, from..u64::MAX);
            self.reads_fail = true;
        }
    }

    fn take_back(&mut self, letter: usize) {
        let now = self.both_clocks();
        let (Some(message), Some(house)) = (self.truth.message_of(letter), &mut self.house) else { return };
        let waiting = |message| house.outcomes.waiting(message);
        let open = house.dispatcher.handle_cancel(message, &waiting, now).unwrap();
        self.trace.say(self.now, format_args!("{message} is taken back, {open} open"));
        self.act();
        self.plan_dispatch(self.now);
    }

    fn publish_registry(&mut self) {
        let snapshot = self.registry.snapshot();
        *self.shared_snapshot.lock().unwrap() = Arc::clone(&snapshot);
        if let Some(house) = &mut self.house {
            house.dispatcher.handle_snapshot(snapshot);
            self.plan_dispatch(self.now);
        }
    }

    /// Ends every fault that has not ended, also those that wait for the disk's nth operation.
    fn calm_down(&mut self) {
        self.quiet = true;
        self.plan.breaks_percent = 0;
        self.dark_at = None;
        self.disk.power_off_at(u64::MAX / 2);
        self.disk.fail_sync(u64::MAX / 2, Times::Once);
        self.disk.fail_directory_sync(u64::MAX / 2, Times::Once);
        self.disk.set_capacity(None);
        self.trace.say(self.now, format_args!("the faults are over"));
        if self.reads_fail {
            self.die(Death::Kill);
        }
    }

    fn is_done(&self) -> bool {
        self.callers.is_empty() && self.house.as_ref().is_some_and(House::is_done)
    }

    fn what_waits(&self) -> String {
        let totals = self.house.as_ref().map(|house| (house.dispatcher.totals(), house.spool.status()));
        format!("{totals:?}, {} callers, {:?}", self.callers.len(), self.registry.paused)
    }

    fn resolved(&mut self, domain: &Domain) {
        let now = self.both_clocks();
        let site = World::site_of(domain.as_str());
        let exchanger = Exchanger {
            host: World::host(site),
            preference: 10,
            addresses: vec![std::net::IpAddr::from([198, 51, 100, site as u8 + 1])],
        };
        let route = Route {
            site: SiteName::new(World::host(site)),
            exchangers: vec![exchanger],
            lifetime: Duration::from_secs(300),
        };
        self.house.as_mut().unwrap().dispatcher.handle_resolved(domain, Ok(route), now);
        self.plan_dispatch(self.now);
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared_snapshot.lock().unwrap())
    }

    pub fn wall(&self) -> Timestamp {
        self.clock.timestamp()
    }

    pub fn available(&self) -> Vec<Duration> {
        self.truth.available.clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Packet,
    Alarm,
}
