//! Records as octets: prost messages, and the way between them and the types of `record.rs`.
//!
//! Field numbers are for ever; a new field gets a new one. Enumerations are written as numbers of our own, not as
//! the order in which Rust happens to list them. Anything that does not parse any more is damage to whoever reads.

mod read;
mod write;

use crate::record::{Accepted, Logged, Moved, OutcomeRecord, Record};
use crate::segment::Frame;
use crate::{Position, RecipientState};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;

pub(crate) const KIND_ACCEPTED: u8 = 1;
pub(crate) const KIND_ATTEMPTED: u8 = 2;
pub(crate) const KIND_SETTLED: u8 = 3;
pub(crate) const KIND_MOVED: u8 = 4;
pub(crate) const VERSION: u8 = 1;
/// Kinds from here on may vanish with their segment although this program does not know them.
pub(crate) const KIND_DISPENSABLE: u8 = 0x80;

#[derive(Clone, PartialEq, Message)]
struct AcceptedWire {
    #[prost(bytes = "vec", tag = "1")]
    message: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    stream: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    domain: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "5")]
    credential: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    api_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "7")]
    pool: Vec<u8>,
    #[prost(int64, tag = "8")]
    accepted_at: i64,
    #[prost(int64, optional, tag = "9")]
    not_before: Option<i64>,
    #[prost(int64, tag = "10")]
    expires_at: i64,
    #[prost(string, tag = "11")]
    reverse_path: String,
    #[prost(string, tag = "12")]
    message_id_header: String,
    #[prost(string, tag = "13")]
    subject: String,
    #[prost(string, tag = "14")]
    header_from: String,
    #[prost(string, repeated, tag = "15")]
    tags: Vec<String>,
    #[prost(message, repeated, tag = "16")]
    metadata: Vec<PairWire>,
    /// 7-bit unless set.
    #[prost(bool, tag = "17")]
    eight_bit: bool,
    #[prost(bool, tag = "18")]
    smtputf8: bool,
    #[prost(bool, tag = "19")]
    require_tls: bool,
    /// 0 not given, 1 full, 2 headers.
    #[prost(uint32, tag = "20")]
    dsn_return: u32,
    #[prost(string, optional, tag = "21")]
    envelope_id: Option<String>,
    #[prost(message, repeated, tag = "22")]
    recipients: Vec<RecipientWire>,
    #[prost(uint64, tag = "23")]
    size: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PairWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct RecipientWire {
    #[prost(string, tag = "1")]
    forward_path: String,
    #[prost(string, tag = "2")]
    reverse_path: String,
    /// 0 not given, 1 never, otherwise 2 + bits: success 4, failure 8, delay 16.
    #[prost(uint32, tag = "3")]
    notify: u32,
    #[prost(string, optional, tag = "4")]
    original: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct MovedWire {
    /// The meta of the record as it was accepted, octet for octet: it may hold fields that this program does not know.
    #[prost(bytes = "vec", tag = "1")]
    accepted: Vec<u8>,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(message, repeated, tag = "3")]
    open: Vec<OpenWire>,
}

#[derive(Clone, PartialEq, Message)]
struct OpenWire {
    #[prost(uint32, tag = "1")]
    recipient: u32,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(int64, optional, tag = "3")]
    next_at: Option<i64>,
}

/// Attempted and Settled share a shape: what is only in one is absent in the other.
#[derive(Clone, PartialEq, Message)]
struct AttemptWire {
    #[prost(bytes = "vec", tag = "1")]
    message: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    tenant: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    stream: Vec<u8>,
    #[prost(uint32, tag = "4")]
    recipient: u32,
    #[prost(uint32, tag = "5")]
    attempt: u32,
    #[prost(int64, tag = "6")]
    at: i64,
    #[prost(message, optional, tag = "7")]
    outcome: Option<OutcomeWire>,
    #[prost(string, optional, tag = "8")]
    source: Option<String>,
    #[prost(string, optional, tag = "9")]
    site: Option<String>,
    #[prost(int64, tag = "10")]
    next_at: i64,
    #[prost(uint64, tag = "11")]
    duration_ms: u64,
    #[prost(uint64, tag = "12")]
    queued_ms: u64,
    #[prost(uint32, tag = "13")]
    settlement: u32,
}

