//! API keys of a tenant: made, listed, rotated, revoked. A key is shown once, when it is made.
//!
//! A key has rights (`send`, `read`, `manage`), and nobody can make one that may do more than himself.

use crate::auth::{Manage, Named, Read, Within};
use crate::body::{Answer, Body, Result};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::routes::credentials::{NetworkText, expect_future, networks};
use crate::state::Api;
use crate::steering::stream_of;
use axum::extract::State;
use database::{ApiKeyNew, ApiKeyRow};
use ipnet::IpNet;
use mail::{ApiKeyId, StreamId, Timestamp};
use registry::{DisplayName, Right, Rights, Role, Slug};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An API key without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyShape {
    #[schema(value_type = String)]
    id: ApiKeyId,
    #[schema(value_type = String)]
    name: DisplayName,
    #[schema(value_type = Vec<RightShape>)]
    scopes: Vec<&'static str>,
    /// Its mail goes into this stream and no other.
    #[schema(value_type = Option<String>)]
    stream: Option<StreamId>,
    /// It may be used from these only; empty means from anywhere.
    #[schema(value_type = Vec<String>)]
    networks: Vec<IpNet>,
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = "date-time")]
    revoked_at: Option<Timestamp>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

/// `send`: submit messages. `read`: read everything of the tenant. `manage`: change domains, credentials, streams, webhooks.
#[derive(ToSchema)]
#[schema(as = Scope, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::Right")]
pub enum RightShape {
    Send,
    Read,
    Manage,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// For people.
    #[schema(value_type = String, format = "display-name")]
    name: DisplayName,
    /// At least one.
    #[schema(value_type = Vec<RightShape>, min_items = 1, max_items = 3)]
    scopes: Vec<Right>,
    /// Name or id.
    #[schema(value_type = Option<String>, format = "slug")]
    stream: Option<Slug>,
    #[serde(default)]
    #[schema(max_items = 100)]
    networks: Vec<NetworkText>,
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
}

/// A key with its secret, shown this once.
#[derive(Serialize, ToSchema)]
pub struct CreatedApiKey {
    #[serde(flatten)]
    key: KeyShape,
    /// The whole key, `ph_live_…`, as it goes behind `Authorization: Bearer`.
    secret: String,
}

/// Create an API key
///
/// The secret is shown this once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/api-keys", tag = "api keys", operation_id = "api_key_create",
    request_body = CreateApiKey, responses((status = 201, body = CreatedApiKey, description = "with its secret")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    scope: Within<Manage>,
    Body(body): Body<CreateApiKey>,
) -> Result<Answer<CreatedApiKey>> {
    expect_future(&api, body.expires_at)?;
    let new = ApiKeyNew {
        name: body.name,
        role: Role::Admin,
        rights: body.scopes.into_iter().fold(Rights::NONE, Rights::with),
        stream: stream_of(&api.snapshot(), scope.tenant, body.stream.as_ref())?,
        networks: networks(&body.networks),
        expires_at: body.expires_at,
    };
    let (row, secret) = once.created().api_key_create(&scope.access, Some(scope.tenant), &new).await?;
    Ok(Answer::created(CreatedApiKey::new(row, &secret)))
}

/// List API keys
#[utoipa::path(get, path = "/v1/tenants/{tenant}/api-keys", tag = "api keys", operation_id = "api_key_list",
    params(PageQuery), responses((status = 200, body = Page<KeyShape>, description = "a page of keys")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<KeyShape>>> {
    let page = api.database().api_key_list(&scope.access, Some(scope.tenant), &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, KeyShape::from)))
}

/// Show an API key
#[utoipa::path(get, path = "/v1/tenants/{tenant}/api-keys/{api_key}", tag = "api keys", operation_id = "api_key_fetch",
    responses((status = 200, body = KeyShape, description = "without its secret")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(key): Named<ApiKeyId>,
) -> Result<Answer<KeyShape>> {
    Ok(Answer::ok(api.database().api_key_fetch(&scope.access, Some(scope.tenant), key).await?.into()))
}

/// Give a key a new secret
///
/// The old one ends at once. Only a key that rotates itself keeps its old secret, for ten minutes, so that the call can be
/// repeated with its `Idempotency-Key` when the answer was lost. Until then it cannot rotate itself again (409): who has only
/// the old secret must not be able to take the key over. Another key or a person can.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/api-keys/{api_key}/rotate", tag = "api keys",
    operation_id = "api_key_rotate", responses((status = 200, body = CreatedApiKey, description = "with its new secret")))]
pub async fn rotate(
    once: Once,
    scope: Within<Manage>,
    Named(key): Named<ApiKeyId>,
) -> Result<Answer<CreatedApiKey>> {
    let (row, secret) = once.ok().api_key_rotate(&scope.access, Some(scope.tenant), key).await?;
    Ok(Answer::ok(CreatedApiKey::new(row, &secret)))
}

/// Revoke a key
///
/// For good; it stays listed with the time it was revoked.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/api-keys/{api_key}", tag = "api keys",
    operation_id = "api_key_revoke", responses((status = 200, body = KeyShape, description = "revoked")))]
pub async fn revoke(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(key): Named<ApiKeyId>,
) -> Result<Answer<KeyShape>> {
    Ok(Answer::ok(api.database().api_key_revoke(&scope.access, Some(scope.tenant), key).await?.into()))
}

impl CreatedApiKey {
    pub fn new(row: ApiKeyRow, secret: &str) -> CreatedApiKey {
        CreatedApiKey { key: row.into(), secret: secret.to_owned() }
    }
}

impl From<ApiKeyRow> for KeyShape {
    fn from(row: ApiKeyRow) -> KeyShape {
        let ApiKeyRow { id, name, rights, stream, networks, expires_at, revoked_at, created_at, .. } = row;
        KeyShape { id, name, scopes: rights.words(), stream, networks, expires_at, revoked_at, created_at }
    }
}
