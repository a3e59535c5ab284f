//! Sealing anew: once a new master key is in force, what earlier ones sealed is sealed with it; then they can be retired.
//!
//! Nothing waits for it, since earlier keys open until they are retired. It goes in parts, each a transaction, takes no
//! row that somebody else is changing, and may be broken off anywhere: what was passed over comes with the next pass.
//! Retiring a key counts what it sealed and forbids it to seal in one transaction, under the lock that every change of
//! the registry ends with (`audit.rs`), so that no node can seal with it afterwards. What may surprise: a value that
//! does not open stays as it is and is told, for only the key that it was sealed with could mend it.

use crate::audit::Change;
use crate::connect::Database;
use crate::dkim_key::dkim_binding;
use crate::endpoint::endpoint_binding;
use crate::error::Fault;
use crate::pool::platform_binding;
use crate::scope::{Intent, Scoped, column};
use crate::seal::Binding;
use mail::{DkimKeyId, EndpointId, PoolId, TenantId};
use registry::{Access, Right};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Rows that one transaction looks at.
const LOOKED_AT_MAX: i64 = 1_000;

/// Where sealed values lie: what finds the end of a part behind an id, what selects in it the values of some versions, what
/// replaces them, what they are bound to.
struct Place {
    end: &'static str,
    select: &'static str,
    update: &'static str,
    count: &'static str,
    binding: fn(tenant: Uuid, row: Uuid) -> Binding,
}

