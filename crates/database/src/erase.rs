//! Taking away what is large: a tenant with everything that is its own, and rows whose time is over.
//!
//! A tenant may have millions of rows and a message a hundred thousand recipients. So rows go in parts, each a
//! transaction with a bounded number of them, children before their parents; what a cascade finds in the end is what
//! was written meanwhile. It may be broken off at any point and is taken up again by the next call. What may surprise:
//! in between, a tenant or a message is there with less than it had; a tenant is closing then, a message out of date.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, Parameters, column};
use crate::tenant::tenant_from;
use mail::{TenantId, Timestamp};
use registry::{Access, Right, TenantStatus};
use serde_json::json;
use uuid::Uuid;

/// Rows of one transaction.
const ROWS_MAX: i64 = 5_000;
/// Messages of a tenant that are taken away together.
const MESSAGES_MAX: i64 = 1_000;

impl Database {
    /// Erases a closing tenant and everything that is its own. The audit stays: it names ids and no content.
    /// In parts: after a fault the next call goes on.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant or may not manage; `NotFound` if there is no such
    /// tenant; `InUse` if it is not closing; else as [every call](Database#errors).
    pub async fn tenant_erase(&self, access: &Access, tenant: TenantId) -> Result<(), Fault> {
        // Asked first, because the parts below are no change of the registry and ask nothing.
        if !access.is_house() || !access.may(Right::Manage) {
            return Err(Fault::Forbidden);
        }
        expect_closing(self.tenant_fetch(access, tenant).await?.status)?;
        let sql = "SELECT id FROM messages WHERE tenant_id = $1 ORDER BY id LIMIT $2";
        while self.messages_erase(access, sql, &[&tenant.uuid(), &MESSAGES_MAX]).await? > 0 {}
        for sql in [
            "DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM webhook_deliveries WHERE tenant_id = $1 LIMIT $2))",
            "DELETE FROM events WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM events WHERE tenant_id = $1 LIMIT $2))",
        ] {
            self.drain(access, sql, &[&tenant.uuid(), &ROWS_MAX]).await?;
        }
        self.tenant_delete(access, tenant).await
    }

    /// Removes messages accepted before a time, with their recipients and attempts, at most `limit` messages.
    /// Returns how many messages. In parts.
    ///
    /// # Errors
    /// As [every call](Database#errors); what went before the fault is gone.
    pub async fn message_forget(&self, access: &Access, before: Timestamp, limit: u32) -> Result<u64, Fault> {
        // An id begins with the time it was made at, a moment before acceptance: the primary key finds what is old.
        let millis = u64::try_from(before.as_millis()).unwrap_or(0);
        let bound = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
        let sql = "SELECT id FROM messages WHERE id < $1 AND accepted_at < $2 ORDER BY id LIMIT $3";
        self.messages_erase(access, sql, &[&bound, &before.to_jiff(), &i64::from(limit)]).await
    }

