//! Webhook endpoints (Standard Webhooks): where a tenant is told, the secrets that sign, what was called and how it went.
//!
//! Whether a target may be called at all is decided when it is called, on its address; here a URL must be one, and an
//! address that stands in it must be one that may be called.

use crate::auth::{Manage, Named, Read, Within};
use crate::body::{Answer, Body, Result};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::{FieldError, Problem};
use crate::routes::tenants::EventType;
use crate::state::Api;
use axum::extract::State;
use axum::http::StatusCode;
use database::{EndpointChange, EndpointNew, EndpointRow, Replayed, WebhookDeliveryRow};
use mail::{EndpointId, EventId, EventKind, Timestamp};
use registry::{Endpoint, EndpointState, Right};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Below 1024, where other services are, only these are called.
const WEB_PORTS: [u16; 2] = [80, 443];

const READS: &str = "a webhook is told what becomes of mail";

/// A webhook endpoint without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookShape {
    #[schema(value_type = String)]
    id: EndpointId,
    url: String,
    /// Event types that it is told; empty means every one.
    #[schema(value_type = Vec<String>)]
    types: Vec<EventKind>,
    #[schema(value_type = EndpointStateShape)]
    state: EndpointState,
    /// Why it is disabled.
    state_reason: Option<String>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

/// `active`: called. `paused`: by the tenant; calls wait. `disabled`: by us, after a 410.
#[derive(ToSchema)]
#[schema(as = WebhookState, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::EndpointState")]
pub enum EndpointStateShape {
    Active,
    Paused,
    Disabled,
}

/// What a tenant may set a webhook to.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WantedState {
    Active,
    Paused,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    #[schema(format = "http-url", max_length = 2048)]
    url: String,
    /// Every event type if empty.
    #[serde(default)]
    #[schema(value_type = Vec<EventType>, required = false, max_items = 50)]
    types: Vec<EventKind>,
}

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWebhook {
    #[schema(format = "http-url", max_length = 2048)]
    url: Option<String>,
    #[schema(value_type = Option<Vec<EventType>>, max_items = 50)]
    types: Option<Vec<EventKind>>,
    /// `active` brings a disabled one back.
    state: Option<WantedState>,
}

/// A webhook and its secret, shown this once.
#[derive(Serialize, ToSchema)]
pub struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookShape,
    /// `whsec_…`, the key of every signature.
    secret: String,
}

/// A call of a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryShape {
    /// The event, and the `webhook-id` of the call.
    #[schema(value_type = String)]
    event: EventId,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: EventKind,
    /// `pending`, `delivered` or `failed`.
    state: String,
    attempts: i32,
    /// When it is tried, or was to be tried, next.
    #[schema(value_type = String, format = "date-time")]
    due_at: Timestamp,
    #[schema(value_type = Option<String>, format = "date-time")]
    last_at: Option<Timestamp>,
    /// HTTP status of the last answer.
    last_status: Option<i32>,
    last_error: Option<String>,
    last_ms: Option<i64>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct TestedWebhook {
    /// The `webhook.test` event that is on its way.
    #[schema(value_type = String)]
    pub event: EventId,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWebhook {
    /// All calls made since; without it those that have failed.
    #[schema(value_type = Option<String>, format = "date-time")]
    since: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct ReplayedWebhook {
    /// Calls that are due again: the oldest 50,000 at most.
    replayed: u64,
    /// Whether there are more: make this call again, with `next_since` as `since` if it had one.
    more: bool,
    #[schema(value_type = Option<String>, format = "date-time")]
    next_since: Option<Timestamp>,
}

/// Create a webhook
///
/// The secret is shown this once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/webhooks", tag = "webhooks", operation_id = "webhook_create",
    request_body = CreateWebhook, responses((status = 201, body = CreatedWebhook, description = "with its secret")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    scope: Within<Manage>,
    Body(body): Body<CreateWebhook>,
) -> Result<Answer<CreatedWebhook>> {
    scope.expect_own(Right::Read, READS)?;
    target_error(&api, "/url", &body.url)
        .map_or(Ok(()), |error| Err(Problem::invalid_fields(vec![error])))?;
    let new = EndpointNew { url: body.url, kinds: body.types };
    let (row, secret) = once.created().endpoint_create(&scope.access, scope.tenant, &new).await?;
    Ok(Answer::created(CreatedWebhook::new(row, &secret)))
}

/// List webhooks
#[utoipa::path(get, path = "/v1/tenants/{tenant}/webhooks", tag = "webhooks", operation_id = "webhook_list",
    params(PageQuery), responses((status = 200, body = Page<WebhookShape>, description = "a page of webhooks")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<WebhookShape>>> {
    let page = api.database().endpoint_list(&scope.access, scope.tenant, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, WebhookShape::from)))
}

/// Show a webhook
#[utoipa::path(get, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "webhook_fetch",
    responses((status = 200, body = WebhookShape, description = "without its secret")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(webhook): Named<EndpointId>,
) -> Result<Answer<WebhookShape>> {
    Ok(Answer::ok(api.database().endpoint_fetch(&scope.access, scope.tenant, webhook).await?.into()))
}

/// Change a webhook
#[utoipa::path(patch, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "webhook_update",
    request_body = UpdateWebhook, responses((status = 200, body = WebhookShape, description = "the webhook as it is now")))]
