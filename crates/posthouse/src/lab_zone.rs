//! The operator's own zone in the lab's DNS.
//!
//! The lab forgets its records when it stops, and nobody publishes the platform's keys for the operator there. So with
//! `up --lab`, and only then, the platform's DKIM records of all pools are built into it, at the start and whenever the
//! registry changes; and what a tenant had published before (the records that were found right when they were last
//! checked) is published again, so that it can be withdrawn like anything else there.

use crate::node::unavailable;
use database::{Database, PageRequest, SnapshotHandle};
use lab::LabHandle;
use lab::dns::Publication;
use mail::TenantId;
use registry::{Access, RecordState};
use std::collections::HashSet;

/// Publishes what there is already; to be called before anybody can ask for it.
pub struct Zone {
    published: HashSet<(String, String)>,
}

impl Zone {
    pub async fn open(database: &Database, lab: &LabHandle) -> anyhow::Result<Zone> {
        let mut zone = Zone { published: HashSet::new() };
        let again = domains(database).await?;
        if let Err(error) = lab.publish(&again) {
            tracing::warn!(%error, records = again.len(), "the tenants' records are not in the lab's DNS again");
        }
        zone.publish(lab, pools(database).await?)?;
        Ok(zone)
    }

    /// Goes on publishing; never ends.
    pub async fn keep(&mut self, database: &Database, snapshots: &SnapshotHandle, lab: &LabHandle) {
        let mut changed = snapshots.changed();
        // The sender lives in `snapshots`, which outlives this.
        while changed.changed().await.is_ok() {
            let outcome = match pools(database).await {
                Ok(records) => self.publish(lab, records),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the platform's records are not in the lab's DNS"
                );
            }
        }
        std::future::pending::<()>().await;
    }

    /// Each record once: the lab adds what is built in to what it has.
    fn publish(&mut self, lab: &LabHandle, records: Vec<Publication>) -> anyhow::Result<()> {
        let mut fresh = records;
        fresh.retain(|record| self.published.insert((record.host.clone(), record.value.clone())));
        lab.build_in(&fresh).map_err(|error| unavailable("the lab refused a record", error))
    }
}

/// Every record of a tenant's domain that was there when it was last looked for.
async fn domains(database: &Database) -> anyhow::Result<Vec<Publication>> {
    let house = Access::house("publish in the lab");
    let mut records = Vec::new();
    let mut page = PageRequest::first();
    loop {
        let tenants = database
            .tenant_list(&house, &page)
            .await
            .map_err(|error| unavailable("cannot list tenants", error))?;
        for tenant in &tenants.rows {
            add_records(database, &house, tenant.id, &mut records).await?;
        }
        match tenants.next {
            Some(cursor) => page = PageRequest::new(None, Some(&cursor))?,
            None => return Ok(records),
        }
    }
}

async fn add_records(
    database: &Database,
    house: &Access,
    tenant: TenantId,
    records: &mut Vec<Publication>,
) -> anyhow::Result<()> {
    let mut page = PageRequest::first();
    loop {
        let domains = database
            .domain_list(house, tenant, &page)
            .await
            .map_err(|error| unavailable("cannot list domains", error))?;
        let published = domains.rows.iter().flat_map(|row| &row.records);
        for record in published.filter(|record| record.state == RecordState::Ok) {
            let kind = record.kind.as_str().to_owned();
            records.push(publication(record.host.clone(), kind, record.value.clone()));
        }
        match domains.next {
            Some(cursor) => page = PageRequest::new(None, Some(&cursor))?,
            None => return Ok(()),
        }
    }
}

/// The platform's DKIM record of every pool that has one.
async fn pools(database: &Database) -> anyhow::Result<Vec<Publication>> {
    let house = Access::house("publish in the lab");
    let mut records = Vec::new();
    let mut page = PageRequest::first();
    loop {
        let pools = database
            .pool_list(&house, &page)
            .await
            .map_err(|error| unavailable("cannot list pools", error))?;
        for platform in pools.rows.iter().filter_map(|pool| pool.platform.as_ref()) {
            let host = platform.domain.host_below(&format!("{}._domainkey", platform.selector));
            records.push(publication(host, "TXT".to_owned(), platform.record.clone()));
        }
        match pools.next {
            Some(cursor) => page = PageRequest::new(None, Some(&cursor))?,
            None => return Ok(records),
        }
    }
}

fn publication(host: String, kind: String, value: String) -> Publication {
    Publication { host, kind, value, priority: None }
}
