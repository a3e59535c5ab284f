//! The Dispatcher: every decision of the way out, without any input or output. Read this first. Pure.
//!
//! ```text
//! journal: Accepted ─► handle_accepted ─► queue ─► gate (gate.rs) ─► a session ─► Action::Deliver
//!                                           ▲                            │
//!                       retry, give back ◄──┴── judge (trouble.rs) ◄── handle_event
//!                                                    └─► shaper learns, Action::Record ─► journal
//! ```
//!
//! Things go in by `handle_*`, actions come out of `poll_action` until there are none, and `poll_timeout` says when
//! to come back. The shell (`run.rs`) performs actions in their order, but hands the records over together, behind the
//! others. A recipient is settled here exactly once,
//! because its ticket exists once; what is in flight when the process dies is due again after recovery.
//!
//! A session ends no message while the site has one of which the journal does not know (`Cause::needs_proof`): after a
//! crash each session doubles one delivery at most.
//!
//! What may surprise: actions are bounded by stopping to pick; a tenant with very much in flight is held until some
//! of it is back, so that slow sites of one tenant do not take every connection.
//!
//! The other half of the impl: `landing.rs` (`done`, `closed`, `land`, `expire`), `cancel.rs` (`meet`), `tenants.rs`
//! (`handle_snapshot`, `took_off`); where a delivery can go is asked in `gate.rs` (`Ways`). `run.rs` passes on the proof
//! that a record is durable.

use crate::cancel::Cancelled;
use crate::config::Config;
use crate::gate::{Placement, Ways};
use crate::look_ups::LookUps;
use crate::record::Now;
use crate::resolve::{Route, Unresolved};
use crate::sessions::{Flying, Sessions};
use crate::sites::{Destination, Sites};
use crate::source;
use crate::tenants::TenantState;
use crate::trouble::{Cause, Circumstances};
use mail::classify::Profiles;
use mail::{Domain, Instant, MessageId, Random, TenantId, Timestamp};
use queue::{Delivery, Entry, Flow, Gate, Polled, Queue, Schedule, TlsNeed, Urgency};
use registry::{EgressSource, Snapshot, StreamKind};
use shaping::Shaper;
use spool::{Accepted, OutcomeRecord, RecipientState};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Deliveries picked before the shell gets to act.
const PICKS_MAX: usize = 256;
/// How often unused state is looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// Everything that decides when and where mail leaves. A value: time, answers and outcomes come in, actions go out.
pub struct Dispatcher {
    pub(crate) queue: Queue,
    pub(crate) ways: Ways,
    pub(crate) schedule: Schedule,
    pub(crate) tenants: HashMap<TenantId, TenantState>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) cancelled: Cancelled,
    next_order: u64,
    /// Picking stopped before the queue was asked for everything.
    more: bool,
    pub(crate) draining: bool,
    swept: Instant,
}

/// What the shell has to do, in this order; records behind the others.
#[allow(clippy::large_enum_variant, reason = "most actions are records, and none lives long")]
pub enum Action {
    /// Answer with `handle_resolved`.
    Resolve(Domain),
    /// Start a session; its deliveries follow.
    Connect(Job),
    /// Hand a message to a session that waits for one.
    Deliver {
        /// The session's number.
        session: u64,
        /// What it is to send.
        order: Order,
    },
    /// End the session with this number politely.
    Close(u64),
    /// Append it to the journal.
    Record {
        /// What came of an order, or of one that never was.
        record: OutcomeRecord,
        /// That ended with it, if the session that made it waits until it is durable.
        order: Option<u64>,
    },
}

/// What a new session needs to know.
pub struct Job {
    /// Its number, never used again in this run.
    pub session: u64,
    /// The address to connect from.
    pub source: Arc<EgressSource>,
    /// Where to, and what applies there.
    pub destination: Arc<Destination>,
    /// What its first message asks of the connection.
    pub tls: TlsNeed,
}

/// One delivery, for the session.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Comes back in `Event::Done`; never used again in this run.
    pub number: u64,
    /// For records and logs.
    pub message: MessageId,
    /// Where the journal has it, as `Position::as_u64`.
    pub position: u64,
    /// Its number in the message, from 0.
    pub recipient: u32,
    /// Nothing of it is begun from then on.
    pub expires: Instant,
}

/// What a session tells.
#[allow(clippy::large_enum_variant, reason = "nearly all events are reports")]
pub enum Event {
    /// An order has come to its end.
    Done {
        /// The session's number.
        session: u64,
        /// The order's number.
        order: u64,
        /// What came of it.
        report: Report,
    },
    /// It is over. Orders that were not reported were not attempted.
    Closed {
        /// The session's number.
        session: u64,
    },
}

