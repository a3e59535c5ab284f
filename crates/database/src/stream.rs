//! Streams of a tenant. A stream may only name a pool that is shared or the tenant's own.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest};
use crate::pool::pool_must_be_open;
use crate::scope::{Intent, Scoped, Whose, column, parsed};
use mail::{PoolId, StreamId, TenantId, Timestamp};
use registry::{Access, Slug, Stream, StreamKind};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// A stream to be made.
#[derive(Debug, Clone)]
pub struct StreamNew {
    /// Unique within the tenant.
    pub name: Slug,
    /// Whether somebody waits for each message; never changes.
    pub kind: StreamKind,
    /// What its mail leaves from.
    pub pool: PoolId,
    /// Stands in when that pool cannot send; none: its mail waits.
    pub overflow_pool: Option<PoolId>,
    /// Its mail is settled as expired after this long: from one minute to 14 days, in whole seconds.
    pub expires_after: Duration,
}

/// What is to be changed; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct StreamChange {
    /// What headers and requests name it by from now on.
    pub name: Option<Slug>,
    /// What its mail leaves from, also that which waits.
    pub pool: Option<PoolId>,
    /// `Some(None)` takes the overflow pool away.
    pub overflow_pool: Option<Option<PoolId>>,
    /// For mail that is accepted from now on: from one minute to 14 days, in whole seconds.
    pub expires_after: Option<Duration>,
}

