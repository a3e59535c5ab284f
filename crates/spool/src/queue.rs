//! What waits for the commit thread, and when a group is worth a sync.
//!
//! A sync costs the same for one record and for five hundred. So the thread waits, after a group that many took part
//! in, until as many have come again or a few milliseconds have passed; a client alone never waits. The same goes for
//! completion records that a session waits for, counted by themselves: sessions come again faster than clients. Other
//! completion records ride along, or go by themselves after the same few milliseconds. Bounded by the permits that each
//! entry carries.

use crate::pick::{Picker, Room};
use crate::record::Logged;
use crate::segment::Frame;
use crate::{Committed, Config, Fault, Position};
use bytes::Bytes;
use mail::MessageId;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub(crate) struct Entry {
    pub(crate) frame: Frame,
    pub(crate) logged: Logged,
    pub(crate) answer: Answer,
    /// Gives the turn back when the entry is done with.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

impl Entry {
    /// The message that somebody wants to be told of as accepted.
    pub(crate) fn offered(&self) -> Option<MessageId> {
        match &self.answer {
            Answer::Committed(message, _) => Some(*message),
            Answer::Nobody | Answer::Durable(_) | Answer::Proof(_) => None,
        }
    }

    /// A session goes no further without it.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self.answer, Answer::Proof(_))
    }
}

impl Turnout {
    pub(crate) const ONE: Turnout = Turnout { messages: 1, proofs: 1 };

    /// Who is expected next after `found` came. A group that was due because of one kind says nothing of the other: its
    /// number falls only when it was waited for in vain.
    fn after(self, found: Turnout, in_vain: bool) -> Turnout {
        let one = |wanted: usize, found: usize| {
            if in_vain || found >= wanted { found } else { wanted }
        };
        Turnout { messages: one(self.messages, found.messages), proofs: one(self.proofs, found.proofs) }
    }
}

impl Default for Turnout {
    fn default() -> Turnout {
        Turnout::ONE
    }
}

/// Waiting messages to be copied to the end of the log. What they become depends on what is settled when their group
/// is written, so the commit thread makes the frames.
pub(crate) struct Copies {
    pub(crate) copies: Vec<Copy>,
    pub(crate) answer: oneshot::Sender<Result<(), Fault>>,
}

pub(crate) struct Copy {
    pub(crate) message: MessageId,
    pub(crate) from: Position,
    /// The meta of the record as it was accepted.
    pub(crate) accepted: Vec<u8>,
    pub(crate) body: Bytes,
}

/// What is written with one sync.
pub(crate) struct Group {
    pub(crate) copies: Option<Copies>,
    pub(crate) entries: Vec<Entry>,
}

/// Who waits for the entry to be durable.
pub(crate) enum Answer {
    Nobody,
    Committed(MessageId, oneshot::Sender<Result<Committed, Fault>>),
    Durable(oneshot::Sender<Result<(), Fault>>),
    /// The session that made the delivery; it hears nothing if it comes to nothing.
    Proof(oneshot::Sender<()>),
}

/// How many take part in a group, of those that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turnout {
    pub(crate) messages: usize,
    pub(crate) proofs: usize,
}

impl Answer {
    /// Whoever is gone does not want to know.
    pub(crate) fn give(self, result: Result<Position, Fault>) {
        match self {
            Answer::Nobody => {}
            Answer::Committed(message, sender) => {
                drop(sender.send(result.map(|position| Committed { message, position })));
            }
            Answer::Durable(sender) => drop(sender.send(result.map(|_| ()))),
            Answer::Proof(sender) if result.is_ok() => drop(sender.send(())),
            Answer::Proof(_) => {}
        }
    }
}

/// Why nothing more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What is queued is still written.
    Closed,
    /// What is queued is refused.
    Sealed,
}

impl From<End> for Fault {
    fn from(end: End) -> Fault {
        match end {
            End::Closed => Fault::Closed,
            End::Sealed => Fault::Sealed,
        }
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

struct Waiting {
    accepts: Picker<Entry>,
    outcomes: VecDeque<Entry>,
    /// The trim thread has one batch on its way at a time.
    copies: Option<Copies>,
    /// Completion records in `outcomes` whose sessions wait for them.
    proofs: usize,
    /// Somebody waits for an outcome to be durable, and may not be kept waiting for others.
    urgent: bool,
    /// When the commit thread wants to be woken; it sleeps through the ones before.
    wake_at: Turnout,
    end: Option<End>,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            accepts: Picker::new(|entry| entry.frame.len()),
            outcomes: VecDeque::new(),
            copies: None,
            proofs: 0,
            urgent: false,
            wake_at: Turnout::ONE,
            end: None,
        }
    }
}