/// What came of one order.
pub struct Report {
    /// What was answered, or what went wrong.
    pub cause: Cause,
    /// Where it was tried and how.
    pub at: Circumstances,
    /// Wall time, when the connection was ready; when the order was taken up, if none was found.
    pub started: Timestamp,
    /// From then to the answer.
    pub duration: Duration,
    /// The session takes another delivery.
    pub usable: bool,
}

impl Dispatcher {
    /// Nothing waits; the follower of the journal brings what there is.
    pub fn new(
        config: Arc<Config>,
        profiles: Arc<Profiles>,
        snapshot: Arc<Snapshot>,
        mut random: Random,
        now: Instant,
    ) -> Dispatcher {
        let cancelled = Cancelled::new(config.cancels_remembered_max);
        let ways = Ways {
            sites: Sites::new(Arc::clone(&config)),
            shaper: Shaper::new(random.fork()),
            sessions: Sessions::default(),
            snapshot,
            profiles,
            random,
            look_ups: LookUps::new(config.resolves_max),
            starved: HashMap::new(),
            reasons: HashMap::new(),
            wants_connection: false,
            short_until: None,
            wants_checked: Vec::new(),
            config,
        };
        Dispatcher {
            queue: Queue::new(),
            schedule: ways.config.schedule().unwrap_or_default(),
            ways,
            tenants: HashMap::new(),
            actions: VecDeque::new(),
            cancelled,
            next_order: 0,
            more: false,
            draining: false,
            swept: now,
        }
    }

    /// A new message: every recipient is open, and has been due since the message was accepted.
    pub fn handle_accepted(&mut self, position: u64, accepted: &Accepted, now: Now) {
        let since = now.past(accepted.accepted_at);
        self.know_domain(accepted.domain);
        for recipient in 0..accepted.recipients.len() as u32 {
            let state = RecipientState { recipient, attempt: 0, next_at: None };
            self.insert(position, accepted, state, since, now);
        }
        self.meet(accepted.message, now);
    }

    /// A message of an earlier run and its open recipients.
    pub fn handle_recovered(
        &mut self,
        position: u64,
        accepted: &Accepted,
        open: &[RecipientState],
        now: Now,
    ) {
        self.know_domain(accepted.domain);
        for state in open {
            self.insert(position, accepted, *state, now.instant, now);
        }
        self.meet(accepted.message, now);
    }

    /// What the resolver says of the domain that `Action::Resolve` named: its mail moves to that site and is looked
    /// at anew.
    pub fn handle_resolved(&mut self, domain: &Domain, answer: Result<Route, Unresolved>, now: Now) {
        self.ways.look_ups.ended(domain);
        let site = self.ways.sites.resolved(domain, answer, &self.ways.profiles, now.instant);
        // What stands at its old site moves on by itself; what stands at this one is looked at with the new answer.
        self.queue.assign_site(domain, &site);
        self.queue.reopen_site(&site);
    }

    /// What a session tells. A session that nobody knows, such as one that was given up, is passed over.
    pub fn handle_event(&mut self, event: Event, now: Now) {
        match event {
            Event::Done { session, order, report } => self.done(session, order, report, now),
            Event::Closed { session } => self.closed(session, now),
        }
    }

    /// Picks what can be sent now, closes what has rested long enough.
    pub fn handle_timeout(&mut self, now: Now) {
        self.more = false;
        while let Some(session) = self.ways.sessions.take_idle(now.instant) {
            self.close(session);
        }
        if now.instant.saturating_since(self.swept) >= SWEEP {
            self.swept = now.instant;
            self.ways.shaper.sweep(now.instant);
        }
        if self.draining {
            return;
        }
        for _ in 0..PICKS_MAX {
            if !self.pick(now) {
                return self.look_up();
            }
        }
        self.more = true;
        self.look_up();
    }

    /// Starts nothing more; `is_drained` when everything open is back.
    pub fn handle_drain(&mut self) {
        self.draining = true;
        for session in self.ways.sessions.ids() {
            let idle = self.ways.sessions.session_mut(session).is_some_and(|row| row.orders.is_empty());
            if idle {
                self.close(session);
            }
        }
    }

    /// After `handle_drain`: no session is open any more.
    pub fn is_drained(&self) -> bool {
        self.draining && self.ways.sessions.len() == 0
    }

