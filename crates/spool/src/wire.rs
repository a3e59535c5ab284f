//! Records as octets: prost messages, and the way between them and the types of `record.rs`.
//!
//! Field numbers are for ever; a new field gets a new one. Enumerations are written as numbers of our own, not as
//! the order in which Rust happens to list them. Anything that does not parse any more is damage to whoever reads.

use crate::record::{Accepted, Attempted, OutcomeRecord, RecipientRecord, Record, Settled, Settlement};
use crate::segment::Frame;
use bytes::Bytes;
use mail::{
    ApiKeyId, BodyKind, Class, ClassKind, CredentialId, DomainId, DsnReturn, EnhancedStatus, ForwardPath, MessageId,
    Notify, Outcome, PoolId, Reply, ReplyCode, ReversePath, Scope, SiteName, SourceName, StreamId, TenantId,
    Timestamp, Verdict,
};
use prost::Message;
use std::sync::Arc;

pub(crate) const KIND_ACCEPTED: u8 = 1;
pub(crate) const KIND_ATTEMPTED: u8 = 2;
pub(crate) const KIND_SETTLED: u8 = 3;
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

/// None if the octets are not what the kind and version promise.
pub(crate) fn decode(kind: u8, version: u8, meta: &[u8]) -> Option<Record> {
    match (kind, version) {
        (KIND_ACCEPTED, VERSION) => accepted(AcceptedWire::decode(meta).ok()?).map(Arc::new).map(Record::Accepted),
        (KIND_ATTEMPTED, VERSION) => attempted(AttemptWire::decode(meta).ok()?).map(Record::Attempted),
        (KIND_SETTLED, VERSION) => settled(AttemptWire::decode(meta).ok()?).map(Record::Settled),
        (kind, version) => Some(Record::Unknown { kind, version }),
    }
}

impl From<&Accepted> for AcceptedWire {
    fn from(accepted: &Accepted) -> AcceptedWire {
        AcceptedWire {
            message: octets(accepted.message.uuid()),
            tenant: octets(accepted.tenant.uuid()),
            stream: octets(accepted.stream.uuid()),
            domain: octets(accepted.domain.uuid()),
            credential: accepted.credential.map(|id| octets(id.uuid())),
            api_key: accepted.api_key.map(|id| octets(id.uuid())),
            pool: octets(accepted.pool.uuid()),
            accepted_at: accepted.accepted_at.as_millis(),
            not_before: accepted.not_before.map(Timestamp::as_millis),
            expires_at: accepted.expires_at.as_millis(),
            reverse_path: accepted.reverse_path.to_string(),
            message_id_header: accepted.message_id_header.clone(),
            subject: accepted.subject.clone(),
            header_from: accepted.header_from.clone(),
            tags: accepted.tags.clone(),
            metadata: accepted
                .metadata
                .iter()
                .map(|(name, value)| PairWire { name: name.clone(), value: value.clone() })
                .collect(),
            eight_bit: accepted.body_kind == BodyKind::EightBitMime,
            smtputf8: accepted.smtputf8,
            require_tls: accepted.require_tls,
            dsn_return: match accepted.dsn_return {
                None => 0,
                Some(DsnReturn::Full) => 1,
                Some(DsnReturn::Headers) => 2,
            },
            envelope_id: accepted.envelope_id.clone(),
            recipients: accepted.recipients.iter().map(RecipientWire::from).collect(),
            size: accepted.size,
        }
    }
}

impl From<&RecipientRecord> for RecipientWire {
    fn from(recipient: &RecipientRecord) -> RecipientWire {
        let notify = match recipient.notify {
            None => 0,
            Some(Notify::Never) => 1,
            Some(Notify::When { success, failure, delay }) => {
                2 | u32::from(success) << 2 | u32::from(failure) << 3 | u32::from(delay) << 4
            }
        };
        RecipientWire {
            forward_path: recipient.forward_path.to_string(),
            reverse_path: recipient.reverse_path.to_string(),
            notify,
            original: recipient.original.clone(),
        }
    }
}

impl From<&Attempted> for AttemptWire {
    fn from(attempted: &Attempted) -> AttemptWire {
        AttemptWire {
            message: octets(attempted.message.uuid()),
            tenant: octets(attempted.tenant.uuid()),
            stream: octets(attempted.stream.uuid()),
            recipient: attempted.recipient,
            attempt: attempted.attempt,
            at: attempted.at.as_millis(),
            outcome: Some(OutcomeWire::from(&attempted.outcome)),
            source: attempted.source.as_ref().map(|source| source.as_str().to_owned()),
            site: Some(attempted.site.as_str().to_owned()),
            next_at: attempted.next_at.as_millis(),
            duration_ms: attempted.duration_ms,
            queued_ms: attempted.queued_ms,
            settlement: 0,
        }
    }
}

