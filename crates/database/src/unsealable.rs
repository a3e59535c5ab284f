//! Whether the keys at hand are those of this database: asked at a start, before anything is sealed with others.
//!
//! A key file that was lost is made anew by the next start, and one of another installation looks like ours. Both would
//! go on without a word: nobody could log in, nothing would be signed, and what is made from then on could not be read by
//! the nodes that have the right file. One secret that opens is proof enough that the file is ours; the rows whose secret
//! does not open are then left out (`left_out.rs`). Called by the binary; changes nothing.

use crate::connect::Database;
use crate::dkim_key::dkim_binding;
use crate::endpoint::endpoint_binding;
use crate::error::Fault;
use crate::pool::platform_binding;
use crate::scope::{Intent, Scoped, column};
use crate::seal::Binding;
use mail::{DkimKeyId, EndpointId, PoolId, TenantId};
use registry::Access;
use uuid::Uuid;

/// Rows that one statement gives; the first one opens unless something is wrong.
const ROWS_MAX: i64 = 1_000;

/// What the keys at hand are to the secrets of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFit {
    /// It holds no sealed secret, so any key will do.
    NothingSealed,
    /// At least one opens.
    Opens,
    /// It holds secrets, and none of them opens.
    NothingOpens,
}

/// Where sealed secrets lie: a part of them behind an id, and what they are bound to.
struct Place {
    select: &'static str,
    binding: fn(tenant: Uuid, row: Uuid) -> Binding,
}

const PLACES: [Place; 3] = [
    Place {
        select: "SELECT id, tenant_id, ARRAY[sealed] AS sealed FROM dkim_keys WHERE id > $1 ORDER BY id LIMIT $2",
        binding: |tenant, row| dkim_binding(TenantId::from_uuid(tenant), DkimKeyId::from_uuid(row)),
    },
    Place {
        select: "SELECT id, tenant_id, secrets AS sealed FROM endpoints WHERE id > $1 ORDER BY id LIMIT $2",
        binding: |tenant, row| endpoint_binding(TenantId::from_uuid(tenant), EndpointId::from_uuid(row)),
    },
    Place {
        select: "SELECT id, NULL::uuid AS tenant_id, ARRAY[platform_sealed] AS sealed FROM pools
                 WHERE id > $1 AND platform_sealed IS NOT NULL ORDER BY id LIMIT $2",
        binding: |_, row| platform_binding(PoolId::from_uuid(row)),
    },
];

impl Database {
    /// Whether the keys of this house open what the tables hold: ends with the first secret that opens, so that only
    /// wrong keys make it look at all of them.
    ///
    /// # Errors
    /// As [every call](Database#errors).
    pub async fn key_fit(&self, access: &Access) -> Result<KeyFit, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "try the master key").await?;
        let mut fit = KeyFit::NothingSealed;
        for place in &PLACES {
            match self.fit_in(&scoped, place).await? {
                KeyFit::Opens => return Ok(KeyFit::Opens),
                KeyFit::NothingOpens => fit = KeyFit::NothingOpens,
                KeyFit::NothingSealed => {}
            }
        }
        Ok(fit)
    }

    async fn fit_in(&self, scoped: &Scoped<'_>, place: &Place) -> Result<KeyFit, Fault> {
        let (mut behind, mut fit) = (Uuid::nil(), KeyFit::NothingSealed);
        loop {
            let rows = scoped.rows(place.select, &[&behind, &ROWS_MAX]).await?;
            for row in &rows {
                behind = column(row, "id")?;
                let tenant = column::<Option<Uuid>>(row, "tenant_id")?.unwrap_or_default();
                let binding = (place.binding)(tenant, behind);
                for sealed in column::<Vec<&[u8]>>(row, "sealed")? {
                    if self.keys().sealing.open(binding, sealed).is_ok() {
                        return Ok(KeyFit::Opens);
                    }
                    fit = KeyFit::NothingOpens;
                }
            }
            if rows.is_empty() {
                return Ok(fit);
            }
        }
    }
}
