//! The decisions of the way out, for a shell that has neither tasks nor sockets: a simulation in one thread.
//!
//! `run.rs` and `session.rs` are the shells of a node. Whoever uses this one in their stead performs the actions of the
//! Dispatcher in their order and tells it what came of them, as they do. No promise is made to anybody else.

pub use crate::dispatch::{Action, Dispatcher, Event, Job, Order, Report};
pub use crate::record::Now;
pub use crate::sites::Destination;
pub use crate::trouble::{Cause, Circumstances};

use queue::control::QueueTotals;
use smtp::client::Transaction;
use spool::Stored;
use std::net::IpAddr;

impl Dispatcher {
    pub fn totals(&self) -> QueueTotals {
        self.queue.totals()
    }
}

/// Hosts and addresses that a session tries, in this order.
pub fn targets(job: &Job, limit: usize) -> Vec<(&str, IpAddr)> {
    let exchangers = &job.destination.route.exchangers;
    crate::targets::targets(exchangers, job.source.address, job.session, limit)
}

/// What a session says at the site for one recipient.
pub fn transaction(stored: Stored, recipient: u32) -> Option<Transaction> {
    crate::loading::transaction(stored, recipient)
}
