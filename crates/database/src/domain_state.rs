//! An operator stops a domain, or lets it go again.
//!
//! A suspended domain sends nothing whatever its records say, and its name stays taken, so that nobody gets round the
//! stop by claiming it elsewhere. Released, it is pending until the next check finds its records.

use crate::audit::Change;
use crate::connect::Database;
use crate::domain::{DomainRow, domain_of};
use crate::error::Fault;
use crate::kept::Made;
use crate::scope::Intent;
use mail::{DomainId, TenantId};
use registry::Access;
use serde_json::json;

impl Database {
    /// Stops the mail of a domain; the reason stands in the audit. Repeating it changes nothing.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant; `NotFound` if the tenant has no such domain; `Conflict`
    /// of `domain` if another tenant has proved the name; else as [every call](Database#errors).
    pub async fn domain_suspend(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
        reason: Option<&str>,
    ) -> Result<DomainRow, Fault> {
        let sql = "UPDATE domains SET state = 'suspended', degraded_at = NULL
                   WHERE tenant_id = $1 AND id = $2 AND state <> 'suspended'";
        self.domain_stop(access, (tenant, domain), ("domain.suspend", reason), sql).await
    }

    /// Ends the stop. A domain that is not suspended stays as it is.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant; `NotFound` if the tenant has no such domain; else as
    /// [every call](Database#errors).
    pub async fn domain_release(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
        reason: Option<&str>,
    ) -> Result<DomainRow, Fault> {
        let sql = "UPDATE domains SET state = 'pending', checked_at = NULL
                   WHERE tenant_id = $1 AND id = $2 AND state = 'suspended'";
        self.domain_stop(access, (tenant, domain), ("domain.release", reason), sql).await
    }

    async fn domain_stop(
        &self,
        access: &Access,
        (tenant, domain): (TenantId, DomainId),
        (action, reason): (&'static str, Option<&str>),
        sql: &str,
    ) -> Result<DomainRow, Fault> {
        if !access.is_house() {
            return Err(Fault::Forbidden);
        }
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Change, "stop a domain").await?;
        let changed = scoped.execute(sql, &[&tenant.uuid(), &domain.uuid()]).await?;
        let row = domain_of(&scoped, tenant, domain).await?;
        if changed > 0 {
            let detail = json!({ "name": row.name.as_str(), "state": row.state, "reason": reason });
            scoped
                .record(self, Change { action, tenant: Some(tenant), object: domain.to_string(), detail })
                .await?;
        }
        scoped.commit_made(Made::Domain(&row)).await?;
        Ok(row)
    }
}
