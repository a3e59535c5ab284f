//! Pools and their members. Shared ones are the house's; a dedicated one belongs to a tenant and is still only
//! changed by the house.
//!
//! A pool with a platform domain gets an RSA key of its own; its record is shown so that an operator can publish it.

use crate::audit::Change;
use crate::connect::Database;
use crate::dkim_key::{NewKey, new_key};
use crate::error::Fault;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, Scoped, column, corrupt, parsed};
use crate::seal::Binding;
use mail::dkim::KeyAlgorithm;
use mail::{Domain, PoolId, Random, SourceId, TenantId, Timestamp};
use registry::{Access, PoolMember, Slug};
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

/// A pool to be made. Its signing key is drawn here.
#[derive(Debug, Clone)]
pub struct PoolNew {
    /// Unique within the installation.
    pub name: Slug,
    /// Dedicated to.
    pub tenant: Option<TenantId>,
    /// Weights are relative to each other.
    pub members: Vec<PoolMember>,
    /// Domain of the second signature.
    pub platform_domain: Option<Domain>,
}

/// What is to be changed; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct PoolChange {
    /// What it is called from now on; streams go by its id.
    pub name: Option<Slug>,
    /// Replaces all members.
    pub members: Option<Vec<PoolMember>>,
}

/// A pool as it is listed: everything but its private key.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolRow {
    /// Never used again.
    pub id: PoolId,
    /// What streams and headers name it by.
    pub name: Slug,
    /// Set for a dedicated pool.
    pub tenant: Option<TenantId>,
    /// Sources with their weights.
    pub members: Vec<PoolMember>,
    /// What signs beside the tenant, if the operator has set it.
    pub platform: Option<PlatformRow>,
    /// UTC.
    pub created_at: Timestamp,
}

/// The record to publish at `<selector>._domainkey.<domain>`.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformRow {
    /// The `d=` of the signature.
    pub domain: Domain,
    /// The `s=` of the signature.
    pub selector: String,
    /// What to publish below the selector.
    pub record: String,
}

/// A pool with its members as two arrays.
const SELECT: &str = "SELECT p.*, m.sources, m.weights FROM pools p, LATERAL (
    SELECT coalesce(array_agg(source_id ORDER BY source_id), '{}') AS sources,
           coalesce(array_agg(weight ORDER BY source_id), '{}') AS weights
    FROM pool_members WHERE pool_id = p.id) m";

impl Database {
    /// Makes a pool and, with a platform domain, its key (RSA of 2048 bits).
    ///
    /// # Errors
    /// `Conflict` if the name is taken or a source is named twice; `MissingEntry` for a member that is no source;
    /// `Invalid` for a weight of 0; `NotFound` if the tenant it is dedicated to does not exist; `Forbidden`
    /// for whoever is held to one tenant; `Sealing` if the key cannot be made or sealed; else as
    /// [every call](Database#errors).
    pub async fn pool_create(&self, access: &Access, new: &PoolNew) -> Result<PoolRow, Fault> {
        let key = match &new.platform_domain {
            None => None,
            Some(domain) => Some((domain, new_key(KeyAlgorithm::Rsa).await?)),
        };
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "create a pool").await?;
        let now = self.now();
        let id = PoolId::mint(now, &mut self.random());
        let selector = selector_of(now, &mut self.random());
        let sealed = key.as_ref().map(|(_, key)| self.seal_platform_key(id, key)).transpose()?;
        scoped
            .execute(
                "INSERT INTO pools (id, name, tenant_id, platform_domain, platform_selector, platform_record,
                                    platform_sealed, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    &id.uuid(),
                    &new.name.as_str(),
                    &new.tenant.map(TenantId::uuid),
                    &key.as_ref().map(|(domain, _)| domain.as_str()),
                    &key.as_ref().map(|_| selector.as_str()),
                    &key.as_ref().map(|(_, key)| key.record.as_str()),
                    &sealed,
                    &now.to_jiff(),
                ],
            )
            .await?;
        members_insert(&scoped, id, &new.members).await?;
        let pool = pool_of(&scoped, id).await?;
        scoped.record(self, change_of("pool.create", &pool)).await?;
        scoped.commit_made(Made::Pool(&pool)).await?;
        Ok(pool)
    }

    /// One pool with its members.
    ///
    /// # Errors
    /// `NotFound` also for another tenant's own pool; else as [every call](Database#errors).
    pub async fn pool_fetch(&self, access: &Access, pool: PoolId) -> Result<PoolRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "fetch a pool").await?;
        pool_of(&scoped, pool).await
    }

    /// Those that the caller may use, newest first. Whoever is held to one tenant sees no members.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn pool_list(&self, access: &Access, page: &PageRequest) -> Result<Page<PoolRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "list pools").await?;
        let sql = format!("{SELECT} WHERE p.id < $1 ORDER BY p.id DESC LIMIT $2");
        let rows = scoped.rows(&sql, &[&page.before_id(List::Pools)?, &page.fetch()]).await?;
        page.finish(rows, pool_from, |pool| id_cursor(List::Pools, pool.id.uuid()))
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// `NotFound` if there is none, and for whoever is held to one tenant; `Conflict` if the name is taken or
    /// a source is named twice; `MissingEntry` for a member that is no source; `Invalid` for a weight of 0; else
    /// as [every call](Database#errors).
    pub async fn pool_update(
        &self,
        access: &Access,
        pool: PoolId,
        change: &PoolChange,
    ) -> Result<PoolRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "update a pool").await?;
        scoped
            .one(
                "pool",
                "UPDATE pools SET name = coalesce($2, name) WHERE id = $1 RETURNING id",
                &[&pool.uuid(), &change.name.as_ref().map(Slug::as_str)],
            )
            .await?;
        if let Some(members) = &change.members {
            scoped.execute("DELETE FROM pool_members WHERE pool_id = $1", &[&pool.uuid()]).await?;
            members_insert(&scoped, pool, members).await?;
        }
        let row = pool_of(&scoped, pool).await?;
        scoped.record(self, change_of("pool.update", &row)).await?;
        scoped.commit().await?;
        Ok(row)
    }

    /// Takes the pool away, with its members; the sources stay.
    ///
    /// # Errors
    /// `InUse` while a stream names it; `NotFound` if there is none, and for whoever is held to one tenant;
    /// else as [every call](Database#errors).
    pub async fn pool_delete(&self, access: &Access, pool: PoolId) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "delete a pool").await?;
        let gone = scoped.execute("DELETE FROM pools WHERE id = $1", &[&pool.uuid()]).await;
        if gone.map_err(|fault| fault.in_use("pool"))? == 0 {
            return Err(Fault::NotFound("pool"));
        }
        let change =
            Change { action: "pool.delete", tenant: None, object: pool.to_string(), detail: json!({}) };
        scoped.record(self, change).await?;
        scoped.commit().await
    }

    fn seal_platform_key(&self, pool: PoolId, key: &NewKey) -> Result<Vec<u8>, Fault> {
        self.keys().sealing.seal(platform_binding(pool), &key.pkcs8, self.now(), &mut self.random())
    }
}

