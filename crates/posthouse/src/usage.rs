//! What is known of today's quotas when the doors open, and what is found out later. Called once, by `node.rs`.
//!
//! What the tables and the journal say is restored before. What may surprise: the doors wait for a long journal or a slow
//! disk no more than a second. What was not read by then is counted when it is, beside what was used meanwhile.

use crate::node::unavailable;
use database::Database;
use mail::Timestamp;
use registry::{DayCount, Usage};
use spool::Spool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

pub async fn restored_usage(
    database: &Database,
    spool: &Spool,
    now: Timestamp,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Mutex<Usage>>> {
    let mut usage = Usage::new();
    let today = events::usage_today(database, spool, now).await;
    let today = today.map_err(|error| unavailable("cannot read what was used today", error))?;
    usage.restore(today.counts);
    let usage = Arc::new(Mutex::new(usage));
    if let Some(rest) = today.rest {
        drop(tokio::spawn(add_later(Arc::clone(&usage), rest.counts(), stop.clone())));
    }
    Ok(usage)
}

/// Nobody would use what becomes known after the doors are shut, and the disk may give it never.
async fn add_later(
    usage: Arc<Mutex<Usage>>,
    rest: impl Future<Output = Vec<DayCount>>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        counts = rest => usage.lock().unwrap_or_else(PoisonError::into_inner).add(counts),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, TenantId};
    use std::future::{pending, ready};

    fn usage() -> Arc<Mutex<Usage>> {
        Arc::new(Mutex::new(Usage::new()))
    }

    #[tokio::test]
    async fn what_the_disk_does_not_give_keeps_nobody_from_stopping() {
        let stop = CancellationToken::new();
        let adding = tokio::spawn(add_later(usage(), pending(), stop.clone()));
        tokio::task::yield_now().await;
        assert!(!adding.is_finished());
        stop.cancel();
        adding.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_given_later_is_added() {
        let (usage, now) = (usage(), Timestamp::from_millis(1_795_425_249_120));
        let tenant = TenantId::mint(now, &mut Random::from_number(1));
        let count = DayCount { tenant, credential: None, day: now.day(), recipients: 7 };
        add_later(Arc::clone(&usage), ready(vec![count]), CancellationToken::new()).await;
        assert_eq!(usage.lock().unwrap().of_tenant(tenant, now).today, 7);
    }
}
