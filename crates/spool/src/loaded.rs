//! How many octets of messages are in memory because somebody reads them: a bound, and turns that wait for it.
//!
//! A hundred sessions that each deliver fifty megabytes would hold five gigabytes. A message takes its turn with its size
//! and gives it back when the last copy of its body is dropped. Tenants share the turns (`registry::Shares`): whoever has
//! many large messages on their way to slow sites waits, the others do not. Small messages are bounded by the number
//! of sessions. What may surprise: nobody stands in line. What fits is let in, because a large one that waits must not
//! stop small ones; whoever waits too long is refused as `Busy` and comes again.

use crate::Fault;
use bytes::Bytes;
use registry::{Party, Shares};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A message is counted from this part of the bound on: five thousand small ones are less than the bound (64 KiB of
/// 512 MiB).
const SMALL_PARTS: u64 = 8_192;
/// How long a reader waits for its turn. A session with its site may be open meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Loaded {
    shares: Mutex<Shares>,
    given_back: Notify,
    octets_max: u64,
}

/// The right to hold so many octets in memory; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    loaded: Arc<Loaded>,
    party: Party,
    octets: u64,
}

/// A body with the turn that it took.
struct Counted {
    body: Bytes,
    _turn: Turn,
}

impl Loaded {
    pub(crate) fn new(octets_max: u64) -> Arc<Loaded> {
        let octets_max = octets_max.max(1);
        let shares = Mutex::new(Shares::new(octets_max));
        Arc::new(Loaded { shares, given_back: Notify::new(), octets_max })
    }

    /// Up to this size a message is not counted.
    pub(crate) fn small(&self) -> u64 {
        self.octets_max / SMALL_PARTS
    }

    /// The right to hold so many octets for `party`. A message that is larger than all there is takes all.
    pub(crate) async fn turn(self: &Arc<Loaded>, party: Party, octets: u64) -> Result<Turn, Fault> {
        tokio::time::timeout(WAIT_MAX, self.wait(party, octets.min(self.octets_max)))
            .await
            .map_err(|_| Fault::Busy)
    }

    async fn wait(self: &Arc<Loaded>, party: Party, octets: u64) -> Turn {
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            // What is given back between the look and the wait must wake us.
            given_back.as_mut().enable();
            if self.lock().take(party, octets).is_ok() {
                return Turn { loaded: Arc::clone(self), party, octets };
            }
            given_back.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.loaded.lock().give_back(self.party, self.octets);
        self.loaded.given_back.notify_waiters();
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// The body, which gives the turn back with its last copy.
pub(crate) fn counted(body: Bytes, turn: Turn) -> Bytes {
    Bytes::from_owner(Counted { body, _turn: turn })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, TenantId, Timestamp};

    fn tenant(seed: u64) -> Party {
        Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut Random::from_number(seed)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_given_back_with_the_last_copy_of_the_body() {
        let loaded = Loaded::new(1 << 20);
        let body = counted(Bytes::from_static(b"x"), loaded.turn(tenant(1), 700 << 10).await.unwrap());
        let copy = body.slice(..);
        drop(body);
        assert!(matches!(loaded.turn(tenant(2), 400 << 10).await, Err(Fault::Busy)), "it is still held");
        let waiting = tokio::spawn({
            let loaded = Arc::clone(&loaded);
            async move { loaded.turn(tenant(2), 9 << 20).await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(copy);
        assert!(waiting.await.unwrap().is_ok(), "one that is larger than all takes all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_takes_all_it_can_leaves_room_for_the_next_one() {
        let loaded = Loaded::new(100 << 20);
        let mut greedy = Vec::new();
        while let Ok(turn) = loaded.turn(tenant(1), 10 << 20).await {
            greedy.push(turn);
        }
        assert_eq!(greedy.len(), 5, "half of all");
        let other = loaded.turn(tenant(2), 30 << 20).await;
        assert!(other.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_that_waits_does_not_stop_a_small_one() {
        let loaded = Loaded::new(100 << 20);
        let first = loaded.turn(tenant(1), 40 << 20).await.unwrap();
        let large = tokio::spawn({
            let loaded = Arc::clone(&loaded);
            async move { loaded.turn(tenant(2), 90 << 20).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!large.is_finished());
        let began = tokio::time::Instant::now();
        assert!(loaded.turn(tenant(3), 10 << 20).await.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(first);
        assert!(large.await.unwrap().is_ok());
    }
}
