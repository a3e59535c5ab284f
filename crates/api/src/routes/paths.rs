//! Queues and egress paths of this node: what waits and why, and holding a path by hand. Operators only.
//!
//! A hold is kept by the running node and not in the registry: it is what an operator does about trouble of the moment,
//! and it ends with the node. Who did it and why is in the audit, written first: what is not in the audit is not done.

use crate::auth::{House, Manage, Read};
use crate::body::{Answer, Body, Result};
use crate::delivery::{PathHold, PathRow};
use crate::page::Query;
use crate::problem::{Kind, Problem};
use crate::state::Api;
use axum::extract::State;
use axum::http::StatusCode;
use mail::{EgressPath, PoolId, SiteName, SourceName, TenantId, Timestamp};
use queue::control::{QueueTotals, QueueView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

const ROWS_DEFAULT: u32 = 50;
const ROWS_MAX: u32 = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RowsQuery {
    /// Rows at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct Queues {
    totals: QueueCounts,
    /// The fullest first.
    data: Vec<QueueShape>,
}

/// Recipients of this node, and how many queues they stand in.
#[derive(Serialize, ToSchema)]
pub struct QueueCounts {
    /// Not due yet.
    waiting: u64,
    /// Due, and not sent yet.
    ready: u64,
    in_flight: u64,
    queues: u64,
}

/// One tenant's mail in one pool at one site that is due.
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueShape {
    #[schema(value_type = String)]
    tenant: TenantId,
    #[schema(value_type = String)]
    pool: PoolId,
    site: String,
    ready: u64,
    /// Why it does not move: `tenant_held`, `no_source`, `held`, `limit`, …; null while it does.
    reason: Option<&'static str>,
    detail: Option<String>,
    #[schema(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct Paths {
    /// Held ones first, then those that cannot be reached, then the busiest.
    data: Vec<PathShape>,
}

/// From one of our addresses to one site.
#[derive(Serialize, ToSchema)]
#[schema(as = Path)]
pub struct PathShape {
    /// Name of an egress source.
    source: String,
    site: String,
    /// Connections that are open.
    open: u32,
    /// Connections that may be open.
    window: u32,
    /// What is left of the rule's rate after trouble.
    rate_percent: u32,
    held: Option<HoldShape>,
    /// While the site cannot be reached from there.
    #[schema(value_type = Option<String>, format = "date-time")]
    dead_until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Hold)]
pub struct HoldShape {
    reason: String,
    /// Null: until somebody resumes it.
    #[schema(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PathHoldNew {
    /// Name or id of an egress source.
    #[schema(min_length = 1, max_length = 63)]
    source: String,
    /// As the list of paths names it, or one of its hosts if mail has gone there.
    #[schema(min_length = 1, max_length = 1024)]
    site: String,
    /// For operators and for tenants who ask why their mail waits.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// Until somebody resumes it, if absent.
    #[schema(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PathResume {
    #[schema(min_length = 1, max_length = 63)]
    source: String,
    #[schema(min_length = 1, max_length = 1024)]
    site: String,
}

/// Show the queues of this node
///
/// What is due by tenant, pool and site, and what it waits for. Operators only.
#[utoipa::path(get, path = "/v1/queues", tag = "delivery", operation_id = "queue_list", params(RowsQuery),
    responses((status = 200, body = Queues, description = "totals and the fullest queues")))]
pub async fn queues(
    State(api): State<Api>,
    _: House<Read>,
    Query(query): Query<RowsQuery>,
) -> Result<Answer<Queues>> {
    let (totals, rows) = (api.delivery().queues)(query.rows()?).await.ok_or_else(Problem::unavailable)?;
    Ok(Answer::ok(Queues { totals: totals.into(), data: rows.into_iter().map(QueueShape::from).collect() }))
}

/// Show the egress paths of this node
///
/// How much each may send at once, and which are suspended. Operators only.
#[utoipa::path(get, path = "/v1/paths", tag = "delivery", operation_id = "path_list", params(RowsQuery),
    responses((status = 200, body = Paths, description = "the paths in use")))]
pub async fn list(
    State(api): State<Api>,
    _: House<Read>,
    Query(query): Query<RowsQuery>,
) -> Result<Answer<Paths>> {
    let limit = query.rows()?;
    let mut rows = (api.delivery().paths)().await.ok_or_else(Problem::unavailable)?;
    let rank = |row: &PathRow| (row.hold.is_some(), row.dead_until.is_some(), row.open);
    rows.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.path.cmp(&b.path)));
    rows.truncate(limit);
    Ok(Answer::ok(Paths { data: rows.into_iter().map(PathShape::from).collect() }))
}

