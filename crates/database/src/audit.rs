//! The audit: who changed what, as a chain that cannot be mended unseen; and with it the generation.
//!
//! `Scoped::record` is the last step of every change of the registry: it takes the next generation, links an entry
//! to the one before by SHA-256, and notifies the followers. The lock on the one row of `registry` puts all changes
//! in one order. The runtime role can add to the table and never change it; `audit_verify` walks the chain.
//! Details hold names and numbers of the change, never a secret.

use crate::connect::Database;
use crate::error::Fault;
use crate::page::{List, Page, PageRequest, number_cursor};
use crate::scope::{Intent, Scoped, column, corrupt};
use aws_lc_rs::digest::{SHA256, digest};
use mail::{AuditId, TenantId, Timestamp};
use registry::{Access, Generation};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

/// Name of the channel on which followers wait. No payload is used.
pub(crate) const CHANNEL: &str = "posthouse_registry";

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    /// A UUID of version 7: sorted by time.
    pub id: AuditId,
    /// Version of the registry that the change made: 1 for the first, then one more each.
    pub generation: i64,
    /// UTC.
    pub at: Timestamp,
    /// Whose registry was changed; none for the operator's.
    pub tenant: Option<TenantId>,
    /// Who did it: the id of a person or a key, or `house:` with why one of our workers acted.
    pub actor: String,
    /// What was done, as object and verb: `tenant.update`.
    pub action: String,
    /// The id of what was changed.
    pub object: String,
    /// What was changed about it; holds no secret and no content of mail.
    pub detail: Value,
    /// SHA-256 over the previous hash and everything above, in hexadecimal.
    pub hash: String,
}

/// What `audit_verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AuditVerdict {
    /// Entries that were looked at, from the first on.
    pub entries: u64,
    /// The first generation at which the chain does not hold.
    pub broken_at: Option<i64>,
}

/// A change of the registry, as the audit keeps it.
pub(crate) struct Change {
    /// Noun first: `tenant.create`.
    pub action: &'static str,
    pub tenant: Option<TenantId>,
    pub object: String,
    pub detail: Value,
}

impl Scoped<'_> {
    /// Ends a change: next generation, next link, notice. Nothing but the answer that is kept (`kept.rs`) and the commit
    /// come after it, because from here on all other changes wait.
    pub(crate) async fn record(&self, database: &Database, change: Change) -> Result<Generation, Fault> {
        let head = self
            .one(
                "registry",
                "UPDATE registry SET generation = generation + 1
                 RETURNING generation, audit_head, sealing_version_min",
                &[],
            )
            .await?;
        let now = database.now();
        let needed: i32 = column(&head, "sealing_version_min")?;
        // Whoever seals nothing has no key.
        if database.keys().sealing.in_force(now).is_some_and(|version| i64::from(version) < i64::from(needed))
        {
            return Err(Fault::Sealing {
                what: "seal with a master key that was retired: copy the key file to this node and restart it",
            });
        }
        let id = AuditId::mint(now, &mut database.random());
        let generation: i64 = column(&head, "generation")?;
        let (actor, detail) = (self.access.actor().to_string(), change.detail.to_string());
        let hash = link(&Link {
            previous: column(&head, "audit_head")?,
            generation,
            id: id.uuid(),
            at: now.as_millis(),
            tenant: change.tenant.map(TenantId::uuid),
            texts: [&actor, change.action, &change.object, &detail],
        });
        self.execute(
            "INSERT INTO audit (generation, id, at, tenant_id, actor, action, object, detail, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                &generation,
                &id.uuid(),
                &now.as_millis(),
                &change.tenant.map(TenantId::uuid),
                &actor,
                &change.action,
                &change.object,
                &detail,
                &&hash[..],
            ],
        )
        .await?;
        self.execute("UPDATE registry SET audit_head = $1", &[&&hash[..]]).await?;
        self.notice().await?;
        Ok(Generation(generation))
    }

    /// Wakes every node when the transaction commits. Says nothing: whoever is woken looks for itself.
    pub(crate) async fn notice(&self) -> Result<(), Fault> {
        self.execute("SELECT pg_notify($1, '')", &[&CHANNEL]).await?;
        Ok(())
    }
}

impl Database {
    /// Writes down what somebody does outside of these tables, before it is done.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant; else as [every call](Database#errors).
    pub async fn audit_note(
        &self,
        access: &Access,
        action: &'static str,
        object: String,
        detail: Value,
    ) -> Result<(), Fault> {
        self.audit_write(access, Change { action, tenant: None, object, detail }).await
    }

