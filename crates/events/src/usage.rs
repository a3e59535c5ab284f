//! What was used of today's quotas: what the tables say, and what stands in the journal behind them.
//!
//! The projection may be hours behind when a node starts, because the database was away; a quota that is restored from
//! the tables alone would forgive all of that. Called once, by the binary, before the doors open and before the
//! projection runs. A message that is half projected is counted whole once more: rather too much than too little.

use crate::project::{ACCESS, READER, position_of};
use database::{Database, Fault};
use mail::{CredentialId, TenantId, Timestamp};
use registry::DayCount;
use spool::{Accepted, Follower, Position, Record, Spool};
use std::collections::HashMap;
use std::time::Duration;

/// Records that are read at once.
const RECORDS_MAX: usize = 1_000;
/// Silence after which the follower is asked where it stands; doubled while it is not at the end.
const SILENCE: Duration = Duration::from_millis(100);

type Counts = HashMap<(TenantId, Option<CredentialId>), u64>;

/// How far the journal has been told: everything before is in the tables.
pub async fn told_up_to(database: &Database, spool: &Spool) -> Result<Position, Fault> {
    let cursor = database.cursor_fetch(&ACCESS, READER).await?;
    Ok(position_of(cursor.as_deref(), spool.status().end))
}

/// Counts of the day of `now`, for `Usage::restore`.
pub async fn usage_today(database: &Database, spool: &Spool, now: Timestamp) -> Result<Vec<DayCount>, Fault> {
    let cursor = database.cursor_fetch(&ACCESS, READER).await?;
    let mut counts = Counts::new();
    for count in database.usage_restore(&ACCESS).await? {
        if count.day == now.day() {
            *counts.entry((count.tenant, count.credential)).or_default() += count.recipients;
        }
    }
    let end = spool.status().end;
    let mut follower = spool.follow(position_of(cursor.as_deref(), end));
    let mut silence = SILENCE;
    while follower.position() < end {
        match tokio::time::timeout(silence, follower.next_batch(RECORDS_MAX)).await {
            Ok(Ok(records)) => records.iter().for_each(|(_, record)| add(&mut counts, record, now)),
            // The records in the gap are lost to the projection as well.
            Ok(Err(spool::Fault::Gap { .. })) => {}
            Ok(Err(fault)) => {
                give_up(&fault, &follower);
                break;
            }
            // Behind the last record it would wait for the next one.
            Err(_) => silence *= 2,
        }
    }
    let count =
        |((tenant, credential), recipients)| DayCount { tenant, credential, day: now.day(), recipients };
    Ok(counts.into_iter().map(count).collect())
}

fn add(counts: &mut Counts, record: &Record, now: Timestamp) {
    let Record::Accepted(accepted) = record else { return };
    let Accepted { tenant, credential, accepted_at, recipients, .. } = &**accepted;
    if accepted_at.day() != now.day() {
        return;
    }
    let own = credential.map(|credential| (*tenant, Some(credential)));
    for key in [Some((*tenant, None)), own].into_iter().flatten() {
        *counts.entry(key).or_default() += recipients.len() as u64;
    }
}

fn give_up(fault: &spool::Fault, follower: &Follower) {
    tracing::warn!(
        error = fault as &dyn std::error::Error,
        position = %follower.position(),
        "what was used today is not read to the end of the journal"
    );
}
