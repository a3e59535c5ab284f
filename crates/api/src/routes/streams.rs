//! Streams: a tenant's kinds of mail, each with its pool and its patience.

use crate::auth::{Manage, Named, Read, Within};
use crate::body::{Answer, Body, Result, given};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::Problem;
use crate::state::Api;
use crate::steering::pool_of;
use axum::extract::State;
use axum::http::StatusCode;
use database::{StreamChange, StreamNew};
use mail::{PoolId, StreamId, TenantId, Timestamp};
use registry::{Slug, Stream, StreamKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Stream)]
pub struct StreamShape {
    #[schema(value_type = String)]
    pub id: StreamId,
    #[schema(value_type = String, example = "marketing")]
    pub name: Slug,
    #[schema(value_type = KindShape)]
    pub kind: StreamKind,
    #[schema(value_type = String)]
    pub pool: PoolId,
    /// Used while every source of `pool` is held.
    #[schema(value_type = Option<String>)]
    pub overflow_pool: Option<PoolId>,
    /// After so long without success a recipient is given up.
    pub expires_seconds: u64,
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
}

/// `transactional`: mail that one person caused and waits for. `marketing`: mail to many; gets List-Unsubscribe.
#[derive(ToSchema)]
#[schema(as = StreamKind, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::StreamKind")]
pub enum KindShape {
    Transactional,
    Marketing,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateStream {
    /// Unique within the tenant.
    #[schema(value_type = String, format = "slug", example = "newsletter")]
    name: Slug,
    #[schema(value_type = KindShape)]
    kind: StreamKind,
    /// Name or id; the pool of the tenant's first stream if absent.
    #[schema(value_type = Option<String>, format = "slug")]
    pool: Option<Slug>,
    /// Name or id.
    #[schema(value_type = Option<String>, format = "slug")]
    overflow_pool: Option<Slug>,
    /// A day for transactional and three for marketing mail if absent.
    #[schema(minimum = 60, maximum = 1209600)]
    expires_seconds: Option<u64>,
}

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateStream {
    #[schema(value_type = Option<String>, format = "slug")]
    name: Option<Slug>,
    /// Name or id.
    #[schema(value_type = Option<String>, format = "slug")]
    pool: Option<Slug>,
    /// Name or id; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = "slug")]
    overflow_pool: Option<Option<Slug>>,
    #[schema(minimum = 60, maximum = 1209600)]
    expires_seconds: Option<u64>,
}

/// Create a stream
#[utoipa::path(post, path = "/v1/tenants/{tenant}/streams", tag = "streams", operation_id = "stream_create",
    request_body = CreateStream, responses((status = 201, body = StreamShape, description = "the stream")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    scope: Within<Manage>,
    Body(body): Body<CreateStream>,
) -> Result<Answer<StreamShape>> {
    let pool = assigned(&api, &scope, "/pool", body.pool.as_ref())?;
    let overflow_pool = assigned(&api, &scope, "/overflow_pool", body.overflow_pool.as_ref())?;
    let new = StreamNew {
        name: body.name,
        kind: body.kind,
        pool: usual_pool(&api, scope.tenant, pool)?,
        overflow_pool,
        expires_after: body.expires_seconds.map_or(body.kind.expires_after_default(), Duration::from_secs),
    };
    let stream = once.created().stream_create(&scope.access, scope.tenant, &new).await?;
    Ok(Answer::created(stream.into()))
}

/// List a tenant's streams
#[utoipa::path(get, path = "/v1/tenants/{tenant}/streams", tag = "streams", operation_id = "stream_list",
    params(PageQuery), responses((status = 200, body = Page<StreamShape>, description = "a page of streams")))]
pub async fn list(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<StreamShape>>> {
    let page = api.database().stream_list(&scope.access, scope.tenant, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, StreamShape::from)))
}

/// Show a stream
#[utoipa::path(get, path = "/v1/tenants/{tenant}/streams/{stream}", tag = "streams", operation_id = "stream_fetch",
    responses((status = 200, body = StreamShape, description = "the stream")))]
pub async fn fetch(
    State(api): State<Api>,
    scope: Within<Read>,
    Named(stream): Named<StreamId>,
) -> Result<Answer<StreamShape>> {
    let stream = api.database().stream_fetch(&scope.access, scope.tenant, stream).await?;
    Ok(Answer::ok(stream.into()))
}

/// Change a stream
#[utoipa::path(patch, path = "/v1/tenants/{tenant}/streams/{stream}", tag = "streams", operation_id = "stream_update",
    request_body = UpdateStream, responses((status = 200, body = StreamShape, description = "the stream as it is now")))]
pub async fn update(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(stream): Named<StreamId>,
    Body(body): Body<UpdateStream>,
) -> Result<Answer<StreamShape>> {
    let overflow_pool = match &body.overflow_pool {
        None => None,
        Some(asked) => Some(assigned(&api, &scope, "/overflow_pool", asked.as_ref())?),
    };
    let change = StreamChange {
        name: body.name,
        pool: assigned(&api, &scope, "/pool", body.pool.as_ref())?,
        overflow_pool,
        expires_after: body.expires_seconds.map(Duration::from_secs),
    };
    let stream = api.database().stream_update(&scope.access, scope.tenant, stream, &change).await?;
    Ok(Answer::ok(stream.into()))
}

/// Delete a stream
///
/// Refused while a credential or key is bound to it, and if it is the last one.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/streams/{stream}", tag = "streams", operation_id = "stream_delete",
    responses((status = 204, description = "gone")))]
pub async fn delete(
    State(api): State<Api>,
    scope: Within<Manage>,
    Named(stream): Named<StreamId>,
) -> Result<StatusCode> {
    api.database().stream_delete(&scope.access, scope.tenant, stream).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The pool of this name or id. Which addresses a tenant leaves from is the operator's decision: others choose among what they
/// were given, and learn nothing of the rest.
fn assigned(
    api: &Api,
    scope: &Within<Manage>,
    pointer: &str,
    asked: Option<&Slug>,
) -> Result<Option<PoolId>> {
    let Some(asked) = asked else { return Ok(None) };
    let snapshot = api.snapshot();
    let pool = pool_of(&snapshot, scope.tenant, asked);
    if scope.caller.access.is_house() {
        let unknown =
            || Problem::invalid_field(pointer, "unknown_reference", format!("there is no pool {asked}"));
        return pool.map(Some).ok_or_else(unknown);
    }
    let is_assigned =
        |id: &PoolId| snapshot.pool(*id).is_some_and(|pool| snapshot.is_assigned(pool, scope.tenant));
    pool.filter(is_assigned).map(Some).ok_or_else(|| {
        Problem::invalid_field(
            pointer,
            "unknown_reference",
            "this account has no such pool; it may use its own and those of its streams, and the operator gives others",
        )
    })
}

/// The pool that was asked for, or the one that the tenant's mail already leaves from.
fn usual_pool(api: &Api, tenant: TenantId, asked: Option<PoolId>) -> Result<PoolId> {
    let snapshot = api.snapshot();
    let usual = || snapshot.stream_default(tenant).map(|stream| stream.pool);
    asked.or_else(usual).ok_or_else(|| {
        Problem::invalid_field("/pool", "missing", "the tenant has no stream to take the pool from; name one")
    })
}

impl From<Stream> for StreamShape {
    fn from(stream: Stream) -> StreamShape {
        let Stream { id, tenant: _, name, kind, pool, overflow_pool, expires_after, created_at } = stream;
        StreamShape {
            id,
            name,
            kind,
            pool,
            overflow_pool,
            expires_seconds: expires_after.as_secs(),
            created_at,
        }
    }
}
