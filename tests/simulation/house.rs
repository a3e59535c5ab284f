//! The house: one life of the process, from opening the journal to its end, planned or not.
//!
//! Holds what a node holds and does what its threads and tasks do, one thing at a time: commit a group, follow the log,
//! let the Dispatcher pick, perform its actions, tell the events. A life ends by a power cut, a kill or a sealed
//! journal; the next one has nothing but the disk.

use crate::agenda::{Happening, SimClock};
use crate::door::{Accepting, Door, ready};
use crate::network::Side;
use crate::session::Session;
use crate::world::World;
use egress::stepped::{Action, Dispatcher, Now};
use ingress::{Submission, SubmissionParts};
use mail::classify::Profiles;
use mail::{Clock, Domain, Instant};
use spool::{Bodies, Completion, Follower, Outcomes, Position, ReaderMark, Record, Spool, Steps, Unsettled};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

static PROFILES: LazyLock<Arc<Profiles>> = LazyLock::new(|| Arc::new(Profiles::shipped()));

pub struct House {
    pub life: u64,
    pub spool: Spool,
    pub steps: Steps,
    pub submission: Arc<Submission>,
    pub doors: BTreeMap<u64, Door>,
    pub accepting: Vec<Accepting>,
    pub signing_planned: bool,
    commit_planned: bool,
    pub dispatcher: Dispatcher,
    dispatch_at: Option<Instant>,
    /// It was told to stop.
    pub stopping: bool,
    follower: Follower,
    recovered: VecDeque<Unsettled>,
    recovering: bool,
    pub sessions: BTreeMap<u64, Session>,
    pub outcomes: Outcomes,
    /// Sessions that wait for a record to be durable.
    proofs: Vec<(u64, oneshot::Receiver<()>)>,
    pub bodies: Bodies,
    events: Follower,
    mark: ReaderMark,
    /// Reads everything again from the beginning, for the ledger of truth.
    observer: Follower,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// What was not synced is lost, or not, or in part.
    PowerCut,
    /// The kernel still has everything.
    Kill,
}

impl World {
    pub fn start_house(&mut self) {
        if self.house.is_some() {
            return;
        }
        self.lives += 1;
        let clock: Arc<SimClock> = Arc::clone(&self.clock);
        let opened = Spool::open_stepped(self.plan.spool.clone(), Arc::new(self.disk.clone()), clock);
        let (spool, steps, mut recovery) = match opened {
            Ok(opened) if !self.is_dark() => opened,
            Ok(_) => return self.die_early(Death::PowerCut, "the power goes"),
            Err(fault) if self.is_dark() => return self.die_early(Death::PowerCut, &fault.to_string()),
            Err(fault) => return self.die_early(Death::Kill, &fault.to_string()),
        };
        let recovered: VecDeque<Unsettled> = recovery.unsettled.by_ref().collect();
        self.trace.say(
            self.now,
            format_args!(
                "life {} begins with {} messages, torn: {:?}",
                self.lives,
                recovered.len(),
                recovery.torn
            ),
        );
        self.truth.check_damage(&recovery.quarantined());
        let (submission, dispatcher) = (self.submission(&spool), self.dispatcher());
        let house = House {
            life: self.lives,
            steps,
            submission,
            doors: BTreeMap::new(),
            accepting: Vec::new(),
            signing_planned: false,
            commit_planned: false,
            dispatcher,
            dispatch_at: None,
            stopping: false,
            follower: spool.follow(recovery.end),
            recovered,
            recovering: true,
            sessions: BTreeMap::new(),
            outcomes: spool.outcomes(),
            proofs: Vec::new(),
            bodies: spool.bodies(),
            events: spool.follow(self.cursor),
            mark: spool.reader("events"),
            observer: spool.follow(Position::START),
            spool,
        };
        self.house = Some(house);
        self.observe();
        let recovered = &self.house.as_ref().unwrap().recovered;
        self.truth.compare(recovered);
        self.plan_dispatch(self.now);
        self.plan_look();
    }

    fn submission(&mut self, spool: &Spool) -> Arc<Submission> {
        let source = Arc::clone(&self.shared_snapshot);
        Submission::stepped(SubmissionParts {
            intake: spool.intake(),
            snapshot: Arc::new(move || Arc::clone(&source.lock().unwrap())),
            usage: Arc::new(Mutex::new(registry::Usage::new())),
            token_key: Arc::clone(&self.token_key),
            clock: Arc::<SimClock>::clone(&self.clock),
            random: self.random.fork(),
            hostname: Domain::parse("mx.house.example").unwrap(),
            config: ingress::Config::default(),
        })
    }

