//! The projector: reads the journal, writes what became of the mail. Read this first.
//!
//! A batch of records, the events they are and the cursor go into the database in one transaction, so a record
//! counts once whatever dies when. While the database is down the projector waits and the journal keeps its
//! segments; nobody on the path of a message notices until the disk is full. A record that the database refuses for
//! good is left out and logged, because one of them must not keep everybody's events from being told.
//!
//! A transaction has a bounded number of rows (`parts.rs`): less when one ran into the time limit of its statements,
//! slowly more again when they go through. A message with very many recipients takes several; the cursor stays before
//! it until it is whole, and what is read again after a crash changes nothing.
//!
//! What the journal does not give is passed over after a while and owed (`spool::Owed`): the stored cursor stays before
//! it, so no restart forgets it, and when a piece can be read everything is read again from there. Outcomes that were left
//! out because their message was not known are told then, the others are known rows and are not measured again.
//!
//! A shell: `rows.rs` and `shape.rs` make rows and events, `cursor.rs` and `news.rs` keep two places apart,
//! `webhook/deliver.rs`, which `told` wakes among others, makes the calls.
//!
//! What may surprise: after an orderly stop unread records simply stay in the journal; the next start goes on there.

use crate::Config;
use crate::context::{Context, Contexts};
use crate::cursor::Cursor;
use crate::last_words::LastWords;
use crate::news::News;
use crate::parts::{Part, Place};
use crate::rows::{BatchContexts, Entry, batch, rows_of};
use crate::start::SnapshotSource;
use database::Database;
use mail::{Clock, MessageId, TenantId};
use registry::Access;
use spool::{Attempted, Follower, Position, ReaderMark, Record, Settled, Spool};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Name of the cursor in the database and of the reader in the journal.
pub(crate) const READER: &str = "events";

/// The name under which the tables keep how far this journal is told: each has a place of its own.
pub(crate) fn cursor_name(spool: &Spool) -> String {
    match spool.name() {
        "" => READER.to_owned(),
        name => format!("{READER}/{name}"),
    }
}
pub(crate) const ACCESS: Access = Access::house("projection of the journal");
/// Recipients and outcomes of one transaction at most.
const ROWS_MAX: usize = 5_000;
/// How many more may be in a transaction after one that went through.
const ROWS_STEP: usize = 100;
/// Recipients whose last attempts one statement asks for: a cold disk must not make it too slow for ever.
const EXPLAINED_AT_ONCE: usize = 100;
/// First pause after a failure; doubled up to the configured limit.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

pub(crate) struct Projector {
    spool: Spool,
    database: Database,
    snapshot: SnapshotSource,
    clock: Arc<dyn Clock>,
    config: Config,
    contexts: Contexts,
    /// Rows of the next transaction at most.
    rows_max: usize,
    cursor: Cursor,
    /// Told up to here since the follower last went back; before `cursor.told` while it repeats.
    read: Position,
    news: News,
    mark: ReaderMark,
    /// Rung after every batch: there may be calls to make.
    told: Arc<Notify>,
}

/// Where the follower stands behind what was gathered, and where the first span begins that it is owed.
struct Stands {
    end: Position,
    owed: Option<Position>,
}

/// The task was asked to stop in the middle of something.
struct Stopped;

