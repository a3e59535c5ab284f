//! Who may hold how many connections of the pool at once, so that nobody's reads take all of them.
//!
//! Tenants share three quarters (`registry::Shares`), and the house (projection, webhooks, housekeeping, operators) has
//! at most as much: a flood of one leaves the other a quarter. Whoever has its share waits, and is told that the
//! database does not answer if that takes too long; nobody else is. What may surprise: an operator who looks at a
//! tenant counts as that tenant.
//!
//! Called by `connect.rs` alone, for every transaction.

use deadpool_postgres::Object;
use registry::{Access, Party, Shares};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub(crate) struct Places {
    tenants: Mutex<Shares>,
    /// Told when a tenant's place becomes free.
    freed: Notify,
    house: Arc<Semaphore>,
}

/// The right to hold one connection; given back when dropped.
pub(crate) enum Place {
    Tenant { places: Arc<Places>, party: Party },
    House { _permit: Option<OwnedSemaphorePermit> },
}

/// A connection of the pool, with its place. Goes back before the place does.
pub(crate) struct Pooled {
    pub(crate) client: Object,
    /// When whoever waits for the answer waits no longer.
    pub(crate) deadline: Option<Instant>,
    pub(crate) _place: Place,
}

impl Places {
    pub(crate) fn new(connections_max: usize) -> Arc<Places> {
        let part = connections_max - connections_max / 4;
        let tenants = Mutex::new(Shares::new(part as u64));
        Arc::new(Places { tenants, freed: Notify::new(), house: Arc::new(Semaphore::new(part)) })
    }

    /// Waits for a place; the caller decides how long.
    pub(crate) async fn place(self: &Arc<Places>, access: &Access) -> Place {
        let Some(tenant) = access.tenant() else {
            // The semaphore is never closed.
            return Place::House { _permit: Arc::clone(&self.house).acquire_owned().await.ok() };
        };
        let party = Party::Tenant(tenant);
        loop {
            let freed = self.freed.notified();
            if self.lock().take(party, 1).is_ok() {
                return Place::Tenant { places: Arc::clone(self), party };
            }
            freed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Tenant { places, party } = self {
            places.lock().give_back(*party, 1);
            places.freed.notify_waiters();
        }
    }
}

impl Deref for Pooled {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.client
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.client
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use mail::{Random, TenantId, Timestamp, UserId};
    use registry::Role;

    fn tenant(number: u64) -> Access {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(number));
        Access::of_user(UserId::from_uuid(tenant.uuid()), Role::Viewer, Some(tenant)).unwrap()
    }

    fn greedy(places: &Arc<Places>, access: &Access) -> Vec<Place> {
        std::iter::from_fn(|| places.place(access).now_or_never()).collect()
    }

    #[test]
    fn one_tenant_leaves_room_for_the_next_and_all_of_them_for_the_house() {
        let places = Places::new(16);
        let first = greedy(&places, &tenant(1));
        let second = greedy(&places, &tenant(2));
        assert_eq!((first.len(), second.len()), (6, 4));
        assert_eq!(greedy(&places, &Access::house("test")).len(), 12);
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_a_place_is_given_back() {
        let places = Places::new(4);
        let mut held = greedy(&places, &tenant(1));
        let other = greedy(&places, &tenant(2));
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { drop(places.place(&tenant(3)).await) })
        };
        tokio::task::yield_now().await;
        held.pop();
        drop(other);
        waiting.await.unwrap();
    }

    #[test]
    fn a_pool_of_one_serves_everybody_in_turn() {
        let places = Places::new(1);
        drop(greedy(&places, &tenant(1)).pop().unwrap());
        drop(greedy(&places, &Access::house("test")).pop().unwrap());
        assert_eq!(greedy(&places, &tenant(2)).len(), 1);
    }
}
