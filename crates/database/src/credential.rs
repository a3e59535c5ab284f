//! SMTP credentials. The password is made here, shown once, and kept as a keyed hash.
//!
//! Revoking keeps the row, so that the audit and old messages can name it; the snapshot leaves it out.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::kept::Made;
use crate::narrow::Bounds;
use crate::page::{List, Page, PageRequest};
use crate::scope::{Intent, Scoped, Whose, column, corrupt, parsed};
use ipnet::IpNet;
use mail::{CredentialId, Domain, EventKind, StreamId, TenantId, Timestamp};
use registry::{Access, Credential, DisplayName, Limits};
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A credential to be made. Its password is drawn here, shown once and kept as a hash.
#[derive(Debug, Clone)]
pub struct CredentialNew {
    /// For people.
    pub name: DisplayName,
    /// Set: its mail goes into this stream.
    pub stream: Option<StreamId>,
    /// Empty: every verified domain of the tenant.
    pub domains: Vec<Domain>,
    /// Empty: from anywhere.
    pub networks: Vec<IpNet>,
    /// Beside those of the tenant.
    pub limits: Limits,
    /// Read PowerMTA's X- headers too.
    pub compat_pmta: bool,
    /// Refuse a suppressed recipient at RCPT.
    pub reject_suppressed: bool,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
}

/// A credential as it is listed: everything but its password.
#[derive(Debug, Clone, PartialEq)]
pub struct CredentialRow {
    /// Never used again.
    pub id: CredentialId,
    /// Whose mail it brings.
    pub tenant: TenantId,
    /// For people.
    pub name: DisplayName,
    /// What AUTH is given.
    pub username: String,
    /// Set: its mail goes into this stream.
    pub stream: Option<StreamId>,
    /// Empty means every verified domain of the tenant.
    pub domains: Vec<Domain>,
    /// Empty means from anywhere.
    pub networks: Vec<IpNet>,
    /// Beside those of the tenant.
    pub limits: Limits,
    /// Read PowerMTA's X- headers too.
    pub compat_pmta: bool,
    /// Refuse a suppressed recipient at RCPT.
    pub reject_suppressed: bool,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
    /// Not let in any more; the row stays for the audit.
    pub revoked_at: Option<Timestamp>,
    /// UTC.
    pub created_at: Timestamp,
}

impl CredentialNew {
    /// One without any restriction.
    pub fn named(name: DisplayName) -> CredentialNew {
        CredentialNew {
            name,
            stream: None,
            domains: Vec::new(),
            networks: Vec::new(),
            limits: Limits::default(),
            compat_pmta: false,
            reject_suppressed: false,
            expires_at: None,
        }
    }
}