#[derive(Clone, PartialEq, Message)]
struct OutcomeWire {
    #[prost(uint32, tag = "1")]
    verdict: u32,
    #[prost(string, tag = "2")]
    class: String,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint32, tag = "4")]
    scope: u32,
    #[prost(string, tag = "5")]
    stage: String,
    #[prost(message, optional, tag = "6")]
    reply: Option<ReplyWire>,
    #[prost(string, optional, tag = "7")]
    trouble: Option<String>,
    #[prost(string, optional, tag = "8")]
    rule: Option<String>,
    #[prost(string, optional, tag = "9")]
    mx: Option<String>,
    #[prost(string, optional, tag = "10")]
    egress: Option<String>,
    #[prost(string, optional, tag = "11")]
    tls: Option<String>,
    #[prost(string, tag = "12")]
    provider: String,
    /// As in `ReplyWire`.
    #[prost(uint32, repeated, tag = "13")]
    status: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplyWire {
    #[prost(uint32, tag = "1")]
    code: u32,
    /// Empty, or class, subject and detail.
    #[prost(uint32, repeated, tag = "2")]
    enhanced: Vec<u32>,
    #[prost(string, repeated, tag = "3")]
    lines: Vec<String>,
}

/// The frame of an accepted message; the body is not copied.
pub(crate) fn accepted_frame(accepted: &Accepted, body: Bytes) -> Frame {
    let wire = AcceptedWire::from(accepted);
    Frame::new(KIND_ACCEPTED, VERSION, body, |head| wire.encode_raw(head))
}

pub(crate) fn outcome_frame(record: &OutcomeRecord) -> Frame {
    let (kind, wire) = match record {
        OutcomeRecord::Attempted(attempted) => (KIND_ATTEMPTED, AttemptWire::from(attempted)),
        OutcomeRecord::Settled(settled) => (KIND_SETTLED, AttemptWire::from(settled)),
    };
    Frame::new(kind, VERSION, Bytes::new(), |head| wire.encode_raw(head))
}

/// The frame of a copy; `accepted` is the meta that `accepted_meta` gave.
pub(crate) fn moved_frame(accepted: Vec<u8>, from: Position, open: &[RecipientState], body: Bytes) -> Frame {
    let open = open.iter().map(OpenWire::from).collect();
    let wire = MovedWire { accepted, from: from.as_u64(), open };
    Frame::new(KIND_MOVED, VERSION, body, |head| wire.encode_raw(head))
}

/// The meta of the accepted message in a frame, as it was first written; none if the frame holds no message.
pub(crate) fn accepted_meta(kind: u8, version: u8, meta: Vec<u8>) -> Option<Vec<u8>> {
    match (kind, version) {
        (KIND_ACCEPTED, VERSION) => Some(meta),
        (KIND_MOVED, VERSION) => MovedWire::decode(&*meta).ok().map(|wire| wire.accepted),
        (_, _) => None,
    }
}

/// None if the octets are not what the kind and version promise.
pub(crate) fn decode(kind: u8, version: u8, meta: &[u8]) -> Option<Logged> {
    let record = match (kind, version) {
        (KIND_ACCEPTED, VERSION) => accepted(meta).map(Record::Accepted),
        (KIND_ATTEMPTED, VERSION) => read::attempted(AttemptWire::decode(meta).ok()?).map(Record::Attempted),
        (KIND_SETTLED, VERSION) => read::settled(AttemptWire::decode(meta).ok()?).map(Record::Settled),
        (KIND_MOVED, VERSION) => return moved(meta).map(Arc::new).map(Logged::Moved),
        (kind, version) => Some(Record::Unknown { kind, version }),
    };
    record.map(Arc::new).map(Logged::Record)
}

fn accepted(meta: &[u8]) -> Option<Arc<Accepted>> {
    read::accepted(AcceptedWire::decode(meta).ok()?).map(Arc::new)
}

fn moved(meta: &[u8]) -> Option<Moved> {
    let wire = MovedWire::decode(meta).ok()?;
    let open = wire.open.into_iter().map(RecipientState::from).collect();
    Some(Moved { accepted: accepted(&wire.accepted)?, from: Position::from_u64(wire.from), open })
}
