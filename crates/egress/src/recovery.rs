//! Reads what waited before this start, on a thread of its own, into the dispatcher.
//!
//! What may surprise: the end of the channel does not mean that all was read. A bug that ended the thread half way would
//! leave the rest of the mail waiting until somebody starts us again, so the thread says when it is through.

use crate::error::Fault;
use spool::{Unsettled, UnsettledMessages};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Whether everything was read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Whole(Arc<AtomicBool>);

impl Whole {
    pub fn check(&self) -> Result<(), Fault> {
        if self.0.load(Ordering::Acquire) { Ok(()) } else { Err(Fault::Recovery) }
    }
}

/// Reads the envelopes of open messages from the disk.
pub(crate) fn recover(unsettled: UnsettledMessages, into: &mpsc::Sender<Unsettled>, whole: &Whole) {
    for message in unsettled {
        panics::place("recovery");
        if into.blocking_send(message).is_err() {
            return;
        }
    }
    whole.0.store(true, Ordering::Release);
}
