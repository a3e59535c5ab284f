//! Waiting for descriptors and memory of our own while what was left behind is read.
//!
//! Such a want says nothing about the disk, and the next message could not be read either. So nothing is owed, left out or
//! given up for it: what is read stands still and is tried again, after a tenth of a second and then less and less
//! often, up to once a second. It shows as a reader that stopped. Closing the journal ends the wait at once.
//!
//! For the threads that read what waits from before (`loading.rs`, `recover.rs`), so it blocks; a follower stands still
//! in a loop of its own (`follow.rs`).

use crate::Position;
use crate::follow::Told;
use crate::patience::{Again, Cause, Patience};
use crate::shared::Shared;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Shortage {
    patience: Patience,
    told: Option<Told>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    TryAgain,
    /// The journal closes: nobody tries again.
    Closed,
}

impl Shortage {
    pub(crate) fn none() -> Shortage {
        Shortage { patience: Patience::new(Duration::ZERO), told: None }
    }

    /// What lies at `at` could not be read. Returns when it is to be tried again.
    pub(crate) fn wait(
        &mut self,
        shared: &Arc<Shared>,
        at: Position,
        error: &(dyn std::error::Error + 'static),
    ) -> Waited {
        let Again { after, lasts } = self.patience.stop(at, Cause::Shortage, shared.clock.instant());
        if lasts && self.told.is_none() {
            tracing::warn!(position = %at, error, "there is no descriptor or memory to read what waits; it is tried again");
            self.told = Some(Told::new(shared));
        }
        shared.loading.pause(after)
    }

    /// It could be read.
    pub(crate) fn is_over(&mut self) {
        *self = Shortage::none();
    }
}
