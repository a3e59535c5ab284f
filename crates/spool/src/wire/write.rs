//! From the types of `record.rs` to prost messages. Numbers of enumerations are fixed here and in `read.rs`.

use super::{AcceptedWire, AttemptWire, OpenWire, OutcomeWire, PairWire, RecipientWire, ReplyWire};
use crate::RecipientState;
use crate::record::{Accepted, Attempted, RecipientRecord, Settled, Settlement};
use mail::{BodyKind, ClassKind, DsnReturn, EnhancedStatus, Notify, Outcome, Scope, Timestamp, Verdict};

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
                enhanced: numbers(reply.enhanced),
                lines: reply.lines.clone(),
            }),
            trouble: outcome.trouble.clone(),
            rule: outcome.rule.as_deref().map(str::to_owned),
            mx: outcome.mx.clone(),
            egress: outcome.egress.map(|address| address.to_string()),
            tls: outcome.tls.clone(),
            provider: outcome.provider.as_ref().to_owned(),
            status: numbers(outcome.status),
        }
    }
}

impl From<&RecipientState> for OpenWire {
    fn from(state: &RecipientState) -> OpenWire {
        let next_at = state.next_at.map(Timestamp::as_millis);
        OpenWire { recipient: state.recipient, attempt: state.attempt, next_at }
    }
}

fn numbers(status: Option<EnhancedStatus>) -> Vec<u32> {
    status.map_or(Vec::new(), |status| {
        vec![u32::from(status.class()), u32::from(status.subject()), u32::from(status.detail())]
    })
}

fn octets(uuid: uuid::Uuid) -> Vec<u8> {
    uuid.as_bytes().to_vec()
}