pub async fn update(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(webhook): Named<EndpointId>,
    Body(body): Body<UpdateWebhook>,
) -> Result<Answer<WebhookShape>> {
    if body.url.is_some() || body.types.is_some() {
        scope.expect_own(Right::Read, READS)?;
    }
    let error = body.url.as_deref().and_then(|url| target_error(&api, "/url", url));
    error.map_or(Ok(()), |error| Err(Problem::invalid_fields(vec![error])))?;
    let state = body.state.map(|state| match state {
        WantedState::Active => EndpointState::Active,
        WantedState::Paused => EndpointState::Paused,
    });
    let change = EndpointChange { url: body.url, kinds: body.types, state };
    Ok(Answer::ok(
        api.database().endpoint_update(&scope.access, scope.tenant, webhook, &change).await?.into(),
    ))
}

/// Delete a webhook
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/webhooks/{webhook}", tag = "webhooks", operation_id = "webhook_delete",
    responses((status = 204, description = "gone")))]
pub async fn delete(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(webhook): Named<EndpointId>,
) -> Result<StatusCode> {
    api.database().endpoint_delete(&scope.access, scope.tenant, webhook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook a new secret
///
/// The one before goes on signing beside it until the next rotation, so that no call is lost.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/webhooks/{webhook}/secrets/rotate", tag = "webhooks",
    operation_id = "webhook_secret_rotate",
    responses((status = 200, body = CreatedWebhook, description = "with its new secret")))]
pub async fn rotate(
    once: Once,
    scope: Within<Manage>,
    Named(webhook): Named<EndpointId>,
) -> Result<Answer<CreatedWebhook>> {
    scope.expect_own(Right::Read, READS)?;
    let (row, secret) = once.ok().endpoint_rotate(&scope.access, scope.tenant, webhook).await?;
    Ok(Answer::ok(CreatedWebhook::new(row, &secret)))
}

/// Send a test event
///
/// A `webhook.test` event to this webhook only, whatever types it wants.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/webhooks/{webhook}/test", tag = "webhooks", operation_id = "webhook_test",
    responses((status = 202, body = TestedWebhook, description = "on its way")))]
pub async fn test(
    once: Once,
    scope: Within<Manage>,
    Named(webhook): Named<EndpointId>,
) -> Result<Answer<TestedWebhook>> {
    let event = once.accepted().webhook_test(&scope.access, scope.tenant, webhook).await?;
    Ok(Answer::accepted(TestedWebhook { event }))
}

/// List the calls of a webhook
///
/// Newest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/webhooks/{webhook}/deliveries", tag = "webhooks",
    operation_id = "webhook_deliveries", params(PageQuery),
    responses((status = 200, body = Page<DeliveryShape>, description = "a page of calls")))]
pub async fn deliveries(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(webhook): Named<EndpointId>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<DeliveryShape>>> {
    let page = query.request()?;
    api.database().endpoint_fetch(&scope.access, scope.tenant, webhook).await?;
    let page = api.database().webhook_delivery_list(&scope.access, scope.tenant, webhook, &page).await?;
    Ok(Answer::ok(Page::of(page, DeliveryShape::from)))
}

/// Call again
///
/// Makes calls due again: those that have failed, or all that were made since a time. At most 50,000 at once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/webhooks/{webhook}/replay", tag = "webhooks",
    operation_id = "webhook_replay", request_body = ReplayWebhook,
    responses((status = 202, body = ReplayedWebhook, description = "due again")))]
pub async fn replay(
    once: Once,
    scope: Within<Manage>,
    Named(webhook): Named<EndpointId>,
    Body(body): Body<ReplayWebhook>,
) -> Result<Answer<ReplayedWebhook>> {
    let replayed = once.accepted().webhook_replay(&scope.access, scope.tenant, webhook, body.since).await?;
    Ok(Answer::accepted(ReplayedWebhook::from(replayed)))
}

/// What is wrong with a URL that is one, so far as it would be refused at every call.
pub fn target_error(api: &Api, pointer: &str, url: &str) -> Option<FieldError> {
    let url: axum::http::Uri = url.parse().ok()?;
    let (host, allow) = (url.host()?, &api.config().webhook_allow_networks);
    let detail = if !Endpoint::may_name_host(host, allow) {
        "the address is private, loopback or reserved; use a host that the internet can reach"
    } else if url.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))
        && !Endpoint::may_be_plain(host, allow)
    {
        "what we tell must not cross the internet in plain text; use https"
    } else if url.port_u16().is_some_and(|port| port < 1024 && !WEB_PORTS.contains(&port))
        && !Endpoint::is_inside(host, allow)
    {
        "the port is one of another service; use 443, 80, or one from 1024"
    } else {
        return None;
    };
    Some(FieldError::new(pointer, "not_allowed", detail))
}

impl From<WebhookDeliveryRow> for DeliveryShape {
    fn from(row: WebhookDeliveryRow) -> DeliveryShape {
        let WebhookDeliveryRow {
            event,
            kind,
            state,
            attempts,
            due_at,
            last_at,
            last_status,
            last_error,
            last_ms,
            created_at,
        } = row;
        DeliveryShape {
            event,
            kind,
            state,
            attempts,
            due_at,
            last_at,
            last_status,
            last_error,
            last_ms,
            created_at,
        }
    }
}

impl From<Replayed> for ReplayedWebhook {
    fn from(replayed: Replayed) -> ReplayedWebhook {
        let Replayed { count, more, next_since } = replayed;
        ReplayedWebhook { replayed: count, more, next_since }
    }
}

impl CreatedWebhook {
    pub fn new(row: EndpointRow, secret: &str) -> CreatedWebhook {
        CreatedWebhook { webhook: row.into(), secret: secret.to_owned() }
    }
}

impl From<EndpointRow> for WebhookShape {
    fn from(row: EndpointRow) -> WebhookShape {
        let EndpointRow { id, url, kinds, state, state_reason, created_at, .. } = row;
        WebhookShape { id, url, types: kinds, state, state_reason, created_at }
    }
}
