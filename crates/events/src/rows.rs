//! Journal records as the rows of the projection. Pure.

use crate::context::Context;
use crate::cursor::Cursor;
use crate::shape;
use database::{AttemptNew, Batch, MessageNew, MessageRow, RecipientState, SettlementNew};
use mail::{MessageId, Outcome};
use registry::Snapshot;
use spool::{Accepted, Attempted, Position, Record, Settled, Settlement};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A record with its place, as the follower gives it.
pub(crate) type Entry = (Position, Arc<Record>);
/// The messages that the outcomes of a batch are about.
pub(crate) type BatchContexts = HashMap<MessageId, Arc<Context>>;

/// The rows of a record: one for each recipient of an accepted message.
pub(crate) fn rows_of(record: &Record) -> u32 {
    match record {
        Record::Accepted(accepted) => u32::try_from(accepted.recipients.len()).unwrap_or(u32::MAX),
        Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => 1,
    }
}

/// Records, and which of their rows. A message that nobody knows (its tenant was erased meanwhile) has no rows and no events.
pub(crate) fn batch<'a>(
    records: impl Iterator<Item = (&'a Record, Range<u32>)>,
    (cursor_name, cursor): (String, Cursor),
    contexts: &BatchContexts,
    snapshot: &Snapshot,
) -> Batch {
    let mut batch = Batch { cursor_name, position: cursor.to_bytes(), ..Batch::default() };
    for (record, recipients) in records {
        let context = record.message().and_then(|message| contexts.get(&message));
        match (record, context) {
            (Record::Accepted(accepted), Some(context)) => {
                batch.messages.push(message_row(accepted, context, &recipients));
                batch.events.extend(shape::accepted(context, recipients, accepted.accepted_at, snapshot));
            }
            (Record::Attempted(attempted), Some(context)) => {
                batch.attempts.push(attempt_row(attempted));
                batch.events.push(shape::attempted(attempted, context, snapshot));
            }
            (Record::Settled(settled), Some(context)) => {
                batch.attempts.extend(last_attempt_row(settled));
                batch.settlements.push(settlement_row(settled));
                batch.events.push(shape::settled(settled, context, snapshot));
            }
            (Record::Accepted(_) | Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. }, _) => {
            }
        }
    }
    batch
}

fn message_row(accepted: &Accepted, context: &Context, recipients: &Range<u32>) -> MessageNew {
    let addresses = context.recipients.get(recipients.start as usize..recipients.end as usize);
    MessageNew {
        id: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        domain: accepted.domain,
        credential: accepted.credential,
        api_key: accepted.api_key,
        accepted_at: accepted.accepted_at,
        not_before: accepted.not_before,
        expires_at: accepted.expires_at,
        header_from: accepted.header_from.clone(),
        reverse_path: accepted.reverse_path.to_string(),
        subject: accepted.subject.clone(),
        message_id_header: context.message_id_header.clone(),
        tags: context.tags.clone(),
        metadata: context.metadata.clone(),
        size: accepted.size,
        recipients_count: u32::try_from(context.recipients.len()).unwrap_or(u32::MAX),
        recipients_first: recipients.start,
        recipients: addresses.unwrap_or_default().to_vec(),
    }
}

fn attempt_row(attempted: &Attempted) -> AttemptNew {
    AttemptNew {
        message: attempted.message,
        recipient: attempted.recipient,
        attempt: attempted.attempt,
        tenant: attempted.tenant,
        stream: attempted.stream,
        at: attempted.at,
        outcome: attempted.outcome.clone(),
        source: attempted.source.as_ref().map(ToString::to_string),
        site: Some(attempted.site.to_string()),
        next_at: Some(attempted.next_at),
        duration_ms: attempted.duration_ms,
        queued_ms: attempted.queued_ms,
    }
}

/// None if no site was asked at the end. What has expired after attempts has the row of the last of them already.
fn last_attempt_row(settled: &Settled) -> Option<AttemptNew> {
    if settled.settlement == Settlement::Expired && settled.attempt > 0 {
        return None;
    }
    Some(AttemptNew {
        message: settled.message,
        recipient: settled.recipient,
        attempt: settled.attempt,
        tenant: settled.tenant,
        stream: settled.stream,
        at: settled.at,
        outcome: settled.outcome.clone()?,
        source: settled.source.as_ref().map(ToString::to_string),
        site: settled.site.as_ref().map(ToString::to_string),
        next_at: None,
        duration_ms: settled.duration_ms,
        queued_ms: settled.queued_ms,
    })
}

fn settlement_row(settled: &Settled) -> SettlementNew {
    let outcome = settled.outcome.as_ref();
    SettlementNew {
        message: settled.message,
        recipient: settled.recipient,
        tenant: settled.tenant,
        stream: settled.stream,
        at: settled.at,
        state: state(settled.settlement),
        class: outcome.map(|outcome| outcome.class.to_string()),
        reply: outcome.and_then(Outcome::words),
    }
}

const fn state(settlement: Settlement) -> RecipientState {
    match settlement {
        Settlement::Delivered => RecipientState::Delivered,
        Settlement::Bounced => RecipientState::Bounced,
        Settlement::Failed => RecipientState::Failed,
        Settlement::Expired => RecipientState::Expired,
        Settlement::Suppressed => RecipientState::Suppressed,
        Settlement::Cancelled => RecipientState::Cancelled,
    }
}

impl From<MessageRow> for Context {
    fn from(row: MessageRow) -> Context {
        Context {
            message: row.id,
            tenant: row.tenant,
            stream: row.stream,
            domain: row.domain,
            message_id_header: row.message_id_header,
            tags: row.tags,
            metadata: row.metadata.into_iter().collect(),
            recipients: row.recipients.into_iter().map(|recipient| recipient.address).collect(),
        }
    }
}