impl Projector {
    pub(crate) fn new(
        spool: Spool,
        database: Database,
        snapshot: SnapshotSource,
        clock: Arc<dyn Clock>,
        config: Config,
        told: Arc<Notify>,
    ) -> Projector {
        let contexts = Contexts::new(config.remembered_recipients_max);
        let mark = spool.reader(READER);
        Projector {
            spool,
            database,
            snapshot,
            clock,
            config,
            contexts,
            rows_max: ROWS_MAX,
            cursor: Cursor::START,
            read: Position::START,
            news: News::default(),
            mark,
            told,
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let Ok(cursor) = self.cursor(&shutdown).await else { return };
        (self.cursor, self.read) = (cursor, cursor.goes_on);
        self.mark.past(cursor.goes_on);
        let mut follower = self.spool.follow(cursor.goes_on);
        let mut owed = follower.owed();
        loop {
            let gathered = tokio::select! {
                () = shutdown.cancelled() => return,
                given = owed.given_again() => {
                    if let Some(first) = given.first() {
                        tracing::info!(position = %first.from, "events go back to what was passed over");
                        // What was gathered half is not told either.
                        self.read = self.read.min(first.from);
                        follower.go_back(self.read);
                        self.news.given(given);
                    }
                    continue;
                }
                gathered = gather(&mut follower, &self.config) => gathered,
            };
            panics::place("projector");
            let done = match gathered {
                Ok(Gathered { mut entries, gap }) => {
                    gap.iter().for_each(passed_over);
                    let stands = Stands { end: follower.position(), owed: owed.first() };
                    match self.explain(&mut entries, &shutdown).await {
                        Ok(()) => self.project(&entries, stands, &shutdown).await,
                        Err(stopped) => Err(stopped),
                    }
                }
                Err(spool::Fault::Closed) => return,
                Err(fault) => {
                    // A gap is told once and the follower goes on behind it; the rest may pass.
                    passed_over(&fault);
                    pause(BACKOFF_MIN * 10, &shutdown).await
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Where to go on; the start of the journal for a database that has never been told anything.
    async fn cursor(&self, shutdown: &CancellationToken) -> Result<Cursor, Stopped> {
        let mut backoff = Backoff::new(&self.config);
        loop {
            match self.database.cursor_fetch(&ACCESS, &cursor_name(&self.spool)).await {
                Ok(cursor) => return Ok(Cursor::parse(cursor.as_deref(), self.spool.status().end)),
                Err(fault) => backoff.wait("fetch the cursor", &fault, shutdown).await?,
            }
        }
    }

    /// Writes all entries.
    async fn project(
        &mut self,
        entries: &[Entry],
        Stands { end, owed }: Stands,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let contexts = self.contexts_of(entries, shutdown).await?;
        let snapshot = (self.snapshot)();
        let mut backoff = Backoff::new(&self.config);
        let (mut place, mut left_out) = (Place::default(), None);
        let rows: Vec<u32> = entries.iter().map(|(_, record)| rows_of(record)).collect();
        while place.record < entries.len() {
            let part = Part::next(&rows, place, self.rows_max);
            // Behind the last record that is whole then.
            let position = entries.get(part.to.record).map_or(end, |(position, _)| *position);
            let records = part.records(&rows).map(|(index, range)| (&*entries[index].1, range));
            let cursor = self.cursor.after(position, owed);
            let batch = batch(records, (cursor_name(&self.spool), cursor), &contexts, &snapshot);
            match self.database.projection_apply(&ACCESS, &batch).await {
                Ok(()) => {
                    (place, left_out) = (part.to, None);
                    backoff = Backoff::new(&self.config);
                    self.rows_max = (self.rows_max + ROWS_STEP).min(ROWS_MAX);
                    self.measure(&entries[part.from.record..part.to.record]);
                    self.news.past(position);
                    (self.cursor, self.read) = (cursor, position);
                    self.mark.past(cursor.goes_on);
                    self.told.notify_one();
                }
                Err(fault) if part.rows > 1 && (fault.is_too_slow() || !fault.is_passing()) => {
                    let error = &fault as &dyn std::error::Error;
                    tracing::warn!(error, rows = part.rows, "a transaction of events is made smaller");
                    self.rows_max = part.rows / 2;
                }
                Err(fault) if fault.is_passing() => {
                    backoff.wait("write a batch", &fault, shutdown).await?;
                }
                Err(fault) => {
                    leave_out(&entries[place.record].1, place, &fault);
                    // Two recipients of one message, one after the other: it is about the message.
                    let again = left_out.replace(place.record) == Some(place.record);
                    place = if again { place.skip() } else { part.to };
                }
            }
        }
        for (_, record) in entries {
            if let Record::Settled(settled) = &**record {
                self.contexts.settle(settled.message);
            }
        }
        Ok(())
    }

    /// Gives every recipient that has expired the words of its last attempt.
    async fn explain(&self, entries: &mut [Entry], shutdown: &CancellationToken) -> Result<(), Stopped> {
        let words = LastWords::of(entries);
        let mut backoff = Backoff::new(&self.config);
        let mut given = HashMap::new();
        for part in words.missing().chunks(EXPLAINED_AT_ONCE) {
            loop {
                match self.database.attempts_last(&ACCESS, part).await {
                    Ok(more) => {
                        given.extend(more);
                        break;
                    }
                    Err(fault) if fault.is_passing() => {
                        backoff.wait("fetch last attempts", &fault, shutdown).await?;
                    }
                    // They are told as expired, which they are.
                    Err(fault) => {
                        let error = &fault as &dyn std::error::Error;
                        tracing::error!(error, "cannot read what was said to recipients that have expired");
                        break;
                    }
                }
            }
        }
        words.put_into(entries, given);
        Ok(())
    }

    /// How many records there are of which tenants can read for the first time, and how long after they happened. The
    /// cursor is as it was before they were told.
    fn measure(&self, entries: &[Entry]) {
        let now = self.clock.timestamp();
        let lag = metrics::histogram!("posthouse_events_lag_seconds");
        let records = metrics::counter!("posthouse_events_records_total");
        for (_, record) in entries.iter().filter(|(position, _)| self.news.has(*position, self.cursor.told)) {
            records.increment(1);
            let at = match &**record {
                Record::Accepted(accepted) => accepted.accepted_at,
                Record::Attempted(attempted) => attempted.at,
                Record::Settled(settled) => settled.at,
                Record::Unknown { .. } => continue,
            };
            lag.record(now.saturating_since(at).as_secs_f64());
        }
    }

    /// The message of every outcome in the batch: remembered, accepted in the batch itself, or from the database.
    async fn contexts_of(
        &mut self,
        entries: &[Entry],
        shutdown: &CancellationToken,
    ) -> Result<BatchContexts, Stopped> {
        let mut found = BatchContexts::new();
        let mut missing = HashSet::new();
        for (_, record) in entries {
            match &**record {
                Record::Accepted(accepted) => {
                    let context = Arc::new(Context::of(accepted));
                    self.contexts.insert(Arc::clone(&context));
                    found.insert(accepted.message, context);
                }
                Record::Attempted(Attempted { message, tenant, .. })
                | Record::Settled(Settled { message, tenant, .. }) => {
                    if let Some(context) = self.contexts.get(*message) {
                        found.insert(*message, Arc::clone(context));
                    } else if !found.contains_key(message) {
                        missing.insert((*tenant, *message));
                    }
                }
                Record::Unknown { .. } => {}
            }
        }
        for (tenant, message) in missing {
            if let Some(context) = self.fetch(tenant, message, shutdown).await? {
                self.contexts.insert(Arc::clone(&context));
                found.insert(message, context);
            }
        }
        Ok(found)
    }

    /// A message that is no longer remembered; none if its tenant was erased.
    async fn fetch(
        &self,
        tenant: TenantId,
        message: MessageId,
        shutdown: &CancellationToken,
    ) -> Result<Option<Arc<Context>>, Stopped> {
        let mut backoff = Backoff::new(&self.config);
        loop {
            match self.database.message_fetch(&ACCESS, tenant, message).await {
                Ok(row) => return Ok(Some(Arc::new(Context::from(row)))),
                Err(fault) if fault.is_passing() => backoff.wait("fetch a message", &fault, shutdown).await?,
                Err(_) => return Ok(None),
            }
        }
    }
}

fn passed_over(fault: &spool::Fault) {
    tracing::error!(error = fault as &dyn std::error::Error, "cannot read on in the journal");
}

fn leave_out(record: &Record, place: Place, fault: &database::Fault) {
    tracing::error!(
        error = fault as &dyn std::error::Error,
        message.id = record.message().map(|id| id.to_string()),
        row = place.row,
        "a record cannot be told"
    );
    metrics::counter!("posthouse_events_records_left_out_total").increment(1);
}

/// What was read for one transaction, or several.
struct Gathered {
    entries: Vec<Entry>,
    /// A part of the journal was passed over behind them. The follower says so once.
    gap: Option<spool::Fault>,
}

/// At least one entry, then whatever comes within the wait, up to the limit of a batch.
async fn gather(follower: &mut Follower, config: &Config) -> Result<Gathered, spool::Fault> {
    let mut entries = follower.next_batch(config.batch_records_max).await?;
    let wait = tokio::time::sleep(Duration::from_millis(config.batch_wait_ms_max));
    tokio::pin!(wait);
    while entries.len() < config.batch_records_max {
        tokio::select! {
            () = &mut wait => break,
            more = follower.next_batch(config.batch_records_max - entries.len()) => match more {
                Ok(more) => entries.extend(more),
                Err(gap @ spool::Fault::Gap { .. }) => return Ok(Gathered { entries, gap: Some(gap) }),
                // Told again at the next call, when there is nothing else to return.
                Err(_) => break,
            },
        }
    }
    Ok(Gathered { entries, gap: None })
}

/// Growing pauses while the database is away; one line in the log for each outage, not for each try.
struct Backoff {
    pause: Duration,
    pause_max: Duration,
    logged: bool,
}

impl Backoff {
    fn new(config: &Config) -> Backoff {
        Backoff {
            pause: BACKOFF_MIN,
            pause_max: Duration::from_millis(config.database_backoff_ms_max),
            logged: false,
        }
    }

    async fn wait(
        &mut self,
        trying: &str,
        fault: &database::Fault,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        if !self.logged {
            tracing::warn!(error = fault as &dyn std::error::Error, trying, "events wait for the database");
            self.logged = true;
        }
        metrics::counter!("posthouse_events_database_failures_total").increment(1);
        pause(self.pause, shutdown).await?;
        self.pause = (self.pause * 2).min(self.pause_max);
        Ok(())
    }
}

async fn pause(pause: Duration, shutdown: &CancellationToken) -> Result<(), Stopped> {
    tokio::select! {
        () = shutdown.cancelled() => Err(Stopped),
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, SiteName, StreamId};
    use spool::{OutcomeRecord, RealDisk, Settlement};
    use testkit::ManualClock;

    fn settled(number: u64, at: mail::Timestamp) -> OutcomeRecord {
        let mut random = Random::from_number(number);
        OutcomeRecord::Settled(Settled {
            message: MessageId::mint(at, &mut random),
            tenant: TenantId::mint(at, &mut random),
            stream: StreamId::mint(at, &mut random),
            recipient: 0,
            attempt: 1,
            at,
            settlement: Settlement::Delivered,
            outcome: None,
            source: None,
            site: Some(SiteName::new("example.org")),
            duration_ms: 3,
            queued_ms: 4,
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_gap_behind_what_was_read_is_told_with_it() {
        let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let spool_config = spool::Config {
            directory: directory.path().join("spool"),
            reserve_octets: 0,
            segment_octets_max: 4_096,
            read_retry_seconds_max: 0,
            ..spool::Config::default()
        };
        let open = || {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            Spool::open(spool_config.clone(), Arc::new(RealDisk), clock).unwrap()
        };
        let (spool, _) = open();
        for number in 0..100 {
            spool.outcomes().append_durable(vec![settled(number, clock.timestamp())]).await.unwrap();
        }
        spool.shutdown().await.unwrap();
        let (spool, recovery) = open();
        assert_eq!((recovery.settled(), spool.status().end.segment() > 2), (0, true));
        std::fs::remove_file(directory.path().join("spool/00000002.seg")).unwrap();
        let mut follower = spool.follow(Position::START);
        let config = Config { batch_wait_ms_max: 10_000, batch_records_max: 1_000, ..Config::default() };
        let Gathered { entries, gap } = gather(&mut follower, &config).await.unwrap();
        assert!((1..100).contains(&entries.len()), "{}", entries.len());
        assert!(matches!(gap, Some(spool::Fault::Gap { resumes_at, .. }) if resumes_at.segment() == 3));
        let rest = gather(&mut follower, &Config { batch_wait_ms_max: 1, ..config }).await.unwrap();
        assert!(rest.gap.is_none() && !rest.entries.is_empty());
    }
}
