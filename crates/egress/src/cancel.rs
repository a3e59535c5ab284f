//! Taking messages back: those that are here, and those that the journal has not given us yet. Pure.
//!
//! After a start the journal is read for a while, and what the disk does not give comes hours later perhaps; a message
//! may be taken back before it comes. Its name is kept until then and it is settled as cancelled instead of sent. How many
//! names are kept is bounded, and none that may still come is forgotten for another: one more is refused, and whoever
//! asked is told to ask again. The journal knows which never come, because nothing of them waits; those are not kept.

use crate::dispatch::Dispatcher;
use crate::error::Fault;
use crate::record::Now;
use mail::MessageId;
use spool::Waiting;
use std::collections::HashSet;

pub(crate) struct Cancelled {
    known: HashSet<MessageId>,
    limit: usize,
}

impl Cancelled {
    pub fn new(limit: usize) -> Cancelled {
        Cancelled { known: HashSet::new(), limit }
    }

    fn remember(&mut self, message: MessageId, waiting: &dyn Fn(MessageId) -> Waiting) -> Result<(), Fault> {
        if self.known.contains(&message) || waiting(message) == Waiting::No {
            return Ok(());
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| waiting(*known) != Waiting::No);
        }
        if self.known.len() >= self.limit {
            return Err(Fault::CancelsFull);
        }
        self.known.insert(message);
        Ok(())
    }

    fn take(&mut self, message: MessageId) -> bool {
        self.known.remove(&message)
    }
}

impl Dispatcher {
    /// Takes a message back. Says how many recipients were taken back by this call: none as long as the journal has not
    /// given the message, which is then settled when it comes, and none of those in flight, which may arrive and have no
    /// further attempt. `waiting` is what the journal knows of a message.
    ///
    /// # Errors
    /// `CancelsFull` if nothing of it is known here, the journal may still give it, and
    /// `cancels_remembered_max` others are waited for already: ask again later. Nothing is taken back then.
    pub fn handle_cancel(
        &mut self,
        message: MessageId,
        waiting: &dyn Fn(MessageId) -> Waiting,
        now: Now,
    ) -> Result<usize, Fault> {
        if self.queue.places(message).is_empty() {
            self.cancelled.remember(message, waiting)?;
        }
        Ok(self.cancel(message, now))
    }

    /// A message has come. It may have been taken back before.
    pub(crate) fn meet(&mut self, message: MessageId, now: Now) {
        if self.cancelled.take(message) {
            self.cancel(message, now);
        }
    }

    fn cancel(&mut self, message: MessageId, now: Now) -> usize {
        let taken = self.queue.cancel(message);
        let count = taken.len();
        for delivery in taken {
            self.settle_cancelled(delivery, now);
        }
        count
    }
}
