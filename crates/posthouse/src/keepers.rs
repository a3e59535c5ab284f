//! What everything else of a node stands on, opened in this order: the registry, then the journal.

use crate::clocks;
use crate::config::Config;
use crate::node::{NodeParts, unavailable};
use crate::sections::spool_directory;
use crate::{journal_name, key_fit};
use database::{Database, Follower, SnapshotHandle};
use mail::{Clock, Random};
use spool::Spool;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What everything else stands on: the registry and the journal, open.
pub struct Keepers {
    pub database: Database,
    pub snapshots: Arc<SnapshotHandle>,
    pub follower: JoinHandle<()>,
    pub source: ingress::SnapshotSource,
    pub spool: Spool,
    pub recovery: spool::Recovery,
}

impl Keepers {
    pub async fn open(parts: &mut NodeParts) -> anyhow::Result<Keepers> {
        let clock: Arc<dyn Clock> = parts.clock.clone();
        let keys = parts.secrets.database();
        let database = Database::connect(&parts.config.database, keys, clock.clone(), parts.random.fork())
            .await
            .map_err(|error| unavailable("cannot use the database", error))?;
        clocks::tell(&database).await;
        key_fit::expect(&database, &parts.secrets, parts.key_loss).await?;
        let (snapshots, follower) = Follower::start(database.clone(), &parts.config.database)
            .await
            .map_err(|error| unavailable("cannot read the registry", error))?;
        let held = Arc::clone(&snapshots);
        let source: ingress::SnapshotSource = Arc::new(move || held.load());
        let (spool, recovery) = open_spool(&parts.config, clock, parts.random.fork()).await?;
        Ok(Keepers { database, snapshots, follower, source, spool, recovery })
    }
}

async fn open_spool(
    config: &Config,
    clock: Arc<dyn Clock>,
    mut random: Random,
) -> anyhow::Result<(Spool, spool::Recovery)> {
    let settings = spool::Config { directory: spool_directory(config), ..config.spool.clone() };
    let (directory, place) = (settings.directory.clone(), settings.directory.clone());
    // Reads the last segment, and a disk may be slow: no business of the network threads.
    let opened = tokio::task::spawn_blocking(move || {
        let opened = Spool::open(settings, Arc::new(spool::RealDisk), clock);
        opened.map(|(spool, recovery)| {
            let name = journal_name::ensure(&place, &mut random);
            (spool, recovery, name)
        })
    });
    let (spool, recovery, name) = opened.await?.map_err(|error| {
        unavailable(&format!("cannot open the journal in {}", directory.display()), error)
    })?;
    spool.set_name(name?);
    Ok((spool, recovery))
}
