//! What is known of today's quotas when the doors open, and what is found out later. Called once, by `node.rs`.
//!
//! What the tables and the journal say is restored before. What may surprise: the doors do not wait for a piece of the
//! journal that the disk does not give. It is counted when it can be read, beside what was used meanwhile.

use crate::node::unavailable;
use database::Database;
use mail::Timestamp;
use registry::Usage;
use spool::Spool;
use std::sync::{Arc, Mutex, PoisonError};

pub async fn restored_usage(
    database: &Database,
    spool: &Spool,
    now: Timestamp,
) -> anyhow::Result<Arc<Mutex<Usage>>> {
    let mut usage = Usage::new();
    let today = events::usage_today(database, spool, now).await;
    let today = today.map_err(|error| unavailable("cannot read what was used today", error))?;
    usage.restore(today.counts);
    let usage = Arc::new(Mutex::new(usage));
    if let Some(rest) = today.rest {
        let usage = Arc::clone(&usage);
        // Ends with the journal.
        drop(tokio::spawn(async move {
            let counts = rest.counts().await;
            usage.lock().unwrap_or_else(PoisonError::into_inner).add(counts);
        }));
    }
    Ok(usage)
}
