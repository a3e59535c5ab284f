//! Idempotency keys: a POST that is repeated gets the first answer, and is not done twice.
//!
//! The first request takes the key with a lease; a second one meanwhile is told to wait; after `finish` everybody
//! gets the kept answer. A key that is used for another request is refused. A lease that ran out (we died) can be
//! taken again; whoever takes it is told so, and when the key was first taken, because part of the work may be done.
//! Keys belong to the actor, so nobody can ask for another's answer. The answer to a change of these tables is kept in the
//! same transaction as the change (`kept.rs`).

use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, column};
use mail::{TenantId, Timestamp};
use registry::Access;
use std::time::Duration;

/// What to do with a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Do it, then `idempotency_finish`.
    First {
        /// When it was begun first: with the key it decides the ids, so that a call begun again makes the same.
        claimed_at: Timestamp,
    },
    /// The same, but it was begun before and nobody knows how far it came. `claimed_at` is as it was then.
    Again {
        /// When it was begun first: with the key it decides the ids, so that a call begun again makes the same.
        claimed_at: Timestamp,
    },
    /// Another request with this key is being done.
    Running,
    /// Done before: answer with this.
    Done {
        /// HTTP status.
        status: u16,
        /// The body, opened.
        body: Vec<u8>,
    },
    /// The key was used for another request.
    Mismatch,
}

impl Database {
    /// `request_hash` covers method, path and body.
    pub async fn idempotency_begin(
        &self,
        access: &Access,
        key: &str,
        request_hash: &[u8; 32],
        lease: Duration,
    ) -> Result<Begun, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "begin a request").await?;
        let (actor, now) = (access.actor().to_string(), self.now());
        // A lease that ends when it began was given back: then the key is as good as new for another request.
        let sql =
            "INSERT INTO idempotency_keys AS k (actor, key, tenant_id, request_hash, lease_until, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6)
                   ON CONFLICT (actor, key) DO UPDATE SET lease_until = $5, request_hash = $4,
                     created_at = CASE WHEN k.request_hash = $4 THEN k.created_at ELSE $6 END
                   WHERE k.status IS NULL AND k.lease_until <= $6
                     AND (k.request_hash = $4 OR k.lease_until <= k.created_at)
                   RETURNING created_at, xmax <> 0 AS again";
        let taken = scoped
            .optional(
                sql,
                &[
                    &actor,
                    &key,
                    &access.tenant().map(TenantId::uuid),
                    &&request_hash[..],
                    &now.saturating_add(lease).to_jiff(),
                    &now.to_jiff(),
                ],
            )
            .await?;
        if let Some(row) = taken {
            let claimed_at = Timestamp::from_jiff(column(&row, "created_at")?);
            let again = column(&row, "again")?;
            scoped.commit().await?;
            return Ok(if again { Begun::Again { claimed_at } } else { Begun::First { claimed_at } });
        }
        let sql = "SELECT request_hash, status, body FROM idempotency_keys WHERE actor = $1 AND key = $2";
        // Deleted between the two statements: the other request gave up.
        let Some(row) = scoped.optional(sql, &[&actor, &key]).await? else { return Ok(Begun::Running) };
        if column::<&[u8]>(&row, "request_hash")? != request_hash {
            return Ok(Begun::Mismatch);
        }
        match column::<Option<i16>>(&row, "status")? {
            None => Ok(Begun::Running),
            Some(status) => Ok(Begun::Done {
                status: u16::try_from(status).unwrap_or(500),
                body: column::<Option<Vec<u8>>>(&row, "body")?.unwrap_or_default(),
            }),
        }
    }

    /// The first request takes longer than its lease: nobody may take it for dead.
    pub async fn idempotency_renew(&self, access: &Access, key: &str, lease: Duration) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "go on with a request").await?;
        let until = self.now().saturating_add(lease).to_jiff();
        let sql =
            "UPDATE idempotency_keys SET lease_until = $3 WHERE actor = $1 AND key = $2 AND status IS NULL";
        scoped.execute(sql, &[&access.actor().to_string(), &key, &until]).await?;
        scoped.commit().await
    }

    /// Keeps the answer of the first request, unless it was kept with the change (`kept.rs`).
    pub async fn idempotency_finish(
        &self,
        access: &Access,
        key: &str,
        status: u16,
        body: &[u8],
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "finish a request").await?;
        let status = i16::try_from(status).unwrap_or(500);
        let sql = "UPDATE idempotency_keys SET status = $3, body = $4
                   WHERE actor = $1 AND key = $2 AND status IS NULL";
        scoped.execute(sql, &[&access.actor().to_string(), &key, &status, &body]).await?;
        scoped.commit().await
    }

    /// Gives the key back, after an answer that should not be kept (5xx, 429). When it was first taken is remembered: part
    /// of the work may be done, whatever was answered.
    pub async fn idempotency_release(&self, access: &Access, key: &str) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "give up a request").await?;
        let sql = "UPDATE idempotency_keys SET lease_until = created_at
                   WHERE actor = $1 AND key = $2 AND status IS NULL";
        scoped.execute(sql, &[&access.actor().to_string(), &key]).await?;
        scoped.commit().await
    }
}