impl Queue {
    pub(crate) fn push_accept(&self, entry: Entry) -> Result<(), Fault> {
        let mut waiting = self.lock();
        if let Some(end) = waiting.end {
            return Err(end.into());
        }
        waiting.accepts.push(entry);
        if waiting.accepts.len() == waiting.wake_at.messages {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn push_outcomes(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut waiting = self.lock();
        if let Some(end) = waiting.end {
            return Err(end.into());
        }
        let idle = waiting.accepts.is_empty() && waiting.outcomes.is_empty();
        let urgent = entries.iter().any(|entry| matches!(entry.answer, Answer::Durable(_)));
        waiting.urgent |= urgent;
        let proofs_before = waiting.proofs;
        waiting.proofs += entries.iter().filter(|entry| entry.is_awaited()).count();
        waiting.outcomes.extend(entries);
        let enough = (proofs_before..waiting.proofs).contains(&(waiting.wake_at.proofs - 1));
        if idle || urgent || enough {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn push_copies(&self, copies: Copies) -> Result<(), Fault> {
        let mut waiting = self.lock();
        if let Some(end) = waiting.end {
            return Err(end.into());
        }
        waiting.copies = Some(copies);
        self.wake.notify_one();
        Ok(())
    }

    /// For entries that could not be written now, in front of what came later.
    pub(crate) fn put_back(&self, entries: Vec<Entry>) {
        let mut waiting = self.lock();
        waiting.proofs += entries.iter().filter(|entry| entry.is_awaited()).count();
        for entry in entries.into_iter().rev() {
            waiting.outcomes.push_front(entry);
        }
    }

    /// The same for messages.
    pub(crate) fn put_back_accepts(&self, entries: Vec<Entry>) {
        self.lock().accepts.put_back(entries);
    }

    /// The first end counts, but a seal overrules a close.
    pub(crate) fn end(&self, end: End) {
        let mut waiting = self.lock();
        if waiting.end != Some(End::Sealed) {
            waiting.end = Some(end);
        }
        self.wake.notify_one();
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.lock().end
    }

    /// Sleeps until a group is due and takes it; None when the queue has ended and nothing is left. `before` is who is
    /// expected back from earlier groups, and what is returned is the same for the next one.
    pub(crate) fn take(&self, config: &Config, before: Turnout) -> Option<(Group, Turnout)> {
        let mut waiting = self.lock();
        waiting.wake_at = Turnout::ONE;
        let nothing = |waiting: &mut Waiting| waiting.is_empty() && waiting.end.is_none();
        waiting = self.wake.wait_while(waiting, nothing).unwrap_or_else(PoisonError::into_inner);
        let wanted = Turnout {
            messages: before.messages.clamp(1, config.group_records_max as usize),
            proofs: before.proofs.max(1),
        };
        waiting.wake_at = wanted;
        let patience = Duration::from_millis(config.group_wait_ms_max);
        let lacking = |waiting: &mut Waiting| {
            let Turnout { messages, proofs } = waiting.turnout();
            messages < wanted.messages && proofs < wanted.proofs && !waiting.urgent && waiting.end.is_none()
        };
        let (mut waiting, waited) =
            self.wake.wait_timeout_while(waiting, patience, lacking).unwrap_or_else(PoisonError::into_inner);
        let next = wanted.after(waiting.turnout(), waited.timed_out());
        waiting.group(config).map(|group| (group, next))
    }

    /// A group of what waits now, without sleeping.
    pub(crate) fn take_now(&self, config: &Config) -> Option<Group> {
        self.lock().group(config)
    }

    /// Sleeps without taking anything, unless the queue has ended.
    pub(crate) fn rest(&self, time: Duration) {
        let waiting = self.lock();
        drop(self.wake.wait_timeout_while(waiting, time, |waiting| waiting.end.is_none()));
    }

    pub(crate) fn drain(&self) -> Group {
        let mut waiting = self.lock();
        waiting.proofs = 0;
        let Waiting { outcomes, accepts, copies, .. } = &mut *waiting;
        Group { copies: copies.take(), entries: outcomes.drain(..).chain(accepts.drain()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.accepts.is_empty() && self.outcomes.is_empty() && self.copies.is_none()
    }

    fn turnout(&self) -> Turnout {
        Turnout { messages: self.accepts.len(), proofs: self.proofs }
    }

    fn group(&mut self, config: &Config) -> Option<Group> {
        if self.is_empty() {
            return None;
        }
        let octets = u64::from(config.group_octets_max);
        let (mut taken, mut group) = (0, Vec::new());
        while let Some(next) = self.outcomes.front()
            && (taken == 0 || taken + next.frame.len() <= octets)
            && let Some(entry) = self.outcomes.pop_front()
        {
            taken += entry.frame.len();
            group.push(entry);
        }
        group.extend(self.accepts.group(Room { records: config.group_records_max as usize, octets, taken }));
        self.urgent = self.outcomes.iter().any(|entry| matches!(entry.answer, Answer::Durable(_)));
        self.proofs = self.outcomes.iter().filter(|entry| entry.is_awaited()).count();
        Some(Group { copies: self.copies.take(), entries: group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_that_comes_again_fast_does_not_make_small_groups_of_the_other() {
        let expected = Turnout { messages: 60, proofs: 20 };
        let found = Turnout { messages: 15, proofs: 20 };
        assert_eq!(expected.after(found, false), expected);
        // In vain: whoever is there is all there is.
        assert_eq!(expected.after(found, true), found);
        let grown = Turnout { messages: 70, proofs: 3 };
        assert_eq!(expected.after(grown, false), Turnout { messages: 70, proofs: 20 });
    }
}
