//! Messages: sending them, and where they are.
//!
//! Sending goes through the door that SMTP uses and needs no database. Everything else here is read from what the
//! journal's reader has written, a moment behind; `why` alone asks the queue itself.

use crate::auth::{Named, Read, Submit, Within, peer_of};
use crate::body::{Answer, Result, content_type};
use crate::claim::{Claim, places};
use crate::held::{held, read_held};
use crate::page::{Page, Query, request};
use crate::problem::{Kind, Problem};
use crate::send_body::SendMessage;
use crate::sending::{Posted, SendAnswer, all_done, offer_all};
use crate::state::Api;
use crate::steering::stream_named;
use axum::extract::{Request, State};
use database::{AttemptRow, Fault, MessageFilter, MessageRow, RecipientRow, RecipientState};
use mail::{Mailbox, MessageId, StreamId, TenantId, Timestamp};
use queue::control::WaitingView;
use registry::{Sender, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// After that a time to try again that has come is no reason to wait any more.
const OVERDUE: Duration = Duration::from_secs(300);
const NOT_HERE: &str = "no queue of this node has it: another node does, or its piece of the journal was damaged \
    (`quarantined` and `segments_owed` in /ready)";

#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageShape {
    #[schema(value_type = String)]
    id: MessageId,
    #[schema(value_type = String)]
    stream: StreamId,
    from: String,
    subject: String,
    /// The Message-ID field.
    message_id_header: String,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    /// Octets.
    size: i64,
    #[schema(value_type = String, format = "date-time")]
    accepted_at: Timestamp,
    #[schema(value_type = Option<String>, format = "date-time")]
    send_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    expires_at: Timestamp,
    recipients: Vec<RecipientShape>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Recipient)]
pub struct RecipientShape {
    recipient: String,
    #[schema(value_type = RecipientStateShape)]
    state: RecipientState,
    attempts: i32,
    /// Class of the last outcome, such as `recipient.unknown`.
    class: Option<String>,
    /// The site's last words.
    reply: Option<String>,
    #[schema(value_type = Option<String>, format = "date-time")]
    next_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
}

#[derive(ToSchema)]
#[schema(as = RecipientState, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for database::RecipientState")]
pub enum RecipientStateShape {
    Queued,
    Deferred,
    Delivered,
    Bounced,
    Failed,
    Expired,
    Suppressed,
    Cancelled,
}

/// One attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptShape {
    recipient: String,
    attempt: i32,
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    /// `delivered`, `deferred` or `failed`.
    verdict: String,
    class: String,
    /// How far the trouble reached: recipient, message, session, path or site.
    scope: String,
    /// Where in the session it was decided.
    stage: String,
    code: Option<i32>,
    enhanced: Option<String>,
    reply: Option<String>,
    mx: Option<String>,
    /// The address it left from.
    egress: Option<String>,
    tls: Option<String>,
    provider: String,
    /// The rule of the provider's profile that decided.
    rule: Option<String>,
    duration_ms: i64,
    /// From being due to the attempt.
    queued_ms: i64,
    #[schema(value_type = Option<String>, format = "date-time")]
    next_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct Timeline {
    /// Oldest first.
    data: Vec<AttemptShape>,
}

#[derive(Serialize, ToSchema)]
pub struct WhyAnswer {
    #[schema(value_type = String)]
    message: MessageId,
    recipients: Vec<WhyShape>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CancelledMessage)]
pub struct CancelAnswer {
    #[schema(value_type = String)]
    message: MessageId,
    /// Recipients that were taken back; 0 if all are settled.
    cancelled: usize,
}

/// The one reason why a recipient waits.
#[derive(Serialize, ToSchema)]
#[schema(as = Why)]
pub struct WhyShape {
    recipient: String,
    #[schema(value_type = RecipientStateShape)]
    state: RecipientState,
    /// Null if it does not wait any more.
    #[schema(value_type = Option<String>, example = "retry")]
    reason: Option<&'static str>,
    detail: Option<String>,
    site: Option<String>,
    /// When it is looked at again, if that is known.
    #[schema(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessageQuery {
    /// Rows wanted, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Address of a recipient.
    recipient: Option<String>,
    /// State of a recipient.
    #[param(value_type = Option<RecipientStateShape>)]
    state: Option<String>,
    /// Name or id of a stream.
    stream: Option<String>,
    tag: Option<String>,
    /// The Message-ID field, with its angle brackets.
    message_id_header: Option<String>,
    /// Accepted at or after this time.
    #[param(value_type = Option<String>, format = "date-time")]
    since: Option<Timestamp>,
    /// Accepted before this time.
    #[param(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

/// Send
///
/// The parts of a message, a finished message in `raw`, or a batch with `recipients`. A body of type `message/rfc822`
/// is a finished message too; its recipients are those of its To, Cc and Bcc. 202 means that every id stands for a
/// message that is safe on disk.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/messages", tag = "messages", operation_id = "message_send",
    request_body(content((SendMessage = "application/json"), (String = "message/rfc822"))),
    responses((status = 202, body = SendAnswer, description = "accepted")))]
