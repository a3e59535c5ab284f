//! The queue of webhook calls: what is due, leased to one deliverer, and what came of it.
//!
//! A call is made in the transaction of its event (`event.rs`). `webhook_due` leases calls with SKIP LOCKED, so any
//! number of deliverers share the queue; a lease that runs out is given to another, so a receiver may see a call
//! twice and recognises it by `webhook-id`. When to try again is the caller's decision, and so is how much of one
//! tenant or endpoint is leased at once: calls are taken in turn, however long the queue of one of them is.

use crate::connect::Database;
use crate::credential::time_from;
use crate::error::Fault;
use crate::event::events_lock;
use crate::event::{EventRow, event_from};
use crate::kept::Made;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, column};
use mail::{EndpointId, EventId, EventKind, TenantId, Timestamp};
use registry::Access;
use std::time::Duration;
use tokio_postgres::Row;

/// A call that this deliverer has leased.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDue {
    /// Whom to call.
    pub endpoint: EndpointId,
    /// What to tell.
    pub event: EventRow,
    /// Tries so far.
    pub attempts: u32,
}

/// How many calls are leased, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookWanted {
    /// Calls in all.
    pub limit: usize,
    /// Calls of one endpoint.
    pub per_endpoint: usize,
    /// Calls of one tenant that is not in `tenants`.
    pub per_tenant: usize,
    /// Calls of each of these.
    pub tenants: Vec<(TenantId, usize)>,
    /// Endpoints that have as much as they can use.
    pub without: Vec<EndpointId>,
    /// After this long without a result another deliverer may take them.
    pub lease: Duration,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEnd {
    /// The endpoint answered 2yz.
    Delivered,
    /// Try again then.
    Again(Timestamp),
    /// No try was made; it is due then, with as many tries before it as ever.
    Later(Timestamp),
    /// No further try.
    Failed,
}

/// What came of one call, to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookResult {
    /// Whom it was for.
    pub endpoint: EndpointId,
    /// What it told.
    pub event: EventId,
    /// What is to become of it.
    pub end: WebhookEnd,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong, in words for the tenant.
    pub error: Option<String>,
    /// Milliseconds from the start of the look-up to the answer's end.
    pub duration_ms: u64,
}

/// A call as `GET …/webhooks/{w}/deliveries` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDeliveryRow {
    /// What is told.
    pub event: EventId,
    /// What it is about.
    pub kind: EventKind,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Tries so far.
    pub attempts: i32,
    /// When it is tried next, while it is pending.
    pub due_at: Timestamp,
    /// When it was tried last.
    pub last_at: Option<Timestamp>,
    /// HTTP status of the last answer, if there was one.
    pub last_status: Option<i32>,
    /// What went wrong last, in words for the tenant.
    pub last_error: Option<String>,
    /// How long the last try took, in milliseconds.
    pub last_ms: Option<i64>,
    /// UTC.
    pub created_at: Timestamp,
}

/// `waiting` steps from endpoint to endpoint through the index, so its cost is their number and not the length of their
/// queues. The rows are locked last, found by their place, and what they say is looked at again then.
const LEASE_SQL: &str = "
    WITH RECURSIVE waiting AS (
        (SELECT endpoint_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint_id FROM webhook_deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
        FROM waiting w WHERE w.endpoint_id IS NOT NULL),
    rooms AS (SELECT * FROM unnest($6::uuid[], $7::bigint[]) AS r (tenant_id, room)),
    found AS (
        SELECT p.tenant_id, d.*, coalesce(r.room, $5) AS room
        FROM waiting w
        JOIN endpoints p ON p.id = w.endpoint_id AND p.state = 'active'
        LEFT JOIN rooms r ON r.tenant_id = p.tenant_id
        CROSS JOIN LATERAL (
            SELECT q.place_of_row, q.endpoint_id, q.due_at, row_number() OVER (ORDER BY q.due_at) AS place
            FROM (SELECT ctid AS place_of_row, endpoint_id, due_at FROM webhook_deliveries
                  WHERE endpoint_id = w.endpoint_id AND state = 'pending' AND due_at <= $1
                    AND (lease_until IS NULL OR lease_until <= $1)
                  ORDER BY due_at LIMIT $4) q) d
        WHERE w.endpoint_id <> ALL ($8::uuid[]) AND coalesce(r.room, $5) > 0),
    placed AS (
        SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY place, due_at) AS turn FROM found),
    chosen AS (
        SELECT place_of_row FROM placed WHERE turn <= room ORDER BY turn, due_at LIMIT $2),
    due AS (
        SELECT d.endpoint_id, d.event_id FROM webhook_deliveries d
        JOIN chosen c ON c.place_of_row = d.ctid
        WHERE d.state = 'pending' AND (d.lease_until IS NULL OR d.lease_until <= $1)
        FOR UPDATE OF d SKIP LOCKED),
    leased AS (
        UPDATE webhook_deliveries d SET lease_until = $3 FROM due
        WHERE d.endpoint_id = due.endpoint_id AND d.event_id = due.event_id
        RETURNING d.endpoint_id, d.event_id, d.attempts, d.due_at)
    SELECT l.endpoint_id, l.attempts, e.* FROM leased l JOIN events e ON e.id = l.event_id
    ORDER BY l.due_at, e.seq";
