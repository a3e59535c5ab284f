//! From prost messages to the types of `record.rs`; None for anything that is not what it should be.

use super::{AcceptedWire, AttemptWire, OpenWire, OutcomeWire, RecipientWire, ReplyWire};
use crate::RecipientState;
use crate::record::{Accepted, Attempted, RecipientRecord, Settled, Settlement};
use mail::{
    ApiKeyId, BodyKind, Class, ClassKind, CredentialId, DomainId, DsnReturn, EnhancedStatus, ForwardPath,
    MessageId, Notify, Outcome, PoolId, Reply, ReplyCode, ReversePath, Scope, SiteName, SourceName, StreamId,
    TenantId, Timestamp, Verdict, stage_named,
};
use std::sync::Arc;

pub(super) fn accepted(wire: AcceptedWire) -> Option<Accepted> {
    Some(Accepted {
        message: MessageId::from_uuid(uuid(&wire.message)?),
        tenant: TenantId::from_uuid(uuid(&wire.tenant)?),
        stream: StreamId::from_uuid(uuid(&wire.stream)?),
        domain: DomainId::from_uuid(uuid(&wire.domain)?),
        credential: wire
            .credential
            .as_deref()
            .map(uuid)
            .map_or(Some(None), |id| id.map(Some))?
            .map(CredentialId::from_uuid),
        api_key: wire
            .api_key
            .as_deref()
            .map(uuid)
            .map_or(Some(None), |id| id.map(Some))?
            .map(ApiKeyId::from_uuid),
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

pub(super) fn attempted(wire: AttemptWire) -> Option<Attempted> {
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

pub(super) fn settled(wire: AttemptWire) -> Option<Settled> {
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

impl From<OpenWire> for RecipientState {
    fn from(wire: OpenWire) -> RecipientState {
        let next_at = wire.next_at.map(Timestamp::from_millis);
        RecipientState { recipient: wire.recipient, attempt: wire.attempt, next_at }
    }
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
        stage: stage_named(&wire.stage),
        reply: wire.reply.map(reply).map_or(Some(None), |reply| reply.map(Some))?,
        trouble: wire.trouble,
        status: status(&wire.status)?,
        rule: wire.rule.map(Arc::from),
        mx: wire.mx,
        egress: wire.egress.map(|text| text.parse().ok()).map_or(Some(None), |address| address.map(Some))?,
        tls: wire.tls,
        provider: Arc::from(wire.provider),
    })
}

fn reply(wire: ReplyWire) -> Option<Reply> {
    let enhanced = status(&wire.enhanced)?;
    Some(Reply { code: ReplyCode::new(wire.code.try_into().ok()?)?, enhanced, lines: wire.lines })
}

/// The outer none is damage; the inner one says that there was no code.
fn status(numbers: &[u32]) -> Option<Option<EnhancedStatus>> {
    let (class, subject, detail) = match *numbers {
        [] => return Some(None),
        [class, subject, detail] => (class, subject, detail),
        _ => return None,
    };
    let (subject, detail) = (subject.try_into().ok()?, detail.try_into().ok()?);
    Some(Some(EnhancedStatus::new(class.try_into().ok()?, subject, detail)))
}

fn uuid(octets: &[u8]) -> Option<uuid::Uuid> {
    uuid::Uuid::from_slice(octets).ok()
}
