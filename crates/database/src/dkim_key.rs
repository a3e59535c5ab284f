//! DKIM keys of a domain: made outside the transaction, sealed within it, never given out again.
//!
//! Rotation has three states (`registry::KeyState`): `dkim_key_rotate` makes `next` keys whose records the tenant
//! publishes; the next check of the domain that finds them turns them `active` and the old ones `retiring`
//! (`domain.rs`); `dkim_keys_retire` deletes those when no mail that they signed can be on its way any more.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::kept::Made;
use crate::pool::selector_of;
use crate::scope::{Intent, Scoped, Whose, column, parsed};
use crate::seal::Binding;
use mail::dkim::{KeyAlgorithm, SigningKey};
use mail::{DkimKeyId, DomainId, TenantId, Timestamp};
use registry::{Access, DomainRecord, KeyState, RecordState};
use serde_json::json;
use tokio_postgres::Row;
use zeroize::Zeroizing;

/// Domains whose retired keys are removed in one go.
const DOMAINS_MAX: u32 = 1_000;

/// The public half of a domain's key; the private one is sealed and leaves this crate only in a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct DkimKeyRow {
    /// Never used again.
    pub id: DkimKeyId,
    /// Whose mail it signs.
    pub domain: DomainId,
    /// The `s=` of signatures (RFC 6376 §3.5).
    pub selector: String,
    /// As `k=` says it.
    pub algorithm: KeyAlgorithm,
    /// Whether it signs.
    pub state: KeyState,
    /// `v=DKIM1; k=…; p=…` (RFC 6376 §3.6.1).
    pub public_record: String,
    /// UTC.
    pub created_at: Timestamp,
}

/// A private key on its way into the table.
pub(crate) struct NewKey {
    pub algorithm: KeyAlgorithm,
    pub pkcs8: Zeroizing<Vec<u8>>,
    pub record: String,
}

impl Database {
    /// Of one domain, those that are still published.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such domain; else as [every call](Database#errors).
    pub async fn dkim_key_list(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Vec<DkimKeyRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list DKIM keys").await?;
        domain_must_exist(&scoped, tenant, domain).await?;
        dkim_keys_of(&scoped, tenant, domain).await
    }

    /// Makes the keys to come, one of each algorithm (RSA of 2048 bits, Ed25519).
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such domain; `Conflict` while the keys of an earlier call wait to be
    /// published; `Sealing` if a key cannot be made or sealed; else as [every call](Database#errors).
    pub async fn dkim_key_rotate(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<Vec<DkimKeyRow>, Fault> {
        let keys = new_keys().await?;
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "rotate DKIM keys").await?;
        // Locked, so that two calls do not make keys each.
        let sql = "SELECT 1 FROM domains WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE";
        scoped.one("domain", sql, &[&tenant.uuid(), &domain.uuid()]).await?;
        let old = dkim_keys_of(&scoped, tenant, domain).await?;
        if old.iter().any(|key| key.state == KeyState::Next) {
            return Err(Fault::Conflict { field: "dkim_keys" });
        }
        let made = dkim_keys_insert(self, &scoped, (tenant, domain), &keys, KeyState::Next, &old).await?;
        let selectors: Vec<&str> = made.iter().map(|key| key.selector.as_str()).collect();
        let change = Change {
            action: "dkim_key.rotate",
            tenant: Some(tenant),
            object: domain.to_string(),
            detail: json!({ "selectors": selectors }),
        };
        scoped.record(self, change).await?;
        scoped.commit_made(Made::DkimKeys(&made)).await?;
        Ok(made)
    }