/// Steps like the one above. Leases are those of calls that are due, which are claimed in their order: they stand first.
const NEXT_SQL: &str = "
    WITH RECURSIVE waiting AS (
        (SELECT endpoint_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint_id FROM webhook_deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
        FROM waiting w WHERE w.endpoint_id IS NOT NULL)
    SELECT min(least(later.at, leased.at)) AS at
    FROM waiting w
    JOIN endpoints p ON p.id = w.endpoint_id AND p.state = 'active'
    LEFT JOIN LATERAL (
        SELECT greatest(due_at, lease_until) AS at FROM webhook_deliveries
        WHERE endpoint_id = w.endpoint_id AND state = 'pending' AND due_at > $1
        ORDER BY due_at LIMIT 1) later ON true
    LEFT JOIN LATERAL (
        SELECT min(q.lease_until) AS at
        FROM (SELECT lease_until FROM webhook_deliveries
              WHERE endpoint_id = w.endpoint_id AND state = 'pending' AND due_at <= $1
              ORDER BY due_at LIMIT 64) q
        WHERE q.lease_until > $1) leased ON true";
/// What the planner knows of a queue is always old: it would read the whole of it where a step through the index does.
const BY_INDEX_SQL: &str =
    "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// Calls that one replay makes due again.
const REPLAYED_MAX: i64 = 50_000;

/// What a replay has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Calls that are due again.
    pub count: u64,
    /// Whether there are more that were asked for.
    pub more: bool,
    /// When the first of those was made, if they were asked for by time.
    pub next_since: Option<Timestamp>,
}

