//! Which domains the house's checker looks at next: those that were not looked at for the longest time.
//!
//! The order is that of `checked_at`; a domain that was never checked is first. A check that cannot be made for reasons
//! of ours moves its domain to the end all the same, or a hundred such would be all that is ever looked at. What a check
//! means is `domain.rs`.

use crate::connect::Database;
use crate::error::Fault;
use crate::scope::{Intent, column};
use mail::{DomainId, TenantId, Timestamp};
use registry::Access;

impl Database {
    /// At most `limit` domains whose last check is older than `before`, the longest ago first. For the
    /// house's checker.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn domains_due(
        &self,
        access: &Access,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(TenantId, DomainId)>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "find domains to check").await?;
        let rows = scoped
            .rows(
                "SELECT tenant_id, id FROM domains WHERE checked_at IS NULL OR checked_at < $1
                 ORDER BY checked_at NULLS FIRST LIMIT $2",
                &[&before.to_jiff(), &i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok((TenantId::from_uuid(column(row, "tenant_id")?), DomainId::from_uuid(column(row, "id")?)))
            })
            .collect()
    }

    /// Puts a domain that could not be checked, for reasons of ours, at the end of those that are due.
    ///
    /// # Errors
    /// As [every call](Database#errors); a domain that is gone is no fault.
    pub async fn domain_postpone(
        &self,
        access: &Access,
        tenant: TenantId,
        domain: DomainId,
    ) -> Result<(), Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, Some(tenant), Intent::Note, "postpone a check").await?;
        let sql = "UPDATE domains SET checked_at = $3 WHERE tenant_id = $1 AND id = $2";
        scoped.execute(sql, &[&tenant.uuid(), &domain.uuid(), &self.now().to_jiff()]).await?;
        scoped.commit().await
    }
}
