//! Sending domains: claimed with a token, proved by DNS, owned by one tenant at a time.
//!
//! Any number of tenants may claim a name; a unique index lets one of them prove it. The check itself (asking the
//! DNS, `registry::judge`) is done by the caller; `domain_check` takes its result and draws the conclusions: the
//! state, the keys that may sign now, the event.

use crate::audit::Change;
use crate::connect::Database;
use crate::dkim_key::{DkimKeyRow, dkim_keys_insert, dkim_keys_of, new_keys, silent_keys};
use crate::error::Fault;
use crate::event::event_insert;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest};
use crate::scope::{Intent, Scoped, Whose, column, corrupt, parsed};
use mail::{Domain, DomainId, EventKind, Random, TenantId, Timestamp};
use registry::{
    Access, DomainFacts, DomainRecord, DomainState, ExpectedRecord, KeyState, PublishedKey, RecordState,
    expected_records, next_state,
};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

/// A domain to claim.
#[derive(Debug, Clone)]
pub struct DomainNew {
    /// In its canonical form.
    pub name: Domain,
    /// Where its return path must point: the host of our inbound listener.
    pub return_path_target: Domain,
}

/// A sending domain with what its tenant has to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainRow {
    /// Never used again.
    pub id: DomainId,
    /// Whose it is, and nobody else's.
    pub tenant: TenantId,
    /// What stands behind the @ of From.
    pub name: Domain,
    /// How far it is proved.
    pub state: DomainState,
    /// What its TXT record must hold.
    pub ownership_token: String,
    /// The name whose CNAME leads to us.
    pub return_path: Domain,
    /// Where that CNAME leads.
    pub return_path_target: Domain,
    /// Expected and, once checked, found.
    pub records: Vec<DomainRecord>,
    /// Those that are still published.
    pub keys: Vec<DkimKeyRow>,
    /// When the DNS was asked last.
    pub checked_at: Option<Timestamp>,
    /// When everything that is required was found first.
    pub verified_at: Option<Timestamp>,
    /// Set while something that is required is missing.
    pub degraded_at: Option<Timestamp>,
    /// UTC.
    pub created_at: Timestamp,
}

impl DomainRow {
    /// What to ask the DNS for.
    pub fn expected(&self) -> Vec<ExpectedRecord> {
        let keys: Vec<PublishedKey> = self
            .keys
            .iter()
            .map(|key| PublishedKey {
                selector: key.selector.clone(),
                algorithm: key.algorithm,
                state: key.state,
                record: key.public_record.clone(),
            })
            .collect();
        expected_records(&DomainFacts {
            name: &self.name,
            ownership_token: &self.ownership_token,
            return_path: &self.return_path,
            return_path_target: &self.return_path_target,
            keys: &keys,
            tracking: None,
        })
    }
}

