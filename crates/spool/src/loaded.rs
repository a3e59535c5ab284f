//! How many octets of large messages are in memory because somebody reads them: a bound, and turns that wait for it.
//!
//! A hundred sessions that each deliver fifty megabytes would hold five gigabytes. A message above `LARGE` takes its turn
//! with its size and gives it back when the last copy of its body is dropped; small ones are bounded by the number of
//! sessions well enough. Whoever waits too long is refused as `Busy` and comes again.

use crate::Fault;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Octets from which on a message is counted.
pub(crate) const LARGE: u64 = 256 << 10;
/// Turns are counted in these, so that they fit a semaphore.
const UNIT: u64 = 4 << 10;
/// How long a reader waits for its turn: the session with its site is open meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Loaded {
    turns: Arc<Semaphore>,
    units: u32,
}

/// A body with the turn that it took.
struct Counted {
    body: Bytes,
    _turn: OwnedSemaphorePermit,
}

impl Loaded {
    pub(crate) fn new(octets_max: u64) -> Loaded {
        let units = (octets_max / UNIT).clamp(1, u64::from(u32::MAX >> 4)) as u32;
        Loaded { turns: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// The right to read so many octets. One that is larger than all there is takes all.
    pub(crate) async fn turn(&self, octets: u64) -> Result<OwnedSemaphorePermit, Fault> {
        let units = octets.div_ceil(UNIT).min(u64::from(self.units)) as u32;
        let turn = Arc::clone(&self.turns).acquire_many_owned(units);
        match tokio::time::timeout(WAIT_MAX, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The body, which gives the turn back with its last copy.
pub(crate) fn counted(body: Bytes, turn: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Counted { body, _turn: turn })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_given_back_with_the_last_copy_of_the_body() {
        let loaded = Loaded::new(1 << 20);
        let body = counted(Bytes::from_static(b"x"), loaded.turn(700 << 10).await.unwrap());
        let copy = body.slice(..);
        drop(body);
        let waits = tokio::time::timeout(Duration::from_millis(50), loaded.turn(400 << 10));
        assert!(waits.await.is_err(), "it is still held");
        drop(copy);
        assert!(loaded.turn(9 << 20).await.is_ok(), "one that is larger than all takes all");
    }
}