/// Suspend an egress path
///
/// Nothing more is sent on it until it is resumed, the time has come or this node restarts. Operators only.
#[utoipa::path(post, path = "/v1/paths/hold", tag = "delivery", operation_id = "path_hold", request_body = PathHoldNew,
    responses((status = 204, description = "suspended")))]
pub async fn hold(
    State(api): State<Api>,
    house: House<Manage>,
    Body(body): Body<PathHoldNew>,
) -> Result<StatusCode> {
    let PathHoldNew { source, site, reason, until } = body;
    if until.is_some_and(|until| until <= api.now()) {
        return Err(Problem::invalid_field(
            "/until",
            "too_small",
            "this time is over; leave it out or name a later one",
        ));
    }
    let path = path_of(&api, &source, &site).await?;
    let detail = json!({ "reason": reason, "until": until });
    api.database().audit_note(&house.access, "path.hold", path.to_string(), detail).await?;
    let held = (api.delivery().hold)(path, PathHold { reason, until }).await;
    held.map(|()| StatusCode::NO_CONTENT).ok_or_else(Problem::unavailable)
}

/// Resume an egress path
///
/// Ends a hold, and tries a site that could not be reached at once. Operators only.
#[utoipa::path(post, path = "/v1/paths/resume", tag = "delivery", operation_id = "path_resume", request_body = PathResume,
    responses((status = 204, description = "resumed, or was not suspended")))]
pub async fn resume(
    State(api): State<Api>,
    house: House<Manage>,
    Body(body): Body<PathResume>,
) -> Result<StatusCode> {
    let path = path_of(&api, &body.source, &body.site).await?;
    api.database().audit_note(&house.access, "path.resume", path.to_string(), json!({})).await?;
    (api.delivery().resume)(path).await.map(|()| StatusCode::NO_CONTENT).ok_or_else(Problem::unavailable)
}

/// A slip in the name of a source would hold nothing and look like a hold. One host of a site stands for the site, if mail has
/// gone there.
async fn path_of(api: &Api, source: &str, site: &str) -> Result<EgressPath> {
    let snapshot = api.snapshot();
    let named =
        snapshot.sources().find(|known| known.name.as_str() == source || known.id.to_string() == source);
    let named = named.ok_or_else(|| {
        Problem::invalid_field("/source", "unknown_reference", "there is no source of this name or id")
    })?;
    let (source, asked) = (SourceName::new(named.name.as_str()), site.to_ascii_lowercase());
    let known = (api.delivery().paths)().await.unwrap_or_default();
    let mut sites = known.into_iter().map(|row| row.path.site);
    let whole = sites.find(|site| {
        let site = site.to_string();
        site == asked || site.split(',').any(|host| host == asked)
    });
    Ok(EgressPath { source, site: whole.unwrap_or_else(|| SiteName::new(asked)) })
}

impl RowsQuery {
    fn rows(&self) -> Result<usize> {
        let limit = self.limit.unwrap_or(ROWS_DEFAULT);
        if !(1..=ROWS_MAX).contains(&limit) {
            return Err(Problem::new(Kind::InvalidParameter, format!("limit must be from 1 to {ROWS_MAX}")));
        }
        Ok(limit as usize)
    }
}

impl From<QueueTotals> for QueueCounts {
    fn from(totals: QueueTotals) -> QueueCounts {
        let QueueTotals { waiting, ready, in_flight, lanes } = totals;
        QueueCounts { waiting, ready, in_flight, queues: lanes }
    }
}

impl From<QueueView> for QueueShape {
    fn from(view: QueueView) -> QueueShape {
        let QueueView { tenant, pool, site, ready, reason, until } = view;
        let detail = reason.as_ref().map(|reason| reason.sentence());
        QueueShape { tenant, pool, site, ready, reason: reason.map(|reason| reason.code()), detail, until }
    }
}

impl From<PathRow> for PathShape {
    fn from(row: PathRow) -> PathShape {
        let PathRow { path, open, window, rate_percent, hold, dead_until } = row;
        PathShape {
            source: path.source.to_string(),
            site: path.site.to_string(),
            open,
            window,
            rate_percent,
            held: hold.map(|hold| HoldShape { reason: hold.reason, until: hold.until }),
            dead_until,
        }
    }
}
