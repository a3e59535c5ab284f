//! Whose webhook call is made next, and of whom more calls are wanted from the table. A plain value.
//!
//! Calls under way are shared by tenants (`registry::Shares`): a tenant whose endpoints all hang takes its share and
//! leaves room for the next. Within a tenant one endpoint has a few at once, and one that does not answer has a single
//! one until it does. What is claimed ahead, so that a transaction serves many calls, is shared in the same way.
//!
//! Held by `deliver.rs`, which makes the calls. What may surprise: a claimed call that has waited too long is dropped
//! here and is due again when its lease ends, because whoever claims it then must not meet us.

use database::{WebhookDue, WebhookWanted};
use mail::{EndpointId, Instant, TenantId};
use registry::{Party, Ring, Shares};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Calls that are claimed ahead, for each that may be under way.
const AHEAD: usize = 16;
/// Of one endpoint, for each that may be under way.
const AHEAD_OF_ENDPOINT: usize = 4;

/// The limits it works within.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub calls_max: usize,
    pub calls_per_endpoint_max: usize,
    pub lease: Duration,
    /// How long a claimed call may wait here.
    pub patience: Duration,
}

/// How an endpoint took a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Answers,
    /// No connection, no answer in time.
    Silent,
}

/// All calls that this node has claimed.
#[derive(Debug)]
pub(crate) struct Turns {
    claims: Claims,
    /// Those that are not under way, with the time of their claim.
    waiting: Ring<EndpointId, Waiting>,
}

type Waiting = VecDeque<(WebhookDue, Instant)>;

/// How many calls there are of whom.
#[derive(Debug)]
struct Claims {
    limits: Limits,
    under_way: Shares,
    claimed: usize,
    tenants: HashMap<TenantId, Tenant>,
    /// No line is without calls.
    lines: HashMap<EndpointId, Line>,
    /// There may be more in the table than was asked for last time.
    more: bool,
}

#[derive(Debug, Default)]
struct Tenant {
    claimed: usize,
    /// As many were given as were wanted: there may be more.
    filled: bool,
}

#[derive(Debug)]
struct Line {
    tenant: TenantId,
    /// Those that wait and those under way.
    held: usize,
    under_way: usize,
    health: Health,
    filled: bool,
}

impl Turns {
    pub(crate) fn new(limits: Limits) -> Turns {
        // The first half of a share is everybody's, so two are the least with which anything moves.
        let under_way = Shares::new(limits.calls_max.max(2) as u64);
        let (tenants, lines) = (HashMap::new(), HashMap::new());
        let claims = Claims { limits, under_way, claimed: 0, tenants, lines, more: false };
        Turns { claims, waiting: Ring::default() }
    }

    /// The table has something new, or may have.
    pub(crate) fn told(&mut self) {
        self.claims.more = true;
    }

    /// What to ask the table for now, if anything: not for a handful, because each question is a transaction.
    pub(crate) fn wanted(&self) -> Option<WebhookWanted> {
        self.claims.wanted()
    }

    /// All was taken that the table had for us.
    pub(crate) fn is_served(&self) -> bool {
        !self.claims.more
    }

    /// Takes in what the table gave for `wanted`.
    pub(crate) fn claim(&mut self, wanted: &WebhookWanted, due: Vec<WebhookDue>, now: Instant) {
        let Turns { claims, waiting } = self;
        claims.more = due.len() >= wanted.limit;
        for endpoint in &wanted.without {
            if let Some(line) = claims.lines.get_mut(endpoint) {
                line.filled = true;
            }
        }
        let mut rooms: HashMap<TenantId, usize> = wanted.tenants.iter().copied().collect();
        for call in due {
            let (endpoint, tenant) = (call.endpoint, call.event.event.tenant);
            let calls = waiting.line(endpoint);
            calls.push_back((call, now));
            let line = claims.lines.entry(endpoint).or_insert_with(|| Line::new(tenant));
            line.held += 1;
            line.filled = calls.len() >= wanted.per_endpoint;
            claims.claimed += 1;
            claims.tenants.entry(tenant).or_default().claimed += 1;
            let room = rooms.entry(tenant).or_insert(wanted.per_tenant);
            *room = room.saturating_sub(1);
        }
        for (tenant, _) in rooms.iter().filter(|(_, room)| **room == 0) {
            if let Some(row) = claims.tenants.get_mut(tenant) {
                row.filled = true;
            }
        }
    }

    /// The next call to make. Each that is given out must come back with `ended`.
    pub(crate) fn next(&mut self, now: Instant) -> Option<WebhookDue> {
        let Turns { claims, waiting } = self;
        waiting.next(|endpoint, calls| {
            claims.drop_stale(endpoint, calls, now);
            claims.begin(endpoint, calls).into()
        })
    }

    /// A call to this endpoint has ended.
    pub(crate) fn ended(&mut self, endpoint: EndpointId, health: Health) {
        self.claims.ended(endpoint, health);
    }

