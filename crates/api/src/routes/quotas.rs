//! What a tenant may use, and what it has used.

use crate::auth::{House, Manage, Read, Within};
use crate::body::{Answer, Body, Result};
use crate::page::Query;
use crate::problem::{Kind, Problem};
use crate::routes::plan::PlanShape;
use crate::state::Api;
use aws_lc_rs::digest;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use database::{CounterRow, Fault, TenantChange};
use mail::{StreamId, Timestamp};
use registry::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Days that one answer spans.
const DAYS_MAX: u64 = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// A time on the first day (UTC); 30 days ago if absent.
    #[param(value_type = Option<String>, format = "date-time")]
    since: Option<Timestamp>,
    /// A time on the last day (UTC); today if absent.
    #[param(value_type = Option<String>, format = "date-time")]
    until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct UsageAnswer {
    /// Oldest day first.
    data: Vec<UsageDay>,
    /// Recipients over all days and streams.
    totals: BTreeMap<String, i64>,
}

/// Recipients of one stream on one day (UTC).
#[derive(Serialize, ToSchema)]
pub struct UsageDay {
    #[schema(example = "2026-11-23")]
    day: String,
    #[schema(value_type = String)]
    stream: StreamId,
    /// `accepted`, `delivered`, `bounced`, … and how many.
    counts: BTreeMap<String, i64>,
}

/// Show the quotas of a tenant
#[utoipa::path(get, path = "/v1/tenants/{tenant}/quotas", tag = "quotas", operation_id = "quota_fetch",
    responses((status = 200, body = PlanShape, headers(("ETag" = String)), description = "the limits in force; their state is the ETag")))]
pub async fn fetch(State(api): State<Api>, scope: Within<Read>) -> Result<Tagged> {
    Ok(tagged(api.database().tenant_fetch(&scope.access, scope.tenant).await?.plan))
}

/// Set the quotas of a tenant
///
/// All of them; what is left out gets its default. With `If-Match` only if they are still as they were read. Operators only.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/quotas", tag = "quotas", operation_id = "quota_update",
    params(("If-Match" = Option<String>, Header, description = "the ETag of the quotas as they were read")),
    request_body = PlanShape, responses((status = 200, body = PlanShape, headers(("ETag" = String)), description = "the limits now in force")))]
pub async fn update(
    State(api): State<Api>,
    house: House<Manage>,
    scope: Within<Manage>,
    headers: HeaderMap,
    Body(body): Body<PlanShape>,
) -> Result<Tagged> {
    let plan_before = if headers.contains_key(header::IF_MATCH) {
        let plan = api.database().tenant_fetch(&scope.access, scope.tenant).await?.plan;
        expect_match(&headers, &plan)?;
        // And nobody comes between.
        Some(plan)
    } else {
        None
    };
    let change = TenantChange { name: None, plan: Some(Plan::from(body)), plan_before };
    let tenant = api.database().tenant_update(&house.access, scope.tenant, &change).await?;
    Ok(tagged(tenant.plan))
}

/// Quotas with their state (RFC 9110 §8.8.3).
type Tagged = ([(header::HeaderName, String); 1], Answer<PlanShape>);

fn tagged(plan: Plan) -> Tagged {
    ([(header::ETAG, tag(&plan))], Answer::ok(plan.into()))
}

/// The same for the same limits, whoever set them and when.
fn tag(plan: &Plan) -> String {
    let octets = serde_json::to_vec(&PlanShape::from(plan.clone())).unwrap_or_default();
    let hash = digest::digest(&digest::SHA256, &octets);
    let digits: String = hash.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("\"{digits}\"")
}

/// A weak tag never matches; tags may stand in one field line or in several (RFC 9110 §5.3, §13.1.1).
fn expect_match(headers: &HeaderMap, plan: &Plan) -> Result<()> {
    let now = tag(plan);
    let lines = headers.get_all(header::IF_MATCH).iter().filter_map(|line| line.to_str().ok());
    if lines.flat_map(|line| line.split(',')).map(str::trim).any(|tag| tag == "*" || tag == now) {
        return Ok(());
    }
    Err(Problem::from(Fault::Changed { what: "plan" }))
}

/// Show what was used
///
/// Recipients by day, stream and outcome, a moment behind.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/usage", tag = "quotas", operation_id = "usage_fetch", params(UsageQuery),
    responses((status = 200, body = UsageAnswer, description = "counts by day and stream")))]
pub async fn usage(
    State(api): State<Api>,
    scope: Within<Read>,
    Query(query): Query<UsageQuery>,
) -> Result<Answer<UsageAnswer>> {
    let until = query.until.unwrap_or_else(|| api.now());
    let month = i64::try_from(Duration::from_secs(30 * 86_400).as_millis()).unwrap_or(i64::MAX);
    let since = query.since.unwrap_or(Timestamp::from_millis(until.as_millis().saturating_sub(month)));
    if until < since || until.saturating_since(since) > Duration::from_secs(DAYS_MAX * 86_400) {
        return Err(Problem::new(
            Kind::InvalidParameter,
            format!("since and until must span 0 to {DAYS_MAX} days"),
        ));
    }
    let rows = api.database().counter_list(&scope.access, scope.tenant, since, until).await?;
    Ok(Answer::ok(usage_of(rows)))
}

/// Rows come by day and stream.
fn usage_of(rows: Vec<CounterRow>) -> UsageAnswer {
    let (mut data, mut totals): (Vec<UsageDay>, BTreeMap<String, i64>) = (Vec::new(), BTreeMap::new());
    for CounterRow { day, stream, what, count } in rows {
        *totals.entry(what.clone()).or_default() += count;
        match data.last_mut() {
            Some(last) if last.day == day && last.stream == stream => {
                last.counts.insert(what, count);
            }
            _ => data.push(UsageDay { day, stream, counts: [(what, count)].into() }),
        }
    }
    UsageAnswer { data, totals }
}