    fn dispatcher(&mut self) -> Dispatcher {
        let config = Arc::new(self.plan.egress.clone());
        Dispatcher::new(config, Arc::clone(&PROFILES), self.snapshot(), self.random.fork(), self.now)
    }

    fn die_early(&mut self, death: Death, why: &str) {
        self.trace.say(self.now, format_args!("life {} does not begin: {why}", self.lives));
        self.after_death(death);
    }

    /// The end of the process.
    pub fn die(&mut self, death: Death) {
        let Some(house) = self.house.take() else { return };
        self.trace.say(self.now, format_args!("life {} ends: {death:?}", house.life));
        self.truth.crash(house.sessions.len());
        self.after_death(death);
        let doors = house.doors.keys().map(|line| (*line, Side::Called));
        let sessions = house.sessions.values().filter_map(|session| Some((session.line()?, Side::Caller)));
        let ends: Vec<_> = doors.chain(sessions).collect();
        drop(house);
        for (line, side) in ends {
            match death {
                // The kernel says so to the others.
                Death::Kill => self.hang_up(line, side),
                Death::PowerCut => self.leave(line, side),
            }
        }
    }

    fn after_death(&mut self, death: Death) {
        self.disk = match death {
            Death::PowerCut => self.disk.crash(&mut self.random),
            Death::Kill => self.disk.kill(),
        };
        self.dark_at = None;
        self.reads_fail = false;
        self.disk.set_capacity(self.capacity);
        let pause = Duration::from_millis(1 + self.random.below(20_000));
        self.agenda.add(self.now + pause, Happening::Restart);
    }

    /// Whether the power went in the last operation of the disk.
    pub fn is_dark(&self) -> bool {
        self.dark_at.is_some_and(|at| self.disk.counts().operations >= at)
    }

    /// Ends the life whose disk is off or whose journal is sealed. Says whether it did.
    pub fn look_at_disk(&mut self) -> bool {
        let Some(house) = &self.house else { return false };
        let death = match (self.is_dark(), house.spool.sealed()) {
            (true, _) => Death::PowerCut,
            (false, true) if self.random.below(2) == 0 => Death::PowerCut,
            (false, true) => Death::Kill,
            (false, false) => return false,
        };
        self.die(death);
        true
    }

    pub fn plan_commit(&mut self) {
        let pause = Duration::from_micros(500 + self.random.below(15_000));
        self.plan_commit_in(pause);
    }

    fn plan_commit_in(&mut self, pause: Duration) {
        if let Some(house) = &mut self.house
            && !std::mem::replace(&mut house.commit_planned, true)
        {
            self.agenda.add(self.now + pause, Happening::Commit(house.life));
        }
    }

    pub fn commit(&mut self) {
        let Some(house) = &mut self.house else { return };
        house.commit_planned = false;
        let worked = house.steps.commit();
        if self.look_at_disk() {
            return;
        }
        let seen = self.observe();
        self.poll_accepting();
        self.poll_proofs();
        if worked {
            // With no room on the disk the records wait for some.
            let pause = if seen { 500 + self.random.below(15_000) } else { 250_000 };
            self.plan_commit_in(Duration::from_micros(pause));
        }
        self.plan_dispatch(self.now);
    }

    /// Lets the sessions go on whose records are durable.
    fn poll_proofs(&mut self) {
        let Some(house) = &mut self.house else { return };
        let mut proven = Vec::new();
        house.proofs.retain_mut(|(session, proof)| {
            let waits = proof.try_recv().is_err();
            proven.extend((!waits).then_some(*session));
            waits
        });
        for session in proven {
            self.prove(session);
        }
    }

    /// Shows the ledger of truth what the journal published. Says whether that was anything.
    pub fn observe(&mut self) -> bool {
        let mut seen = false;
        while let Some(house) = &mut self.house
            && let Some(Ok(batch)) = ready(house.observer.next_batch(64))
        {
            seen = true;
            for (position, record) in batch {
                let body = match &*record {
                    Record::Accepted(_) => ready(house.bodies.body(position)).unwrap().ok(),
                    Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => None,
                };
                self.truth.see(position, &record, body, &self.plan, &self.registry);
            }
        }
        seen
    }

    fn plan_look(&mut self) {
        let pause = Duration::from_millis(100 + self.random.below(10_000));
        let Some(house) = &self.house else { return };
        self.agenda.add(self.now + pause, Happening::Look(house.life));
    }

