//! What the examples that measure the journal share: a clock that runs and messages of a tenant. Nothing a node runs.

use mail::{
    BodyKind, Clock, DomainId, ForwardPath, Instant, MessageId, PoolId, Random, ReversePath, StreamId,
    TenantId, Timestamp,
};
use spool::{Accepted, RecipientRecord};
use std::error::Error;
use std::sync::Arc;

pub type Failed = Box<dyn Error + Send + Sync>;

struct RunningClock(std::time::Instant);

impl Clock for RunningClock {
    fn timestamp(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.0.elapsed().as_micros() as u64)
    }
}

/// Begins now.
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(RunningClock(std::time::Instant::now()))
}

/// A message for one recipient, about a body of so many octets.
pub fn message(random: &mut Random, subject: &str, body_octets: usize) -> Result<Accepted, Failed> {
    let at = Timestamp::from_millis(1_795_425_249_120);
    Ok(Accepted {
        message: MessageId::mint(at, random),
        tenant: TenantId::mint(at, random),
        stream: StreamId::mint(at, random),
        domain: DomainId::mint(at, random),
        credential: None,
        api_key: None,
        pool: PoolId::mint(at, random),
        accepted_at: at,
        not_before: None,
        expires_at: at,
        reverse_path: ReversePath::parse("news@client.example")?,
        message_id_header: "<4711.815@client.example>".to_owned(),
        subject: subject.to_owned(),
        header_from: "news@client.example".to_owned(),
        tags: vec!["order".to_owned()],
        metadata: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: false,
        dsn_return: None,
        envelope_id: None,
        recipients: vec![RecipientRecord {
            forward_path: ForwardPath::parse("anna@site.example")?,
            reverse_path: ReversePath::parse("b+0123456789abcdef0123456789abcdef@rp.client.example")?,
            notify: None,
            original: None,
        }],
        size: body_octets as u64,
    })
}
