//! What was used of today's quotas: what the tables say, and what stands in the journal behind them.
//!
//! The projection may be hours behind when a node starts, because the database was away; a quota that is restored from
//! the tables alone would forgive all of that. Called once, by the binary, before the doors open and before the
//! projection runs. A message that is half projected is counted whole once more: rather too much than too little.
//!
//! What may surprise: the doors wait for the journal a second and no longer, be it long, the disk slow, or a piece not to
//! be had. What was read by then counts at once; the rest comes later, as `UsageRest`, and is added to what was used
//! meanwhile. Each record is in one of the two. Until then a quota forgives what has not been read: seconds, where the
//! doors would have been shut.

use crate::cursor::Cursor;
use crate::project::{ACCESS, cursor_name};
use database::{Database, Fault};
use mail::{CredentialId, TenantId, Timestamp};
use registry::DayCount;
use spool::{Accepted, Follower, Position, Record, Spool};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Records that are read at once.
const RECORDS_MAX: usize = 1_000;
/// Silence after which the follower is asked where it stands; doubled while it is not at the end.
const SILENCE: Duration = Duration::from_millis(100);
/// How long the doors wait; with what was begun by then, at most half as long again.
const WAIT_MAX: Duration = Duration::from_secs(1);

type Counts = HashMap<(TenantId, Option<CredentialId>), u64>;

/// How far the journal has been told: everything before is in the tables.
///
/// # Errors
/// As [every call](Database#errors); a cursor that cannot be read is the start of the journal and no fault.
pub async fn told_up_to(database: &Database, spool: &Spool) -> Result<Position, Fault> {
    let cursor = database.cursor_fetch(&ACCESS, &cursor_name(spool)).await?;
    Ok(Cursor::parse(cursor.as_deref(), spool.status().end).goes_on)
}

/// What was used on the day of `now`.
pub struct UsageToday {
    /// For `Usage::restore`.
    pub counts: Vec<DayCount>,
    /// What could not be read yet.
    pub rest: Option<UsageRest>,
}

/// The rest of the journal as it was when the node started.
pub struct UsageRest {
    follower: Follower,
    end: Position,
    day_of: Timestamp,
}

/// Counts since midnight UTC, in recipients, of what PostgreSQL has and of what the journal holds beyond it.
///
/// # Errors
/// As [every call](Database#errors). A journal that cannot be read is logged, and its rest is not counted.
pub async fn usage_today(database: &Database, spool: &Spool, now: Timestamp) -> Result<UsageToday, Fault> {
    let cursor = database.cursor_fetch(&ACCESS, &cursor_name(spool)).await?;
    let mut counts = Counts::new();
    for count in database.usage_restore(&ACCESS).await? {
        if count.day == now.day() {
            *counts.entry((count.tenant, count.credential)).or_default() += count.recipients;
        }
    }
    let end = spool.status().end;
    // What lies between the two places of the cursor is in the tables, but for what the journal owes.
    let mut follower = spool.follow(Cursor::parse(cursor.as_deref(), end).told);
    // What it passes over is for the projection to ask for again; it keeps no segment longer than this reads.
    drop(follower.owed());
    let mut rest = UsageRest { follower, end, day_of: now };
    let ended = rest.read(&mut counts, Some(Instant::now() + WAIT_MAX)).await;
    let rest = match ended {
        Ended::AtTheEnd => None,
        Ended::Early => {
            tracing::warn!(position = %rest.follower.position(), "what was used today is not known to the end of the journal yet");
            Some(rest)
        }
    };
    Ok(UsageToday { counts: day_counts(counts, now), rest })
}

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    AtTheEnd,
    Early,
}

impl UsageRest {
    /// Returns when the disk has given the rest, or will not: for `Usage::add`.
    pub async fn counts(mut self) -> Vec<DayCount> {
        let mut counts = Counts::new();
        self.read(&mut counts, None).await;
        day_counts(counts, self.day_of)
    }

    async fn read(&mut self, counts: &mut Counts, until: Option<Instant>) -> Ended {
        let mut silence = SILENCE;
        while self.follower.position() < self.end {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ended::Early;
            }
            match tokio::time::timeout(silence, self.follower.next_batch(RECORDS_MAX)).await {
                Ok(Ok(records)) => {
                    // What came since the doors are open was charged when it came.
                    let before = records.iter().filter(|(position, _)| *position < self.end);
                    before.for_each(|(_, record)| add(counts, record, self.day_of));
                }
                // What is in the gap counts with the tables, when the projection is given it.
                Ok(Err(spool::Fault::Gap { .. })) => {}
                Ok(Err(fault)) => {
                    give_up(&fault, &self.follower);
                    break;
                }
                // Behind the last record it would wait for the next one.
                Err(_) => silence *= 2,
            }
        }
        Ended::AtTheEnd
    }
}

fn day_counts(counts: Counts, day_of: Timestamp) -> Vec<DayCount> {
    let count =
        |((tenant, credential), recipients)| DayCount { tenant, credential, day: day_of.day(), recipients };
    counts.into_iter().map(count).collect()
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
