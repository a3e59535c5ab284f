//! What is still open: the messages with unsettled recipients, and the segments they lie in.
//!
//! Rebuilt by recovery, kept up by the commit thread after each sync, so it speaks of durable records only. It holds
//! an id, a place and how far the recipients are; everything else about a message is on the disk. Pure.
//!
//! What may surprise: a waiting message can be copied to the end of the log. Whoever holds the place where it lay
//! before still finds it, through `place`, for as long as it waits.

use crate::recipients::{Left, Recipients};
use crate::record::{Logged, Moved};
use crate::{Accepted, Attempted, Position, RecipientState, Record, Settled, Span};
use mail::MessageId;
use mail::rows::{ByMessage, Rows};
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub(crate) struct Ledger {
    live: Rows<Live>,
    messages: ByMessage,
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    /// Everything that waits from before is known; until then nothing may be removed.
    pub(crate) complete: bool,
    /// Messages that were settled while this ledger watched.
    pub(crate) settled: u64,
    /// Where a waiting message lay when this process first knew it, if it was copied since; and the way back.
    origins: HashMap<MessageId, Position>,
    forwards: HashMap<Position, MessageId>,
}

struct Live {
    message: MessageId,
    position: Position,
    /// Of its frame.
    octets: u32,
    recipients: Recipients,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// Up to where the file holds committed records.
    pub(crate) octets: u64,
    /// Messages lying here that have open recipients.
    pub(crate) open: u32,
    /// Octets of their frames.
    pub(crate) open_octets: u64,
    /// It holds something this program does not understand and must not lose.
    pub(crate) pinned: bool,
    /// The disk did not let recovery open it.
    pub(crate) unreadable: bool,
    /// Stretches of it that a reader passed over and still wants (`owed.rs`).
    pub(crate) owed: u32,
    /// A message in it could not be copied; it goes when that message is settled, and not earlier.
    pub(crate) stuck: bool,
}

impl SegmentState {
    /// Whatever else is done with the others, this one is needed as it is.
    pub(crate) fn stays(&self) -> bool {
        self.pinned || self.owed > 0
    }
}

impl Ledger {
    /// Returns where a message was known to lie if nobody will want it soon: this record settled its last recipient, or
    /// every one that is open has been tried and waits for its next time.
    pub(crate) fn apply(&mut self, position: Position, octets: u64, logged: &Logged) -> Option<Position> {
        match logged {
            Logged::Record(record) => match &**record {
                Record::Accepted(accepted) => self.accept(position, octets, accepted),
                Record::Attempted(attempted) => return self.attempt(attempted),
                Record::Settled(settled) => return self.settle(settled),
                Record::Unknown { .. } => {}
            },
            Logged::Moved(moved) => self.move_to(position, octets, moved),
        }
        None
    }

    fn accept(&mut self, position: Position, octets: u64, accepted: &Accepted) {
        // A message id comes once. Should it come again, the first record counts.
        if self.number(accepted.message).is_none()
            && let Some(recipients) = Recipients::new(accepted.recipients.len())
        {
            self.insert(Live { message: accepted.message, position, octets: octets as u32, recipients });
        }
    }

    fn attempt(&mut self, attempted: &Attempted) -> Option<Position> {
        // One on a message that went with its segment is nobody's.
        let number = self.number(attempted.message)?;
        let recipients = &mut self.live[number].recipients;
        recipients.attempt(attempted.recipient, attempted.attempt, attempted.next_at);
        self.resting(number)
    }

    fn settle(&mut self, settled: &Settled) -> Option<Position> {
        let number = self.number(settled.message)?;
        if self.live[number].recipients.close(settled.recipient) == Left::Some {
            return self.resting(number);
        }
        self.settled += 1;
        let position = self.remove(settled.message)?;
        Some(self.forget_origin(settled.message).unwrap_or(position))
    }

    /// Where a message was known to lie, if all its open recipients were tried.
    fn resting(&self, number: u32) -> Option<Position> {
        let live = &self.live[number];
        let known = || self.origins.get(&live.message).copied().unwrap_or(live.position);
        live.recipients.all_were_tried().then(known)
    }

