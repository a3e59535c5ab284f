//! Journal records as the events of the contract. Pure: a function of the record, its message and the registry.
//!
//! The id of an event follows from what it is about, so a record that is read twice (after a database was restored
//! from an older copy) gives the same event, and receivers recognise it. Every recipient has events of its own.

use crate::context::{Context, storable};
use aws_lc_rs::digest::{SHA256, digest};
use mail::{ClassKind, Event, EventId, EventKind, MessageId, Outcome, StreamId, Timestamp};
use registry::Snapshot;
use serde_json::{Map, Value, json};
use spool::{Attempted, Settled, Settlement};
use std::ops::Range;

/// `message.accepted`, one for each of these recipients.
pub(crate) fn accepted(
    context: &Context,
    recipients: Range<u32>,
    at: Timestamp,
    registry: &Snapshot,
) -> Vec<Event> {
    let one = |recipient: u32| {
        let about = About { context, recipient, attempt: 0, at };
        about.event(EventKind::MessageAccepted, about.data(registry))
    };
    recipients.map(one).collect()
}

/// `message.deferred`.
pub(crate) fn attempted(record: &Attempted, context: &Context, registry: &Snapshot) -> Event {
    let about = About { context, recipient: record.recipient, attempt: record.attempt, at: record.at };
    let mut data = about.data(registry);
    data.insert("outcome".to_string(), outcome(&record.outcome));
    data.insert("next_attempt_at".to_string(), json!(record.next_at));
    about.event(EventKind::MessageDeferred, data)
}

/// The final event of a recipient.
pub(crate) fn settled(record: &Settled, context: &Context, registry: &Snapshot) -> Event {
    let about = About { context, recipient: record.recipient, attempt: record.attempt, at: record.at };
    let mut data = about.data(registry);
    data.insert("outcome".to_string(), record.outcome.as_ref().map_or(Value::Null, outcome));
    let kind = match record.settlement {
        Settlement::Delivered => EventKind::MessageDelivered,
        Settlement::Suppressed => EventKind::MessageSuppressed,
        Settlement::Bounced => {
            // No bounce puts a recipient on a suppression list yet.
            data.insert("suppressed".to_string(), json!(false));
            EventKind::MessageBounced
        }
        Settlement::Failed | Settlement::Expired | Settlement::Cancelled => {
            data.insert("reason".to_string(), json!(record.settlement.as_str()));
            EventKind::MessageFailed
        }
    };
    about.event(kind, data)
}

/// What an event is about: one recipient of one message at one attempt.
struct About<'a> {
    context: &'a Context,
    recipient: u32,
    attempt: u32,
    at: Timestamp,
}

impl About<'_> {
    fn event(&self, kind: EventKind, data: Map<String, Value>) -> Event {
        let id = event_id(self.context.message, self.recipient, self.attempt, kind, self.at);
        Event { id, kind, timestamp: self.at, tenant: self.context.tenant, data: Value::Object(data) }
    }

    fn data(&self, registry: &Snapshot) -> Map<String, Value> {
        let context = self.context;
        let mut data = Map::new();
        data.insert("message".to_string(), json!(context.message));
        data.insert("message_id_header".to_string(), json!(context.message_id_header));
        data.insert("stream".to_string(), json!(stream_name(context.stream, registry)));
        data.insert("domain".to_string(), json!(domain_name(context, registry)));
        data.insert("recipient".to_string(), json!(context.recipient(self.recipient)));
        data.insert("tags".to_string(), json!(context.tags));
        let metadata = context.metadata.iter().map(|(key, value)| (key.clone(), json!(value)));
        data.insert("metadata".to_string(), Value::Object(metadata.collect()));
        data.insert("attempt".to_string(), json!(self.attempt));
        data
    }
}

/// The name a tenant knows; the id if the stream was deleted meanwhile.
fn stream_name(stream: StreamId, registry: &Snapshot) -> String {
    registry.stream(stream).map_or_else(|| stream.to_string(), |stream| stream.name.as_str().to_string())
}

fn domain_name(context: &Context, registry: &Snapshot) -> String {
    registry
        .domain(context.domain)
        .map_or_else(|| context.domain.to_string(), |domain| domain.name.to_string())
}

fn outcome(outcome: &Outcome) -> Value {
    json!({
        "class": outcome.class.as_str(),
        "hard": outcome.kind == ClassKind::Hard,
        "source": source(outcome),
        "stage": outcome.stage,
        "code": outcome.reply.as_ref().map(|reply| reply.code.as_u16()),
        "enhanced": outcome.enhanced().map(|status| status.to_string()),
        "reply": outcome.words().map(|text| storable(&text)),
        "mx": outcome.mx,
        "egress": outcome.egress,
        "provider": &*outcome.provider,
        "tls": outcome.tls,
    })
}

/// Who said it: the site, or which of our own senses.
fn source(outcome: &Outcome) -> &'static str {
    match (outcome.reply.is_some(), outcome.stage) {
        (true, _) => "smtp",
        (false, "resolve") => "dns",
        (false, "starttls") => "tls",
        (false, "queue") => "queue",
        (false, _) => "connection",
    }
}