/// Whether the pool exists and the scope's tenant may use it: shared, or its own.
pub(crate) async fn pool_must_be_open(
    scoped: &Scoped<'_>,
    tenant: TenantId,
    pool: PoolId,
    field: &'static str,
) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM pools WHERE id = $1 AND (tenant_id IS NULL OR tenant_id = $2)";
    let found = scoped.optional(sql, &[&pool.uuid(), &tenant.uuid()]).await?;
    found.map(|_| ()).ok_or(Fault::Missing { field })
}

pub(crate) const fn platform_binding(pool: PoolId) -> Binding {
    Binding { purpose: "platform-key", tenant: Uuid::nil(), row: pool.uuid() }
}

/// Every pool with its sealed key, for the follower.
pub(crate) async fn pools_all(scoped: &Scoped<'_>) -> Result<Vec<(PoolRow, Option<Vec<u8>>)>, Fault> {
    let rows = scoped.rows(SELECT, &[]).await?;
    rows.iter().map(|row| Ok((pool_from(row)?, column(row, "platform_sealed")?))).collect()
}

/// `ph20261123-0f3a7`: a new key never gets the name of an old one that is still published, and two tenants that claim
/// one domain, or two pools that sign for one, get different names on the same day.
pub(crate) fn selector_of(now: Timestamp, random: &mut Random) -> String {
    format!("ph{}-{:05x}", now.to_jiff().strftime("%Y%m%d"), random.below(1 << 20))
}

async fn pool_of(scoped: &Scoped<'_>, pool: PoolId) -> Result<PoolRow, Fault> {
    pool_from(&scoped.one("pool", &format!("{SELECT} WHERE p.id = $1"), &[&pool.uuid()]).await?)
}

async fn members_insert(scoped: &Scoped<'_>, pool: PoolId, members: &[PoolMember]) -> Result<(), Fault> {
    for (index, member) in members.iter().enumerate() {
        let weight = i32::try_from(member.weight).unwrap_or(i32::MAX);
        let sql = "INSERT INTO pool_members (pool_id, source_id, weight) VALUES ($1, $2, $3)";
        let inserted = scoped.execute(sql, &[&pool.uuid(), &member.source.uuid(), &weight]).await;
        inserted.map_err(|fault| match fault {
            Fault::Conflict { .. } => {
                let reason = "a source stands here twice; give it the weight of both".to_owned();
                Fault::Invalid { field: "members", reason }
            }
            Fault::Missing { field } => Fault::MissingEntry { field, index, part: "source" },
            other => other,
        })?;
    }
    Ok(())
}

fn change_of(action: &'static str, pool: &PoolRow) -> Change {
    let members: Vec<_> = pool.members.iter().map(|m| json!([m.source, m.weight])).collect();
    let detail = json!({ "name": pool.name, "dedicated_to": pool.tenant, "members": members });
    Change { action, tenant: None, object: pool.id.to_string(), detail }
}

fn pool_from(row: &Row) -> Result<PoolRow, Fault> {
    let sources: Vec<Uuid> = column(row, "sources")?;
    let weights: Vec<i32> = column(row, "weights")?;
    let member = |(source, weight): (Uuid, i32)| {
        let weight = u32::try_from(weight).map_err(|_| corrupt("weight"))?;
        Ok(PoolMember { source: SourceId::from_uuid(source), weight })
    };
    let platform = match column::<Option<&str>>(row, "platform_domain")? {
        None => None,
        Some(domain) => Some(PlatformRow {
            domain: Domain::parse(domain).map_err(|_| corrupt("platform_domain"))?,
            selector: column(row, "platform_selector")?,
            record: column(row, "platform_record")?,
        }),
    };
    Ok(PoolRow {
        id: PoolId::from_uuid(column(row, "id")?),
        name: parsed(row, "name", |text| Slug::parse(text).ok())?,
        tenant: column::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid),
        members: sources.into_iter().zip(weights).map(member).collect::<Result<_, Fault>>()?,
        platform,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
