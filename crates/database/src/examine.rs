//! A look at PostgreSQL for whoever sets up a node: does it answer, how fast, what time is it there, and is the schema ours?
//!
//! Changes nothing and opens no pool. What stands in the way comes back as the same faults that a start would end with.

use crate::config::Config;
use crate::connect::{Database, Target, expect_direct};
use crate::error::Fault;
use crate::migrate;
use mail::{Clock, Timestamp};
use registry::Access;
use std::time::Duration;
use tokio_postgres::Client;

/// What this file does for itself.
const OWN: Access = Access::house("examine");

/// Answers that are timed; the middle one counts.
const ANSWERS: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// As `SHOW server_version` says it.
    pub version: String,
    /// Connections that the server allows, to everybody together.
    pub connections_max: usize,
    /// From a question to its answer: the middle one of five.
    pub latency: Duration,
    /// Its clock and that of this host.
    pub clocks: Clocks,
}

/// Two clocks at one moment, as well as the way between them lets one know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// What this host's clock said half-way between question and answer.
    pub ours: Timestamp,
    /// What PostgreSQL's clock said.
    pub theirs: Timestamp,
    /// From the question to its answer. `theirs` may be wrong by half of it, and by no more.
    pub round_trip: Duration,
}

impl Database {
    /// Compares the clock that the house was given with PostgreSQL's. Reads no table.
    ///
    /// # Errors
    /// `Unavailable` if PostgreSQL does not answer in time or is not there.
    pub async fn clocks(&self) -> Result<Clocks, Fault> {
        let client = self.client(&OWN).await?;
        compare(&client, &**self.clock()).await
    }
}

/// Looks at the server that the configuration names.
///
/// # Errors
/// `Config` for a URL or a CA file that cannot be used; `Unavailable` if the server does not answer;
/// `Statement` if it does not let the user in; `Pooler`, `NotMigrated` and `Privilege` as
/// [`Database::connect`](crate::Database::connect).
pub async fn examine(config: &Config, clock: &dyn Clock) -> Result<Examination, Fault> {
    let single = Target::new(config).await?.open().await?;
    let fault = |error| Fault::from_postgres("examine the server", error);
    let sql = "SELECT current_setting('server_version') AS version, current_setting('max_connections')::int AS most";
    let row = single.client.query_one(sql, &[]).await.map_err(fault)?;
    let mut took = Vec::with_capacity(ANSWERS);
    for _ in 0..ANSWERS {
        let asked = clock.instant();
        single.client.simple_query("SELECT 1").await.map_err(fault)?;
        took.push(clock.instant().saturating_since(asked));
    }
    took.sort();
    expect_direct(&single.client, config).await?;
    migrate::check(&single.client).await?;
    Ok(Examination {
        version: row.get("version"),
        connections_max: usize::try_from(row.get::<_, i32>("most")).unwrap_or(0),
        latency: took[ANSWERS / 2],
        clocks: compare(&single.client, clock).await?,
    })
}

/// Of several answers the one that came fastest says most (RFC 5905 §10 does the same).
async fn compare(client: &Client, clock: &dyn Clock) -> Result<Clocks, Fault> {
    let fault = |error| Fault::from_postgres("compare the clocks", error);
    // now() would be the time at which the transaction began.
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let statement = client.prepare(sql).await.map_err(fault)?;
    let ask = async || {
        let (began, asked) = (clock.timestamp(), clock.instant());
        let theirs = client.query_one(&statement, &[]).await.map_err(fault)?.get(0);
        let round_trip = clock.instant().saturating_since(asked);
        let ours = began.saturating_add(round_trip / 2);
        Ok::<Clocks, Fault>(Clocks { ours, theirs: Timestamp::from_millis(theirs), round_trip })
    };
    let mut best = ask().await?;
    for _ in 1..ANSWERS {
        let next = ask().await?;
        best = if next.round_trip < best.round_trip { next } else { best };
    }
    Ok(best)
}