    /// What waits stays in the table.
    pub(crate) fn stop(&mut self) {
        self.waiting = Ring::default();
        self.claims.more = false;
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.claims.under_way.used()
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.claims.claimed as u64 - self.under_way()
    }
}

impl Claims {
    fn wanted(&self) -> Option<WebhookWanted> {
        let room = (self.limits.calls_max * AHEAD).saturating_sub(self.claimed);
        if !self.more || room < self.limits.calls_max.div_ceil(4) {
            return None;
        }
        let allowance = |claimed| self.tenant_max().saturating_sub(claimed).min(self.limits.calls_max);
        Some(WebhookWanted {
            limit: room.min(self.limits.calls_max),
            per_endpoint: self.limits.calls_per_endpoint_max * AHEAD_OF_ENDPOINT,
            per_tenant: allowance(0),
            tenants: self.tenants.iter().map(|(id, tenant)| (*id, allowance(tenant.claimed))).collect(),
            without: self.lines.iter().filter(|(_, line)| self.is_full(line)).map(|(id, _)| *id).collect(),
            lease: self.limits.lease,
        })
    }

    fn ended(&mut self, endpoint: EndpointId, health: Health) {
        let Some(line) = self.lines.get_mut(&endpoint) else { return };
        line.under_way = line.under_way.saturating_sub(1);
        line.health = health;
        self.under_way.give_back(Party::Tenant(line.tenant), 1);
        self.let_go(endpoint, 1);
    }

    fn begin(&mut self, endpoint: EndpointId, calls: &mut Waiting) -> Option<WebhookDue> {
        let line = self.lines.get_mut(&endpoint)?;
        let at_once = match line.health {
            Health::Answers => self.limits.calls_per_endpoint_max,
            Health::Silent => 1,
        };
        if line.under_way >= at_once || calls.is_empty() {
            return None;
        }
        self.under_way.take(Party::Tenant(line.tenant), 1).ok()?;
        line.under_way += 1;
        calls.pop_front().map(|(call, _)| call)
    }

    fn drop_stale(&mut self, endpoint: EndpointId, calls: &mut Waiting, now: Instant) {
        let patience = self.limits.patience;
        let stale = calls.iter().take_while(|(_, since)| now.saturating_since(*since) > patience).count();
        calls.drain(..stale);
        self.let_go(endpoint, stale);
    }

    /// So many calls of this endpoint are no longer ours.
    fn let_go(&mut self, endpoint: EndpointId, count: usize) {
        let tenant_max = self.tenant_max();
        let Some(line) = self.lines.get_mut(&endpoint) else { return };
        self.claimed = self.claimed.saturating_sub(count);
        line.held = line.held.saturating_sub(count);
        if line.filled && line.held < self.limits.calls_per_endpoint_max {
            line.filled = false;
            self.more = true;
        }
        if let Some(tenant) = self.tenants.get_mut(&line.tenant) {
            tenant.claimed = tenant.claimed.saturating_sub(count);
            if tenant.filled && tenant.claimed <= tenant_max * 3 / 4 {
                tenant.filled = false;
                self.more = true;
            }
            if tenant.claimed == 0 {
                self.tenants.remove(&line.tenant);
            }
        }
        if line.held == 0 {
            self.lines.remove(&endpoint);
        }
    }

    /// Calls that a tenant may have claimed: all of them, divided by those who have any and one more.
    fn tenant_max(&self) -> usize {
        self.limits.calls_max * AHEAD / (self.tenants.len() + 1)
    }

    fn is_full(&self, line: &Line) -> bool {
        line.held >= self.limits.calls_per_endpoint_max
    }
}