    /// The newest copy counts: it was written knowing everything that lies before it.
    fn move_to(&mut self, position: Position, octets: u64, moved: &Moved) {
        let message = moved.accepted.message;
        if let Some(before) = self.remove(message) {
            let origin = *self.origins.entry(message).or_insert(before);
            self.forwards.insert(origin, message);
        }
        match Recipients::of(moved.accepted.recipients.len(), &moved.open) {
            Some(recipients) => {
                self.insert(Live { message, position, octets: octets as u32, recipients });
            }
            None => drop(self.forget_origin(message)),
        }
    }

    fn number(&self, message: MessageId) -> Option<u32> {
        self.messages.find(message, |number| self.live[number].message)
    }

    fn get(&self, message: MessageId) -> Option<&Live> {
        self.number(message).map(|number| &self.live[number])
    }

    fn insert(&mut self, live: Live) {
        let segment = self.segments.entry(live.position.segment()).or_default();
        segment.open += 1;
        segment.open_octets += u64::from(live.octets);
        self.put(live);
    }

    fn put(&mut self, live: Live) {
        let message = live.message;
        let number = self.live.insert(live);
        if let Some(before) = self.messages.insert(message, number, |number| self.live[number].message) {
            self.live.remove(before);
        }
    }

    fn remove(&mut self, message: MessageId) -> Option<Position> {
        let number = self.messages.remove(message, |number| self.live[number].message)?;
        let live = self.live.remove(number);
        if let Some(segment) = self.segments.get_mut(&live.position.segment()) {
            segment.open = segment.open.saturating_sub(1);
            segment.open_octets = segment.open_octets.saturating_sub(u64::from(live.octets));
        }
        Some(live.position)
    }

    fn forget_origin(&mut self, message: MessageId) -> Option<Position> {
        let origin = self.origins.remove(&message)?;
        self.forwards.remove(&origin);
        Some(origin)
    }

    /// What is known of the segments, without what is in them.
    pub(crate) fn segments_only(mut self) -> Ledger {
        for state in self.segments.values_mut() {
            (state.open, state.open_octets) = (0, 0);
        }
        Ledger { segments: self.segments, ..Ledger::default() }
    }

    /// Takes over what was `read` of the log as it was when the journal was opened. This ledger knows what came since:
    /// other messages, for nobody could have settled one of those.
    pub(crate) fn complete_with(&mut self, mut read: Ledger) {
        // Nobody holds a position of before the copies that were read.
        (read.origins, read.forwards) = (HashMap::new(), HashMap::new());
        for (segment, new) in std::mem::take(&mut self.segments) {
            let state = read.segments.entry(segment).or_insert(SegmentState {
                octets: 0,
                open: 0,
                open_octets: 0,
                owed: 0,
                ..new
            });
            state.octets = state.octets.max(new.octets);
            state.open += new.open;
            state.open_octets += new.open_octets;
            state.owed += new.owed;
            state.pinned |= new.pinned && !new.unreadable;
        }
        std::mem::take(&mut self.live).into_values().for_each(|live| read.put(live));
        read.settled += self.settled;
        *self = Ledger { complete: true, ..read };
    }

    /// Where the message that was once known to lie at `position` lies now.
    pub(crate) fn place(&self, position: Position) -> Position {
        let live = self.forwards.get(&position).and_then(|message| self.get(*message));
        live.map_or(position, |live| live.position)
    }

    /// The open recipients of a message that waits, and where it lies.
    pub(crate) fn waiting(&self, message: MessageId) -> Option<(Position, Vec<RecipientState>)> {
        self.get(message).map(|live| (live.position, live.recipients.states()))
    }

    /// Where a message that waits lies.
    pub(crate) fn position(&self, message: MessageId) -> Option<Position> {
        self.get(message).map(|live| live.position)
    }

    pub(crate) fn lies_at(&self, message: MessageId, position: Position) -> bool {
        self.get(message).is_some_and(|live| live.position == position)
    }

