//! Taking messages back: those that wait, and those that the journal has not given us yet. Pure.
//!
//! After a start the journal is read for a while, and a message may be taken back before it comes. Its name is kept
//! until then and it is settled as cancelled instead of sent. How many names are kept is bounded: while the recovery
//! runs one more is refused, later the oldest goes, because a message that still has not come was settled long ago.

use crate::dispatch::Dispatcher;
use crate::error::Fault;
use crate::record::Now;
use mail::MessageId;
use std::collections::{HashSet, VecDeque};

pub(crate) struct Cancelled {
    known: HashSet<MessageId>,
    order: VecDeque<MessageId>,
    limit: usize,
    recovering: bool,
}

impl Cancelled {
    pub fn new(limit: usize) -> Cancelled {
        Cancelled { known: HashSet::new(), order: VecDeque::new(), limit, recovering: true }
    }

    fn remember(&mut self, message: MessageId) -> Result<(), Fault> {
        if self.known.contains(&message) {
            return Ok(());
        }
        if self.order.len() >= self.limit {
            if self.recovering {
                return Err(Fault::CancelsFull);
            }
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(message);
        self.order.push_back(message);
        Ok(())
    }

    fn take(&mut self, message: MessageId) -> bool {
        if !self.known.remove(&message) {
            return false;
        }
        self.order.retain(|known| *known != message);
        true
    }
}

impl Dispatcher {
    /// Takes a message back. Says how many recipients are known to be open: none as long as the journal has not
    /// given the message, which is then settled when it comes.
    pub fn handle_cancel(&mut self, message: MessageId, now: Now) -> Result<usize, Fault> {
        let open = self.queue.places(message).len();
        if open == 0 {
            self.cancelled.remember(message)?;
        }
        self.cancel(message, now);
        Ok(open)
    }

    /// Every message of an earlier run has come.
    pub fn handle_recovery_end(&mut self) {
        self.cancelled.recovering = false;
    }

    /// A message has come. It may have been taken back before.
    pub(crate) fn meet(&mut self, message: MessageId, now: Now) {
        if self.cancelled.take(message) {
            self.cancel(message, now);
        }
    }

    fn cancel(&mut self, message: MessageId, now: Now) {
        for delivery in self.queue.cancel(message) {
            self.settle_cancelled(delivery, now);
        }
    }
}