    /// Removes the keys that stopped signing before a time, of at most 1000 domains. Returns how many keys
    /// went. In parts: each domain is a change of its own.
    ///
    /// # Errors
    /// As [every call](Database#errors); the domains before the fault are done.
    pub async fn dkim_keys_retire(&self, access: &Access, before: Timestamp) -> Result<u64, Fault> {
        let old = "state = 'retiring' AND retired_at < $1";
        let domains = {
            let mut client = self.client(access).await?;
            let scoped = self.scope(&mut client, access, None, Intent::Read, "find retired keys").await?;
            let sql = format!(
                "SELECT DISTINCT tenant_id, domain_id FROM dkim_keys WHERE {old} ORDER BY tenant_id LIMIT {DOMAINS_MAX}"
            );
            scoped.rows(&sql, &[&before.to_jiff()]).await?
        };
        let mut gone = 0;
        for row in &domains {
            let tenant = TenantId::from_uuid(column(row, "tenant_id")?);
            let domain = DomainId::from_uuid(column(row, "domain_id")?);
            let mut client = self.client(access).await?;
            let scoped =
                self.scope(&mut client, access, Some(tenant), Intent::Change, "remove retired keys").await?;
            let sql = format!(
                "DELETE FROM dkim_keys WHERE {old} AND tenant_id = $2 AND domain_id = $3 RETURNING selector"
            );
            let rows = scoped.rows(&sql, &[&before.to_jiff(), &tenant.uuid(), &domain.uuid()]).await?;
            let selectors =
                rows.iter().map(|row| column(row, "selector")).collect::<Result<Vec<String>, Fault>>()?;
            // Another node was faster.
            if selectors.is_empty() {
                continue;
            }
            gone += selectors.len() as u64;
            let change = Change {
                action: "dkim_key.remove",
                tenant: Some(tenant),
                object: domain.to_string(),
                detail: json!({ "selectors": selectors }),
            };
            scoped.record(self, change).await?;
            scoped.commit().await?;
        }
        Ok(gone)
    }
}

/// One key of each algorithm. RSA takes a tenth of a second or more, so it is made on a thread for such work.
pub(crate) async fn new_keys() -> Result<Vec<NewKey>, Fault> {
    Ok(vec![new_key(KeyAlgorithm::Rsa).await?, new_key(KeyAlgorithm::Ed25519).await?])
}

pub(crate) async fn new_key(algorithm: KeyAlgorithm) -> Result<NewKey, Fault> {
    let make = move || {
        let key = match algorithm {
            KeyAlgorithm::Rsa => SigningKey::generate_rsa2048(),
            KeyAlgorithm::Ed25519 => SigningKey::generate_ed25519(),
        };
        new_key_from(&key.map_err(|_| Fault::Sealing { what: "make a DKIM key" })?)
    };
    tokio::task::spawn_blocking(make).await.map_err(|_| Fault::Sealing { what: "make a DKIM key" })?
}

fn new_key_from(key: &SigningKey) -> Result<NewKey, Fault> {
    let pkcs8 = key.to_pkcs8().map_err(|_| Fault::Sealing { what: "write a DKIM key" })?;
    Ok(NewKey { algorithm: key.algorithm(), pkcs8: Zeroizing::new(pkcs8), record: key.public_record() })
}

/// Puts new keys under selectors that no key of the domain has: `ph20261123-0f3a7a` for RSA, `…b` for Ed25519, and so on.
pub(crate) async fn dkim_keys_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    (tenant, domain): (TenantId, DomainId),
    keys: &[NewKey],
    state: KeyState,
    taken: &[DkimKeyRow],
) -> Result<Vec<DkimKeyRow>, Fault> {
    let stem = selector_of(database.now(), &mut database.random());
    let mut free = ('a'..='z')
        .map(|letter| format!("{stem}{letter}"))
        .filter(|selector| taken.iter().all(|key| key.selector != *selector));
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        let selector = free.next().ok_or(Fault::Conflict { field: "selector" })?;
        rows.push(dkim_key_insert(database, scoped, (tenant, domain), key, &selector, state).await?);
    }
    Ok(rows)
}

