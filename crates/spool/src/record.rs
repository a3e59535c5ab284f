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
//! R1  Accepted               durable; ours; 250 may be said. A client that does not hear it makes a second message
//!                            (RFC 1047), unless its call has an Idempotency-Key
//! R2  Accepted Attempted+    ours; due again at the time the last Attempted names
//! R3  … Settled              delivered, bounced, failed, expired, suppressed or cancelled; never attempted again
//! R4  … Settled, all readers past it        the segment may be removed
//! A waiting message may be copied to the end of the log: the copy says what was said and changes no state.
//! Guarantee: one Accepted and at most one Settled per recipient.
//! ```
//!
//! A site may get a message twice in one case: it has the message and the journal does not say so. Either the node died
//! after the final dot and before Settled was durable: one recipient for each open session at most, for a session ends no
//! message before the record of its last one is durable. Or the answer to the final dot did not reach us: it is tried again
//! (`egress/src/trouble.rs`, RFC 1047).
//!
//! On disk: `wire.rs`. What makes `Committed` true: `commit.rs`, one thread and one sync a group. What a start finds:
//! `recover.rs`.

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
    /// An attempt that did not settle the recipient.
    Attempted(Attempted),
    /// The end for one recipient.
    Settled(Settled),
    /// Written by a version that knew more. Kept on disk, skipped by everyone.
    Unknown {
        /// Its number, which no version uses for anything else.
        kind: u8,
        /// Of its layout.
        version: u8,
    },
}

/// What `Outcomes` may write; it cannot say `Accepted`.
#[derive(Debug, Clone, PartialEq)]
pub enum OutcomeRecord {
    /// It is due again.
    Attempted(Attempted),
    /// It is over.
    Settled(Settled),
}

/// We took the responsibility for a message. Its body lies behind it in the same frame (`Bodies::body`).
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Made when it was accepted; in the 250, in events and in reverse-paths.
    pub message: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// The sending domain that admission chose.
    pub domain: DomainId,
    /// Which door it came through: one of the two, or none for mail of the house.
    pub credential: Option<CredentialId>,
    /// At the HTTP door: who brought it.
    pub api_key: Option<ApiKeyId>,
    /// The pool at acceptance; its stream may have another one since.
    pub pool: PoolId,
    /// UTC.
    pub accepted_at: Timestamp,
    /// `send_at`: not to be attempted earlier.
    pub not_before: Option<Timestamp>,
    /// Settled as expired from then on.
    pub expires_at: Timestamp,
    /// As the client gave it; what sites see is in each recipient.
    pub reverse_path: ReversePath,
    /// Header facts kept for lists and events, so that nobody parses the body again.
    pub message_id_header: String,
    /// Decoded, for events; may be cut.
    pub subject: String,
    /// The address in From.
    pub header_from: String,
    /// They come back in events.
    pub tags: Vec<String>,
    /// Names and values; they come back in events.
    pub metadata: Vec<(String, String)>,
    /// Whether a site needs 8BITMIME.
    pub body_kind: BodyKind,
    /// Whether a site needs SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS was asked for (RFC 8689).
    pub require_tls: bool,
    /// `RET=` (RFC 3461 §4.3), passed on.
    pub dsn_return: Option<DsnReturn>,
    /// `ENVID=` (RFC 3461 §4.4), passed on.
    pub envelope_id: Option<String>,
    /// In the order of the envelope; their index is their number everywhere.
    pub recipients: Vec<RecipientRecord>,
    /// Octets of the body as stored.
    pub size: u64,
}

/// One recipient of an accepted message.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipientRecord {
    /// Where it goes.
    pub forward_path: ForwardPath,
    /// The reverse-path sites see for this recipient: it carries the token that leads a bounce back.
    pub reverse_path: ReversePath,
    /// `NOTIFY=` (RFC 3461 §4.1), passed on.
    pub notify: Option<Notify>,
    /// ORCPT as given, still in xtext.
    pub original: Option<String>,
}

/// An attempt that did not settle the recipient: it is due again.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    /// What it belongs to.
    pub message: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When it ended.
    pub at: Timestamp,
    /// What came of it; never a settlement.
    pub outcome: Outcome,
    /// The source that it left from; none if nothing connected.
    pub source: Option<SourceName>,
    /// Where the domain was found to lead.
    pub site: SiteName,
    /// When it is due again.
    pub next_at: Timestamp,
    /// From when the connection was ready (an attempt that found none: from when it was taken up) to the answer.
    pub duration_ms: u64,
    /// From the time it was due until it was given to a session.
    pub queued_ms: u64,
}

/// The end for one recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What it belongs to.
    pub message: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// Index into `Accepted::recipients`.
    pub recipient: u32,
    /// Attempts made in all, this one included; 0 if there was none.
    pub attempt: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub settlement: Settlement,
    /// None when no site was asked (suppressed, cancelled).
    pub outcome: Option<Outcome>,
    /// The source that the last attempt left from; none if it has expired.
    pub source: Option<SourceName>,
    /// Where the domain was found to lead.
    pub site: Option<SiteName>,
    /// Of the last attempt, as in `Attempted`; 0 without one, and if it has expired.
    pub duration_ms: u64,
    /// Of the last attempt, as in `Attempted`; if it has expired, the time since it was last due; else 0 without one.
    pub queued_ms: u64,
}

/// How a recipient ended. Nothing follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The site took the responsibility.
    Delivered,
    /// Refused for good, or nowhere to go: the address or its domain is no good (kind hard or soft).
    Bounced,
    /// Ended for good by anything else: a refusal of us or of the content, an extension the site lacks (kind block,
    /// throttle or infra).
    Failed,
    /// It could not be delivered in time.
    Expired,
    /// The recipient is on a suppression list. No version writes it yet.
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
    /// As in events and rows: `bounced`.
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
