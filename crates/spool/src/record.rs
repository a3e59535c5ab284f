//! Every state change of a message, as the journal keeps it. Read this first.
//!
//! Records are only ever added. A field may be added (prost keeps what an older reader does not know); a field never
//! changes its meaning: that is a new version of the kind. A reader that meets a kind or version it does not know
//! gets `Record::Unknown` and goes on.
//!
//! The legal states of a recipient, and what a crash leaves behind:
//!
//! ```text
//! R0  no record              not ours; a client that lost the connection must try again
//! R1  Accepted               durable; ours; 250 may be said
//! R2  Accepted Attempted+    ours; due again at the time the last Attempted names
//! R3  … Settled              delivered, bounced, failed, expired, suppressed or cancelled; never attempted again
//! R4  … Settled, all readers past it        the segment may be removed
//! A waiting message may be copied to the end of the log: the copy says what was said and changes no state.
//! Guarantee: one Accepted and at most one Settled per recipient.
//! Duplicate window, the only one: the site's 250 was received and the node died before Settled was durable.
//! ```

use crate::{Position, RecipientState};
use mail::{
    ApiKeyId, BodyKind, CredentialId, DomainId, DsnReturn, ForwardPath, MessageId, Notify, Outcome, PoolId,
    ReversePath, SiteName, SourceName, StreamId, TenantId, Timestamp,
};
use std::sync::Arc;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Shared: the caches and every follower hold the same one.
    Accepted(Arc<Accepted>),
    Attempted(Attempted),
    Settled(Settled),
    /// Written by a version that knew more. Kept on disk, skipped by everyone.
    Unknown {
        kind: u8,
        version: u8,
    },
}

/// What `Outcomes` may write; it cannot say `Accepted`.
#[derive(Debug, Clone, PartialEq)]
pub enum OutcomeRecord {
    Attempted(Attempted),
    Settled(Settled),
}

/// We took the responsibility for a message. Its body lies behind it in the same frame (`Bodies::body`).
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub message: MessageId,
    pub tenant: TenantId,
    pub stream: StreamId,
    /// The sending domain that admission chose.
    pub domain: DomainId,
    /// Which door it came through: one of the two, or none for mail of the house.
    pub credential: Option<CredentialId>,
    pub api_key: Option<ApiKeyId>,
    pub pool: PoolId,
    pub accepted_at: Timestamp,
    /// `send_at`: not to be attempted earlier.
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// As the client gave it; what sites see is in each recipient.
    pub reverse_path: ReversePath,
    /// Header facts kept for lists and events, so that nobody parses the body again.
    pub message_id_header: String,
    pub subject: String,
    pub header_from: String,
    pub tags: Vec<String>,
    pub metadata: Vec<(String, String)>,
    pub body_kind: BodyKind,
    pub smtputf8: bool,
    pub require_tls: bool,
    pub dsn_return: Option<DsnReturn>,
    pub envelope_id: Option<String>,
    pub recipients: Vec<RecipientRecord>,
    /// Octets of the body as stored.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecipientRecord {
    pub forward_path: ForwardPath,
    /// The reverse-path sites see for this recipient: it carries the token that leads a bounce back.
    pub reverse_path: ReversePath,
    pub notify: Option<Notify>,
    /// ORCPT as given, still in xtext.
    pub original: Option<String>,
}

/// An attempt that did not settle the recipient: it is due again.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    pub message: MessageId,
    pub tenant: TenantId,
    pub stream: StreamId,
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// 1 for the first attempt.
    pub attempt: u32,
    pub at: Timestamp,
    pub outcome: Outcome,
    pub source: Option<SourceName>,
    pub site: SiteName,
    pub next_at: Timestamp,
    pub duration_ms: u64,
    /// From the time it was due to the beginning of the attempt.
    pub queued_ms: u64,
}

/// The end for one recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub message: MessageId,
    pub tenant: TenantId,
    pub stream: StreamId,
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// Attempts made in all, this one included; 0 if there was none.
    pub attempt: u32,
    pub at: Timestamp,
    pub settlement: Settlement,
    /// None when no site was asked (suppressed, cancelled).
    pub outcome: Option<Outcome>,
    pub source: Option<SourceName>,
    pub site: Option<SiteName>,
    pub duration_ms: u64,
    pub queued_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The site took the responsibility.
    Delivered,
    /// The site refused for good.
    Bounced,
    /// We cannot deliver it: no such domain, an extension is missing, the message is broken.
    Failed,
    /// It could not be delivered in time.
    Expired,
    /// The recipient is on a suppression list.
    Suppressed,
    /// The tenant or an operator took it back.
    Cancelled,
}

/// What a frame of the log holds: a record, or a copy of a message that waits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Logged {
    Record(Arc<Record>),
    Moved(Arc<Moved>),
}

/// A waiting message copied to the end of the log, so that the segment it lay in can go (docs/design/0006). It is no
/// new acceptance and no follower is told of it: it repeats what the records before it said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moved {
    pub(crate) accepted: Arc<Accepted>,
    /// Where it was copied from.
    pub(crate) from: Position,
    /// The recipients that are open, as of everything that lies before the copy.
    pub(crate) open: Vec<RecipientState>,
}

impl Settlement {
    pub const fn as_str(self) -> &'static str {
        match self {
            Settlement::Delivered => "delivered",
            Settlement::Bounced => "bounced",
            Settlement::Failed => "failed",
            Settlement::Expired => "expired",
            Settlement::Suppressed => "suppressed",
            Settlement::Cancelled => "cancelled",
        }
    }
}

impl Record {
    /// The message it is about, unless we cannot know.
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Record::Accepted(accepted) => Some(accepted.message),
            Record::Attempted(attempted) => Some(attempted.message),
            Record::Settled(settled) => Some(settled.message),
            Record::Unknown { .. } => None,
        }
    }
}

impl From<OutcomeRecord> for Record {
    fn from(record: OutcomeRecord) -> Record {
        match record {
            OutcomeRecord::Attempted(attempted) => Record::Attempted(attempted),
            OutcomeRecord::Settled(settled) => Record::Settled(settled),
        }
    }
}