impl Line {
    fn new(tenant: TenantId) -> Line {
        Line { tenant, held: 0, under_way: 0, health: Health::Answers, filled: false }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use database::EventRow;
    use mail::{Event, EventId, EventKind, Random, Timestamp};

    const NOW: Instant = Instant::from_micros(1_000_000);

    /// A table with calls of tenants, which gives what it is asked for like the real one.
    struct Table {
        random: Random,
        calls: VecDeque<WebhookDue>,
    }

    impl Table {
        fn new() -> Table {
            Table { random: Random::from_number(7), calls: VecDeque::new() }
        }

        fn tenant(&mut self) -> TenantId {
            TenantId::mint(Timestamp::UNIX_EPOCH, &mut self.random)
        }

        fn endpoint(&mut self, tenant: TenantId, calls: usize) -> EndpointId {
            let endpoint = EndpointId::mint(Timestamp::UNIX_EPOCH, &mut self.random);
            for _ in 0..calls {
                let id = EventId::mint(Timestamp::UNIX_EPOCH, &mut self.random);
                let (kind, timestamp) = (EventKind::WebhookTest, Timestamp::UNIX_EPOCH);
                let event = Event { id, kind, timestamp, tenant, data: serde_json::Value::Null };
                let event = EventRow { seq: 0, event };
                self.calls.push_back(WebhookDue { endpoint, event, attempts: 0 });
            }
            endpoint
        }

        fn due(&mut self, wanted: &WebhookWanted) -> Vec<WebhookDue> {
            let mut rooms: HashMap<TenantId, usize> = wanted.tenants.iter().copied().collect();
            let mut lines: HashMap<EndpointId, usize> = HashMap::new();
            let (mut due, mut stays) = (Vec::new(), VecDeque::new());
            for call in self.calls.drain(..) {
                let room = rooms.entry(call.event.event.tenant).or_insert(wanted.per_tenant);
                let line = lines.entry(call.endpoint).or_default();
                let full = due.len() >= wanted.limit || *room == 0 || *line >= wanted.per_endpoint;
                if full || wanted.without.contains(&call.endpoint) {
                    stays.push_back(call);
                    continue;
                }
                *room -= 1;
                *line += 1;
                due.push(call);
            }
            self.calls = stays;
            due
        }

        /// Claims all that may be claimed and begins all that may begin.
        fn fill(&mut self, turns: &mut Turns, now: Instant) -> Vec<EndpointId> {
            while let Some(wanted) = turns.wanted() {
                let due = self.due(&wanted);
                turns.claim(&wanted, due, now);
            }
            std::iter::from_fn(|| turns.next(now)).map(|call| call.endpoint).collect()
        }
    }

    fn turns() -> Turns {
        let seconds = Duration::from_secs;
        let limits =
            Limits { calls_max: 64, calls_per_endpoint_max: 4, lease: seconds(60), patience: seconds(30) };
        let mut turns = Turns::new(limits);
        turns.told();
        turns
    }

    #[test]
    fn a_tenant_with_many_endpoints_that_hang_leaves_room_for_the_next() {
        let (mut table, mut turns) = (Table::new(), turns());
        let (greedy, other) = (table.tenant(), table.tenant());
        for _ in 0..200 {
            table.endpoint(greedy, 500);
        }
        assert_eq!(table.fill(&mut turns, NOW).len(), 32);
        let endpoint = table.endpoint(other, 4);
        turns.told();
        assert_eq!(table.fill(&mut turns, NOW), [endpoint; 4]);
        assert!(turns.claims.claimed <= 1_024);
    }

    #[test]
    fn one_endpoint_that_hangs_leaves_room_for_its_neighbour() {
        let (mut table, mut turns) = (Table::new(), turns());
        let tenant = table.tenant();
        let hangs = table.endpoint(tenant, 100_000);
        let answers = table.endpoint(tenant, 1);
        let begun = table.fill(&mut turns, NOW);
        assert_eq!(begun.iter().filter(|endpoint| **endpoint == hangs).count(), 4);
        assert_eq!(begun.iter().filter(|endpoint| **endpoint == answers).count(), 1);
    }

    #[test]
    fn a_silent_endpoint_has_one_call_until_it_answers() {
        let (mut table, mut turns) = (Table::new(), turns());
        let tenant = table.tenant();
        let endpoint = table.endpoint(tenant, 100);
        assert_eq!(table.fill(&mut turns, NOW).len(), 4);
        (0..4).for_each(|_| turns.ended(endpoint, Health::Silent));
        assert_eq!(table.fill(&mut turns, NOW).len(), 1);
        turns.ended(endpoint, Health::Silent);
        assert_eq!(table.fill(&mut turns, NOW).len(), 1);
        turns.ended(endpoint, Health::Answers);
        assert_eq!(table.fill(&mut turns, NOW).len(), 4);
    }

    #[test]
    fn a_long_queue_is_made_to_its_end_without_being_told_again_and_with_few_questions() {
        let (mut table, mut turns) = (Table::new(), turns());
        let tenant = table.tenant();
        let endpoint = table.endpoint(tenant, 1_000);
        let (mut made, mut questions) = (0, 0);
        loop {
            while let Some(wanted) = turns.wanted() {
                let due = table.due(&wanted);
                turns.claim(&wanted, due, NOW);
                questions += 1;
            }
            if turns.next(NOW).is_none() {
                break;
            }
            turns.ended(endpoint, Health::Answers);
            made += 1;
        }
        assert_eq!(
            (made, turns.claims.claimed, turns.claims.tenants.len(), turns.claims.lines.len()),
            (1_000, 0, 0, 0)
        );
        assert!(questions < 100, "{questions}");
    }

    #[test]
    fn what_has_waited_too_long_is_left_to_whoever_claims_it_next() {
        let (mut table, mut turns) = (Table::new(), turns());
        let tenant = table.tenant();
        let endpoint = table.endpoint(tenant, 10);
        assert_eq!(table.fill(&mut turns, NOW).len(), 4);
        let late = NOW + Duration::from_secs(31);
        (0..4).for_each(|_| turns.ended(endpoint, Health::Answers));
        assert!(turns.next(late).is_none());
        assert_eq!((turns.claims.claimed, turns.under_way(), turns.claims.lines.len()), (0, 0, 0));
    }
}
