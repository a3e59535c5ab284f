//! A look at PostgreSQL for whoever sets up a node: does it answer, how fast, and is the schema ours?
//!
//! Changes nothing and opens no pool. What stands in the way comes back as the same faults that a start would end with.

use crate::config::Config;
use crate::connect::{Target, expect_direct};
use crate::error::Fault;
use crate::migrate;
use mail::Clock;
use std::time::Duration;

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
    })
}
