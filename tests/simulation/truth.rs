//! The ledger of truth: what was said to clients, what the journal published, what arrived at sites, what was told as
//! events. It sees from outside, lives through every crash, and panics when two of them do not fit together.
//!
//! What it holds the house to is the list of docs/design/0008-simulation.md; each check names what it found.

use crate::plan::{Plan, QUIET_TENANT, TENANTS};
use crate::registry::Registry;
use bytes::Bytes;
use mail::token::TokenSubject;
use mail::{MessageId, Timestamp};
use spool::{
    Accepted, Attempted, OutcomeRecord, Position, Quarantined, Record, Settled, Settlement, Unsettled,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A recipient at the calm site has to be attempted within so much time in which that was possible: when its tenant has
/// no other mail, and when it has mail at slow sites that takes its connections.
const WAIT_MAX: Duration = Duration::from_secs(60);
const WAIT_BEHIND_OWN_MAX: Duration = Duration::from_secs(900);

#[derive(Default)]
pub struct Truth {
    messages: BTreeMap<MessageId, Known>,
    /// Of letters that were acknowledged.
    acknowledged: BTreeMap<MessageId, usize>,
    /// What lies where, as it was published first.
    published: BTreeMap<Position, Arc<Record>>,
    in_flight: BTreeSet<(MessageId, u32)>,
    /// Settled in this life, durable or not.
    recorded: BTreeSet<(MessageId, u32)>,
    told: BTreeMap<(MessageId, u32), Position>,
    /// Longest wait for a first attempt at the calm site.
    pub waited_max: Duration,
    waited_behind_own_max: Duration,
    pub extra_copies: u64,
    /// Time in which deliveries were possible so far, by tenant.
    pub available: Vec<Duration>,
}

struct Known {
    accepted: Arc<Accepted>,
    body: Bytes,
    tenant: usize,
    fates: Vec<Fate>,
}

#[derive(Default, Clone)]
struct Fate {
    attempts: u32,
    next_at: Option<Timestamp>,
    settled: Option<(Position, Settlement)>,
    copies: Vec<Copy>,
    /// Of a recipient at the calm site that was not attempted yet: what was available when it was accepted.
    waits_since: Option<Duration>,
}

/// A message that a site took for one recipient.
#[derive(Clone)]
struct Copy {
    line: u64,
    /// The house read the site's 250.
    read: bool,
    /// And died before that was durable.
    forgotten: bool,
}

impl Truth {
    pub fn new() -> Truth {
        Truth { available: vec![Duration::ZERO; TENANTS], ..Truth::default() }
    }

    /// A client read 250.
    pub fn acknowledge(&mut self, message: MessageId, letter: usize) {
        let before = self.acknowledged.insert(message, letter);
        assert!(before.is_none(), "{message} was acknowledged twice");
        assert!(
            self.messages.contains_key(&message),
            "{message} was acknowledged before the journal published it"
        );
    }

    /// The journal published a record, or published it again after a crash.
    pub fn see(
        &mut self,
        at: Position,
        record: &Arc<Record>,
        body: Option<Bytes>,
        plan: &Plan,
        registry: &Registry,
    ) {
        if let Some(known) = self.published.get(&at) {
            assert_eq!(known, record, "what lies at {at} is another record now");
            if let Record::Accepted(accepted) = &**record {
                self.compare_body(accepted, body.as_ref());
            }
            return;
        }
        self.published.insert(at, Arc::clone(record));
        match &**record {
            Record::Accepted(accepted) => self.see_accepted(accepted, body, plan, registry),
            Record::Attempted(attempted) => self.see_attempted(attempted),
            Record::Settled(settled) => self.see_settled(at, settled),
            Record::Unknown { kind, version } => panic!("kind {kind} version {version} is known to nobody"),
        }
    }

    fn see_accepted(
        &mut self,
        accepted: &Arc<Accepted>,
        body: Option<Bytes>,
        plan: &Plan,
        registry: &Registry,
    ) {
        if let Some(known) = self.messages.get(&accepted.message) {
            // It was copied forward.
            assert_eq!(known.accepted, *accepted);
            return self.compare_body(accepted, body.as_ref());
        }
        let body = body.expect("what was just published can be read");
        let text = String::from_utf8_lossy(&body);
        let number = text.split("X-Letter: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        let letter = &plan.letters[number.parse::<usize>().unwrap()];
        let (_, sent) = split(&letter.raw);
        assert_eq!(split(&body).1, sent, "the body of letter {number} is not what its client sent");
        assert_eq!(accepted.recipients.len(), letter.recipients.len(), "letter {number} is there in part");
        let tenant = registry.tenant_number(accepted.tenant);
        assert_eq!(tenant, letter.tenant, "letter {number} is another tenant's");
        let fate = |(site, _): &(usize, u32)| Fate {
            waits_since: (*site == crate::plan::CALM).then(|| self.available[tenant]),
            ..Fate::default()
        };
        let fates = letter.recipients.iter().map(fate).collect();
        let known = Known { accepted: Arc::clone(accepted), body, tenant, fates };
        self.messages.insert(accepted.message, known);
    }

    fn compare_body(&self, accepted: &Accepted, body: Option<&Bytes>) {
        let known = &self.messages[&accepted.message];
        let open = known.fates.iter().any(|fate| fate.settled.is_none());
        match body {
            Some(body) => assert_eq!(*body, known.body, "the body of {} has changed", accepted.message),
            None => assert!(!open, "{} waits and cannot be read", accepted.message),
        }
    }

    fn see_attempted(&mut self, attempted: &Attempted) {
        let fate = self.fate(attempted.message, attempted.recipient);
        assert!(fate.settled.is_none(), "an attempt is published after the end: {attempted:?}");
        assert_eq!(attempted.attempt, fate.attempts + 1, "attempts are counted wrongly: {attempted:?}");
        fate.attempts += 1;
        fate.next_at = Some(attempted.next_at);
    }

    fn see_settled(&mut self, at: Position, settled: &Settled) {
        let fate = self.fate(settled.message, settled.recipient);
        assert!(fate.settled.is_none(), "it is settled twice: {settled:?}");
        fate.settled = Some((at, settled.settlement));
        let made = match settled.settlement {
            Settlement::Delivered | Settlement::Bounced | Settlement::Failed => fate.attempts + 1,
            Settlement::Cancelled => fate.attempts,
            Settlement::Expired | Settlement::Suppressed => panic!("nothing of this world: {settled:?}"),
        };
        assert_eq!(settled.attempt, made, "attempts are counted wrongly: {settled:?}");
        let arrived = settled.settlement != Settlement::Delivered || fate.copies.iter().any(|copy| copy.read);
        assert!(arrived, "it is settled as delivered and did not arrive: {settled:?}");
        fate.waits_since = None;
    }

    fn fate(&mut self, message: MessageId, recipient: u32) -> &mut Fate {
        let known =
            self.messages.get_mut(&message).unwrap_or_else(|| panic!("{message} was never published"));
        &mut known.fates[recipient as usize]
    }

    /// The Dispatcher gives a recipient to a session.
    pub fn attempt(&mut self, message: MessageId, recipient: u32, available: Vec<Duration>) {
        assert!(
            self.in_flight.insert((message, recipient)),
            "{recipient} of {message} is sent twice at once"
        );
        let recorded = self.recorded.contains(&(message, recipient));
        let tenant = self.messages[&message].tenant;
        let fate = self.fate(message, recipient);
        assert!(fate.settled.is_none() && !recorded, "{recipient} of {message} is attempted after its end");
        if let Some(since) = fate.waits_since.take() {
            let waited = available[tenant].saturating_sub(since);
            let (longest, limit) = match tenant {
                QUIET_TENANT => (&mut self.waited_max, WAIT_MAX),
                _ => (&mut self.waited_behind_own_max, WAIT_BEHIND_OWN_MAX),
            };
            *longest = waited.max(*longest);
            assert!(waited <= limit, "{recipient} of {message} waited {waited:?} at the calm site");
        }
    }

    /// A session has nothing to do with a recipient any more.
    pub fn came_back(&mut self, message: MessageId, recipient: u32) {
        self.in_flight.remove(&(message, recipient));
    }

    /// The Dispatcher says what came of an attempt.
    pub fn record(&mut self, record: &OutcomeRecord) {
        if let OutcomeRecord::Settled(settled) = record {
            let first = self.recorded.insert((settled.message, settled.recipient));
            assert!(first, "it is settled twice in one life: {settled:?}");
        }
    }

    /// A site took a message.
    pub fn take_copy(&mut self, subject: TokenSubject, mailbox: &str, raw: &Bytes, line: u64) {
        let known = self.messages.get_mut(&subject.message).expect("it was published before it was sent");
        let recipient = subject.recipient as usize;
        let meant = known.accepted.recipients[recipient].forward_path.mailbox().to_string();
        assert_eq!(mailbox, meant, "the token and the recipient do not fit together");
        assert_eq!(*raw, known.body, "{} did not arrive as it was prepared", subject.message);
        let fate = &mut known.fates[recipient];
        let excused = fate.copies.iter().all(|copy| !copy.read || copy.forgotten);
        assert!(excused, "a copy too many of {} for {mailbox}", subject.message);
        assert!(fate.settled.is_none(), "{mailbox} is given {} after its end", subject.message);
        self.extra_copies += u64::from(!fate.copies.is_empty());
        fate.copies.push(Copy { line, read: false, forgotten: false });
    }

    /// The house read the 250 of a site.
    pub fn delivered(&mut self, message: MessageId, recipient: u32, line: u64) {
        let fate = self.fate(message, recipient);
        let copy = fate.copies.iter_mut().find(|copy| copy.line == line && !copy.read);
        copy.expect("what was delivered has arrived").read = true;
    }

    /// The house died with so many sessions. What it had read and not made durable may be done once more.
    pub fn crash(&mut self, sessions: usize) {
        self.check_doubt(sessions);
        self.in_flight.clear();
        self.recorded.clear();
        for fate in self.messages.values_mut().flat_map(|known| &mut known.fates) {
            if fate.settled.is_none() {
                fate.copies.iter_mut().filter(|copy| copy.read).for_each(|copy| copy.forgotten = true);
            }
        }
    }

    /// How many copies a crash can double: of what a site took in this life and the journal does not know, one over each
    /// connection, and no more than there are sessions.
    fn check_doubt(&self, sessions: usize) {
        let open =
            self.messages.values().flat_map(|known| &known.fates).filter(|fate| fate.settled.is_none());
        let read = open.flat_map(|fate| &fate.copies).filter(|copy| copy.read && !copy.forgotten);
        let lines: Vec<u64> = read.map(|copy| copy.line).collect();
        let connections: BTreeSet<&u64> = lines.iter().collect();
        assert_eq!(lines.len(), connections.len(), "one connection has left two messages in doubt");
        assert!(lines.len() <= sessions, "{} messages are in doubt with {sessions} sessions", lines.len());
    }

    /// What a recovery found is what was published and is open: nothing lost, nothing risen.
    pub fn compare(&self, recovered: &VecDeque<Unsettled>) {
        self.check_acknowledged();
        let mut open: BTreeMap<MessageId, Vec<(u32, u32, Option<Timestamp>)>> = BTreeMap::new();
        for (id, known) in &self.messages {
            let states = known.fates.iter().zip(0..).filter(|(fate, _)| fate.settled.is_none());
            let states: Vec<_> = states.map(|(fate, number)| (number, fate.attempts, fate.next_at)).collect();
            if !states.is_empty() {
                open.insert(*id, states);
            }
        }
        for one in recovered {
            let id = one.accepted.message;
            let states = one.recipients.iter().map(|state| (state.recipient, state.attempt, state.next_at));
            let found: Vec<_> = states.collect();
            let due = open.remove(&id);
            assert_eq!(due.as_ref(), Some(&found), "{id} is recovered as something else");
        }
        assert!(open.is_empty(), "lost in recovery: {open:?}");
    }

    /// After an orderly end everything that the Dispatcher said, and everything that a session read, is in the journal.
    pub fn check_stop(&self) {
        for (id, recipient) in &self.recorded {
            let settled = self.messages[id].fates[*recipient as usize].settled.is_some();
            assert!(settled, "the end of {recipient} of {id} was not written before an orderly end");
        }
        for (id, known) in &self.messages {
            for (fate, number) in known.fates.iter().zip(0..) {
                let read = fate.copies.iter().any(|copy| copy.read && !copy.forgotten);
                assert!(
                    !read || fate.settled.is_some(),
                    "that {number} of {id} arrived is forgotten in order"
                );
            }
        }
    }

    /// What a recovery could not read was never published: a group that was being written when the power went.
    pub fn check_damage(&self, quarantined: &[Quarantined]) {
        let damaged = quarantined.iter().find(|piece| self.published.contains_key(&piece.position));
        assert!(damaged.is_none(), "what was published is damaged: {damaged:?}");
    }

    fn check_acknowledged(&self) {
        for (id, letter) in &self.acknowledged {
            assert!(self.messages.contains_key(id), "letter {letter} was acknowledged as {id} and is lost");
        }
    }

    /// The reader of the events met a record, maybe not for the first time.
    pub fn tell(&mut self, at: Position, record: &Arc<Record>) {
        assert_eq!(self.published.get(&at), Some(record), "an event is told that the journal does not have");
        if let Record::Settled(settled) = &**record {
            let first = *self.told.entry((settled.message, settled.recipient)).or_insert(at);
            assert_eq!(first, at, "a second end is told: {settled:?}");
        }
    }

    /// Everything is settled and was told.
    pub fn check_end(&self) {
        self.check_acknowledged();
        for (id, known) in &self.messages {
            for (fate, number) in known.fates.iter().zip(0..) {
                let (at, _) = fate.settled.unwrap_or_else(|| panic!("{number} of {id} is still open"));
                assert_eq!(
                    self.told.get(&(*id, number)),
                    Some(&at),
                    "the end of {number} of {id} was not told"
                );
            }
        }
    }

    /// Messages, recipients, and those of them that were settled.
    pub fn figures(&self) -> (usize, usize) {
        (self.messages.len(), self.messages.values().map(|known| known.fates.len()).sum())
    }

    /// A message that came of this letter and was acknowledged.
    pub fn message_of(&self, letter: usize) -> Option<MessageId> {
        self.acknowledged.iter().find(|(_, number)| **number == letter).map(|(id, _)| *id)
    }
}

/// Header section and body.
fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let at = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(raw.len() - 4);
    raw.split_at(at + 4)
}
