//! What is to be sent for an order: the message from the journal, as a transaction for one of its recipients.
//!
//! Called by sessions before they connect and between two messages. That a message cannot be had now (no memory, no
//! descriptor) says nothing about it or its site, and is no attempt. One that the disk does not give is tried again like
//! one that its site deferred; it comes back with each retry, so the log is told seldom (`seldom.rs`).

use crate::dispatch::Order;
use crate::session::Surroundings;
use crate::trouble::Cause;
use mail::{Envelope, Recipient};
use smtp::client::Transaction;
use spool::{Position, Stored};
use std::time::Duration;

/// Before a message that could not be read for want of a descriptor is given back.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// What is to be sent, or why it cannot be had.
pub(crate) async fn load(order: Order, around: &Surroundings) -> Result<Transaction, Cause> {
    match around.bodies.message(Position::from_u64(order.position)).await {
        Ok(stored) => transaction(stored, order.recipient).ok_or(Cause::Unreadable),
        // It waited for its turn; that says nothing about the message or the site.
        Err(spool::Fault::Busy) => Err(Cause::Crowded),
        Err(fault) if fault.is_passing() => {
            if let Some(times) = around.seldom(&around.short) {
                tracing::warn!(message.id = %order.message, times, error = %fault, "a stored message cannot be read now");
            }
            // The order comes back at once.
            tokio::time::sleep(SHORTAGE_PAUSE).await;
            Err(Cause::Shortage)
        }
        Err(fault) => {
            if let Some(times) = around.seldom(&around.unreadable) {
                tracing::warn!(message.id = %order.message, times, error = %fault, "a stored message cannot be read");
            }
            Err(Cause::Unreadable)
        }
    }
}

/// One message for one recipient: each has a reverse-path of its own.
pub(crate) fn transaction(stored: Stored, recipient: u32) -> Option<Transaction> {
    let accepted = &stored.accepted;
    let recipient = accepted.recipients.get(recipient as usize)?;
    let envelope = Envelope {
        reverse_path: recipient.reverse_path.clone(),
        recipients: vec![Recipient {
            forward_path: recipient.forward_path.clone(),
            notify: recipient.notify,
            original: recipient.original.clone(),
        }],
        body: accepted.body_kind,
        smtputf8: accepted.smtputf8,
        require_tls: accepted.require_tls,
        dsn_return: accepted.dsn_return,
        envelope_id: accepted.envelope_id.clone(),
    };
    Some(Transaction { envelope, raw: stored.body })
}