    /// The events read on, sometimes store how far they came, and what nobody needs is removed.
    pub fn look(&mut self) {
        let Some(house) = &mut self.house else { return };
        match ready(house.events.next_batch(1 + self.random.below(50) as usize)) {
            Some(Ok(batch)) => batch.iter().for_each(|(at, record)| self.truth.tell(*at, record)),
            Some(Err(spool::Fault::Sealed)) | None => {}
            Some(Err(fault)) => panic!("the reader of the events cannot go on: {fault}"),
        }
        if self.random.below(2) == 0 {
            self.cursor = house.events.position();
            house.mark.past(self.cursor);
        }
        house.steps.trim();
        if self.look_at_disk() {
            return;
        }
        self.observe();
        self.plan_look();
        self.plan_dispatch(self.now);
    }

    pub fn plan_dispatch(&mut self, at: Instant) {
        let at = at.max(self.now);
        let Some(house) = &mut self.house else { return };
        if house.dispatch_at.is_none_or(|planned| planned > at) {
            house.dispatch_at = Some(at);
            self.agenda.add(at, Happening::Dispatch(house.life));
        }
    }

    /// One turn of the shell around the Dispatcher.
    pub fn dispatch(&mut self) {
        let now = self.both_clocks();
        let Some(house) = &mut self.house else { return };
        if house.dispatch_at.is_none_or(|at| at > self.now) {
            return;
        }
        house.dispatch_at = None;
        if !house.stopping {
            house.take_records(now, 1 + self.random.below(16) as usize);
        }
        house.dispatcher.handle_timeout(now);
        self.act();
        let Some(house) = &self.house else { return };
        if house.stopping {
            if house.dispatcher.is_drained() {
                self.stop();
            } else if let Some(at) = house.dispatcher.poll_timeout() {
                self.plan_dispatch(at);
            }
        } else if house.recovering {
            self.plan_dispatch(self.now);
        } else if let Some(at) = house.dispatcher.poll_timeout() {
            self.plan_dispatch(at);
        }
    }

    /// Performs actions in their order; outcomes go to the journal together at the end.
    pub fn act(&mut self) {
        let mut completions = Vec::new();
        let mut connected = Vec::new();
        while let Some(action) = self.house.as_mut().and_then(|house| house.dispatcher.poll_action()) {
            match action {
                Action::Record { record, order } => {
                    self.truth.record(&record);
                    let proof = order.map(|order| self.house.as_mut().unwrap().await_proof(order));
                    completions.push(Completion { record, proof });
                }
                Action::Resolve(domain) => self.look_up(domain),
                Action::Connect(job) => {
                    connected.push(job.session);
                    self.connect(job);
                }
                Action::Deliver { session, order } => self.deliver(session, order),
                Action::Close(session) => self.close(session),
            }
        }
        self.check_windows(&connected);
        if completions.is_empty() {
            return;
        }
        let house = self.house.as_mut().unwrap();
        // The limit of records on their way is far above what a world holds.
        let appended = ready(house.outcomes.append(completions)).expect("there is room for outcomes");
        match appended {
            Ok(()) => self.plan_commit(),
            Err(_) => drop(self.look_at_disk()),
        }
    }

    fn look_up(&mut self, domain: Domain) {
        let pause = Duration::from_millis(1 + self.random.below(300));
        let life = self.house.as_ref().unwrap().life;
        self.agenda.add(self.now + pause, Happening::Resolved(life, domain));
    }

    pub fn both_clocks(&self) -> Now {
        Now { instant: self.now, timestamp: self.clock.timestamp() }
    }
}

impl House {
    fn await_proof(&mut self, order: u64) -> oneshot::Sender<()> {
        let waits = self.sessions.iter().find(|(_, session)| session.waits_for(order));
        let (session, (sender, receiver)) = (waits.expect("who delivered waits").0, oneshot::channel());
        self.proofs.push((*session, receiver));
        sender
    }

    fn take_records(&mut self, now: Now, max: usize) {
        for _ in 0..max {
            let Some(one) = self.recovered.pop_front() else { break };
            self.dispatcher.handle_recovered(one.position.as_u64(), &one.accepted, &one.recipients, now);
        }
        if self.recovering && self.recovered.is_empty() {
            self.recovering = false;
        }
        while let Some(Ok(batch)) = ready(self.follower.next_batch(max)) {
            for (position, record) in batch {
                if let Record::Accepted(accepted) = &*record {
                    self.dispatcher.handle_accepted(position.as_u64(), accepted, now);
                }
            }
        }
    }

    /// Nothing waits here any more, and the log is told to its end.
    pub fn is_done(&self) -> bool {
        let totals = self.dispatcher.totals();
        let empty = totals.waiting + totals.ready + totals.in_flight == 0;
        let status = self.spool.status();
        empty
            && !self.recovering
            && self.accepting.is_empty()
            && status.unsettled == 0
            && self.events.position() == status.end
    }
}
