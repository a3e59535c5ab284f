//! The projector: reads the journal, writes what became of the mail. Read this first.
//!
//! A batch of records, the events they are and the cursor go into the database in one transaction, so a record
//! counts once whatever dies when. While the database is down the projector waits and the journal keeps its
//! segments; nobody on the path of a message notices. A record that the database refuses for good is left out and
//! logged, because one of them must not keep everybody's events from being told.
//!
//! What may surprise: after an orderly stop unread records simply stay in the journal; the next start goes on there.

use crate::Config;
use crate::context::{Context, Contexts};
use crate::rows::{BatchContexts, Entry, batch};
use crate::start::SnapshotSource;
use database::Database;
use mail::{MessageId, TenantId};
use registry::Access;
use spool::{Attempted, Follower, Position, ReaderMark, Record, Settled, Spool};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Name of the cursor in the database and of the reader in the journal.
pub(crate) const READER: &str = "events";
const ACCESS: Access = Access::house("projection of the journal");
/// Recipients and outcomes of one transaction: many rows in one statement would outlast its time limit for ever.
const ROWS_MAX: usize = 5_000;
/// First pause after a failure; doubled up to the configured limit.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

pub(crate) struct Projector {
    spool: Spool,
    database: Database,
    snapshot: SnapshotSource,
    config: Config,
    contexts: Contexts,
    mark: ReaderMark,
    /// Rung after every batch: there may be calls to make.
    told: Arc<Notify>,
}

/// The task was asked to stop in the middle of something.
struct Stopped;

impl Projector {
    pub(crate) fn new(
        spool: Spool,
        database: Database,
        snapshot: SnapshotSource,
        config: Config,
        told: Arc<Notify>,
    ) -> Projector {
        let contexts = Contexts::new(config.remembered_recipients_max);
        let mark = spool.reader(READER);
        Projector { spool, database, snapshot, config, contexts, mark, told }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let Ok(position) = self.cursor(&shutdown).await else { return };
        self.mark.past(position);
        let mut follower = self.spool.follow(position);
        loop {
            let gathered = tokio::select! {
                () = shutdown.cancelled() => return,
                gathered = gather(&mut follower, &self.config) => gathered,
            };
            let done = match gathered {
                Ok(entries) => self.project(&entries, follower.position(), &shutdown).await,
                Err(spool::Fault::Closed) => return,
                Err(fault) => {
                    // A gap is told once and the follower goes on behind it; the rest may pass.
                    tracing::error!(
                        error = &fault as &dyn std::error::Error,
                        "cannot read on in the journal"
                    );
                    pause(BACKOFF_MIN * 10, &shutdown).await
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Where to go on; the start of the journal for a database that has never been told anything.
    async fn cursor(&self, shutdown: &CancellationToken) -> Result<Position, Stopped> {
        let mut backoff = Backoff::new(&self.config);
        loop {
            match self.database.cursor_fetch(&ACCESS, READER).await {
                Ok(cursor) => {
                    return Ok(self.within_journal(cursor.as_deref().map_or(Position::START, position_from)));
                }
                Err(fault) => backoff.wait("fetch the cursor", &fault, shutdown).await?,
            }
        }
    }

    /// A cursor behind the end is of another journal, which was lost or replaced: this one is read from its start.
    fn within_journal(&self, position: Position) -> Position {
        if position <= self.spool.status().end {
            return position;
        }
        tracing::warn!(%position, "the cursor of events does not belong to this journal; reading it from the start");
        Position::START
    }

    /// Writes all entries; `end` is where the follower stands behind them.
    async fn project(
        &mut self,
        entries: &[Entry],
        end: Position,
        shutdown: &CancellationToken,
    ) -> Result<(), Stopped> {
        let contexts = self.contexts_of(entries, shutdown).await?;
        let snapshot = (self.snapshot)();
        let mut backoff = Backoff::new(&self.config);
        // The last part first: they are taken from the end.
        let mut parts: Vec<Range<usize>> = parts_of(entries);
        parts.reverse();
        while let Some(part) = parts.pop() {
            let position = entries.get(part.end).map_or(end, |(position, _)| *position);
            let batch = batch(&entries[part.clone()], position, &contexts, &snapshot);
            match self.database.projection_apply(&ACCESS, &batch).await {
                Ok(()) => {
                    backoff = Backoff::new(&self.config);
                    self.mark.past(position);
                    self.told.notify_one();
                    metrics::counter!("posthouse_events_records_total").increment(part.len() as u64);
                }
                Err(fault) if fault.is_passing() => {
                    backoff.wait("write a batch", &fault, shutdown).await?;
                    parts.push(part);
                }
                Err(fault) if part.len() > 1 => {
                    tracing::warn!(
                        error = &fault as &dyn std::error::Error,
                        records = part.len(),
                        "a batch is refused and split"
                    );
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
                Err(fault) => {
                    let message = entries[part.start].1.message().map(|id| id.to_string());
                    tracing::error!(
                        error = &fault as &dyn std::error::Error,
                        message.id = message,
                        "a record cannot be told"
                    );
                    metrics::counter!("posthouse_events_records_left_out_total").increment(1);
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

/// Parts of which each is one transaction of bounded size, whatever the number of recipients of a message is.
fn parts_of(entries: &[Entry]) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut rows) = (Vec::new(), 0, 0);
    for (index, (_, record)) in entries.iter().enumerate() {
        let own = match &**record {
            Record::Accepted(accepted) => accepted.recipients.len(),
            Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => 1,
        };
        if index > start && rows + own > ROWS_MAX {
            parts.push(start..index);
            (start, rows) = (index, 0);
        }
        rows += own;
    }
    parts.push(start..entries.len());
    parts
}

/// At least one entry, then whatever comes within the wait, up to the limit of a batch.
async fn gather(follower: &mut Follower, config: &Config) -> Result<Vec<Entry>, spool::Fault> {
    let mut entries = follower.next_batch(config.batch_records_max).await?;
    let wait = tokio::time::sleep(Duration::from_millis(config.batch_wait_ms_max));
    tokio::pin!(wait);
    while entries.len() < config.batch_records_max {
        tokio::select! {
            () = &mut wait => break,
            more = follower.next_batch(config.batch_records_max - entries.len()) => match more {
                Ok(more) => entries.extend(more),
                // Told again at the next call, when there is nothing else to return.
                Err(_) => break,
            },
        }
    }
    Ok(entries)
}

/// A cursor that cannot be read is as good as none: everything is read again and known rows stay as they are.
fn position_from(cursor: &[u8]) -> Position {
    <[u8; 8]>::try_from(cursor).map_or(Position::START, |bytes| Position::from_u64(u64::from_be_bytes(bytes)))
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
