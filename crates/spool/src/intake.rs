//! The two ways to write: `Intake` takes responsibility for messages, `Outcomes` says what became of them.
//!
//! Encoding and checksums happen here, in the caller's task; the commit thread only places and writes. Both push
//! back: they wait while too many octets (messages) or records (outcomes) are on their way to the disk.

use crate::queue::{Answer, Entry};
use crate::record::Logged;
use crate::shared::Shared;
use crate::{Accepted, Fault, OutcomeRecord, Position, Record, wire};
use bytes::Bytes;
use mail::MessageId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Proof that a message is durable; only `Intake::append` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a 250 or 202 may be said now"]
pub struct Committed {
    pub(crate) message: MessageId,
    pub(crate) position: Position,
}

/// The right to take responsibility for messages. Given to `ingress` only.
#[derive(Clone)]
pub struct Intake(pub(crate) Arc<Shared>);

/// A completion record, and who wants to know when it is durable.
pub struct Completion {
    /// What has become of a recipient.
    pub record: OutcomeRecord,
    /// Hears of it once it is, and never if it comes to nothing.
    pub proof: Option<oneshot::Sender<()>>,
}

/// The right to say what became of them.
#[derive(Clone)]
pub struct Outcomes(pub(crate) Arc<Shared>);

/// Whether a message has recipients of whom no outcome settled anything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It has. Whoever sends has it, or will be told of it: by a follower, by `Recovery` or by `Owed`.
    Yes,
    /// It has none, or this process will never be told of it.
    No,
    /// What waits from before the start is still being found, and it may be part of that.
    NotKnownYet,
}

impl Committed {
    /// The message that is durable.
    pub fn message(&self) -> MessageId {
        self.message
    }

    /// Where it lies.
    pub fn position(&self) -> Position {
        self.position
    }
}

impl Intake {
    /// Returns when the message is durable. One whose id waits in the journal already is not written again: then it is the
    /// first that is durable. If the future is dropped, the message may be kept all the same: whoever
    /// offered it was not told and will come again.
    ///
    /// # Errors
    /// The message is not ours then. `TooLarge` for more than `record_octets_max` with its envelope; `Busy`
    /// if too many octets are on their way to the disk for `in_flight_wait_ms_max`; `Full` if the disk's free
    /// space is down to the reserve, or used up; `Rotate` if a new segment cannot be made. `Write`, `Sync`
    /// and a `Rotate` that is not for want of descriptors or memory seal the journal, and the message may be
    /// found on the disk at the next start all the same; after that `Sealed`, and `Closed` once it shuts
    /// down.
    pub async fn append(&self, accepted: Accepted, body: Bytes) -> Result<Committed, Fault> {
        let shared = &*self.0;
        shared.ended()?;
        let message = accepted.message;
        let frame = wire::accepted_frame(&accepted, body);
        if frame.len() > u64::from(shared.config.record_octets_max) {
            return Err(Fault::TooLarge { octets: frame.len() });
        }
        let permit = self.turn(frame.len() as u32).await?;
        let (sender, receiver) = oneshot::channel();
        let logged = Logged::Record(Arc::new(Record::Accepted(Arc::new(accepted))));
        let answer = Answer::Committed(message, sender);
        shared.queue.push_accept(Entry { frame, logged, answer, _permit: Some(permit) })?;
        // The sender is dropped unanswered only if the commit thread is gone.
        receiver.await.unwrap_or(Err(Fault::Sealed))
    }

    /// How long the disk has not come back, if that is longer than it may take: what is let in now would only pile up.
    pub fn stalled(&self) -> Option<Duration> {
        self.0.stalled()
    }

    async fn turn(&self, octets: u32) -> Result<OwnedSemaphorePermit, Fault> {
        let semaphore = &self.0.intake_turns;
        if let Ok(permit) = Arc::clone(semaphore).try_acquire_many_owned(octets) {
            return Ok(permit);
        }
        let wait = Duration::from_millis(self.0.config.in_flight_wait_ms_max);
        match tokio::time::timeout(wait, Arc::clone(semaphore).acquire_many_owned(octets)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(self.0.ended().err().unwrap_or(Fault::Closed)),
            Err(_elapsed) => Err(Fault::Busy),
        }
    }
}

impl Outcomes {
    /// Whether a message waits for outcomes, by what is durable now.
    pub fn waiting(&self, message: MessageId) -> Waiting {
        let ledger = self.0.ledger();
        match (ledger.position(message), ledger.complete) {
            (Some(_), _) => Waiting::Yes,
            (None, true) => Waiting::No,
            (None, false) => Waiting::NotKnownYet,
        }
    }

    /// Returns when the records are queued; they are durable at most 20 ms later, unless the disk is slower
    /// or full. Waits while `outcomes_in_flight_max` records are on their way.
    ///
    /// # Errors
    /// `Sealed` or `Closed` if the journal takes nothing more. Some of them may be queued then.
    pub async fn append(&self, completions: Vec<Completion>) -> Result<(), Fault> {
        self.push(completions, None).await
    }

    /// Returns when the records are durable. Waits as `append` does, and while the disk is full.
    ///
    /// # Errors
    /// One for all of them: then none counts as durable. `Sealed` or `Closed` if the journal takes nothing
    /// more; `Write`, `Sync` or `Rotate` if it seals itself with them; `Full`, or `Rotate` for want of
    /// descriptors or memory, only if there is no room while it shuts down.
    pub async fn append_durable(&self, records: Vec<OutcomeRecord>) -> Result<(), Fault> {
        if records.is_empty() {
            return self.0.ended();
        }
        let (sender, receiver) = oneshot::channel();
        self.push(records.into_iter().map(Completion::from).collect(), Some(sender)).await?;
        receiver.await.unwrap_or(Err(Fault::Sealed))
    }

    async fn push(
        &self,
        completions: Vec<Completion>,
        mut sender: Option<oneshot::Sender<Result<(), Fault>>>,
    ) -> Result<(), Fault> {
        let shared = &*self.0;
        shared.ended()?;
        let batch_max = (shared.config.outcomes_in_flight_max as usize).min(Semaphore::MAX_PERMITS);
        let mut completions = completions.into_iter().peekable();
        while completions.peek().is_some() {
            let mut entries: Vec<Entry> = completions.by_ref().take(batch_max).map(entry).collect();
            let turns = Arc::clone(&shared.outcome_turns).acquire_many_owned(entries.len() as u32);
            let Ok(mut permit) = turns.await else {
                return Err(shared.ended().err().unwrap_or(Fault::Closed));
            };
            for entry in &mut entries {
                entry._permit = permit.split(1);
            }
            // The answer belongs to the last record: when it is durable, all before it are.
            if let (None, Some(entry)) = (completions.peek(), entries.last_mut())
                && let Some(sender) = sender.take()
            {
                entry.answer = Answer::Durable(sender);
            }
            shared.queue.push_outcomes(entries)?;
        }
        Ok(())
    }
}

impl From<OutcomeRecord> for Completion {
    fn from(record: OutcomeRecord) -> Completion {
        Completion { record, proof: None }
    }
}

fn entry(Completion { record, proof }: Completion) -> Entry {
    let frame = wire::outcome_frame(&record);
    let logged = Logged::Record(Arc::new(Record::from(record)));
    Entry { frame, logged, answer: proof.map_or(Answer::Nobody, Answer::Proof), _permit: None }
}