impl Database {
    /// Calls to active endpoints that are due, leased. Tenants take turns, and the endpoints of a tenant; of
    /// one endpoint the longest due come first.
    ///
    /// # Errors
    /// As [every call](Database#errors); no right is needed.
    pub async fn webhook_due(
        &self,
        access: &Access,
        wanted: &WebhookWanted,
    ) -> Result<Vec<WebhookDue>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "lease webhook calls").await?;
        scoped.batch(BY_INDEX_SQL).await?;
        let now = self.now();
        let (tenants, rooms): (Vec<_>, Vec<_>) =
            wanted.tenants.iter().map(|(tenant, room)| (tenant.uuid(), as_i64(*room))).unzip();
        let without: Vec<_> = wanted.without.iter().map(|endpoint| endpoint.uuid()).collect();
        let rows = scoped
            .rows(
                LEASE_SQL,
                &[
                    &now.to_jiff(),
                    &as_i64(wanted.limit),
                    &now.saturating_add(wanted.lease).to_jiff(),
                    &as_i64(wanted.per_endpoint),
                    &as_i64(wanted.per_tenant),
                    &tenants,
                    &rooms,
                    &without,
                ],
            )
            .await?;
        let due = rows
            .iter()
            .map(|row| {
                Ok(WebhookDue {
                    endpoint: EndpointId::from_uuid(column(row, "endpoint_id")?),
                    event: event_from(row)?,
                    attempts: u32::try_from(column::<i32>(row, "attempts")?).unwrap_or(0),
                })
            })
            .collect::<Result<_, Fault>>()?;
        scoped.commit().await?;
        Ok(due)
    }

    /// When the next call to an active endpoint is due, or the lease of one ends, after this time. What was
    /// due by then and is not leased is not looked at.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn webhook_next(&self, access: &Access, after: Timestamp) -> Result<Option<Timestamp>, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, None, Intent::Read, "ask for the next webhook call").await?;
        scoped.batch(BY_INDEX_SQL).await?;
        let row = scoped.one("webhook call", NEXT_SQL, &[&after.to_jiff()]).await?;
        time_from(&row, "at")
    }

    /// Writes down what came of tries and gives the leases back. A call that is not pending any more is
    /// passed over.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn webhook_done(&self, access: &Access, results: &[WebhookResult]) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "write webhook results").await?;
        let now = self.now();
        for result in results {
            let (state, due, tries) = match result.end {
                WebhookEnd::Delivered => ("delivered", now, 1),
                WebhookEnd::Again(at) => ("pending", at, 1),
                WebhookEnd::Later(at) => ("pending", at, 0),
                WebhookEnd::Failed => ("failed", now, 1),
            };
            scoped
                .execute(
                    "UPDATE webhook_deliveries SET state = $3, due_at = $4, lease_until = NULL, last_at = $5,
                            last_status = $6, last_error = $7, last_ms = $8, attempts = attempts + $9
                     WHERE endpoint_id = $1 AND event_id = $2 AND state = 'pending'",
                    &[
                        &result.endpoint.uuid(),
                        &result.event.uuid(),
                        &state,
                        &due.to_jiff(),
                        &now.to_jiff(),
                        &result.status.map(i32::from),
                        &result.error,
                        &i64::try_from(result.duration_ms).unwrap_or(i64::MAX),
                        &tries,
                    ],
                )
                .await?;
        }
        scoped.commit().await
    }

    /// Newest first. An endpoint that is not the tenant's has none.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn webhook_delivery_list(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
        page: &PageRequest,
    ) -> Result<Page<WebhookDeliveryRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Read, "list webhook calls").await?;
        let sql = "SELECT d.*, e.kind FROM webhook_deliveries d JOIN events e ON e.id = d.event_id
                   WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND d.event_id < $3
                   ORDER BY d.event_id DESC LIMIT $4";
        let rows = scoped
            .rows(sql, &[&tenant.uuid(), &endpoint.uuid(), &page.before_id(List::Deliveries)?, &page.fetch()])
            .await?;
        page.finish(rows, delivery_from, |row| id_cursor(List::Deliveries, row.event.uuid()))
    }

    /// Makes calls due again that have failed, or all that were made since a time, but for those that wait for their first
    /// attempt; the oldest `REPLAYED_MAX` of them.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; else as [every call](Database#errors); no right is
    /// needed, so the caller asks for it.
    pub async fn webhook_replay(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
        since: Option<Timestamp>,
    ) -> Result<Replayed, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Note, "replay webhook calls").await?;
        let known = "SELECT 1 FROM endpoints WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE";
        scoped.one("webhook", known, &[&tenant.uuid(), &endpoint.uuid()]).await?;
        let (now, since) = (self.now().to_jiff(), since.map(Timestamp::to_jiff));
        let wanted = match since {
            None => "state = 'failed' AND $5::timestamptz IS NULL",
            Some(_) => "created_at >= $5 AND NOT (state = 'pending' AND attempts = 0)",
        };
        let sql = format!(
            "WITH picked AS MATERIALIZED (
                 SELECT event_id, created_at FROM webhook_deliveries
                 WHERE tenant_id = $1 AND endpoint_id = $2 AND {wanted}
                 ORDER BY created_at, event_id LIMIT $4::bigint + 1),
             due AS (
                 UPDATE webhook_deliveries d SET state = 'pending', attempts = 0, due_at = $3, lease_until = NULL
                 -- An array and no join, which a planner that knows nothing of a long queue makes a loop in a loop.
                 WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND d.event_id = ANY (ARRAY(
                     SELECT event_id FROM picked ORDER BY created_at, event_id LIMIT $4)) RETURNING 1)
             SELECT (SELECT count(*) FROM due) AS replayed,
                    (SELECT created_at FROM picked ORDER BY created_at, event_id OFFSET $4 LIMIT 1) AS rest"
        );
        let row = scoped
            .one("webhook", &sql, &[&tenant.uuid(), &endpoint.uuid(), &now, &REPLAYED_MAX, &since])
            .await?;
        let count = u64::try_from(column::<i64>(&row, "replayed")?).unwrap_or(0);
        let rest = time_from(&row, "rest")?;
        let replayed = Replayed { count, more: rest.is_some(), next_since: rest.filter(|_| since.is_some()) };
        scoped.notice().await?;
        scoped.commit_made(Made::Replayed(replayed)).await?;
        Ok(replayed)
    }

    /// A `webhook.test` event to this endpoint only, due at once.
    ///
    /// # Errors
    /// `NotFound` for an endpoint of another tenant as for none; else as [every call](Database#errors); no
    /// right is needed, so the caller asks for it.
    pub async fn webhook_test(
        &self,
        access: &Access,
        tenant: TenantId,
        endpoint: EndpointId,
    ) -> Result<EventId, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Note, "test a webhook").await?;
        let sql = "SELECT 1 FROM endpoints WHERE tenant_id = $1 AND id = $2 FOR KEY SHARE";
        scoped.one("webhook", sql, &[&tenant.uuid(), &endpoint.uuid()]).await?;
        events_lock(&scoped).await?;
        let now = self.now();
        let id = EventId::mint(now, &mut self.random());
        let data = serde_json::json!({ "webhook": endpoint });
        let sql = "WITH e AS (INSERT INTO events (id, tenant_id, kind, at, data) VALUES ($1, $2, $3, $4, $5))
                   INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, state, due_at, created_at)
                   VALUES ($6, $1, $2, 'pending', $4, $4)";
        let kind = EventKind::WebhookTest.as_str();
        scoped
            .execute(sql, &[&id.uuid(), &tenant.uuid(), &kind, &now.to_jiff(), &data, &endpoint.uuid()])
            .await?;
        scoped.notice().await?;
        scoped.commit_made(Made::Event(id)).await?;
        Ok(id)
    }
}

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn delivery_from(row: &Row) -> Result<WebhookDeliveryRow, Fault> {
    Ok(WebhookDeliveryRow {
        event: EventId::from_uuid(column(row, "event_id")?),
        kind: crate::scope::parsed(row, "kind", EventKind::parse)?,
        state: column(row, "state")?,
        attempts: column(row, "attempts")?,
        due_at: Timestamp::from_jiff(column(row, "due_at")?),
        last_at: time_from(row, "last_at")?,
        last_status: column(row, "last_status")?,
        last_error: column(row, "last_error")?,
        last_ms: column(row, "last_ms")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
