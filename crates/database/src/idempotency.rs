//! Idempotency keys: a POST that is repeated gets the first answer, and is not done twice.
//!
//! The first request takes the key with a lease; a second one meanwhile is told to wait; after `finish` everybody
//! gets the kept answer. A key that is used for another request is refused. A lease that ran out (we died) can be
//! taken again; whoever takes it is told so, and when the key was first taken, because part of the work may be done.
//! Whoever has lost a key, because it took longer than its lease, can do nothing to it any more: each taking has a holder
//! of its own. Keys belong to the actor, so nobody can ask for another's answer. What a key stands for is stored as a keyed
//! hash, for a request may hold a password. The answer to a change of these tables is kept in the
//! same transaction as the change (`kept.rs`).

use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, column};
use mail::{TenantId, Timestamp};
use registry::Access;
use std::time::Duration;
use uuid::Uuid;

/// One taking of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(pub(crate) Uuid);

/// A key that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// To be shown with whatever is done to the key.
    pub holder: Holder,
    /// When it was first taken.
    pub claimed_at: Timestamp,
}

/// Whose the key is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The caller's.
    Still,
    /// Somebody else took it when the lease had ended, or it was forgotten.
    Lost,
}

/// What to do with a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Do it, then `idempotency_finish`.
    First(Taken),
    /// The same, but it was begun before and nobody knows how far it came.
    Again(Taken),
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
    /// Takes the key for the time of `lease`, or says why not. `request_hash` covers method, path and body.
    ///
    /// # Errors
    /// `NotFound` if the tenant of the access was erased; else as [every call](Database#errors). A key that
    /// somebody has is no fault.
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
        let (holder, secrets) = (Uuid::from_bytes(self.random().bytes()), &self.keys().secrets);
        let (mac, known) = (secrets.request_mac(request_hash, now), secrets.request_macs(request_hash));
        let known: Vec<&[u8]> = known.iter().map(|mac| &mac[..]).collect();
        // A lease that ends when it began was given back: then the key is as good as new for another request.
        let sql =
            "INSERT INTO idempotency_keys AS k (actor, key, tenant_id, request_hash, lease_until, created_at, holder)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)
                   ON CONFLICT (actor, key) DO UPDATE SET lease_until = $5, request_hash = $4, holder = $7,
                     created_at = CASE WHEN k.request_hash = ANY ($8) THEN k.created_at ELSE $6 END
                   WHERE k.status IS NULL AND k.lease_until <= $6
                     AND (k.request_hash = ANY ($8) OR k.lease_until <= k.created_at)
                   RETURNING created_at, xmax <> 0 AS again";
        let taken = scoped
            .optional(
                sql,
                &[
                    &actor,
                    &key,
                    &access.tenant().map(TenantId::uuid),
                    &&mac[..],
                    &now.saturating_add(lease).to_jiff(),
                    &now.to_jiff(),
                    &holder,
                    &known,
                ],
            )
            .await?;
        if let Some(row) = taken {
            let claimed_at = Timestamp::from_jiff(column(&row, "created_at")?);
            let taken = Taken { holder: Holder(holder), claimed_at };
            let again = column(&row, "again")?;
            scoped.commit().await?;
            return Ok(if again { Begun::Again(taken) } else { Begun::First(taken) });
        }
        let sql = "SELECT request_hash, status, body FROM idempotency_keys WHERE actor = $1 AND key = $2";
        // Deleted between the two statements: the other request gave up.
        let Some(row) = scoped.optional(sql, &[&actor, &key]).await? else { return Ok(Begun::Running) };
        if !known.contains(&column::<&[u8]>(&row, "request_hash")?) {
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

    /// The first request takes longer than its lease: nobody may take it for dead. A key whose answer is kept
    /// already may be renewed too, which changes nothing.
    ///
    /// # Errors
    /// As [every call](Database#errors); a key that was lost is no fault.
    pub async fn idempotency_renew(
        &self,
        access: &Access,
        (key, holder): (&str, Holder),
        lease: Duration,
    ) -> Result<Held, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "go on with a request").await?;
        let until = self.now().saturating_add(lease).to_jiff();
        let sql =
            "UPDATE idempotency_keys SET lease_until = $4 WHERE actor = $1 AND key = $2 AND holder = $3";
        let rows = scoped.execute(sql, &[&access.actor().to_string(), &key, &holder.0, &until]).await?;
        scoped.commit().await?;
        Ok(held(rows))
    }

    /// Keeps the answer of the first request, unless it was kept with the change (`kept.rs`).
    ///
    /// # Errors
    /// As [every call](Database#errors); a key that was lost is no fault.
    pub async fn idempotency_finish(
        &self,
        access: &Access,
        (key, holder): (&str, Holder),
        status: u16,
        body: &[u8],
    ) -> Result<Held, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "finish a request").await?;
        let status = i16::try_from(status).unwrap_or(500);
        let sql = "UPDATE idempotency_keys SET status = coalesce(status, $4),
                     body = CASE WHEN status IS NULL THEN $5 ELSE body END
                   WHERE actor = $1 AND key = $2 AND holder = $3";
        let rows =
            scoped.execute(sql, &[&access.actor().to_string(), &key, &holder.0, &status, &body]).await?;
        scoped.commit().await?;
        Ok(held(rows))
    }

    /// Gives the key back, after an answer that should not be kept (5xx, 429). When it was first taken is
    /// remembered: part of the work may be done, whatever was answered.
    ///
    /// # Errors
    /// As [every call](Database#errors); a key that was lost is no fault.
    pub async fn idempotency_release(
        &self,
        access: &Access,
        (key, holder): (&str, Holder),
    ) -> Result<Held, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "give up a request").await?;
        let sql = "UPDATE idempotency_keys SET lease_until = created_at
                   WHERE actor = $1 AND key = $2 AND holder = $3";
        let rows = scoped.execute(sql, &[&access.actor().to_string(), &key, &holder.0]).await?;
        scoped.commit().await?;
        Ok(held(rows))
    }
}

fn held(rows: u64) -> Held {
    if rows == 0 { Held::Lost } else { Held::Still }
}