    /// The same of something within a tenant, whose own entry it is. Whether the tenant exists is not asked.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant, this one included; else as
    /// [every call](Database#errors).
    pub async fn audit_note_within(
        &self,
        access: &Access,
        tenant: TenantId,
        action: &'static str,
        object: String,
        detail: Value,
    ) -> Result<(), Fault> {
        self.audit_write(access, Change { action, tenant: Some(tenant), object, detail }).await
    }

    async fn audit_write(&self, access: &Access, change: Change) -> Result<(), Fault> {
        if !access.is_house() {
            return Err(Fault::Forbidden);
        }
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "write the audit").await?;
        scoped.record(self, change).await?;
        scoped.commit().await
    }

    /// Newest first; a tenant sees its own entries.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn audit_list(&self, access: &Access, page: &PageRequest) -> Result<Page<AuditEntry>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "list the audit").await?;
        let rows = scoped
            .rows(
                "SELECT * FROM audit WHERE ($1::uuid IS NULL OR tenant_id = $1) AND generation < $2
                 ORDER BY generation DESC LIMIT $3",
                &[&access.tenant().map(TenantId::uuid), &page.before_number(List::Audit)?, &page.fetch()],
            )
            .await?;
        page.finish(rows, entry_from, |entry| number_cursor(List::Audit, entry.generation))
    }

    /// Walks the whole chain. A chain that does not hold is a verdict and no fault.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant, who sees too little of it to check it; else as
    /// [every call](Database#errors).
    pub async fn audit_verify(&self, access: &Access) -> Result<AuditVerdict, Fault> {
        if !access.is_house() {
            return Err(Fault::Forbidden);
        }
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "verify the audit").await?;
        let head: Vec<u8> =
            column(&scoped.one("registry", "SELECT audit_head FROM registry", &[]).await?, "audit_head")?;
        let (mut previous, mut last, mut entries) = (vec![0; 32], 0_i64, 0_u64);
        loop {
            let rows = scoped
                .rows("SELECT * FROM audit WHERE generation > $1 ORDER BY generation LIMIT 1000", &[&last])
                .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let generation: i64 = column(row, "generation")?;
                let hash: Vec<u8> = column(row, "hash")?;
                let expected = link(&Link {
                    previous,
                    generation,
                    id: column(row, "id")?,
                    at: column(row, "at")?,
                    tenant: column(row, "tenant_id")?,
                    texts: [
                        column(row, "actor")?,
                        column(row, "action")?,
                        column(row, "object")?,
                        column(row, "detail")?,
                    ],
                });
                if generation != last + 1 || hash != expected {
                    return Ok(AuditVerdict { entries, broken_at: Some(generation) });
                }
                (previous, last, entries) = (hash, generation, entries + 1);
            }
        }
        // Cutting off the end would otherwise go unseen.
        let broken_at = (previous != head).then_some(last + 1);
        Ok(AuditVerdict { entries, broken_at })
    }
}

struct Link<'a> {
    previous: Vec<u8>,
    generation: i64,
    id: Uuid,
    at: i64,
    tenant: Option<Uuid>,
    texts: [&'a str; 4],
}

/// Every field with its length, so that no two entries have the same octets.
fn link(link: &Link<'_>) -> Vec<u8> {
    let mut octets = link.previous.clone();
    octets.extend_from_slice(&link.generation.to_be_bytes());
    octets.extend_from_slice(link.id.as_bytes());
    octets.extend_from_slice(&link.at.to_be_bytes());
    octets.extend_from_slice(link.tenant.unwrap_or(Uuid::nil()).as_bytes());
    for text in link.texts {
        octets.extend_from_slice(&(text.len() as u64).to_be_bytes());
        octets.extend_from_slice(text.as_bytes());
    }
    digest(&SHA256, &octets).as_ref().to_vec()
}

fn entry_from(row: &Row) -> Result<AuditEntry, Fault> {
    let hash: Vec<u8> = column(row, "hash")?;
    Ok(AuditEntry {
        id: AuditId::from_uuid(column(row, "id")?),
        generation: column(row, "generation")?,
        at: Timestamp::from_millis(column(row, "at")?),
        tenant: column::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid),
        actor: column(row, "actor")?,
        action: column(row, "action")?,
        object: column(row, "object")?,
        detail: serde_json::from_str(column(row, "detail")?).map_err(|_| corrupt("detail"))?,
        hash: hash.iter().map(|octet| format!("{octet:02x}")).collect(),
    })
}
