//! A warning before a day's quota is used up: one event per tenant and day.
//!
//! Looked at where recipients are counted, in the transaction of the projection, so that the warning is there exactly
//! when the count is. Its id is made of the tenant and the day: whoever comes to the same conclusion again, after a
//! crash or on another node, makes the same event, and a known id is left alone.

use crate::error::Fault;
use crate::projection::MessageNew;
use crate::scope::{Scoped, column};
use mail::{Event, EventId, EventKind, TenantId, Timestamp};
use serde_json::json;
use uuid::{Builder, Uuid};

/// Percent of `per_day` at which the tenant is told.
const THRESHOLD_PERCENT: i64 = 80;
const DAY_MILLIS: i64 = 86_400_000;

/// Of the tenants and days of `messages`, whose rows are counted already.
pub(crate) async fn quota_warnings(
    scoped: &Scoped<'_>,
    messages: &[MessageNew],
    now: Timestamp,
) -> Result<Vec<Event>, Fault> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<Uuid> = messages.iter().map(|message| message.tenant.uuid()).collect();
    let days: Vec<_> = messages.iter().map(|message| message.accepted_at.to_jiff()).collect();
    let rows = scoped
        .rows(
            "SELECT t.id, m.day::text AS day, (m.day - date '1970-01-01')::bigint AS number, u.used, q.per_day
             FROM (SELECT DISTINCT tenant, (at AT TIME ZONE 'UTC')::date AS day
                   FROM unnest($1::uuid[], $2::timestamptz[]) AS m (tenant, at)) AS m
             JOIN tenants t ON t.id = m.tenant
             CROSS JOIN LATERAL (SELECT (t.plan->>'per_day')::bigint AS per_day) AS q
             CROSS JOIN LATERAL (SELECT sum(recipients)::bigint AS used FROM usage_days
                                 WHERE day = m.day AND tenant_id = t.id) AS u
             -- Divided, not multiplied: a limit may be as large as the type is.
             WHERE u.used >= q.per_day / 100.0 * $3::bigint ORDER BY t.id, m.day",
            &[&tenants, &days, &THRESHOLD_PERCENT],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let tenant = TenantId::from_uuid(column(row, "id")?);
            let (used, limit): (i64, i64) = (column(row, "used")?, column(row, "per_day")?);
            Ok(Event {
                id: warning_id(tenant, column(row, "number")?),
                kind: EventKind::TenantQuotaWarning,
                timestamp: now,
                tenant,
                data: json!({
                    "quota": "per_day", "day": column::<&str>(row, "day")?, "used": used, "limit": limit,
                    "threshold_percent": THRESHOLD_PERCENT,
                }),
            })
        })
        .collect()
}

/// The beginning of the day, and what is random in the id of the tenant.
fn warning_id(tenant: TenantId, day: i64) -> EventId {
    let millis = u64::try_from(day.saturating_mul(DAY_MILLIS)).unwrap_or(0);
    let mut rest = [0; 10];
    rest.copy_from_slice(&tenant.uuid().as_bytes()[6..]);
    EventId::from_uuid(Builder::from_unix_timestamp_millis(millis, &rest).into_uuid())
}
