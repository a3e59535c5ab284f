//! When the tables know everything that the journal has accepted.

use database::Database;
use spool::Spool;
use std::sync::Arc;
use std::time::Duration;

/// Between the first looks how far the journal is told, while somebody waits for it; doubled until it is the last.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LAST_POLL: Duration = Duration::from_millis(160);

/// What the API waits for before it believes that the tables know all that was accepted. Asked for seldom, so asking again
/// is good enough.
pub fn told_source(database: Database, spool: Spool) -> api::Told {
    Arc::new(move || {
        let (database, spool, end) = (database.clone(), spool.clone(), spool.status().end);
        Box::pin(async move {
            // A database that does not answer now will be asked again.
            let mut pause = FIRST_POLL;
            while !events::told_up_to(&database, &spool).await.is_ok_and(|told| told >= end) {
                tokio::time::sleep(pause).await;
                pause = LAST_POLL.min(pause * 2);
            }
        })
    })
}