impl From<&Settled> for AttemptWire {
    fn from(settled: &Settled) -> AttemptWire {
        let settlement = match settled.settlement {
            Settlement::Delivered => 1,
            Settlement::Bounced => 2,
            Settlement::Failed => 3,
            Settlement::Expired => 4,
            Settlement::Suppressed => 5,
            Settlement::Cancelled => 6,
        };
        AttemptWire {
            message: octets(settled.message.uuid()),
            tenant: octets(settled.tenant.uuid()),
            stream: octets(settled.stream.uuid()),
            recipient: settled.recipient,
            attempt: settled.attempt,
            at: settled.at.as_millis(),
            outcome: settled.outcome.as_ref().map(OutcomeWire::from),
            source: settled.source.as_ref().map(|source| source.as_str().to_owned()),
            site: settled.site.as_ref().map(|site| site.as_str().to_owned()),
            next_at: 0,
            duration_ms: settled.duration_ms,
            queued_ms: settled.queued_ms,
            settlement,
        }
    }
}

impl From<&Outcome> for OutcomeWire {
    fn from(outcome: &Outcome) -> OutcomeWire {
        OutcomeWire {
            verdict: match outcome.verdict {
                Verdict::Delivered => 1,
                Verdict::Deferred => 2,
                Verdict::Failed => 3,
            },
            class: outcome.class.as_str().to_owned(),
            kind: match outcome.kind {
                ClassKind::Hard => 1,
                ClassKind::Soft => 2,
                ClassKind::Block => 3,
                ClassKind::Throttle => 4,
                ClassKind::Infra => 5,
            },
            scope: match outcome.scope {
                Scope::Recipient => 1,
                Scope::Message => 2,
                Scope::Session => 3,
                Scope::Path => 4,
                Scope::Site => 5,
            },
            stage: outcome.stage.to_owned(),
            reply: outcome.reply.as_ref().map(|reply| ReplyWire {
                code: u32::from(reply.code.as_u16()),
                enhanced: reply.enhanced.map_or(Vec::new(), |status| {
                    vec![u32::from(status.class()), u32::from(status.subject()), u32::from(status.detail())]
                }),
                lines: reply.lines.clone(),
            }),
            trouble: outcome.trouble.clone(),
            rule: outcome.rule.as_deref().map(str::to_owned),
            mx: outcome.mx.clone(),
            egress: outcome.egress.map(|address| address.to_string()),
            tls: outcome.tls.clone(),
            provider: outcome.provider.as_ref().to_owned(),
        }
    }
}

fn accepted(wire: AcceptedWire) -> Option<Accepted> {
    Some(Accepted {
        message: MessageId::from_uuid(uuid(&wire.message)?),
        tenant: TenantId::from_uuid(uuid(&wire.tenant)?),
        stream: StreamId::from_uuid(uuid(&wire.stream)?),
        domain: DomainId::from_uuid(uuid(&wire.domain)?),
        credential: wire.credential.as_deref().map(uuid).map_or(Some(None), |id| id.map(Some))?.map(CredentialId::from_uuid),
        api_key: wire.api_key.as_deref().map(uuid).map_or(Some(None), |id| id.map(Some))?.map(ApiKeyId::from_uuid),
        pool: PoolId::from_uuid(uuid(&wire.pool)?),
        accepted_at: Timestamp::from_millis(wire.accepted_at),
        not_before: wire.not_before.map(Timestamp::from_millis),
        expires_at: Timestamp::from_millis(wire.expires_at),
        reverse_path: ReversePath::parse(&wire.reverse_path).ok()?,
        message_id_header: wire.message_id_header,
        subject: wire.subject,
        header_from: wire.header_from,
        tags: wire.tags,
        metadata: wire.metadata.into_iter().map(|pair| (pair.name, pair.value)).collect(),
        body_kind: if wire.eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit },
        smtputf8: wire.smtputf8,
        require_tls: wire.require_tls,
        dsn_return: match wire.dsn_return {
            0 => None,
            1 => Some(DsnReturn::Full),
            2 => Some(DsnReturn::Headers),
            _ => return None,
        },
        envelope_id: wire.envelope_id,
        recipients: wire.recipients.into_iter().map(recipient).collect::<Option<Vec<_>>>()?,
        size: wire.size,
    })
}