pub async fn send(
    State(api): State<Api>,
    scope: Within<Submit>,
    request: Request,
) -> Result<Answer<SendAnswer>> {
    let sender = Sender::of_access(&scope.access, scope.tenant)
        .ok_or_else(|| Problem::new(Kind::Forbidden, "this credential may not send"))?;
    // Before the body is read: it would have to be kept until the disk is back.
    api.submission().check_disk()?;
    let peer = peer_of(&request);
    let kind = content_type(request.headers()).to_ascii_lowercase();
    let (parts, body) = request.into_parts();
    let mut held = held(&api, &scope.access, &parts.extensions);
    let body = read_held(&parts.headers, body, api.config().message_body_octets_max, &mut held).await?;
    let octets = body.len();
    let posted = match kind.as_str() {
        "message/rfc822" => Posted::Finished(body),
        "application/json" => Posted::of_json(&api, &body)?,
        _ => {
            let detail = "send application/json or message/rfc822";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
    };
    let (count, form) = (posted.count(), posted.form());
    let claim = parts.extensions.get::<Claim>();
    let places = places(&api, (&scope.access, scope.tenant), claim, count).await?;
    if let Some(answer) = all_done(&places, form) {
        return Ok(Answer::accepted(answer));
    }
    let (drafts, asked) = posted.into_drafts(&api, sender, octets, &mut held)?;
    panics::place("api-send");
    let answer = offer_all(&api, (sender, peer), (drafts, places), (form, asked)).await?;
    Ok(Answer::accepted(answer))
}

/// Search messages
///
/// Newest first, each with the state of its recipients. A message appears a moment after it was accepted. Of a filter that
/// leaves few (a tag, a stream) a page holds what is among the next 10,000 messages: it may be short, even empty, and
/// `next_cursor` goes on.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/messages", tag = "messages", operation_id = "message_list",
    params(MessageQuery), responses((status = 200, body = Page<MessageShape>, description = "a page of messages")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<MessageQuery>,
) -> Result<Answer<Page<MessageShape>>> {
    let page = request(query.limit, query.cursor.as_deref())?;
    let filter = query.into_filter(&api.snapshot(), scope.tenant)?;
    let page = api.database().message_list(&scope.access, scope.tenant, &filter, &page).await?;
    Ok(Answer::ok(Page::of(page, MessageShape::from)))
}

/// Show a message
#[utoipa::path(get, path = "/v1/tenants/{tenant}/messages/{message}", tag = "messages", operation_id = "message_fetch",
    responses((status = 200, body = MessageShape, description = "the message and its recipients")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(message): Named<MessageId>,
) -> Result<Answer<MessageShape>> {
    Ok(Answer::ok(known(&api, &scope, message).await?.into()))
}

/// Show every attempt
#[utoipa::path(get, path = "/v1/tenants/{tenant}/messages/{message}/timeline", tag = "messages",
    operation_id = "message_timeline", responses((status = 200, body = Timeline, description = "oldest first")))]
pub async fn timeline(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(message): Named<MessageId>,
) -> Result<Answer<Timeline>> {
    let row = known(&api, &scope, message).await?;
    let attempts = api.database().message_timeline(&scope.access, scope.tenant, message).await?;
    let data = attempts.into_iter().map(|attempt| attempt_shape(attempt, &row.recipients)).collect();
    Ok(Answer::ok(Timeline { data }))
}

/// Why does it wait?
///
/// For every recipient the one reason that has to go away next.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/messages/{message}/why", tag = "messages", operation_id = "message_why",
    responses((status = 200, body = WhyAnswer, description = "one reason for each recipient")))]
pub async fn why(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(message): Named<MessageId>,
) -> Result<Answer<WhyAnswer>> {
    let row = known(&api, &scope, message).await?;
    let waiting = api.why(message).await.unwrap_or_default();
    let due = row.not_before.unwrap_or(row.accepted_at);
    let overdue =
        |recipient: &RecipientRow| api.now().saturating_since(recipient.next_at.unwrap_or(due)) > OVERDUE;
    let recipients = row.recipients.into_iter();
    let recipients =
        recipients.map(|recipient| why_shape(overdue(&recipient), recipient, &waiting)).collect();
    Ok(Answer::ok(WhyAnswer { message, recipients }))
}

/// Take a message back
///
/// Recipients that still wait are never attempted again and settle as cancelled. One that is being sent at this moment
/// may still arrive.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/messages/{message}/cancel", tag = "messages",
    operation_id = "message_cancel",
    responses((status = 200, body = CancelAnswer, description = "how many recipients were taken back")))]
pub async fn cancel(
    State(api): State<Api>,
    scope: Within<Submit>,
    Named(message): Named<MessageId>,
) -> Result<Answer<CancelAnswer>> {
    // Somebody else's message is not found here, so it never reaches the queue. Whoever may send may take back, and need
    // not be able to read.
    let look = [message];
    let mut known = api.database().messages_known(&scope.access, scope.tenant, &look).await?;
    if known.is_empty() {
        all_told(&api).await?;
        known = api.database().messages_known(&scope.access, scope.tenant, &look).await?;
    }
    if known.is_empty() {
        return Err(Problem::from(Fault::NotFound("message")));
    }
    let cancelled = api.cancel(message).await.ok_or_else(Problem::unavailable)?;
    Ok(Answer::ok(CancelAnswer { message, cancelled }))
}