impl Database {
    /// The credential and its password. No API key makes one that is less bound than itself.
    ///
    /// # Errors
    /// `Forbidden` if a key acts that is more bound than the credential would be; `Invalid` for a domain that
    /// the tenant has not added; `Missing` if it has no such stream; else as [every call](Database#errors).
    pub async fn credential_create(
        &self,
        access: &Access,
        tenant: TenantId,
        new: &CredentialNew,
    ) -> Result<(CredentialRow, Zeroizing<String>), Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "create a credential").await?;
        let bounds = Bounds { stream: new.stream, networks: &new.networks, expires_at: new.expires_at };
        scoped.expect_within_own(bounds).await?;
        expect_own_domains(&scoped, tenant, &new.domains).await?;
        let (row, password) = credential_insert(self, &scoped, tenant, new).await?;
        scoped.record(self, change_of("credential.create", &row)).await?;
        scoped.commit_made(Made::Credential(&row, &password)).await?;
        Ok((row, password))
    }

    /// One credential, revoked or not.
    ///
    /// # Errors
    /// `NotFound` for a credential of another tenant as for none; else as [every call](Database#errors).
    pub async fn credential_fetch(
        &self,
        access: &Access,
        tenant: TenantId,
        credential: CredentialId,
    ) -> Result<CredentialRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a credential").await?;
        let sql = "SELECT * FROM credentials WHERE tenant_id = $1 AND id = $2";
        credential_from(&scoped.one("credential", sql, &[&tenant.uuid(), &credential.uuid()]).await?)
    }

    /// Revoked ones too, newest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn credential_list(
        &self,
        access: &Access,
        tenant: TenantId,
        page: &PageRequest,
    ) -> Result<Page<CredentialRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list credentials").await?;
        scoped
            .newest((List::Credentials, "credentials"), tenant, page, credential_from, |row| row.id.uuid())
            .await
    }

    /// A new password; the old one ends with the next snapshot.
    ///
    /// # Errors
    /// `NotFound` also for one that was revoked; `Forbidden` if a key acts that is more bound than the
    /// credential; else as [every call](Database#errors).
    pub async fn credential_rotate(
        &self,
        access: &Access,
        tenant: TenantId,
        credential: CredentialId,
    ) -> Result<(CredentialRow, Zeroizing<String>), Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "rotate a credential").await?;
        let minted = self.keys().secrets.mint_password(self.now(), &mut self.random());
        let sql = "UPDATE credentials SET secret_mac = $3
                   WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING *";
        let row =
            scoped.one("credential", sql, &[&tenant.uuid(), &credential.uuid(), &&minted.mac[..]]).await?;
        let row = credential_from(&row)?;
        // The transaction ends without effect if it is refused.
        let bounds = Bounds { stream: row.stream, networks: &row.networks, expires_at: row.expires_at };
        scoped.expect_within_own(bounds).await?;
        scoped.record(self, change_of("credential.rotate", &row)).await?;
        scoped.commit_made(Made::Credential(&row, &minted.text)).await?;
        Ok((row, minted.text))
    }

    /// Ends it for good. A second time changes nothing.
    ///
    /// # Errors
    /// `NotFound` for a credential of another tenant as for none; else as [every call](Database#errors).
    pub async fn credential_revoke(
        &self,
        access: &Access,
        tenant: TenantId,
        credential: CredentialId,
    ) -> Result<CredentialRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "revoke a credential").await?;
        let sql = "SELECT * FROM credentials WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
        let mut row =
            credential_from(&scoped.one("credential", sql, &[&tenant.uuid(), &credential.uuid()]).await?)?;
        if row.revoked_at.is_some() {
            return Ok(row);
        }
        row.revoked_at = Some(self.now());
        let sql = "UPDATE credentials SET revoked_at = $3 WHERE tenant_id = $1 AND id = $2";
        scoped.execute(sql, &[&tenant.uuid(), &credential.uuid(), &self.now().to_jiff()]).await?;
        let data = json!({ "credential": row.id, "name": row.name });
        crate::event::event_insert(self, &scoped, tenant, EventKind::CredentialRevoked, data).await?;
        scoped.record(self, change_of("credential.revoke", &row)).await?;
        scoped.commit().await?;
        Ok(row)
    }
}

/// Proved or not: a credential may be made before the records are published, but for nobody else's domain.
async fn expect_own_domains(scoped: &Scoped<'_>, tenant: TenantId, domains: &[Domain]) -> Result<(), Fault> {
    if domains.is_empty() {
        return Ok(());
    }
    let asked: Vec<&str> = domains.iter().map(Domain::as_str).collect();
    let sql = "SELECT name FROM domains WHERE tenant_id = $1 AND name = ANY ($2)";
    let rows = scoped.rows(sql, &[&tenant.uuid(), &asked]).await?;
    let own = rows.iter().map(|row| column(row, "name")).collect::<Result<Vec<String>, Fault>>()?;
    match domains.iter().find(|domain| !own.iter().any(|own| own == domain.as_str())) {
        None => Ok(()),
        Some(domain) => Err(Fault::Invalid {
            field: "domains",
            reason: format!("{domain} is not a domain of this account; add it there first"),
        }),
    }
}