fn recipient(wire: RecipientWire) -> Option<RecipientRecord> {
    let notify = match wire.notify {
        0 => None,
        1 => Some(Notify::Never),
        bits if bits & 2 != 0 => {
            Some(Notify::When { success: bits & 4 != 0, failure: bits & 8 != 0, delay: bits & 16 != 0 })
        }
        _ => return None,
    };
    Some(RecipientRecord {
        forward_path: ForwardPath::parse(&wire.forward_path).ok()?,
        reverse_path: ReversePath::parse(&wire.reverse_path).ok()?,
        notify,
        original: wire.original,
    })
}

fn attempted(wire: AttemptWire) -> Option<Attempted> {
    Some(Attempted {
        message: MessageId::from_uuid(uuid(&wire.message)?),
        tenant: TenantId::from_uuid(uuid(&wire.tenant)?),
        stream: StreamId::from_uuid(uuid(&wire.stream)?),
        recipient: wire.recipient,
        attempt: wire.attempt,
        at: Timestamp::from_millis(wire.at),
        outcome: outcome(wire.outcome?)?,
        source: wire.source.map(SourceName::new),
        site: SiteName::new(wire.site?),
        next_at: Timestamp::from_millis(wire.next_at),
        duration_ms: wire.duration_ms,
        queued_ms: wire.queued_ms,
    })
}

fn settled(wire: AttemptWire) -> Option<Settled> {
    let settlement = match wire.settlement {
        1 => Settlement::Delivered,
        2 => Settlement::Bounced,
        3 => Settlement::Failed,
        4 => Settlement::Expired,
        5 => Settlement::Suppressed,
        6 => Settlement::Cancelled,
        _ => return None,
    };
    Some(Settled {
        message: MessageId::from_uuid(uuid(&wire.message)?),
        tenant: TenantId::from_uuid(uuid(&wire.tenant)?),
        stream: StreamId::from_uuid(uuid(&wire.stream)?),
        recipient: wire.recipient,
        attempt: wire.attempt,
        at: Timestamp::from_millis(wire.at),
        settlement,
        outcome: wire.outcome.map(outcome).map_or(Some(None), |outcome| outcome.map(Some))?,
        source: wire.source.map(SourceName::new),
        site: wire.site.map(SiteName::new),
        duration_ms: wire.duration_ms,
        queued_ms: wire.queued_ms,
    })
}

fn outcome(wire: OutcomeWire) -> Option<Outcome> {
    Some(Outcome {
        verdict: match wire.verdict {
            1 => Verdict::Delivered,
            2 => Verdict::Deferred,
            3 => Verdict::Failed,
            _ => return None,
        },
        class: Class::stored(&wire.class),
        kind: match wire.kind {
            1 => ClassKind::Hard,
            2 => ClassKind::Soft,
            3 => ClassKind::Block,
            4 => ClassKind::Throttle,
            5 => ClassKind::Infra,
            _ => return None,
        },
        scope: match wire.scope {
            1 => Scope::Recipient,
            2 => Scope::Message,
            3 => Scope::Session,
            4 => Scope::Path,
            5 => Scope::Site,
            _ => return None,
        },
        stage: stage(&wire.stage),
        reply: wire.reply.map(reply).map_or(Some(None), |reply| reply.map(Some))?,
        trouble: wire.trouble,
        rule: wire.rule.map(Arc::from),
        mx: wire.mx,
        egress: wire.egress.map(|text| text.parse().ok()).map_or(Some(None), |address| address.map(Some))?,
        tls: wire.tls,
        provider: Arc::from(wire.provider),
    })
}

fn reply(wire: ReplyWire) -> Option<Reply> {
    let enhanced = match wire.enhanced[..] {
        [] => None,
        [class, subject, detail] => {
            Some(EnhancedStatus::new(class.try_into().ok()?, subject.try_into().ok()?, detail.try_into().ok()?))
        }
        _ => return None,
    };
    Some(Reply { code: ReplyCode::new(wire.code.try_into().ok()?)?, enhanced, lines: wire.lines })
}

/// Stages are names in the program; one from a newer program has no name here.
fn stage(text: &str) -> &'static str {
    const STAGES: [&str; 12] = [
        "connect", "greeting", "ehlo", "starttls", "mail", "rcpt", "data", "final-dot", "resolve", "queue", "rset", "quit",
    ];
    STAGES.into_iter().find(|known| *known == text).unwrap_or("unknown")
}

fn octets(uuid: uuid::Uuid) -> Vec<u8> {
    uuid.as_bytes().to_vec()
}

fn uuid(octets: &[u8]) -> Option<uuid::Uuid> {
    uuid::Uuid::from_slice(octets).ok()
}
