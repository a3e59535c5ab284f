//! The table of tenants. Read this file before writing another one: every table of the house is done like this.
//!
//! A method takes the `Access` first and opens a transaction within its scope (`scope.rs`); a change ends with
//! `record` (`audit.rs`), which moves the generation, and a commit. SQL stands where it runs, names its columns, and
//! repeats the tenant in its WHERE although row level security would hold anyway: the policy is for safety, the
//! WHERE for the index. A row becomes a value in one function at the end, and what cannot be parsed is a fault, not
//! a default. Called by the API; the follower reads the same rows through `tenants_all`; a tenant's end is in `erase.rs`.

use crate::audit::Change;
use crate::connect::Database;
use crate::error::Fault;
use crate::event::event_insert;
use crate::kept::Made;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::scope::{Intent, Scoped, Whose, column, corrupt, parsed};
use mail::{EventKind, TenantId, Timestamp};
use registry::{Access, DisplayName, Plan, Tenant, TenantStatus};
use serde_json::json;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

/// What a tenant is made of. The id and the times are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantNew {
    /// For people; need not be unique.
    pub name: DisplayName,
    /// How much of its mail is taken.
    pub plan: Plan,
}

/// What may be changed; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TenantChange {
    /// For people.
    pub name: Option<DisplayName>,
    /// The whole plan, from now on.
    pub plan: Option<Plan>,
    /// `Changed` if the plan is not this one any more.
    pub plan_before: Option<Plan>,
}

impl Database {
    /// Makes a tenant without anything that belongs to it. The API uses `tenant_onboard`.
    ///
    /// # Errors
    /// `Invalid` for a plan that is not allowed; `Forbidden` for whoever is held to one tenant; else as
    /// [every call](Database#errors).
    pub async fn tenant_create(&self, access: &Access, new: &TenantNew) -> Result<Tenant, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "create a tenant").await?;
        let tenant = tenant_insert(self, &scoped, new).await?;
        scoped.record(self, change_of("tenant.create", &tenant)).await?;
        scoped.commit().await?;
        Ok(tenant)
    }

    /// One tenant.
    ///
    /// # Errors
    /// `NotFound` for a tenant out of reach as for none; else as [every call](Database#errors).
    pub async fn tenant_fetch(&self, access: &Access, tenant: TenantId) -> Result<Tenant, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Read, "fetch a tenant").await?;
        let row = scoped.one("tenant", "SELECT * FROM tenants WHERE id = $1", &[&tenant.uuid()]).await?;
        tenant_from(&row)
    }

    /// Newest first. A tenant's access sees a list of one.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list; else as [every call](Database#errors).
    pub async fn tenant_list(&self, access: &Access, page: &PageRequest) -> Result<Page<Tenant>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "list tenants").await?;
        let rows = scoped
            .rows(
                "SELECT * FROM tenants WHERE ($1::uuid IS NULL OR id = $1) AND id < $2 ORDER BY id DESC LIMIT $3",
                &[&access.tenant().map(TenantId::uuid), &page.before_id(List::Tenants)?, &page.fetch()],
            )
            .await?;
        page.finish(rows, tenant_from, |tenant| id_cursor(List::Tenants, tenant.id.uuid()))
    }

    /// Name and plan. A tenant may rename itself; its plan is the house's.
    ///
    /// # Errors
    /// `Forbidden` if whoever is held to one tenant changes the plan; `Changed` if the plan is not
    /// `plan_before` any more; `NotFound` for a tenant out of reach as for none; else as
    /// [every call](Database#errors).
    pub async fn tenant_update(
        &self,
        access: &Access,
        tenant: TenantId,
        change: &TenantChange,
    ) -> Result<Tenant, Fault> {
        if change.plan.is_some() && !access.is_house() {
            return Err(Fault::Forbidden);
        }
        if let Some(plan) = &change.plan {
            must_work(plan)?;
        }
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "update a tenant").await?;
        if let Some(before) = &change.plan_before {
            let sql = "SELECT * FROM tenants WHERE id = $1 FOR NO KEY UPDATE";
            let now = tenant_from(&scoped.one("tenant", sql, &[&tenant.uuid()]).await?)?;
            if now.plan != *before {
                return Err(Fault::Changed { what: "plan" });
            }
        }
        let row = scoped
            .one(
                "tenant",
                "UPDATE tenants SET name = coalesce($2, name), plan = coalesce($3, plan), updated_at = $4
                 WHERE id = $1 RETURNING *",
                &[
                    &tenant.uuid(),
                    &change.name.as_ref().map(DisplayName::as_str),
                    &change.plan.as_ref().map(Json),
                    &self.now().to_jiff(),
                ],
            )
            .await?;
        let tenant = tenant_from(&row)?;
        scoped.record(self, change_of("tenant.update", &tenant)).await?;
        scoped.commit().await?;
        Ok(tenant)
    }

    /// Pause, resume, quarantine, release, close. What may follow what is decided here, under the row's lock.
    ///
    /// # Errors
    /// `Invalid` if a closing tenant is to be anything else; `Forbidden` if whoever is held to one tenant
    /// puts it into quarantine or takes it out; `NotFound` for a tenant out of reach as for none; else as
    /// [every call](Database#errors).
    pub async fn tenant_set_status(
        &self,
        access: &Access,
        tenant: TenantId,
        status: TenantStatus,
        reason: Option<&str>,
    ) -> Result<Tenant, Fault> {
        let mut client = self.client(access).await?;
        let scoped =
            self.scope(&mut client, access, Some(tenant), Intent::Change, "set a tenant's status").await?;
        let row = scoped
            .one("tenant", "SELECT * FROM tenants WHERE id = $1 FOR NO KEY UPDATE", &[&tenant.uuid()])
            .await?;
        let before = tenant_from(&row)?;
        check_transition(before.status, status, access)?;
        // Nothing changes, so nothing is told.
        if before.status == status {
            return Ok(before);
        }
        // The row says why a tenant is not active; why it is so again, the event and the audit say.
        let kept = reason.filter(|_| status != TenantStatus::Active);
        let row = scoped
            .one(
                "tenant",
                "UPDATE tenants SET status = $2, status_reason = $3, updated_at = $4 WHERE id = $1 RETURNING *",
                &[&tenant.uuid(), &status.as_str(), &kept, &self.now().to_jiff()],
            )
            .await?;
        let tenant = tenant_from(&row)?;
        let data = json!({ "status": tenant.status, "reason": reason });
        event_insert(self, &scoped, tenant.id, EventKind::TenantStatusChanged, data).await?;
        let mut change = change_of("tenant.status", &tenant);
        change.detail["reason"] = json!(reason);
        scoped.record(self, change).await?;
        scoped.commit_made(Made::Tenant(&tenant)).await?;
        Ok(tenant)
    }
}

