//! Egress sources: the addresses that mail leaves from. Operators only.

use crate::auth::{House, Manage, Named, Read};
use crate::body::{Answer, Body, Result};
use crate::once::Once;
use crate::page::{Page, PageQuery, Query};
use crate::problem::Problem;
use crate::state::Api;
use axum::extract::State;
use axum::http::StatusCode;
use database::{SourceChange, SourceNew};
use mail::{Domain, SourceId};
use registry::{EgressSource, Slug, SourceState};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
pub struct SourceShape {
    #[schema(value_type = String)]
    id: SourceId,
    name: String,
    #[schema(value_type = String)]
    address: IpAddr,
    /// The name said in EHLO.
    #[schema(value_type = String)]
    ehlo: Domain,
    #[schema(value_type = SourceStateShape)]
    state: SourceState,
}

/// `active`: in use. `held`: nothing leaves from it. `draining`: finishes what it carries, takes nothing new.
#[derive(ToSchema)]
#[schema(as = SourceState, rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document for registry::SourceState")]
pub enum SourceStateShape {
    Active,
    Held,
    Draining,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSource {
    #[schema(value_type = String, format = "slug")]
    name: Slug,
    #[schema(value_type = String, format = "ip", example = "192.0.2.25")]
    address: IpAddr,
    /// Its A or AAAA record and the PTR of the address must agree.
    #[schema(value_type = String, format = "domain")]
    ehlo: Domain,
}

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSource {
    #[schema(value_type = Option<String>, format = "domain")]
    ehlo: Option<Domain>,
    #[schema(value_type = Option<SourceStateShape>)]
    state: Option<SourceState>,
}

/// Create a source
#[utoipa::path(post, path = "/v1/sources", tag = "sources", operation_id = "source_create", request_body = CreateSource,
    responses((status = 201, body = SourceShape, description = "the source")))]
pub async fn create(
    once: Once,
    house: House<Manage>,
    Body(body): Body<CreateSource>,
) -> Result<Answer<SourceShape>> {
    if !may_be_source(body.address) {
        let detail = "nothing can leave from this address: name a unicast address of this host";
        return Err(Problem::invalid_field("/address", "not_allowed", detail));
    }
    let new = SourceNew { name: body.name, address: body.address, ehlo: body.ehlo };
    Ok(Answer::created(once.created().source_create(&house.access, &new).await?.into()))
}

/// List sources
#[utoipa::path(get, path = "/v1/sources", tag = "sources", operation_id = "source_list", params(PageQuery),
    responses((status = 200, body = Page<SourceShape>, description = "a page of sources")))]
pub async fn list(
    State(api): State<Api>,
    house: House<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<SourceShape>>> {
    let page = api.database().source_list(&house.access, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, SourceShape::from)))
}

/// Show a source
#[utoipa::path(get, path = "/v1/sources/{source}", tag = "sources", operation_id = "source_fetch",
    responses((status = 200, body = SourceShape, description = "the source")))]
pub async fn fetch(
    State(api): State<Api>,
    house: House<Read>,
    Named(source): Named<SourceId>,
) -> Result<Answer<SourceShape>> {
    Ok(Answer::ok(api.database().source_fetch(&house.access, source).await?.into()))
}

/// Change a source
#[utoipa::path(patch, path = "/v1/sources/{source}", tag = "sources", operation_id = "source_update",
    request_body = UpdateSource, responses((status = 200, body = SourceShape, description = "the source as it is now")))]
pub async fn update(
    State(api): State<Api>,
    house: House<Manage>,
    Named(source): Named<SourceId>,
    Body(body): Body<UpdateSource>,
) -> Result<Answer<SourceShape>> {
    let change = SourceChange { ehlo: body.ehlo, state: body.state };
    Ok(Answer::ok(api.database().source_update(&house.access, source, &change).await?.into()))
}

/// Delete a source
///
/// Refused while a pool holds it.
#[utoipa::path(delete, path = "/v1/sources/{source}", tag = "sources", operation_id = "source_delete",
    responses((status = 204, description = "gone")))]
pub async fn delete(
    State(api): State<Api>,
    house: House<Manage>,
    Named(source): Named<SourceId>,
) -> Result<StatusCode> {
    api.database().source_delete(&house.access, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An address that a host can have for itself. A private or loopback one may stand behind a translation, or in a lab.
fn may_be_source(address: IpAddr) -> bool {
    let of_many = match address.to_canonical() {
        IpAddr::V4(four) => {
            four.is_broadcast() || four.is_link_local() || four.octets()[0] >= 224 || four.octets()[0] == 0
        }
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !of_many && !address.is_unspecified() && !address.is_multicast()
}

impl From<EgressSource> for SourceShape {
    fn from(source: EgressSource) -> SourceShape {
        let EgressSource { id, name, address, ehlo, state } = source;
        SourceShape { id, name: name.to_string(), address, ehlo, state }
    }
}