const PLACES: [Place; 3] = [
    Place {
        end: "SELECT id FROM dkim_keys WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1",
        select: "SELECT id, tenant_id, ARRAY[sealed] AS sealed FROM dkim_keys
                 WHERE id > $1 AND id <= $2 AND substring(sealed FROM 1 FOR 4) = ANY ($3)
                 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        update: "UPDATE dkim_keys SET sealed = ($2::bytea[])[1] WHERE id = $1",
        count: "SELECT substring(sealed FROM 1 FOR 4) AS version, count(*) AS many FROM dkim_keys GROUP BY 1",
        binding: |tenant, row| dkim_binding(TenantId::from_uuid(tenant), DkimKeyId::from_uuid(row)),
    },
    Place {
        end: "SELECT id FROM pools WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1",
        select: "SELECT id, NULL::uuid AS tenant_id, ARRAY[platform_sealed] AS sealed FROM pools
                 WHERE id > $1 AND id <= $2 AND substring(platform_sealed FROM 1 FOR 4) = ANY ($3)
                 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        update: "UPDATE pools SET platform_sealed = ($2::bytea[])[1] WHERE id = $1",
        count: "SELECT substring(platform_sealed FROM 1 FOR 4) AS version, count(*) AS many FROM pools
                WHERE platform_sealed IS NOT NULL GROUP BY 1",
        binding: |_, row| platform_binding(PoolId::from_uuid(row)),
    },
    Place {
        end: "SELECT id FROM endpoints WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1",
        select: "SELECT id, tenant_id, secrets AS sealed FROM endpoints
                 WHERE id > $1 AND id <= $2 AND EXISTS
                   (SELECT FROM unnest(secrets) AS secret WHERE substring(secret FROM 1 FOR 4) = ANY ($3))
                 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
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

/// Whether a master key may be taken out of the key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    /// Nothing needs it, and no node can seal with it any more.
    Done,
    /// So many values are sealed with it still.
    Needed(u64),
    /// The key that should be in force has sealed nothing here: another database, or no node knows it yet.
    NothingOfItsSuccessor,
}

impl Database {
    /// Whether there may be something to seal anew.
    pub fn has_earlier_keys(&self) -> bool {
        self.keys().sealing.earlier(self.now()).next().is_some()
    }

    /// Seals with the key in force whatever earlier keys sealed: a look at every sealed value. A value that
    /// does not open is counted, logged and left. In parts: what was sealed anew before a fault stays so.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant or may not manage; else as
    /// [every call](Database#errors).
    pub async fn reseal(&self, access: &Access) -> Result<Resealed, Fault> {
        expect_manager(access)?;
        let mut all = Resealed::default();
        if !self.has_earlier_keys() {
            return Ok(all);
        }
        for place in &PLACES {
            let mut behind = Uuid::nil();
            while behind != Uuid::max() {
                behind = self.reseal_part(access, place, behind, &mut all).await?;
            }
        }
        if all.rows > 0 {
            let detail = json!({ "rows": all.rows, "version": self.keys().sealing.in_force(self.now()) });
            self.audit_note(access, "keys.reseal", "master key".to_owned(), detail).await?;
        }
        Ok(all)
    }

    /// How many values each version of the master key has sealed.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant or may not manage; else as
    /// [every call](Database#errors).
    pub async fn sealed_by_version(&self, access: &Access) -> Result<BTreeMap<u32, u64>, Fault> {
        expect_manager(access)?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Read, "count sealed values").await?;
        counts(&scoped).await
    }

    /// Ends `version` if nothing needs it: from then on no change of the registry is made by a node whose key
    /// in force is older than `successor`. What stands in the way is a `Retirement` and no fault.
    ///
    /// # Errors
    /// `Forbidden` for whoever is held to one tenant or may not manage; `Sealing` if the key in force on this
    /// node is older than `successor`; else as [every call](Database#errors).
    pub async fn master_key_retire(
        &self,
        access: &Access,
        version: u32,
        successor: u32,
    ) -> Result<Retirement, Fault> {
        expect_manager(access)?;
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Change, "retire a master key").await?;
        // Whoever sealed and has not committed holds this row or waits for it.
        scoped.one("registry", "SELECT generation FROM registry FOR UPDATE", &[]).await?;
        let counts = counts(&scoped).await?;
        if let Some(count) = counts.get(&version) {
            return Ok(Retirement::Needed(*count));
        }
        if !counts.contains_key(&successor) {
            return Ok(Retirement::NothingOfItsSuccessor);
        }
        let sql = "UPDATE registry SET sealing_version_min = greatest(sealing_version_min, $1)";
        scoped.execute(sql, &[&i32::try_from(successor).unwrap_or(i32::MAX)]).await?;
        let (object, detail) = ("master key".to_owned(), json!({ "version": version }));
        scoped.record(self, Change { action: "keys.retire", tenant: None, object, detail }).await?;
        scoped.commit().await?;
        Ok(Retirement::Done)
    }

    /// Returns the last id it looked at; the greatest there can be if it was the last part.
    async fn reseal_part(
        &self,
        access: &Access,
        place: &Place,
        behind: Uuid,
        all: &mut Resealed,
    ) -> Result<Uuid, Fault> {
        let mut client = self.client(access).await?;
        let scoped = self.scope(&mut client, access, None, Intent::Note, "seal secrets anew").await?;
        let end = match scoped.optional(place.end, &[&behind, &(LOOKED_AT_MAX - 1)]).await? {
            Some(row) => column(&row, "id")?,
            None => Uuid::max(),
        };
        let earlier: Vec<Vec<u8>> =
            self.keys().sealing.earlier(self.now()).map(|version| version.to_be_bytes().to_vec()).collect();
        for row in &scoped.rows(place.select, &[&behind, &end, &earlier]).await? {
            let id: Uuid = column(row, "id")?;
            match self.renewed(place, id, row) {
                Ok(sealed) => all.rows += scoped.execute(place.update, &[&id, &sealed]).await?,
                Err(fault) => {
                    tracing::error!(row = %id, %fault, "a sealed secret cannot be sealed anew: make a new one in its place");
                    all.failed += 1;
                }
            }
        }
        scoped.commit().await?;
        Ok(end)
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

fn expect_manager(access: &Access) -> Result<(), Fault> {
    if access.is_house() && access.may(Right::Manage) { Ok(()) } else { Err(Fault::Forbidden) }
}

async fn counts(scoped: &Scoped<'_>) -> Result<BTreeMap<u32, u64>, Fault> {
    let mut counts = BTreeMap::new();
    for place in &PLACES {
        for row in scoped.rows(place.count, &[]).await? {
            let version: &[u8] = column(&row, "version")?;
            let version = version.try_into().map_or(0, u32::from_be_bytes);
            *counts.entry(version).or_default() += u64::try_from(column::<i64>(&row, "many")?).unwrap_or(0);
        }
    }
    Ok(counts)
}