fn must_work(plan: &Plan) -> Result<(), Fault> {
    plan.check().map_err(|(field, reason)| Fault::Invalid { field, reason: reason.to_owned() })
}

/// The row alone, for `tenant_create` and for onboarding, which makes more in the same transaction.
pub(crate) async fn tenant_insert(
    database: &Database,
    scoped: &Scoped<'_>,
    new: &TenantNew,
) -> Result<Tenant, Fault> {
    must_work(&new.plan)?;
    let now = database.now();
    let id = TenantId::mint(now, &mut database.random());
    let row = scoped
        .one(
            "tenant",
            "INSERT INTO tenants (id, name, status, plan, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $5) RETURNING *",
            &[
                &id.uuid(),
                &new.name.as_str(),
                &TenantStatus::Active.as_str(),
                &Json(&new.plan),
                &now.to_jiff(),
            ],
        )
        .await?;
    tenant_from(&row)
}

/// Every tenant, for the follower.
pub(crate) async fn tenants_all(scoped: &Scoped<'_>, whose: Whose<'_>) -> Result<Vec<Tenant>, Fault> {
    scoped
        .rows("SELECT * FROM tenants WHERE $1::uuid[] IS NULL OR id = ANY ($1)", &[&whose])
        .await?
        .iter()
        .map(tenant_from)
        .collect()
}

fn check_transition(from: TenantStatus, to: TenantStatus, access: &Access) -> Result<(), Fault> {
    let only_house = matches!((from, to), (TenantStatus::Quarantined, _) | (_, TenantStatus::Quarantined));
    if from == TenantStatus::Closing && to != TenantStatus::Closing {
        return Err(Fault::Invalid {
            field: "status",
            reason: "a closing tenant cannot come back".to_owned(),
        });
    }
    if only_house && !access.is_house() {
        return Err(Fault::Forbidden);
    }
    Ok(())
}

fn change_of(action: &'static str, tenant: &Tenant) -> Change {
    let detail = json!({
        "name": tenant.name, "status": tenant.status, "reason": tenant.status_reason, "plan": tenant.plan,
    });
    Change { action, tenant: Some(tenant.id), object: tenant.id.to_string(), detail }
}

pub(crate) fn tenant_from(row: &Row) -> Result<Tenant, Fault> {
    Ok(Tenant {
        id: TenantId::from_uuid(column(row, "id")?),
        name: parsed(row, "name", |text| DisplayName::parse(text).ok())?,
        status: parsed(row, "status", TenantStatus::parse)?,
        status_reason: column(row, "status_reason")?,
        plan: serde_json::from_value(column(row, "plan")?).map_err(|_| corrupt("plan"))?,
        created_at: Timestamp::from_jiff(column(row, "created_at")?),
        updated_at: Timestamp::from_jiff(column(row, "updated_at")?),
    })
}