/// The tables are a moment behind what was accepted, so a message that is not there is looked for again when they have
/// everything: whoever was given an id is not told that there is no such message.
async fn known<R>(api: &Api, scope: &Within<R>, message: MessageId) -> Result<MessageRow> {
    match api.database().message_fetch(&scope.access, scope.tenant, message).await {
        Err(Fault::NotFound(_)) => {}
        outcome => return Ok(outcome?),
    }
    all_told(api).await?;
    Ok(api.database().message_fetch(&scope.access, scope.tenant, message).await?)
}

async fn all_told(api: &Api) -> Result<()> {
    // Behind by milliseconds, or by far.
    let wait = Duration::from_secs(api.config().told_wait_seconds);
    tokio::time::timeout(wait, api.told()).await.map_err(|_| Problem::unavailable())
}

impl MessageQuery {
    fn into_filter(self, snapshot: &Snapshot, tenant: TenantId) -> Result<MessageFilter> {
        let invalid = |name, detail| Problem::new(Kind::InvalidParameter, format!("{name}: {detail}"));
        let state = |text: String| {
            RecipientState::parse(&text)
                .ok_or_else(|| invalid("state", format!("{text} is not a state of a recipient")))
        };
        // An id may be of a stream that is gone; its messages are still there.
        let stream = |text: String| {
            let named = stream_named(snapshot, tenant, &text).map(|stream| stream.id);
            let known = named.or_else(|| StreamId::parse(&text).ok());
            known.ok_or_else(|| invalid("stream", format!("there is no stream {text}")))
        };
        // In the one form in which addresses are kept.
        let recipient = |text: String| {
            let mailbox = Mailbox::parse(&text).map_err(|error| invalid("recipient", error.to_string()))?;
            Ok::<String, Problem>(mailbox.to_string())
        };
        Ok(MessageFilter {
            recipient: self.recipient.map(recipient).transpose()?,
            state: self.state.map(state).transpose()?,
            stream: self.stream.map(stream).transpose()?,
            tag: self.tag,
            message_id_header: self.message_id_header,
            since: self.since,
            until: self.until,
        })
    }
}

impl From<MessageRow> for MessageShape {
    fn from(row: MessageRow) -> MessageShape {
        MessageShape {
            id: row.id,
            stream: row.stream,
            from: row.header_from,
            subject: row.subject,
            message_id_header: row.message_id_header,
            tags: row.tags,
            metadata: row.metadata,
            size: row.size,
            accepted_at: row.accepted_at,
            send_at: row.not_before,
            expires_at: row.expires_at,
            recipients: row.recipients.into_iter().map(RecipientShape::from).collect(),
        }
    }
}

impl From<RecipientRow> for RecipientShape {
    fn from(row: RecipientRow) -> RecipientShape {
        let RecipientRow { n: _, address, state, attempts, class, reply, next_at, updated_at } = row;
        RecipientShape { recipient: address, state, attempts, class, reply, next_at, updated_at }
    }
}

fn attempt_shape(row: AttemptRow, recipients: &[RecipientRow]) -> AttemptShape {
    let recipient = recipients.iter().find(|recipient| recipient.n == row.n);
    AttemptShape {
        recipient: recipient.map(|recipient| recipient.address.clone()).unwrap_or_default(),
        attempt: row.attempt,
        at: row.at,
        verdict: row.verdict,
        class: row.class,
        scope: row.scope,
        stage: row.stage,
        code: row.code,
        enhanced: row.enhanced,
        reply: row.reply,
        mx: row.mx,
        egress: row.egress,
        tls: row.tls,
        provider: row.provider,
        rule: row.rule,
        duration_ms: row.duration_ms,
        queued_ms: row.queued_ms,
        next_at: row.next_at,
    }
}

/// The queue knows best; where it says nothing (another node has it, or the table is behind), the table does, unless the time
/// that it tells is over.
fn why_shape(overdue: bool, row: RecipientRow, waiting: &[WaitingView]) -> WhyShape {
    let RecipientRow { n, address, state, next_at, .. } = row;
    let view = waiting.iter().find(|view| i64::from(view.recipient) == i64::from(n));
    let (reason, until) = match (state, view) {
        (RecipientState::Queued | RecipientState::Deferred, Some(view)) => {
            (Some(view.reason.code()), view.until)
        }
        (RecipientState::Queued | RecipientState::Deferred, None) if overdue => (Some("not_here"), None),
        (RecipientState::Deferred, None) => (Some("retry"), next_at),
        (RecipientState::Queued, None) => (Some("turn"), None),
        _ => (None, None),
    };
    WhyShape {
        recipient: address,
        state,
        reason,
        detail: match view.filter(|_| reason.is_some()) {
            Some(view) => Some(view.reason.sentence()),
            None => (reason == Some("not_here")).then(|| NOT_HERE.to_owned()),
        },
        site: view.filter(|_| reason.is_some()).map(|view| view.site.clone()),
        until,
    }
}
