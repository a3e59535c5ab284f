use crate::{Accepted, Fault, OutcomeRecord, Position};
use bytes::Bytes;
use mail::MessageId;

/// Proof that a message is durable; only `Intake::append` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a 250 or 202 may be said now"]
pub struct Committed {
    pub(crate) message: MessageId,
    pub(crate) position: Position,
}

impl Committed {
    pub fn message(&self) -> MessageId {
        self.message
    }
    pub fn position(&self) -> Position {
        self.position
    }
}

/// The right to take responsibility for messages. Given to `ingress` only.
#[derive(Clone)]
pub struct Intake {}

/// The right to say what became of them.
#[derive(Clone)]
pub struct Outcomes {}

impl Intake {
    /// Returns when the message is durable.
    pub async fn append(&self, _accepted: Accepted, _body: Bytes) -> Result<Committed, Fault> {
        todo!()
    }
}

impl Outcomes {
    /// Returns when the records are queued; they are durable at most 20 ms later.
    pub async fn append(&self, _records: Vec<OutcomeRecord>) -> Result<(), Fault> {
        todo!()
    }
    /// Returns when the records are durable.
    pub async fn append_durable(&self, _records: Vec<OutcomeRecord>) -> Result<(), Fault> {
        todo!()
    }
}