impl Database {
    /// Claims a domain and makes its keys.
    ///
    /// # Errors
    /// `Conflict` of `domain` if another tenant has proved it, of `name` if this one has claimed it;
    /// `Invalid` if a host name for the return path below it would be too long; `Sealing` if a key cannot be
    /// made or sealed; else as [every call](Database#errors).
    pub async fn domain_create(
        &self,
        access: &Access,
        tenant: TenantId,
        new: &DomainNew,
    ) -> Result<DomainRow, Fault> {
        let keys = new_keys().await?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "create a domain").await?;
        let domain = domain_insert(self, &scoped, tenant, new).await?;
        dkim_keys_insert(self, &scoped, (tenant, domain), &keys, KeyState::Active, &[]).await?;
        let row = domain_of(&scoped, tenant, domain).await?;
        scoped.record(self, change_of("domain.create", &row)).await?;
        scoped.commit_made(Made::Domain(&row)).await?;
        Ok(row)
    }

    /// With its records and keys.
    ///
    /// # Errors
    /// `NotFound` for a domain of another tenant as for none; else as [every call](Database#errors).
    pub async fn domain_fetch(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<DomainRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a domain").await?;
        domain_of(&scoped, tenant, domain).await
    }

    /// The same for whoever may have it checked, which needs no right to read.
    ///
    /// # Errors
    /// As [`Database::domain_fetch`].
    pub async fn domain_to_check(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<DomainRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "fetch a domain").await?;
        domain_of(&scoped, tenant, domain).await
    }

    /// Newest first, with keys and records.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn domain_list(
        &self,
        access: &Access,
        tenant: TenantId,
        page: &PageRequest,
    ) -> Result<Page<DomainRow>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "list domains").await?;
        let mut page = scoped
            .newest((List::Domains, "domains"), tenant, page, domain_from, |domain| domain.id.uuid())
            .await?;
        for domain in &mut page.rows {
            complete(&scoped, domain).await?;
        }
        Ok(page)
    }

    /// Gives the name up. Mail that is signed and queued still leaves: the journal holds it as it is.
    ///
    /// # Errors
    /// `NotFound` for a domain of another tenant as for none; `Forbidden` for a suspended one, unless the
    /// house does it; else as [every call](Database#errors).
    pub async fn domain_delete(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "delete a domain").await?;
        // Locked: a suspension at the same moment must not be undone by this.
        let sql = "SELECT 1 FROM domains WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
        scoped.one("domain", sql, &[&tenant.uuid(), &domain.uuid()]).await?;
        let row = domain_of(&scoped, tenant, domain).await?;
        if row.state == DomainState::Suspended && !access.is_house() {
            return Err(Fault::Forbidden);
        }
        let sql = "DELETE FROM domains WHERE tenant_id = $1 AND id = $2";
        scoped.execute(sql, &[&tenant.uuid(), &domain.uuid()]).await?;
        scoped.record(self, change_of("domain.delete", &row)).await?;
        scoped.commit().await
    }

    /// Takes the records as just checked; those that are not expected (any more) do not count, and one that
    /// was left out counts as unchecked. A check that changes no state and no key leaves generation and audit
    /// alone: checks are many.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such domain; `Conflict` of `domain` if another tenant proved the name
    /// first; else as [every call](Database#errors).
    pub async fn domain_check(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
        records: &[DomainRecord],
    ) -> Result<DomainRow, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "check a domain").await?;
        let sql = "SELECT id FROM domains WHERE tenant_id = $1 AND id = $2 FOR UPDATE";
        scoped.one("domain", sql, &[&tenant.uuid(), &domain.uuid()]).await?;
        let before = domain_of(&scoped, tenant, domain).await?;
        let records = &laid_over(before.expected(), records);
        let now = self.now();
        let degraded_for = before.degraded_at.map_or(Duration::ZERO, |since| now.saturating_since(since));
        let state = next_state(before.state, degraded_for, records);
        let verified_at = if state == DomainState::Verified {
            before.verified_at.or(Some(now))
        } else {
            before.verified_at
        };
        let degraded_at = match state {
            DomainState::Degraded | DomainState::Failed => before.degraded_at.or(Some(now)),
            DomainState::Pending | DomainState::Verified | DomainState::Suspended => None,
        };
        scoped
            .execute(
                "UPDATE domains SET state = $3, records = $4, checked_at = $5, verified_at = $6, degraded_at = $7
                 WHERE tenant_id = $1 AND id = $2",
                &[
                    &tenant.uuid(),
                    &domain.uuid(),
                    &state.as_str(),
                    &Json(records),
                    &now.to_jiff(),
                    &verified_at.map(Timestamp::to_jiff),
                    &degraded_at.map(Timestamp::to_jiff),
                ],
            )
            .await?;
        let promoted = promote_keys(&scoped, &before, records, now).await?;
        let row = domain_of(&scoped, tenant, domain).await?;
        if state != before.state {
            self.tell_state(&scoped, &row).await?;
        }
        if promoted {
            let data = json!({ "domain": row.name.as_str(), "id": row.id });
            event_insert(self, &scoped, tenant, EventKind::DkimRotated, data).await?;
        }
        if state != before.state
            || promoted
            || silent_keys(&before.keys, &before.records) != silent_keys(&row.keys, &row.records)
        {
            scoped.record(self, change_of("domain.check", &row)).await?;
        }
        scoped.commit().await?;
        Ok(row)
    }

    async fn tell_state(&self, scoped: &Scoped<'_>, row: &DomainRow) -> Result<(), Fault> {
        let kind = match row.state {
            DomainState::Verified => EventKind::DomainVerified,
            DomainState::Degraded => EventKind::DomainDegraded,
            DomainState::Failed => EventKind::DomainFailed,
            DomainState::Pending | DomainState::Suspended => return Ok(()),
        };
        let data = json!({ "domain": row.name.as_str(), "id": row.id, "state": row.state });
        event_insert(self, scoped, row.tenant, kind, data).await
    }
}

/// The row without keys, for `domain_create` and onboarding.
pub(crate) async fn domain_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    tenant: TenantId,
    new: &DomainNew,
) -> Result<DomainId, Fault> {
    let now = database.now();
    let mut random = database.random();
    let id = DomainId::mint(now, &mut random);
    let taken = scoped
        .one("domain", "SELECT domain_is_taken($1, $2) AS taken", &[&new.name.as_str(), &tenant.uuid()])
        .await?;
    if column(&taken, "taken")? {
        return Err(Fault::Conflict { field: "domain" });
    }
    let return_path = Domain::parse(&new.name.host_below("rp"))
        .map_err(|error| Fault::Invalid { field: "name", reason: error.to_string() })?;
    scoped
        .execute(
            "INSERT INTO domains (id, tenant_id, name, state, ownership_token, return_path, return_path_target,
                                  created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &id.uuid(),
                &tenant.uuid(),
                &new.name.as_str(),
                &DomainState::Pending.as_str(),
                &token(&mut random),
                &return_path.as_str(),
                &new.return_path_target.as_str(),
                &now.to_jiff(),
            ],
        )
        .await?;
    Ok(id)
}