    /// Removes events told before a time, with the calls they caused, at most `limit` of the oldest and never
    /// more than 5000. Returns how many events. Events are looked at in their order, so that nothing but the
    /// oldest is read. In parts.
    ///
    /// # Errors
    /// As [every call](Database#errors); what went before the fault is gone.
    pub async fn event_forget(&self, access: &Access, before: Timestamp, limit: u32) -> Result<u64, Fault> {
        let sql = "SELECT id FROM (SELECT id, at, seq FROM events ORDER BY seq LIMIT $2) AS oldest
                   WHERE at < $1 ORDER BY seq";
        let limit = i64::from(limit).min(ROWS_MAX);
        let ids = self.ids(access, sql, &[&before.to_jiff(), &limit]).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let sql = "DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY
                       (SELECT ctid FROM webhook_deliveries WHERE event_id = ANY ($1) LIMIT $2))";
        self.drain(access, sql, &[&ids, &ROWS_MAX]).await?;
        self.part(access, "DELETE FROM events WHERE id = ANY ($1)", &[&ids]).await
    }

    /// Removes the counts of days (UTC) before that of `before`: what was used, and what became of it.
    /// Returns how many rows. In parts.
    ///
    /// # Errors
    /// As [every call](Database#errors); what went before the fault is gone.
    pub async fn counts_forget(&self, access: &Access, before: Timestamp) -> Result<u64, Fault> {
        let mut gone = 0;
        for sql in [
            "DELETE FROM usage_days WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM usage_days WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date LIMIT $2))",
            "DELETE FROM counters WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM counters WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date LIMIT $2))",
        ] {
            gone += self.drain(access, sql, &[&before.to_jiff(), &ROWS_MAX]).await?;
        }
        Ok(gone)
    }

    /// Removes kept answers of calls made before a time, refresh tokens that have expired, and ended sessions
    /// without one access token that is good. Returns how many answers. In parts.
    ///
    /// # Errors
    /// As [every call](Database#errors); what went before the fault is gone.
    pub async fn idempotency_forget(&self, access: &Access, before: Timestamp) -> Result<u64, Fault> {
        let sql = "DELETE FROM refresh_tokens WHERE ctid = ANY (ARRAY
                       (SELECT ctid FROM refresh_tokens WHERE expires_at < $1 LIMIT $2))";
        self.drain(access, sql, &[&self.now().to_jiff(), &ROWS_MAX]).await?;
        let sql = "DELETE FROM sessions_ended WHERE ctid = ANY (ARRAY
                       (SELECT ctid FROM sessions_ended WHERE until < $1 LIMIT $2))";
        self.drain(access, sql, &[&self.now().to_jiff(), &ROWS_MAX]).await?;
        let sql = "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY
                       (SELECT ctid FROM idempotency_keys
                        WHERE created_at < $1 AND (status IS NOT NULL OR lease_until < $3) LIMIT $2))";
        // A call that is under way keeps its key, however old that is.
        self.drain(access, sql, &[&before.to_jiff(), &ROWS_MAX, &self.now().to_jiff()]).await
    }

    /// The messages that `which` finds. Returns how many that were.
    async fn messages_erase(
        &self,
        access: &Access,
        which: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Fault> {
        let ids = self.ids(access, which, parameters).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        for sql in [
            "DELETE FROM attempts WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM attempts WHERE message_id = ANY ($1) LIMIT $2))",
            "DELETE FROM recipients WHERE ctid = ANY (ARRAY
                 (SELECT ctid FROM recipients WHERE message_id = ANY ($1) LIMIT $2))",
        ] {
            self.drain(access, sql, &[&ids, &ROWS_MAX]).await?;
        }
        self.part(access, "DELETE FROM messages WHERE id = ANY ($1)", &[&ids]).await?;
        Ok(ids.len() as u64)
    }

    async fn ids(&self, access: &Access, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Uuid>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "look for old rows").await?;
        scoped.rows(sql, parameters).await?.iter().map(|row| column(row, "id")).collect()
    }

    /// A statement that takes at most `ROWS_MAX` rows away, again and again until there are no more. Returns how many.
    async fn drain(&self, access: &Access, sql: &str, parameters: Parameters<'_>) -> Result<u64, Fault> {
        let mut gone = 0;
        loop {
            let part = self.part(access, sql, parameters).await?;
            gone += part;
            if part < ROWS_MAX as u64 {
                return Ok(gone);
            }
        }
    }

    async fn part(&self, access: &Access, sql: &str, parameters: Parameters<'_>) -> Result<u64, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "erase rows").await?;
        let gone = scoped.execute(sql, parameters).await?;
        scoped.commit().await?;
        Ok(gone)
    }

    async fn tenant_delete(&self, access: &Access, tenant: TenantId) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "erase a tenant").await?;
        let sql = "SELECT * FROM tenants WHERE id = $1 FOR UPDATE";
        expect_closing(tenant_from(&scoped.one("tenant", sql, &[&tenant.uuid()]).await?)?.status)?;
        scoped.execute("DELETE FROM tenants WHERE id = $1", &[&tenant.uuid()]).await?;
        let change = Change {
            action: "tenant.erase",
            tenant: Some(tenant),
            object: tenant.to_string(),
            detail: json!({}),
        };
        scoped.record(self, change).await?;
        scoped.commit().await
    }
}

fn expect_closing(status: TenantStatus) -> Result<(), Fault> {
    if status == TenantStatus::Closing { Ok(()) } else { Err(Fault::InUse { what: "tenant" }) }
}