/// A UUID of version 7 whose random part is a hash of the subject.
fn event_id(message: MessageId, recipient: u32, attempt: u32, kind: EventKind, at: Timestamp) -> EventId {
    let mut subject = Vec::with_capacity(64);
    subject.extend_from_slice(message.uuid().as_bytes());
    subject.extend_from_slice(&recipient.to_be_bytes());
    subject.extend_from_slice(&attempt.to_be_bytes());
    subject.extend_from_slice(kind.as_str().as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&digest(&SHA256, &subject).as_ref()[..10]);
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    EventId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Class, DomainId, EnhancedStatus, PoolId, Random, Reply, Scope, SiteName, TenantId, Verdict};
    use registry::{Slug, SnapshotBuilder, Stream, StreamKind};
    use std::sync::Arc;

    fn context(random: &mut Random) -> Context {
        let now = Timestamp::from_millis(1_795_425_249_120);
        Context {
            message: MessageId::mint(now, random),
            tenant: TenantId::mint(now, random),
            stream: StreamId::mint(now, random),
            domain: DomainId::mint(now, random),
            message_id_header: "<1@news.client.example>".to_string(),
            tags: vec!["nov26".to_string()],
            metadata: vec![("order".to_string(), "77".to_string())],
            recipients: vec!["a@example.org".to_string(), "b@example.org".to_string()],
        }
    }

    fn registry(context: &Context, random: &mut Random) -> Snapshot {
        let secrets = Arc::new(registry::SecretKey::new(&[7; 32]));
        let stream = Stream {
            id: context.stream,
            tenant: context.tenant,
            name: Slug::parse("marketing").unwrap(),
            kind: StreamKind::Marketing,
            pool: PoolId::mint(Timestamp::UNIX_EPOCH, random),
            overflow_pool: None,
            expires_after: StreamKind::Marketing.expires_after_default(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        SnapshotBuilder::new(registry::Generation(1), Timestamp::UNIX_EPOCH, secrets).stream(stream).build()
    }

    fn refused() -> Outcome {
        Outcome {
            verdict: Verdict::Failed,
            class: Class::stored("recipient.unknown"),
            kind: ClassKind::Hard,
            scope: Scope::Recipient,
            stage: "rcpt",
            reply: Some(Reply::new(550, Some(EnhancedStatus::new(5, 1, 1)), "user unknown")),
            trouble: None,
            status: None,
            rule: None,
            mx: Some("mx1.example.org".to_string()),
            egress: Some("192.0.2.25".parse().unwrap()),
            tls: Some("TLSv1.3".to_string()),
            provider: "other".into(),
        }
    }

    fn end(context: &Context, settlement: Settlement, outcome: Option<Outcome>) -> Settled {
        Settled {
            message: context.message,
            tenant: context.tenant,
            stream: context.stream,
            recipient: 0,
            attempt: 1,
            at: Timestamp::from_millis(1_795_425_249_120),
            settlement,
            outcome,
            source: None,
            site: Some(SiteName::new("example.org")),
            duration_ms: 3,
            queued_ms: 4,
        }
    }

    #[test]
    fn a_bounce_looks_as_the_contract_says() {
        let mut random = Random::from_number(1);
        let context = context(&mut random);
        let registry = registry(&context, &mut random);
        let event = settled(&end(&context, Settlement::Bounced, Some(refused())), &context, &registry);
        let wanted = json!({
            "id": event.id, "type": "message.bounced", "timestamp": "2026-11-23T09:14:09.120Z", "tenant": context.tenant,
            "data": {
                "message": context.message, "message_id_header": "<1@news.client.example>", "stream": "marketing",
                // A domain that the registry no longer knows is told by its id.
                "domain": context.domain, "recipient": "a@example.org", "tags": ["nov26"], "metadata": {"order": "77"},
                "attempt": 1, "suppressed": false,
                "outcome": {"class": "recipient.unknown", "hard": true, "source": "smtp", "code": 550, "enhanced": "5.1.1",
                    "reply": "550 5.1.1 user unknown", "mx": "mx1.example.org", "egress": "192.0.2.25", "provider": "other",
                    "tls": "TLSv1.3", "stage": "rcpt"}
            }
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), wanted);
    }

    #[test]
    fn an_end_without_an_answer_says_why() {
        let mut random = Random::from_number(1);
        let context = context(&mut random);
        let registry = registry(&context, &mut random);
        let silent =
            Outcome { reply: None, stage: "connect", trouble: Some("no answer".to_string()), ..refused() };
        for (settlement, outcome, kind, reason) in [
            (Settlement::Expired, Some(silent.clone()), "message.failed", json!("expired")),
            (Settlement::Cancelled, None, "message.failed", json!("cancelled")),
            (Settlement::Failed, Some(silent), "message.failed", json!("failed")),
            (Settlement::Suppressed, None, "message.suppressed", Value::Null),
            (Settlement::Delivered, None, "message.delivered", Value::Null),
        ] {
            let event = settled(&end(&context, settlement, outcome.clone()), &context, &registry);
            assert_eq!((event.kind.as_str(), &event.data["reason"]), (kind, &reason));
            assert_eq!(event.data["outcome"].is_null(), outcome.is_none());
            if outcome.is_some() {
                assert_eq!(
                    (&event.data["outcome"]["source"], &event.data["outcome"]["reply"]),
                    (&json!("connection"), &json!("no answer"))
                );
            }
        }
    }

    #[test]
    fn the_same_record_is_the_same_event_and_no_two_share_an_id() {
        let mut random = Random::from_number(1);
        let context = context(&mut random);
        let registry = registry(&context, &mut random);
        let at = Timestamp::from_millis(5);
        let first = accepted(&context, 0..2, at, &registry);
        assert_eq!(first[1..], accepted(&context, 1..2, at, &registry));
        let delivered = settled(&end(&context, Settlement::Delivered, None), &context, &registry);
        let bounced = settled(&end(&context, Settlement::Bounced, None), &context, &registry);
        let ids: std::collections::HashSet<_> =
            first.iter().chain([&delivered, &bounced]).map(|event| event.id).collect();
        assert_eq!((first.len(), ids.len()), (2, 4));
        assert_eq!(first[1].data["recipient"], "b@example.org");
    }
}