pub(crate) async fn credential_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: TenantId,
    new: &CredentialNew,
) -> Result<(CredentialRow, Zeroizing<String>), Fault> {
    let (now, mut random) = (database.now(), database.random());
    let id = CredentialId::mint(now, &mut random);
    let minted = database.keys().secrets.mint_password(now, &mut random);
    let row = scoped
        .one(
            "credential",
            "INSERT INTO credentials (id, tenant_id, name, username, secret_mac, stream_id, domains, networks, limits,
                                      compat_pmta, reject_suppressed, expires_at, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *",
            &[
                &id.uuid(),
                &tenant.uuid(),
                &new.name.as_str(),
                &id.to_string(),
                &&minted.mac[..],
                &new.stream.map(StreamId::uuid),
                &new.domains.iter().map(Domain::to_string).collect::<Vec<_>>(),
                &new.networks.iter().map(IpNet::to_string).collect::<Vec<_>>(),
                &Json(&new.limits),
                &new.compat_pmta,
                &new.reject_suppressed,
                &new.expires_at.map(Timestamp::to_jiff),
                &now.to_jiff(),
            ],
        )
        .await?;
    Ok((credential_from(&row)?, minted.text))
}

/// Every credential that is not revoked, for the follower.
pub(crate) async fn credentials_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<Credential>, Fault> {
    let sql = "SELECT * FROM credentials
               WHERE revoked_at IS NULL AND ($1::uuid[] IS NULL OR tenant_id = ANY ($1))";
    let rows = scoped.rows(sql, &[&whose]).await?;
    rows.iter()
        .map(|row| {
            let parsed = credential_from(row)?;
            Ok(Credential {
                id: parsed.id,
                tenant: parsed.tenant,
                username: parsed.username.into(),
                secret_mac: mac_from(row, "secret_mac")?,
                stream: parsed.stream,
                domains: parsed.domains,
                networks: parsed.networks,
                expires_at: parsed.expires_at,
                revoked_at: None,
                compat_pmta: parsed.compat_pmta,
                reject_suppressed: parsed.reject_suppressed,
                limits: parsed.limits,
            })
        })
        .collect()
}

pub(crate) fn mac_from(row: &Row, name: &'static str) -> Result<[u8; 32], Fault> {
    column::<&[u8]>(row, name)?.try_into().map_err(|_| corrupt(name))
}

pub(crate) fn networks_from(row: &Row) -> Result<Vec<IpNet>, Fault> {
    let texts: Vec<&str> = column(row, "networks")?;
    texts.into_iter().map(|text| text.parse().map_err(|_| corrupt("networks"))).collect()
}

pub(crate) fn time_from(row: &Row, name: &'static str) -> Result<Option<Timestamp>, Fault> {
    Ok(column::<Option<jiff::Timestamp>>(row, name)?.map(Timestamp::from_jiff))
}

fn change_of(action: &'static str, row: &CredentialRow) -> Change {
    let detail =
        json!({ "name": row.name, "username": row.username, "stream": row.stream, "limits": row.limits });
    Change { action, tenant: Some(row.tenant), object: row.id.to_string(), detail }
}

fn credential_from(row: &Row) -> Result<CredentialRow, Fault> {
    let domains: Vec<&str> = column(row, "domains")?;
    let domain = |text| Domain::parse(text).map_err(|_| corrupt("domains"));
    Ok(CredentialRow {
        id: CredentialId::from_uuid(column(row, "id")?),
        tenant: TenantId::from_uuid(column(row, "tenant_id")?),
        name: parsed(row, "name", |text| DisplayName::parse(text).ok())?,
        username: column(row, "username")?,
        stream: column::<Option<Uuid>>(row, "stream_id")?.map(StreamId::from_uuid),
        domains: domains.into_iter().map(domain).collect::<Result<_, Fault>>()?,
        networks: networks_from(row)?,
        limits: serde_json::from_value(column(row, "limits")?).map_err(|_| corrupt("limits"))?,
        compat_pmta: column(row, "compat_pmta")?,
        reject_suppressed: column(row, "reject_suppressed")?,
        expires_at: time_from(row, "expires_at")?,
        revoked_at: time_from(row, "revoked_at")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