    /// What the shell does next; none until something is handed in or time passes.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` wants to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.ways.sessions.next_idle();
        if self.draining {
            return idle;
        }
        if self.more {
            return Some(Instant::ZERO);
        }
        match (self.queue.next_wakeup(), idle) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// `since` is when it became due, unless a time to come was set for it.
    fn insert(
        &mut self,
        position: u64,
        accepted: &Accepted,
        state: RecipientState,
        since: Instant,
        now: Now,
    ) {
        let Some(recipient) = accepted.recipients.get(state.recipient as usize) else { return };
        let domain = recipient.forward_path.domain();
        let flow = Flow {
            tenant: accepted.tenant,
            stream: accepted.stream,
            sending_domain: accepted.domain,
            pool: accepted.pool,
            urgency: match self.ways.snapshot.stream(accepted.stream).map(|stream| stream.kind) {
                Some(StreamKind::Marketing) => Urgency::Bulk,
                Some(StreamKind::Transactional) | None => Urgency::Prompt,
            },
            tls: if accepted.require_tls { TlsNeed::RequireTls } else { TlsNeed::AsSite },
        };
        let entry = Entry {
            message: accepted.message,
            position,
            recipient: state.recipient,
            attempt: state.attempt,
            expires: now.measured(accepted.expires_at),
            octets: u32::try_from(accepted.size).unwrap_or(u32::MAX),
        };
        let due = state.next_at.max(accepted.not_before).map_or(since, |at| now.measured(at));
        self.know_tenant(flow.tenant);
        let site = self.ways.sites.site_of(domain);
        let pool = source::pool_in_use(&self.ways.snapshot, flow.stream, flow.pool);
        let to = queue::Destination { pool, domain, site: &site };
        self.queue.insert(entry, &flow, to, due, now.instant);
    }

    /// False if there is nothing to pick.
    fn pick(&mut self, now: Now) -> bool {
        let (queue, ways) = (&mut self.queue, &mut self.ways);
        let mut placement = None;
        let polled = queue.poll(now.instant, &mut |candidate| match ways.place(candidate, now.instant) {
            Ok(found) => {
                placement = Some(found);
                Gate::Open
            }
            Err(gate) => gate,
        });
        if std::mem::take(&mut self.ways.wants_connection)
            && let Some(idle) = self.ways.sessions.take_oldest_idle()
        {
            self.close(idle);
        }
        for path in std::mem::take(&mut self.ways.wants_checked) {
            if let Some(other) = self.ways.sessions.to_yield(&path) {
                self.close(other);
            }
        }
        match (polled, placement) {
            (None, _) => return false,
            (Some(Polled::Expired(delivery)), _) => self.expire(delivery, now),
            (Some(Polled::Deliver(delivery)), Some(placement)) => {
                crate::measured::took_turn(&delivery);
                self.send(delivery, placement, now);
            }
            (Some(Polled::Deliver(_)), None) => unreachable!("the gate opens only with a placement"),
        }
        true
    }

    fn send(&mut self, delivery: Delivery, placement: Placement, now: Now) {
        let session = match placement {
            Placement::Session(session) => session,
            Placement::Connect { permit, source, destination, tls } => {
                let session = self.ways.sessions.open(permit, Arc::clone(&destination), tls);
                self.actions.push_back(Action::Connect(Job { session, source, destination, tls }));
                session
            }
            Placement::Judge(cause) => {
                self.took_off(delivery.flow.tenant);
                let at = Circumstances::default();
                let report =
                    Report { cause, at, started: now.timestamp, duration: Duration::ZERO, usable: false };
                return self.land(delivery, None, report, now);
            }
        };
        self.took_off(delivery.flow.tenant);
        self.next_order += 1;
        let order = Order {
            number: self.next_order,
            message: delivery.entry.message,
            position: delivery.entry.position,
            recipient: delivery.entry.recipient,
            expires: delivery.entry.expires,
        };
        self.ways.sessions.load(session, Flying { order: order.number, delivery, since: now.instant });
        self.actions.push_back(Action::Deliver { session, order });
    }

    pub(crate) fn close(&mut self, session: u64) {
        let Some(row) = self.ways.sessions.session_mut(session) else { return };
        if !row.closing {
            row.closing = true;
            self.actions.push_back(Action::Close(session));
        }
    }

    /// Starts look-ups, as many as may run at a time.
    fn look_up(&mut self) {
        while let Some(domain) = self.ways.look_ups.start() {
            self.actions.push_back(Action::Resolve(domain));
        }
    }
}
