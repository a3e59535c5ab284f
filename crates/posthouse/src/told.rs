//! When the tables know everything that the journal has accepted.
//!
//! Many may wait at once: whoever asks for messages that do not exist waits each time. They share what was seen last, and
//! one connection.

use database::Database;
use spool::{Position, Spool};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Between the first looks of somebody who waits; doubled until it is the last. Also the age at which a look is too old.
const FIRST_POLL: Duration = Duration::from_millis(5);
const LAST_POLL: Duration = Duration::from_millis(160);

/// What the API waits for before it believes that the tables know all that was accepted.
pub fn told_source(database: Database, spool: Spool) -> api::Told {
    let seen = Arc::new(Mutex::new(Seen::default()));
    Arc::new(move || {
        let (database, spool, seen) = (database.clone(), spool.clone(), Arc::clone(&seen));
        let end = spool.status().end;
        Box::pin(async move {
            let mut pause = FIRST_POLL;
            while seen.lock().await.look(&database, &spool).await.is_none_or(|told| told < end) {
                tokio::time::sleep(pause).await;
                pause = LAST_POLL.min(pause * 2);
            }
        })
    })
}

#[derive(Default)]
struct Seen {
    /// Everything before is in the tables.
    told: Option<Position>,
    at: Option<Instant>,
}

impl Seen {
    async fn look(&mut self, database: &Database, spool: &Spool) -> Option<Position> {
        if self.at.is_none_or(|at| at.elapsed() >= FIRST_POLL) {
            // A database that does not answer now will be asked again.
            if let Ok(told) = events::told_up_to(database, spool).await {
                self.told = Some(told);
            }
            self.at = Some(Instant::now());
        }
        self.told
    }
}