impl Database {
    /// Makes a stream of the tenant.
    ///
    /// # Errors
    /// `Conflict` if the tenant has one of this name; `Missing` for a pool that is neither shared nor the
    /// tenant's own; `Invalid` if mail would expire before one minute or after 14 days; else as
    /// [every call](Database#errors).
    pub async fn stream_create(
        &self,
        access: &Access,
        tenant: TenantId,
        new: &StreamNew,
    ) -> Result<Stream, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "create a stream").await?;
        let stream = stream_insert(self, &scoped, tenant, new).await?;
        scoped.record(self, change_of("stream.create", &stream)).await?;
        scoped.commit_made(Made::Stream(&stream)).await?;
        Ok(stream)
    }

    /// One stream.
    ///
    /// # Errors
    /// `NotFound` for a stream of another tenant as for none; else as [every call](Database#errors).
    pub async fn stream_fetch(
        &self,
        access: &Access,
        tenant: TenantId,
        stream: StreamId,
    ) -> Result<Stream, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a stream").await?;
        stream_of(&scoped, tenant, stream).await
    }

    /// All of the tenant, newest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn stream_list(
        &self,
        access: &Access,
        tenant: TenantId,
        page: &PageRequest,
    ) -> Result<Page<Stream>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list streams").await?;
        scoped.newest((List::Streams, "streams"), tenant, page, stream_from, |stream| stream.id.uuid()).await
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound` for a stream of another tenant as for none; `Conflict` if the tenant has another of this
    /// name; `Missing` for a pool that is neither shared nor the tenant's own; `Invalid` if mail would expire
    /// before one minute or after 14 days; else as [every call](Database#errors).
    pub async fn stream_update(
        &self,
        access: &Access,
        tenant: TenantId,
        stream: StreamId,
        change: &StreamChange,
    ) -> Result<Stream, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "update a stream").await?;
        // Locked, so that of two changes at once none undoes the other.
        let sql = "SELECT 1 FROM streams WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE";
        scoped.one("stream", sql, &[&tenant.uuid(), &stream.uuid()]).await?;
        let mut next = stream_of(&scoped, tenant, stream).await?;
        next.name = change.name.clone().unwrap_or(next.name);
        next.pool = change.pool.unwrap_or(next.pool);
        next.overflow_pool = change.overflow_pool.unwrap_or(next.overflow_pool);
        next.expires_after = change.expires_after.unwrap_or(next.expires_after);
        pools_must_be_open(&scoped, tenant, next.pool, next.overflow_pool).await?;
        scoped
            .execute(
                "UPDATE streams SET name = $3, pool_id = $4, overflow_pool_id = $5, expires_seconds = $6
                 WHERE tenant_id = $1 AND id = $2",
                &[
                    &tenant.uuid(),
                    &stream.uuid(),
                    &next.name.as_str(),
                    &next.pool.uuid(),
                    &next.overflow_pool.map(PoolId::uuid),
                    &seconds(next.expires_after)?,
                ],
            )
            .await?;
        scoped.record(self, change_of("stream.update", &next)).await?;
        scoped.commit().await?;
        Ok(next)
    }

    /// Takes a stream away that nothing is bound to. Of revoked credentials and API keys nobody knows then
    /// which they were bound to.
    ///
    /// # Errors
    /// `InUse` while a credential or an API key that is not revoked is bound to it; `Last` if the tenant would
    /// have none left to send in; `NotFound` for a stream of another tenant as for none; else as
    /// [every call](Database#errors).
    pub async fn stream_delete(
        &self,
        access: &Access,
        tenant: TenantId,
        stream: StreamId,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "delete a stream").await?;
        // Locked, so that two calls cannot delete one each.
        let sql = "SELECT id FROM streams WHERE tenant_id = $1 FOR UPDATE";
        let streams = scoped.rows(sql, &[&tenant.uuid()]).await?;
        if let [last] = streams.as_slice()
            && column::<Uuid>(last, "id")? == stream.uuid()
        {
            return Err(Fault::Last { what: "last stream" });
        }
        // What was revoked stays listed, and must not keep the stream for ever.
        for table in ["credentials", "api_keys"] {
            let sql = format!(
                "UPDATE {table} SET stream_id = NULL
                  WHERE tenant_id = $1 AND stream_id = $2 AND revoked_at IS NOT NULL"
            );
            scoped.execute(&sql, &[&tenant.uuid(), &stream.uuid()]).await?;
        }
        let sql = "DELETE FROM streams WHERE tenant_id = $1 AND id = $2";
        let gone = scoped.execute(sql, &[&tenant.uuid(), &stream.uuid()]).await;
        if gone.map_err(|fault| fault.in_use("stream"))? == 0 {
            return Err(Fault::NotFound("stream"));
        }
        let change = Change {
            action: "stream.delete",
            tenant: Some(tenant),
            object: stream.to_string(),
            detail: json!({}),
        };
        scoped.record(self, change).await?;
        scoped.commit().await
    }
}

pub(crate) async fn stream_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: TenantId,
    new: &StreamNew,
) -> Result<Stream, Fault> {
    pools_must_be_open(scoped, tenant, new.pool, new.overflow_pool).await?;
    let now = database.now();
    let row = scoped
        .one(
            "stream",
            "INSERT INTO streams (id, tenant_id, name, kind, pool_id, overflow_pool_id, expires_seconds, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *",
            &[
                &StreamId::mint(now, &mut database.random()).uuid(),
                &tenant.uuid(),
                &new.name.as_str(),
                &new.kind.as_str(),
                &new.pool.uuid(),
                &new.overflow_pool.map(PoolId::uuid),
                &seconds(new.expires_after)?,
                &now.to_jiff(),
            ],
        )
        .await?;
    stream_from(&row)
}

/// Every stream, for the follower.
pub(crate) async fn streams_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<Stream>, Fault> {
    scoped
        .rows("SELECT * FROM streams WHERE $1::uuid[] IS NULL OR tenant_id = ANY ($1)", &[&whose])
        .await?
        .iter()
        .map(stream_from)
        .collect()
}

async fn stream_of(scoped: &Scoped<'_>, tenant: TenantId, stream: StreamId) -> Result<Stream, Fault> {
    let sql = "SELECT * FROM streams WHERE tenant_id = $1 AND id = $2";
    stream_from(&scoped.one("stream", sql, &[&tenant.uuid(), &stream.uuid()]).await?)
}

async fn pools_must_be_open(
    scoped: &Scoped<'_>,
    tenant: TenantId,
    pool: PoolId,
    overflow: Option<PoolId>,
) -> Result<(), Fault> {
    pool_must_be_open(scoped, tenant, pool, "pool").await?;
    match overflow {
        None => Ok(()),
        Some(overflow) => pool_must_be_open(scoped, tenant, overflow, "overflow_pool").await,
    }
}

fn seconds(duration: Duration) -> Result<i64, Fault> {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    // A minute so that one retry fits; 14 days because nobody waits longer for mail.
    if !(60..=14 * 86_400).contains(&seconds) {
        let reason = "must be from one minute to 14 days".to_owned();
        return Err(Fault::Invalid { field: "expires_after", reason });
    }
    Ok(seconds)
}

fn change_of(action: &'static str, stream: &Stream) -> Change {
    let detail = json!({
        "name": stream.name, "kind": stream.kind, "pool": stream.pool, "overflow_pool": stream.overflow_pool,
        "expires_seconds": stream.expires_after.as_secs(),
    });
    Change { action, tenant: Some(stream.tenant), object: stream.id.to_string(), detail }
}

fn stream_from(row: &Row) -> Result<Stream, Fault> {
    let seconds: i64 = column(row, "expires_seconds")?;
    Ok(Stream {
        id: StreamId::from_uuid(column(row, "id")?),
        tenant: TenantId::from_uuid(column(row, "tenant_id")?),
        name: parsed(row, "name", |text| Slug::parse(text).ok())?,
        kind: parsed(row, "kind", StreamKind::parse)?,
        pool: PoolId::from_uuid(column(row, "pool_id")?),
        overflow_pool: column::<Option<Uuid>>(row, "overflow_pool_id")?.map(PoolId::from_uuid),
        expires_after: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