async fn dkim_key_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    (tenant, domain): (TenantId, DomainId),
    key: &NewKey,
    selector: &str,
    state: KeyState,
) -> Result<DkimKeyRow, Fault> {
    let (now, mut random) = (database.now(), database.random());
    let id = DkimKeyId::mint(now, &mut random);
    let sealed = database.keys().sealing.seal(dkim_binding(tenant, id), &key.pkcs8, now, &mut random)?;
    let row = scoped
        .one(
            "DKIM key",
            "INSERT INTO dkim_keys (id, tenant_id, domain_id, selector, algorithm, state, public_record, sealed,
                                    created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *",
            &[
                &id.uuid(),
                &tenant.uuid(),
                &domain.uuid(),
                &selector,
                &key.algorithm.as_str(),
                &state.as_str(),
                &key.record,
                &sealed,
                &now.to_jiff(),
            ],
        )
        .await?;
    dkim_key_from(&row)
}

pub(crate) async fn dkim_keys_of(
    scoped: &Scoped<'_>,
    tenant: TenantId,
    domain: DomainId,
) -> Result<Vec<DkimKeyRow>, Fault> {
    let sql = "SELECT * FROM dkim_keys WHERE tenant_id = $1 AND domain_id = $2 ORDER BY created_at, selector";
    scoped.rows(sql, &[&tenant.uuid(), &domain.uuid()]).await?.iter().map(dkim_key_from).collect()
}

/// Every key with its tenant and its sealed form, for the follower.
pub(crate) async fn dkim_keys_all(
    scoped: &Scoped<'_>,
    whose: Whose<'_>,
) -> Result<Vec<(DkimKeyRow, TenantId, Vec<u8>)>, Fault> {
    let sql = "SELECT * FROM dkim_keys WHERE $1::uuid[] IS NULL OR tenant_id = ANY ($1) ORDER BY created_at, selector";
    let rows = scoped.rows(sql, &[&whose]).await?;
    rows.iter()
        .map(|row| {
            Ok((dkim_key_from(row)?, TenantId::from_uuid(column(row, "tenant_id")?), column(row, "sealed")?))
        })
        .collect()
}

pub(crate) const fn dkim_binding(tenant: TenantId, key: DkimKeyId) -> Binding {
    Binding { purpose: "dkim-key", tenant: tenant.uuid(), row: key.uuid() }
}

async fn domain_must_exist(scoped: &Scoped<'_>, tenant: TenantId, domain: DomainId) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM domains WHERE tenant_id = $1 AND id = $2";
    scoped.one("domain", sql, &[&tenant.uuid(), &domain.uuid()]).await.map(|_| ())
}

fn algorithm_of(text: &str) -> Option<KeyAlgorithm> {
    [KeyAlgorithm::Rsa, KeyAlgorithm::Ed25519].into_iter().find(|algorithm| algorithm.as_str() == text)
}

fn dkim_key_from(row: &Row) -> Result<DkimKeyRow, Fault> {
    Ok(DkimKeyRow {
        id: DkimKeyId::from_uuid(column(row, "id")?),
        domain: DomainId::from_uuid(column(row, "domain_id")?),
        selector: column(row, "selector")?,
        algorithm: parsed(row, "algorithm", algorithm_of)?,
        state: parsed(row, "state", KeyState::parse)?,
        public_record: column(row, "public_record")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}

/// Whether the record of this selector is optional for its domain and was looked for in vain.
pub(crate) fn is_unpublished(selector: &str, records: &[DomainRecord]) -> bool {
    let host = format!("{selector}._domainkey.");
    let mut of_key = records.iter().filter(|record| record.host.starts_with(&host) && !record.required);
    of_key.any(|record| matches!(record.state, RecordState::Missing | RecordState::Mismatch))
}

/// Which keys do not sign, for that reason.
pub(crate) fn silent_keys(keys: &[DkimKeyRow], records: &[DomainRecord]) -> Vec<DkimKeyId> {
    let silent = keys.iter().filter(|key| is_unpublished(&key.selector, records));
    silent.map(|key| key.id).collect()
}