    /// All waiting messages, in the order of the log.
    pub(crate) fn in_order(&self) -> Vec<(Position, MessageId)> {
        let mut all = Vec::with_capacity(self.unsettled());
        all.extend(self.live.iter().map(|(_, live)| (live.position, live.message)));
        all.sort_unstable();
        all
    }

    /// The waiting messages that lie in these spans, which are in the order of the log, or lay there before they were copied;
    /// in that order, with the place where each was known to lie first. A copy that lies in them was told from elsewhere,
    /// unless it is `unread`.
    pub(crate) fn in_spans(
        &self,
        spans: &[Span],
        unread: impl Fn(MessageId) -> bool,
    ) -> Vec<(Position, MessageId)> {
        let inside = |position: Position| {
            let before = spans.partition_point(|span| span.from <= position);
            before.checked_sub(1).is_some_and(|last| position < spans[last].to)
        };
        let waiting = self.live.iter().map(|(_, live)| {
            let known = self.origins.get(&live.message).copied().unwrap_or(live.position);
            (live, known)
        });
        let found =
            waiting.filter(|(live, known)| inside(*known) || (inside(live.position) && unread(live.message)));
        let mut found: Vec<_> = found.map(|(live, known)| (known, live.message)).collect();
        found.sort_unstable();
        found
    }

    /// Where the frame of a message that waits lies.
    pub(crate) fn span(&self, message: MessageId) -> Option<Span> {
        let Live { position, octets, .. } = self.get(message)?;
        let to = Position::new(position.segment(), position.offset().saturating_add(*octets));
        Some(Span { from: *position, to })
    }

    /// Messages with open recipients.
    pub(crate) fn unsettled(&self) -> usize {
        self.live.len() as usize
    }

    /// Whether the oldest segment holds nothing open and is not the one being written.
    pub(crate) fn oldest_is_done(&self) -> bool {
        self.segments.len() > 1 && self.segments.values().next().is_some_and(|oldest| oldest.open == 0)
    }

    /// The segment stays, and all behind it. One that has gone needs nothing any more.
    pub(crate) fn pin(&mut self, segment: u32) {
        if let Some(state) = self.segments.get_mut(&segment) {
            state.pinned = true;
        }
    }

    /// The same, until it is given to whom it is owed.
    pub(crate) fn owe(&mut self, segment: u32) {
        if let Some(state) = self.segments.get_mut(&segment) {
            state.owed += 1;
        }
    }

    pub(crate) fn owe_no_more(&mut self, segment: u32) {
        if let Some(state) = self.segments.get_mut(&segment) {
            state.owed = state.owed.saturating_sub(1);
        }
    }

    /// Gives up a segment that is gone, with everything that waits in it. Says how many messages that were; nothing if
    /// it was given up before.
    pub(crate) fn give_up(&mut self, segment: u32) -> Option<usize> {
        self.segments.remove(&segment)?;
        let lost: Vec<MessageId> = self
            .live
            .iter()
            .filter(|(_, live)| live.position.segment() == segment)
            .map(|(_, live)| live.message)
            .collect();
        for message in &lost {
            self.remove(*message);
            self.forget_origin(*message);
        }
        Some(lost.len())
    }

    pub(crate) fn pinned(&self) -> usize {
        self.segments.values().filter(|segment| segment.stays()).count()
    }

    pub(crate) fn owed(&self) -> usize {
        self.segments.values().filter(|segment| segment.owed > 0).count()
    }

    pub(crate) fn octets(&self) -> u64 {
        self.segments.values().map(|segment| segment.octets).sum()
    }

    /// Octets of the messages that wait.
    pub(crate) fn open_octets(&self) -> u64 {
        self.segments.values().map(|segment| segment.open_octets).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_given_up_once() {
        let mut ledger = Ledger::default();
        ledger.segments.entry(3).or_default().owed = 2;
        assert_eq!(ledger.give_up(3), Some(0));
        assert_eq!(ledger.give_up(3), None, "two readers that miss it, or two pieces of it, are one loss");
    }

    #[test]
    fn a_waiting_message_with_one_recipient_takes_little_memory() {
        assert!(size_of::<Option<Live>>() <= 48);
    }
}
