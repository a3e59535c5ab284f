//! API keys, of tenants and of the operator. As with passwords: made here, shown once, kept as a keyed hash.

use crate::audit::Change;
use crate::connect::Database;
use crate::credential::{mac_from, networks_from, time_from};
use crate::error::Fault;
use crate::kept::Made;
use crate::narrow::Bounds;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, Scoped, Whose, column, corrupt, parsed};
use ipnet::IpNet;
use mail::{ApiKeyId, StreamId, TenantId, Timestamp};
use registry::{Access, Actor, ApiKey, DisplayName, PreviousSecret, Rights, Role};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long the old text of a key that rotates itself is good: long enough to repeat a call whose answer was lost.
const OVERLAP: Duration = Duration::from_secs(600);

/// A key to be made. The text of the key is drawn here, shown once and kept as a hash.
#[derive(Debug, Clone)]
pub struct ApiKeyNew {
    /// For people.
    pub name: DisplayName,
    /// For a key of the operator; a tenant's is bound by its rights.
    pub role: Role,
    /// What a tenant's key may do.
    pub rights: Rights,
    /// Set: it can send into this stream only.
    pub stream: Option<StreamId>,
    /// Empty means from anywhere.
    pub networks: Vec<IpNet>,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is listed: everything but its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyRow {
    /// Also the public half of the key's text.
    pub id: ApiKeyId,
    /// None for a key of the operator.
    pub tenant: Option<TenantId>,
    /// For people.
    pub name: DisplayName,
    /// For a key of the operator.
    pub role: Role,
    /// What a tenant's key may do.
    pub rights: Rights,
    /// Set: it can send into this stream only.
    pub stream: Option<StreamId>,
    /// Empty means from anywhere.
    pub networks: Vec<IpNet>,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
    /// Not let in any more; the row stays for the audit.
    pub revoked_at: Option<Timestamp>,
    /// UTC.
    pub created_at: Timestamp,
}

impl ApiKeyNew {
    /// A tenant's key that may do everything within the tenant.
    pub fn named(name: DisplayName) -> ApiKeyNew {
        ApiKeyNew {
            name,
            role: Role::Admin,
            rights: Rights::ALL,
            stream: None,
            networks: Vec::new(),
            expires_at: None,
        }
    }
}

impl Database {
    /// The key and its text, `ph_live_…`. Without a tenant it is the operator's. Nobody makes a key that may
    /// do more than himself, and no key one that is less bound.
    ///
    /// # Errors
    /// `Forbidden` for rights that the access lacks, if a key acts for one that is less bound than itself
    /// (stream, networks, end), and for a role that does not fit: operator and auditor have no tenant, admin
    /// and viewer one. `Missing` if the tenant has no such stream; else as [every call](Database#errors).
    pub async fn api_key_create(
        &self,
        access: &Access,
        tenant: Option<TenantId>,
        new: &ApiKeyNew,
    ) -> Result<(ApiKeyRow, Zeroizing<String>), Fault> {
        if exceeds(new.rights, access) || new.role.is_of_house() != tenant.is_none() {
            return Err(Fault::Forbidden);
        }
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, tenant, Intent::Change, "create an API key").await?;
        let bounds = Bounds { stream: new.stream, networks: &new.networks, expires_at: new.expires_at };
        scoped.expect_within_own(bounds).await?;
        let (row, text) = api_key_insert(self, &scoped, tenant, new).await?;
        scoped.record(self, change_of("api_key.create", &row)).await?;
        scoped.commit_made(Made::ApiKey(&row, &text)).await?;
        Ok((row, text))
    }

