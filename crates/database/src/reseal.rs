//! Sealing anew: once a new master key is in force, what earlier ones sealed is sealed with it.
//!
//! Nothing waits for it, since earlier keys open until they are retired; `posthouse keys retire` asks first whether any
//! value still needs one. It goes in parts, each a transaction, and may be broken off anywhere; two nodes at once wait
//! for each other's rows and find nothing left to do. What may surprise: a value that does not open stays as it is and
//! is told, for only the key that it was sealed with could mend it.

use crate::audit::Change;
use crate::connect::Database;
use crate::dkim_key::dkim_binding;
use crate::endpoint::endpoint_binding;
use crate::error::Fault;
use crate::pool::platform_binding;
use crate::scope::{Intent, column};
use crate::seal::Binding;
use mail::{DkimKeyId, EndpointId, PoolId, TenantId};
use registry::Access;
use serde_json::json;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows of one transaction.
const ROWS_MAX: i64 = 500;

/// Where sealed values lie: what selects those of some versions behind an id, what replaces them, what they are bound to.
struct Place {
    select: &'static str,
    update: &'static str,
    count: &'static str,
    binding: fn(tenant: Uuid, row: Uuid) -> Binding,
}

const PLACES: [Place; 3] = [
    Place {
        select: "SELECT id, tenant_id, ARRAY[sealed] AS sealed FROM dkim_keys
                 WHERE id > $1 AND substring(sealed FROM 1 FOR 4) = ANY ($2) ORDER BY id LIMIT $3 FOR UPDATE",
        update: "UPDATE dkim_keys SET sealed = ($2::bytea[])[1] WHERE id = $1",
        count: "SELECT substring(sealed FROM 1 FOR 4) AS version, count(*) AS many FROM dkim_keys GROUP BY 1",
        binding: |tenant, row| dkim_binding(TenantId::from_uuid(tenant), DkimKeyId::from_uuid(row)),
    },
    Place {
        select: "SELECT id, NULL::uuid AS tenant_id, ARRAY[platform_sealed] AS sealed FROM pools
                 WHERE id > $1 AND substring(platform_sealed FROM 1 FOR 4) = ANY ($2)
                 ORDER BY id LIMIT $3 FOR UPDATE",
        update: "UPDATE pools SET platform_sealed = ($2::bytea[])[1] WHERE id = $1",
        count: "SELECT substring(platform_sealed FROM 1 FOR 4) AS version, count(*) AS many FROM pools
                WHERE platform_sealed IS NOT NULL GROUP BY 1",
        binding: |_, row| platform_binding(PoolId::from_uuid(row)),
    },
    Place {
        select: "SELECT id, tenant_id, secrets AS sealed FROM endpoints
                 WHERE id > $1 AND EXISTS
                   (SELECT FROM unnest(secrets) AS secret WHERE substring(secret FROM 1 FOR 4) = ANY ($2))
                 ORDER BY id LIMIT $3 FOR UPDATE",
        update: "UPDATE endpoints SET secrets = $2 WHERE id = $1",
        count: "SELECT substring(secret FROM 1 FOR 4) AS version, count(*) AS many
                FROM endpoints, unnest(secrets) AS secret GROUP BY 1",
        binding: |tenant, row| endpoint_binding(TenantId::from_uuid(tenant), EndpointId::from_uuid(row)),
    },
];

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Rows whose values are sealed with the key in force now.
    pub rows: u64,
    /// Rows with a value that does not open.
    pub failed: u64,
}

impl Database {
    /// Seals with the key in force whatever earlier keys sealed. Cheap when there is nothing to do, but for a look at
    /// every sealed value.
    pub async fn reseal(&self, access: &Access) -> Result<Resealed, Fault> {
        let mut all = Resealed::default();
        for place in &PLACES {
            let mut behind = Uuid::nil();
            while let Some(last) = self.reseal_part(access, place, behind, &mut all).await? {
                behind = last;
            }
        }
        Ok(all)
    }

    /// Whether there may be something to seal anew.
    pub fn has_earlier_keys(&self) -> bool {
        self.keys().sealing.earlier(self.now()).next().is_some()
    }

    /// How many values each version of the master key has sealed.
    pub async fn sealed_by_version(&self, access: &Access) -> Result<BTreeMap<u32, u64>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "count sealed values").await?;
        let mut counts = BTreeMap::new();
        for place in &PLACES {
            for row in scoped.rows(place.count, &[]).await? {
                let version: &[u8] = column(&row, "version")?;
                let version = version.try_into().map_or(0, u32::from_be_bytes);
                *counts.entry(version).or_default() +=
                    u64::try_from(column::<i64>(&row, "many")?).unwrap_or(0);
            }
        }
        Ok(counts)
    }

    /// Returns the last id it looked at; none if there was nothing.
    async fn reseal_part(
        &self,
        access: &Access,
        place: &Place,
        behind: Uuid,
        all: &mut Resealed,
    ) -> Result<Option<Uuid>, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "seal secrets anew").await?;
        let earlier: Vec<Vec<u8>> =
            self.keys().sealing.earlier(self.now()).map(|version| version.to_be_bytes().to_vec()).collect();
        let rows = scoped.rows(place.select, &[&behind, &earlier, &ROWS_MAX]).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let last: Uuid = column(last, "id")?;
        let mut renewed = 0_u64;
        for row in &rows {
            let id: Uuid = column(row, "id")?;
            match self.renewed(place, id, row) {
                Ok(sealed) => renewed += scoped.execute(place.update, &[&id, &sealed]).await?,
                Err(fault) => {
                    tracing::error!(row = %id, %fault, "a sealed secret cannot be sealed anew");
                    all.failed += 1;
                }
            }
        }
        if renewed > 0 {
            let detail = json!({ "rows": renewed, "version": self.keys().sealing.in_force(self.now()) });
            let object = "master key".to_owned();
            scoped.record(self, Change { action: "keys.reseal", tenant: None, object, detail }).await?;
        }
        scoped.commit().await?;
        all.rows += renewed;
        Ok(Some(last))
    }

    fn renewed(&self, place: &Place, id: Uuid, row: &Row) -> Result<Vec<Vec<u8>>, Fault> {
        let tenant = column::<Option<Uuid>>(row, "tenant_id")?.unwrap_or_default();
        let sealed: Vec<&[u8]> = column(row, "sealed")?;
        let (sealing, binding) = (&self.keys().sealing, (place.binding)(tenant, id));
        let renew = |sealed: &[u8]| {
            let plain = sealing.open(binding, sealed)?;
            sealing.seal(binding, &plain, self.now(), &mut self.random())
        };
        sealed.into_iter().map(renew).collect()
    }
}