pub(crate) async fn domain_of(
    scoped: &Scoped<'_>,
    tenant: TenantId,
    domain: DomainId,
) -> Result<DomainRow, Fault> {
    let sql = "SELECT * FROM domains WHERE tenant_id = $1 AND id = $2";
    let mut row = domain_from(&scoped.one("domain", sql, &[&tenant.uuid(), &domain.uuid()]).await?)?;
    complete(scoped, &mut row).await?;
    Ok(row)
}

/// Every domain without its keys, for the follower.
pub(crate) async fn domains_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<DomainRow>, Fault> {
    scoped
        .rows("SELECT * FROM domains WHERE $1::uuid[] IS NULL OR tenant_id = ANY ($1)", &[&whose])
        .await?
        .iter()
        .map(domain_from)
        .collect()
}

/// Adds the keys and lays the last check over the records that are expected now.
async fn complete(scoped: &Scoped<'_>, domain: &mut DomainRow) -> Result<(), Fault> {
    domain.keys = dkim_keys_of(scoped, domain.tenant, domain.id).await?;
    domain.records = laid_over(domain.expected(), &domain.records);
    Ok(())
}

fn laid_over(expected: Vec<ExpectedRecord>, checked: &[DomainRecord]) -> Vec<DomainRecord> {
    let lay = |expected: ExpectedRecord| {
        let same = |record: &&DomainRecord| record.host == expected.host && record.value == expected.value;
        match checked.iter().find(same) {
            Some(record) => DomainRecord { required: expected.required, ..record.clone() },
            None => DomainRecord::unchecked(expected),
        }
    };
    expected.into_iter().map(lay).collect()
}

/// Keys to come whose records were found sign from now on; those they replace retire.
async fn promote_keys(
    scoped: &Scoped<'_>,
    domain: &DomainRow,
    records: &[DomainRecord],
    now: Timestamp,
) -> Result<bool, Fault> {
    let published = |key: &DkimKeyRow| {
        records.iter().any(|record| record.state == RecordState::Ok && record.value == key.public_record)
    };
    let mut promoted = false;
    for key in domain.keys.iter().filter(|key| key.state == KeyState::Next && published(key)) {
        let of_kind: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&domain.tenant.uuid(), &domain.id.uuid(), &key.algorithm.as_str(), &now.to_jiff()];
        let retire = "UPDATE dkim_keys SET state = 'retiring', retired_at = $4
                      WHERE tenant_id = $1 AND domain_id = $2 AND algorithm = $3 AND state = 'active'";
        scoped.execute(retire, of_kind).await?;
        let promote = "UPDATE dkim_keys SET state = 'active' WHERE tenant_id = $1 AND id = $2";
        scoped.execute(promote, &[&domain.tenant.uuid(), &key.id.uuid()]).await?;
        promoted = true;
    }
    Ok(promoted)
}

/// 160 bits, in the alphabet of a host name so that no DNS form objects.
fn token(random: &mut Random) -> String {
    random.bytes::<20>().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn change_of(action: &'static str, domain: &DomainRow) -> Change {
    let detail = json!({ "name": domain.name.as_str(), "state": domain.state });
    Change { action, tenant: Some(domain.tenant), object: domain.id.to_string(), detail }
}

fn domain_from(row: &Row) -> Result<DomainRow, Fault> {
    let time = |name| column::<Option<jiff::Timestamp>>(row, name).map(|at| at.map(Timestamp::from_jiff));
    let name = |column| parsed(row, column, |text| Domain::parse(text).ok());
    let records = match column::<Option<serde_json::Value>>(row, "records")? {
        None => Vec::new(),
        Some(value) => serde_json::from_value(value).map_err(|_| corrupt("records"))?,
    };
    Ok(DomainRow {
        id: DomainId::from_uuid(column(row, "id")?),
        tenant: TenantId::from_uuid(column(row, "tenant_id")?),
        name: name("name")?,
        state: parsed(row, "state", DomainState::parse)?,
        ownership_token: column(row, "ownership_token")?,
        return_path: name("return_path")?,
        return_path_target: name("return_path_target")?,
        records,
        keys: Vec::new(),
        checked_at: time("checked_at")?,
        verified_at: time("verified_at")?,
        degraded_at: time("degraded_at")?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
    })
}
