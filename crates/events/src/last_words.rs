//! Why a recipient has expired: what was said at its last attempt. Pure; `project.rs` asks the tables for what is missing.
//!
//! The dispatcher does not remember the words of each recipient that waits, so the record of an expiry says only that
//! time was over. A tenant wants to know what was in the way until then. Who was never tried keeps our sentence.

use crate::rows::Entry;
use database::Tried;
use mail::{MessageId, Outcome};
use spool::{Record, Settled, Settlement};
use std::collections::HashMap;
use std::sync::Arc;

/// A recipient, by message and number.
pub(crate) type Recipient = (MessageId, u32);

/// Recipients of a batch that expire after attempts.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    /// What the batch itself tells of their last attempt.
    found: HashMap<Recipient, Outcome>,
    /// Those whose attempts were all told earlier.
    missing: Vec<Tried>,
}

impl LastWords {
    /// Looks for them: entries are in the order of the journal.
    pub fn of(entries: &[Entry]) -> LastWords {
        let mut words = LastWords::default();
        if !entries.iter().any(|(_, record)| expired(record).is_some()) {
            return words;
        }
        let mut last: HashMap<Recipient, &Outcome> = HashMap::new();
        for (_, record) in entries {
            if let Record::Attempted(attempted) = &**record {
                last.insert((attempted.message, attempted.recipient), &attempted.outcome);
            }
            let Some(&Settled { message, recipient, attempt, .. }) = expired(record) else { continue };
            match last.get(&(message, recipient)) {
                Some(&outcome) => drop(words.found.insert((message, recipient), outcome.clone())),
                None => words.missing.push(Tried { message, recipient, attempt }),
            }
        }
        words
    }

    /// What to ask the tables for.
    pub fn missing(&self) -> &[Tried] {
        &self.missing
    }

    /// Puts the words into the records, with those that the tables gave.
    pub fn put_into(mut self, entries: &mut [Entry], given: HashMap<Recipient, Outcome>) {
        self.found.extend(given);
        for (_, record) in entries {
            let Some(settled) = expired(record) else { continue };
            let Some(outcome) = self.found.remove(&(settled.message, settled.recipient)) else { continue };
            let settled = Settled { outcome: Some(outcome), ..settled.clone() };
            *record = Arc::new(Record::Settled(settled));
        }
    }
}

/// The record of a recipient that was tried and has expired.
fn expired(record: &Record) -> Option<&Settled> {
    match record {
        Record::Settled(settled) if settled.settlement == Settlement::Expired && settled.attempt > 0 => {
            Some(settled)
        }
        Record::Settled(_) | Record::Accepted(_) | Record::Attempted(_) | Record::Unknown { .. } => None,
    }
}
