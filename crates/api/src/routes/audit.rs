//! The audit: who changed what, newest first. Operators only.

use crate::auth::{House, Read};
use crate::body::{Answer, Result};
use crate::page::{Page, PageQuery, Query};
use crate::state::Api;
use axum::extract::State;
use database::AuditEntry;
use mail::{AuditId, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditShape {
    #[schema(value_type = String)]
    id: AuditId,
    /// Counts every change of the registry, without gap.
    generation: i64,
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Id of the user or key, or `house:` and the reason of one of our own workers.
    actor: String,
    #[schema(example = "tenant.create")]
    action: String,
    /// Id of what was changed.
    object: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    /// SHA-256 of the entry before and this one: the chain shows a change of history.
    hash: String,
}

/// Read the audit
///
/// Newest first. Operators only.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit_list", params(PageQuery),
    responses((status = 200, body = Page<AuditShape>, description = "a page of entries")))]
pub async fn list(
    State(api): State<Api>,
    house: House<Read>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<AuditShape>>> {
    let page = api.database().audit_list(&house.access, &query.request()?).await?;
    Ok(Answer::ok(Page::of(page, AuditShape::from)))
}

impl From<AuditEntry> for AuditShape {
    fn from(entry: AuditEntry) -> AuditShape {
        let AuditEntry { id, generation, at, tenant, actor, action, object, detail, hash } = entry;
        AuditShape { id, generation, at, tenant, actor, action, object, detail, hash }
    }
}
