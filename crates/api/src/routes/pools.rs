//! Egress pools: weighted sets of sources, shared or dedicated to one tenant. Operators only.

use crate::auth::{House, Manage, Named, Read};
use crate::body::{Answer, Body, Result};
use crate::fault::of_named_tenant;
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::state::Api;
use axum::extract::State;
use axum::http::StatusCode;
use database::{PoolChange, PoolNew, PoolRow};
use mail::{Domain, PoolId, SourceId, TenantId, Timestamp};
use registry::{PoolMember, Slug};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Pool)]
pub struct PoolShape {
    #[schema(value_type = String)]
    id: PoolId,
    #[schema(value_type = String)]
    name: Slug,
    /// Set for a dedicated pool.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    members: Vec<MemberShape>,
    /// The second signature of every message that leaves from here.
    platform: Option<PlatformShape>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PoolMember)]
pub struct MemberShape {
    #[schema(value_type = String, format = "source-id")]
    source: SourceId,
    /// Share of the pool's mail.
    #[schema(minimum = 1, maximum = 1000)]
    weight: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PlatformKey)]
pub struct PlatformShape {
    #[schema(value_type = String)]
    domain: Domain,
    selector: String,
    /// Publish it at `<selector>._domainkey.<domain>`.
    record: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePool {
    #[schema(value_type = String, format = "slug")]
    name: Slug,
    /// Makes it a dedicated pool.
    #[schema(value_type = Option<String>, format = "tenant-id")]
    tenant: Option<TenantId>,
    #[serde(default)]
    #[schema(max_items = 1000)]
    members: Vec<MemberShape>,
    /// Domain of the platform's own signature; the installation's, if left out.
    #[schema(value_type = Option<String>, format = "domain")]
    platform_domain: Option<Domain>,
}

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePool {
    #[schema(value_type = Option<String>, format = "slug")]
    name: Option<Slug>,
    /// Replaces all members.
    #[schema(max_items = 1000)]
    members: Option<Vec<MemberShape>>,
}

/// Create a pool
#[utoipa::path(post, path = "/v1/pools", tag = "pools", operation_id = "pool_create", request_body = CreatePool,
    responses((status = 201, body = PoolShape, description = "the pool")))]
pub async fn create(
    State(api): State<Api>,
    once: Once,
    house: House<Manage>,
    Body(body): Body<CreatePool>,
) -> Result<Answer<PoolShape>> {
    let new = PoolNew {
        name: body.name,
        tenant: body.tenant,
        members: body.members.into_iter().map(PoolMember::from).collect(),
        platform_domain: body.platform_domain.or_else(|| api.config().platform_domain.clone()),
    };
    let created = once.created().pool_create(&house.access, &new).await;
    Ok(Answer::created(created.map_err(of_named_tenant)?.into()))
}

/// List pools
#[utoipa::path(get, path = "/v1/pools", tag = "pools", operation_id = "pool_list", params(PageQuery),
    responses((status = 200, body = Page<PoolShape>, description = "a page of pools")))]
pub async fn list(
    State(api): State<Api>,
    house: House<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<PoolShape>>> {
    let page = api.database().pool_list(&house.access, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, PoolShape::from)))
}

/// Show a pool
#[utoipa::path(get, path = "/v1/pools/{pool}", tag = "pools", operation_id = "pool_fetch",
    responses((status = 200, body = PoolShape, description = "the pool")))]
pub async fn fetch(
    State(api): State<Api>,
    house: House<Read>,
    Named(pool): Named<PoolId>,
) -> Result<Answer<PoolShape>> {
    Ok(Answer::ok(api.database().pool_fetch(&house.access, pool).await?.into()))
}

/// Change a pool
#[utoipa::path(patch, path = "/v1/pools/{pool}", tag = "pools", operation_id = "pool_update", request_body = UpdatePool,
    responses((status = 200, body = PoolShape, description = "the pool as it is now")))]
pub async fn update(
    State(api): State<Api>,
    house: House<Manage>,
    Named(pool): Named<PoolId>,
    Body(body): Body<UpdatePool>,
) -> Result<Answer<PoolShape>> {
    let members = body.members.map(|members| members.into_iter().map(PoolMember::from).collect());
    let change = PoolChange { name: body.name, members };
    Ok(Answer::ok(api.database().pool_update(&house.access, pool, &change).await?.into()))
}

/// Delete a pool
///
/// Refused while a stream names it.
#[utoipa::path(delete, path = "/v1/pools/{pool}", tag = "pools", operation_id = "pool_delete",
    responses((status = 204, description = "gone")))]
pub async fn delete(
    State(api): State<Api>,
    house: House<Manage>,
    Named(pool): Named<PoolId>,
) -> Result<StatusCode> {
    api.database().pool_delete(&house.access, pool).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<PoolRow> for PoolShape {
    fn from(row: PoolRow) -> PoolShape {
        let PoolRow { id, name, tenant, members, platform, created_at } = row;
        let members =
            members.into_iter().map(|PoolMember { source, weight }| MemberShape { source, weight }).collect();
        let platform = platform.map(|key| PlatformShape {
            domain: key.domain,
            selector: key.selector,
            record: key.record,
        });
        PoolShape { id, name, tenant, members, platform, created_at }
    }
}

impl From<MemberShape> for PoolMember {
    fn from(member: MemberShape) -> PoolMember {
        PoolMember { source: member.source, weight: member.weight }
    }
}
