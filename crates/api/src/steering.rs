//! What a message asks for by name or id (a stream, a pool), and where in the body a refusal points.
//!
//! The registry check decides and knows nothing of JSON; the SMTP door asks it too. So names are looked up here before
//! a message is offered, and a refusal gets its pointer here afterwards. A message that came as `message/rfc822` has no
//! fields, and its refusals no pointers. Pure.

use crate::problem::{FieldError, Problem};
use crate::schema::mailbox_of;
use crate::send_body::SendMessage;
use mail::message::AgentField;
use mail::{PoolId, Refusal, RefusalKind, StreamId, TenantId, Timestamp};
use registry::{Sender, Slug, Snapshot, Stream};
use std::sync::Arc;
use std::time::Duration;

/// The registry check has the last word on this; here it only tells which field is meant.
const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What the body of a request asked for, as far as a refusal may speak of it.
#[derive(Debug, Default)]
pub struct Asked {
    /// Where the sender that is refused stands; nowhere in `message/rfc822`.
    from: Option<&'static str>,
    stream: bool,
    pool: Option<String>,
    tags_plain: bool,
    late: bool,
}

impl Asked {
    /// Puts names in the place of ids, and refuses a stream that does not exist.
    pub fn resolve(
        message: &mut SendMessage,
        snapshot: &Snapshot,
        sender: Sender,
        now: Timestamp,
    ) -> Result<Asked, Problem> {
        let tenant = sender.tenant();
        let bound = sender.api_key().and_then(|id| snapshot.api_key(id)).and_then(|key| key.stream);
        let mut pool = message.pool.clone();
        if let Some(text) = &mut message.stream {
            let stream = stream_named(snapshot, tenant, text).ok_or_else(|| unknown_stream(text))?;
            *text = stream.name.as_str().to_owned();
            // A key that is bound to another stream is refused for that, before anybody looks at the pool.
            if bound.is_some_and(|bound| bound != stream.id) {
                pool = None;
            }
        }
        if let Some(text) = &mut message.pool
            && let Some(known) = PoolId::parse(text).ok().and_then(|id| snapshot.pool(id))
        {
            *text = known.name.as_str().to_owned();
        }
        let usable = |text: &str| {
            mailbox_of(text).is_ok_and(|(_, mailbox)| {
                snapshot.sending_domain(tenant, mailbox.domain()).is_some_and(|domain| domain.may_send())
            })
        };
        let from_is_usable = message.from.as_deref().is_none_or(usable);
        let names_agent = message.headers.keys().any(|name| is_agent(name));
        Ok(Asked {
            from: Some(match (from_is_usable, message.raw.is_some(), names_agent) {
                (true, true, _) => "/raw",
                (true, false, true) => "/headers",
                (false, ..) | (true, false, false) => "/from",
            }),
            stream: message.stream.is_some(),
            pool,
            tags_plain: !message.tags.iter().any(|tag| tag.0.chars().any(char::is_control)),
            late: message.send_at.is_some_and(|at| at > now.saturating_add(SEND_AT_AHEAD_MAX)),
        })
    }

    /// The problem of a refusal, with the field that it speaks of.
    pub fn problem(&self, refusal: Refusal) -> Problem {
        let kind = refusal.kind;
        let Some((pointer, code)) = self.field(kind) else { return Problem::from(refusal) };
        let refusal = match &self.pool {
            Some(pool) if pointer == "/pool" => {
                Refusal::new(kind, format!("there is no pool {pool} that this account may use"))
            }
            Some(_) | None => refusal,
        };
        let problem = Problem::from(refusal);
        let error = FieldError::new(pointer, code, problem.detail());
        problem.with_errors(vec![error])
    }

    /// Pointer and code.
    fn field(&self, kind: RefusalKind) -> Option<(&'static str, &'static str)> {
        // Without a body of fields there is nothing to point at.
        let from = self.from?;
        match kind {
            RefusalKind::SenderNotAllowed => Some((from, "not_allowed")),
            RefusalKind::AmbiguousFrom => Some((from, "invalid")),
            RefusalKind::UnknownReference if self.pool.is_some() => Some(("/pool", "unknown_reference")),
            RefusalKind::UnknownReference => self.stream.then_some(("/stream", "not_allowed")),
            RefusalKind::BadSteering if !self.tags_plain => Some(("/tags", "invalid")),
            RefusalKind::BadSteering if self.late => Some(("/send_at", "too_large")),
            RefusalKind::BadSteering => Some(("/metadata", "invalid")),
            RefusalKind::AuthenticationRequired
            | RefusalKind::EncryptionRequired
            | RefusalKind::BadCredential
            | RefusalKind::CredentialLocked
            | RefusalKind::RateLimited
            | RefusalKind::QuotaExhausted
            | RefusalKind::TenantPaused
            | RefusalKind::TenantClosing
            | RefusalKind::MessageTooLarge
            | RefusalKind::TooManyRecipients
            | RefusalKind::MessageMalformed
            | RefusalKind::MailLoop
            | RefusalKind::LocalTrouble
            | RefusalKind::ShareUsedUp
            | RefusalKind::StorageFull
            | RefusalKind::DiskStalled
            | RefusalKind::ShuttingDown
            | RefusalKind::TooManyConnections
            | RefusalKind::NoSuchRecipient => None,
        }
    }
}

/// A field of a composition that says who sent it. Sender itself is not to be had in one.
fn is_agent(name: &str) -> bool {
    let fields = [AgentField::ResentFrom, AgentField::ResentSender];
    fields.iter().any(|field| field.as_str().eq_ignore_ascii_case(name))
}

/// The tenant's stream of this id or name.
pub fn stream_named<'a>(snapshot: &'a Snapshot, tenant: TenantId, text: &str) -> Option<&'a Arc<Stream>> {
    let by_id = StreamId::parse(text).ok().and_then(|id| snapshot.stream(id));
    by_id.filter(|stream| stream.tenant == tenant).or_else(|| snapshot.stream_by_name(tenant, text))
}

/// The stream that a body names by name or id. An id is for the database to judge, which is never behind.
pub fn stream_of(
    snapshot: &Snapshot,
    tenant: TenantId,
    asked: Option<&Slug>,
) -> Result<Option<StreamId>, Problem> {
    let Some(text) = asked.map(Slug::as_str) else { return Ok(None) };
    if let Ok(id) = StreamId::parse(text) {
        return Ok(Some(id));
    }
    match snapshot.stream_by_name(tenant, text) {
        Some(stream) => Ok(Some(stream.id)),
        None => {
            Err(Problem::invalid_field("/stream", "unknown_reference", format!("there is no stream {text}")))
        }
    }
}

/// The pool of this name or id: of pools of one name the tenant's own. None if there is none that it may ever use.
pub fn pool_of(snapshot: &Snapshot, tenant: TenantId, asked: &Slug) -> Option<PoolId> {
    if let Ok(id) = PoolId::parse(asked.as_str()) {
        return Some(id);
    }
    let named = snapshot.pools().filter(|pool| pool.name == *asked && pool.is_open_to(tenant));
    named.max_by_key(|pool| (pool.tenant, pool.id)).map(|pool| pool.id)
}

fn unknown_stream(text: &str) -> Problem {
    let detail = format!("there is no stream {text}");
    let error = FieldError::new("/stream", "unknown_reference", detail.clone());
    Problem::from(Refusal::new(RefusalKind::UnknownReference, detail)).with_errors(vec![error])
}
