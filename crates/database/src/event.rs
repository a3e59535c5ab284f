//! Events as tenants read them, in one order per house, and the webhook calls they cause.
//!
//! An event and the calls to the endpoints that want it are written in one transaction: an event that is in the
//! list is either delivered, queued or was not wanted. `seq` is the cursor of `GET …/events`.

use crate::connect::Database;
use crate::error::Fault;
use crate::page::{List, Page, PageRequest, number_cursor};
use crate::scope::{Intent, Scoped, column, parsed};
use mail::{Event, EventId, EventKind, TenantId, Timestamp};
use registry::Access;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// Key of the lock that makes the order of numbers the order of commits: "events" as a number.
const EVENTS_LOCK: i64 = 0x6576_656e_7473;

/// An event with its place in the list.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Its place in the list, from 1 and with gaps, given when it was told: cursors are made of it.
    pub seq: i64,
    /// As webhooks and the API tell it.
    pub event: Event,
}

const LIST: &str = "SELECT * FROM events WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";

const LIST_SINCE: &str =
    "SELECT * FROM events WHERE tenant_id = $1 AND seq > $2 AND at >= $4 ORDER BY seq LIMIT $3";

/// A number is given when something is told, which may be long after it happened: an attempt at a slow site is told when it
/// ends. What was told later than this may be left out of what is read from a time on.
const TOLD_LATE_MAX: Duration = Duration::from_secs(3600);
/// Numbers that are read rather than halved again.
const NUMBERS_FEW: i64 = 200;

impl Database {
    /// Oldest first, from the cursor on, and if asked only what happened since. `next` is always given, because events
    /// never end: behind the last row, or where such rows will come.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn event_list(
        &self,
        access: &Access,
        tenant: TenantId,
        page: &PageRequest,
        since: Option<Timestamp>,
    ) -> Result<Page<EventRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list events").await?;
        let (tenant, after, fetch) = (tenant.uuid(), page.after_number(List::Events)?, page.fetch());
        let (rows, after) = match since {
            None => (scoped.rows(LIST, &[&tenant, &after, &fetch]).await?, after),
            Some(since) => {
                let after = before_time(&scoped, tenant, after, since).await?;
                (scoped.rows(LIST_SINCE, &[&tenant, &after, &fetch, &since.to_jiff()]).await?, after)
            }
        };
        let mut found = page.finish(rows, event_from, |row| number_cursor(List::Events, row.seq))?;
        let last = found.rows.last().map_or(after, |row| row.seq);
        found.next = Some(number_cursor(List::Events, last));
        Ok(found)
    }
}

/// A number, `after` at least, up to which nothing happened at `since` or later. Found by halving: whatever happened
/// `TOLD_LATE_MAX` before `since` was told before it, and so was all with a lower number.
async fn before_time(scoped: &Scoped<'_>, tenant: Uuid, after: i64, since: Timestamp) -> Result<i64, Fault> {
    const LAST: &str = "SELECT seq FROM events WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 1";
    const NEXT: &str = "SELECT seq, at FROM events WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT 1";
    let late = i64::try_from(TOLD_LATE_MAX.as_millis()).unwrap_or(0);
    let early = Timestamp::from_millis(since.as_millis().saturating_sub(late));
    let Some(last) = scoped.optional(LAST, &[&tenant]).await? else { return Ok(after) };
    let (mut low, mut high) = (after, column::<i64>(&last, "seq")?);
    while high.saturating_sub(low) > NUMBERS_FEW {
        let middle = low + (high - low) / 2;
        let next = scoped.optional(NEXT, &[&tenant, &middle]).await?;
        match next {
            Some(row) if Timestamp::from_jiff(column(&row, "at")?) < early => low = column(&row, "seq")?,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// One event within a change of the registry.
pub(crate) async fn event_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: TenantId,
    kind: EventKind,
    data: Value,
) -> Result<(), Fault> {
    let now = database.now();
    let id = EventId::mint(now, &mut database.random());
    events_insert(scoped, &[Event { id, kind, timestamp: now, tenant, data }], now).await
}

/// To be held by whoever inserts events, until the end of its transaction. A number is taken before its transaction
/// commits; without this lock a reader could pass a number that shows up later. Always taken before the row of
/// `registry`, so that the two locks have one order.
pub(crate) async fn events_lock(scoped: &Scoped<'_>) -> Result<(), Fault> {
    scoped.execute("SELECT pg_advisory_xact_lock($1)", &[&EVENTS_LOCK]).await?;
    Ok(())
}

/// Events, and a call for every active endpoint of the tenant that wants them. Known ids are left alone.
pub(crate) async fn events_insert(
    scoped: &Scoped<'_>,
    events: &[Event],
    now: Timestamp,
) -> Result<(), Fault> {
    if events.is_empty() {
        return Ok(());
    }
    events_lock(scoped).await?;
    let ids: Vec<_> = events.iter().map(|event| event.id.uuid()).collect();
    let endpoints = endpoints_hold(scoped, events).await?;
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.uuid()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let times: Vec<_> = events.iter().map(|event| event.timestamp.to_jiff()).collect();
    let data: Vec<_> = events.iter().map(|event| &event.data).collect();
    scoped
        .execute(
            "WITH fresh AS (
                 INSERT INTO events (id, tenant_id, kind, at, data)
                 SELECT e.id, e.tenant_id, e.kind, e.at, e.data
                 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::jsonb[])
                      WITH ORDINALITY AS e (id, tenant_id, kind, at, data, place)
                 WHERE EXISTS (SELECT FROM tenants t WHERE t.id = e.tenant_id)
                 -- Without it a join may shuffle them, and a delivery be told before its acceptance.
                 ORDER BY e.place
                 ON CONFLICT (id) DO NOTHING RETURNING id, tenant_id, kind)
             INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, state, due_at, created_at)
             SELECT p.id, f.id, f.tenant_id, 'pending', $6, $6
             FROM fresh f JOIN endpoints p ON p.tenant_id = f.tenant_id
             WHERE p.id = ANY ($7) AND p.state <> 'disabled' AND (p.kinds = '{}' OR f.kind = ANY (p.kinds))
             ON CONFLICT DO NOTHING",
            &[&ids, &tenants, &kinds, &times, &data, &now.to_jiff(), &endpoints],
        )
        .await?;
    Ok(())
}

/// The endpoints that may get calls; they stay until the commit. One that is deleted at this moment would take the
/// events of everybody else in the statement along.
async fn endpoints_hold(scoped: &Scoped<'_>, events: &[Event]) -> Result<Vec<Uuid>, Fault> {
    let tenants: BTreeSet<Uuid> = events.iter().map(|event| event.tenant.uuid()).collect();
    let tenants: Vec<Uuid> = tenants.into_iter().collect();
    let sql = "SELECT id FROM endpoints WHERE tenant_id = ANY ($1) ORDER BY id FOR KEY SHARE";
    scoped.rows(sql, &[&tenants]).await?.iter().map(|row| column(row, "id")).collect()
}

pub(crate) fn event_from(row: &Row) -> Result<EventRow, Fault> {
    Ok(EventRow {
        seq: column(row, "seq")?,
        event: Event {
            id: EventId::from_uuid(column(row, "id")?),
            kind: parsed(row, "kind", EventKind::parse)?,
            timestamp: Timestamp::from_jiff(column(row, "at")?),
            tenant: TenantId::from_uuid(column(row, "tenant_id")?),
            data: column(row, "data")?,
        },
    })
}
