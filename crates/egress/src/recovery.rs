//! Reads what waits and was not told by the follower, on a thread of its own, for the dispatcher: what waited before this
//! start, and what the disk did not give for a while.
//!
//! What may surprise: the end of the channel does not mean that all was read. A bug that ended the thread half way would
//! leave the rest of the mail waiting until somebody starts us again, so the thread says when it is through.

use crate::error::Fault;
use spool::{Unsettled, UnsettledMessages};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Messages read ahead.
const AHEAD_MAX: usize = 1024;
/// Messages taken at once.
const BATCH_MAX: usize = 512;

pub(crate) struct Recovery {
    found: mpsc::Receiver<Unsettled>,
    whole: Whole,
}

/// Whether everything was read.
#[derive(Debug, Default, Clone)]
struct Whole(Arc<AtomicBool>);

impl Recovery {
    /// The thread ends when all is read, or when nobody wants more.
    pub fn begin(unsettled: UnsettledMessages) -> Recovery {
        let (into, found) = mpsc::channel(AHEAD_MAX);
        let whole = Whole::default();
        let through = whole.clone();
        drop(tokio::task::spawn_blocking(move || recover(unsettled, &into, &through)));
        Recovery { found, whole }
    }

    /// Some messages; none at the end. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Unsettled>, Fault> {
        let mut batch = Vec::new();
        if self.found.recv_many(&mut batch, BATCH_MAX).await == 0 && !self.whole.0.load(Ordering::Acquire) {
            return Err(Fault::Recovery);
        }
        Ok(batch)
    }
}

/// Reads the envelopes of open messages from the disk.
fn recover(unsettled: UnsettledMessages, into: &mpsc::Sender<Unsettled>, whole: &Whole) {
    for message in unsettled {
        panics::place("recovery");
        if into.blocking_send(message).is_err() {
            return;
        }
    }
    whole.0.store(true, Ordering::Release);
}