    /// One key, revoked or not. Without a tenant it is the operator's.
    ///
    /// # Errors
    /// `NotFound` for a key of another tenant as for none; else as [every call](Database#errors).
    pub async fn api_key_fetch(
        &self,
        access: &Access,
        tenant: Option<TenantId>,
        key: ApiKeyId,
    ) -> Result<ApiKeyRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, tenant, Intent::Read, "fetch an API key").await?;
        let sql = "SELECT * FROM api_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2";
        api_key_from(&scoped.one("API key", sql, &[&tenant.map(TenantId::uuid), &key.uuid()]).await?)
    }

    /// Revoked ones too, newest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn api_key_list(
        &self,
        access: &Access,
        tenant: Option<TenantId>,
        page: &PageRequest,
    ) -> Result<Page<ApiKeyRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, tenant, Intent::Read, "list API keys").await?;
        let sql = "SELECT * FROM api_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id < $2
                   ORDER BY id DESC LIMIT $3";
        let rows = scoped
            .rows(sql, &[&tenant.map(TenantId::uuid), &page.before_id(List::ApiKeys)?, &page.fetch()])
            .await?;
        page.finish(rows, api_key_from, |row| id_cursor(List::ApiKeys, row.id.uuid()))
    }

    /// A new text; the old one ends with the next snapshot, or ten minutes later if the key rotates itself.
    /// Nobody gets the text of a key that may do more than himself.
    ///
    /// # Errors
    /// `NotFound` also for a key that was revoked. `InUse` if a key rotates itself again within those ten
    /// minutes: whoever has only the old text could take the key over. `Forbidden` for a key with rights that
    /// the access lacks or, if a key acts, one that is less bound; else as [every call](Database#errors).
    pub async fn api_key_rotate(
        &self,
        access: &Access,
        tenant: Option<TenantId>,
        key: ApiKeyId,
    ) -> Result<(ApiKeyRow, Zeroizing<String>), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, tenant, Intent::Change, "rotate an API key").await?;
        let (owner, now) = (tenant.map(TenantId::uuid), self.now());
        let by_itself = access.actor() == Actor::ApiKey(key);
        let sql = "SELECT coalesce(previous_until > $3, false) AS overlaps FROM api_keys
                   WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2 AND revoked_at IS NULL FOR UPDATE";
        let found = scoped.one("API key", sql, &[&owner, &key.uuid(), &now.to_jiff()]).await?;
        if by_itself && column(&found, "overlaps")? {
            return Err(Fault::InUse { what: "secret before this one" });
        }
        let minted = self.keys().secrets.mint_api_key(key, now, &mut self.random());
        let until = by_itself.then(|| now.saturating_add(OVERLAP).to_jiff());
        let sql = "UPDATE api_keys SET secret_mac = $3, previous_until = $4,
                     previous_mac = CASE WHEN $4::timestamptz IS NOT NULL THEN secret_mac END
                   WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2 RETURNING *";
        let row = scoped.one("API key", sql, &[&owner, &key.uuid(), &&minted.mac[..], &until]).await?;
        let row = api_key_from(&row)?;
        // The transaction ends without effect.
        if exceeds(row.rights, access) {
            return Err(Fault::Forbidden);
        }
        let bounds = Bounds { stream: row.stream, networks: &row.networks, expires_at: row.expires_at };
        scoped.expect_within_own(bounds).await?;
        scoped.record(self, change_of("api_key.rotate", &row)).await?;
        scoped.commit_made(Made::ApiKey(&row, &minted.text)).await?;
        Ok((row, minted.text))
    }

    /// Ends it for good. A second time changes nothing.
    ///
    /// # Errors
    /// `NotFound` for a key of another tenant as for none; else as [every call](Database#errors).
    pub async fn api_key_revoke(
        &self,
        access: &Access,
        tenant: Option<TenantId>,
        key: ApiKeyId,
    ) -> Result<ApiKeyRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, tenant, Intent::Change, "revoke an API key").await?;
        let owner = tenant.map(TenantId::uuid);
        let sql = "SELECT * FROM api_keys WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2 FOR UPDATE";
        let mut row = api_key_from(&scoped.one("API key", sql, &[&owner, &key.uuid()]).await?)?;
        if row.revoked_at.is_some() {
            return Ok(row);
        }
        row.revoked_at = Some(self.now());
        let sql = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1";
        scoped.execute(sql, &[&key.uuid(), &self.now().to_jiff()]).await?;
        scoped.record(self, change_of("api_key.revoke", &row)).await?;
        scoped.commit().await?;
        Ok(row)
    }
}

pub(crate) async fn api_key_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: Option<TenantId>,
    new: &ApiKeyNew,
) -> Result<(ApiKeyRow, Zeroizing<String>), Fault> {
    let (now, mut random) = (database.now(), database.random());
    let id = ApiKeyId::mint(now, &mut random);
    let minted = database.keys().secrets.mint_api_key(id, now, &mut random);
    let row = scoped
        .one(
            "API key",
            "INSERT INTO api_keys (id, tenant_id, name, secret_mac, role, rights, stream_id, networks, expires_at,
                                   created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *",
            &[
                &id.uuid(),
                &tenant.map(TenantId::uuid),
                &new.name.as_str(),
                &&minted.mac[..],
                &new.role.as_str(),
                &new.rights.words(),
                &new.stream.map(StreamId::uuid),
                &new.networks.iter().map(IpNet::to_string).collect::<Vec<_>>(),
                &new.expires_at.map(Timestamp::to_jiff),
                &now.to_jiff(),
            ],
        )
        .await?;
    Ok((api_key_from(&row)?, minted.text))
}

/// Every key that is not revoked, for the follower; the operator's always.
pub(crate) async fn api_keys_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<ApiKey>, Fault> {
    let sql = "SELECT * FROM api_keys WHERE revoked_at IS NULL
                 AND ($1::uuid[] IS NULL OR tenant_id IS NULL OR tenant_id = ANY ($1))";
    let rows = scoped.rows(sql, &[&whose]).await?;
    rows.iter()
        .map(|row| {
            let parsed = api_key_from(row)?;
            Ok(ApiKey {
                id: parsed.id,
                tenant: parsed.tenant,
                secret_mac: mac_from(row, "secret_mac")?,
                previous: match time_from(row, "previous_until")? {
                    None => None,
                    Some(until) => Some(PreviousSecret { mac: mac_from(row, "previous_mac")?, until }),
                },
                role: parsed.role,
                rights: parsed.rights,
                stream: parsed.stream,
                networks: parsed.networks,
                expires_at: parsed.expires_at,
                revoked_at: None,
            })
        })
        .collect()
}

fn exceeds(rights: Rights, access: &Access) -> bool {
    let own = access.rights().words();
    rights.words().iter().any(|word| !own.contains(word))
}

fn change_of(action: &'static str, row: &ApiKeyRow) -> Change {
    let detail =
        json!({ "name": row.name, "role": row.role, "rights": row.rights.words(), "stream": row.stream });
    Change { action, tenant: row.tenant, object: row.id.to_string(), detail }
}

pub(crate) fn api_key_from(row: &Row) -> Result<ApiKeyRow, Fault> {
    let rights: Vec<&str> = column(row, "rights")?;
    Ok(ApiKeyRow {
        id: ApiKeyId::from_uuid(column(row, "id")?),
        tenant: column::<Option<Uuid>>(row, "tenant_id")?.map(TenantId::from_uuid),
        name: parsed(row, "name", |text| DisplayName::parse(text).ok())?,
        role: parsed(row, "role", Role::parse)?,
        rights: Rights::from_words(rights).ok_or_else(|| corrupt("rights"))?,
        stream: column::<Option<Uuid>>(row, "stream_id")?.map(StreamId::from_uuid),
        networks: networks_from(row)?,
        expires_at: time_from(row, "expires_at")?,
        revoked_at: time_from(row, "revoked_at")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
