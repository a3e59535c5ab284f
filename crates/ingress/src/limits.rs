//! How many connections and octets may be here at once: counted by places that free themselves.
//!
//! A `Place` stands for one connection in total and, until it has authenticated, for one of its address; then for
//! one of its credential instead, so that an office with two hundred senders behind one address is not held to the
//! limit made for strangers. Dropping a place gives everything back, however the session ended.
//!
//! Called by `listener.rs` and `session.rs`. What may surprise: a connection over the limit of its address may wait a
//! moment for its turn, because clients that connect in a burst authenticate within milliseconds. `Octets` bounds what all sessions together hold of messages that are not answered yet.

use crate::config::Limits;
use crate::throttle::Network;
use mail::{CredentialId, Refusal, RefusalKind, TenantId};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

const FROM_ADDRESS: &str = "too many connections from your address";

/// Who shares the limit of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Neighbour {
    V4(IpAddr),
    V6(Network),
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    strangers: HashMap<Neighbour, usize>,
    waiting: HashMap<Neighbour, usize>,
    credentials: HashMap<CredentialId, usize>,
    tenants: HashMap<TenantId, usize>,
}

/// All connections of this process.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    counts: Mutex<Counts>,
    /// Told whenever a place of an address becomes free.
    freed: Notify,
}

/// The right of one connection to be here.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    neighbour: Neighbour,
    counted: Counted,
}

/// What a place counts against besides the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Nothing,
    Waiting,
    Stranger,
    Owner(CredentialId, TenantId),
}

/// Whose connection it is, and how many the registry allows.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub credential: CredentialId,
    pub tenant: TenantId,
    pub credential_max: Option<usize>,
    pub tenant_max: usize,
}

impl Connections {
    pub fn new(limits: Limits) -> Arc<Connections> {
        Arc::new(Connections { limits, counts: Mutex::default(), freed: Notify::new() })
    }

    pub fn total(&self) -> usize {
        self.lock().total
    }

    /// A place in the total, asked for in the accept loop. The address is counted by `settle_in`.
    pub fn enter(self: &Arc<Connections>, peer: IpAddr) -> Result<Place, Refusal> {
        let mut counts = self.lock();
        if counts.total >= self.limits.connections_max {
            return Err(too_many("too many connections here just now"));
        }
        counts.total += 1;
        drop(counts);
        Ok(Place { connections: Arc::clone(self), neighbour: Neighbour::of(peer), counted: Counted::Nothing })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic while counting leaves whole numbers behind: nothing to protect others from.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the connection against its address; waits a moment if the address has none left.
    pub async fn settle_in(&mut self) -> Result<(), Refusal> {
        let connections = Arc::clone(&self.connections);
        if self.try_stranger() {
            return Ok(());
        }
        if !self.try_wait() {
            return Err(too_many(FROM_ADDRESS));
        }
        let turn = async {
            loop {
                let freed = connections.freed.notified();
                if self.try_stranger() {
                    return;
                }
                freed.await;
            }
        };
        let wait = Duration::from_millis(connections.limits.connection_wait_ms_max);
        tokio::time::timeout(wait, turn).await.map_err(|_| too_many(FROM_ADDRESS))
    }

    /// From now on the connection counts against its credential and tenant, who may be allowed fewer than the house
    /// allows.
    pub fn belongs_to(&mut self, owner: Owner) -> Result<(), Refusal> {
        let connections = Arc::clone(&self.connections);
        let house_max = connections.limits.connections_per_credential_max;
        let mut counts = connections.lock();
        self.leave(&mut counts);
        let of_credential = counts.credentials.get(&owner.credential).copied().unwrap_or_default();
        let of_tenant = counts.tenants.get(&owner.tenant).copied().unwrap_or_default();
        if of_credential >= owner.credential_max.unwrap_or(house_max).min(house_max) {
            return Err(too_many("too many connections with this credential"));
        }
        if of_tenant >= owner.tenant_max {
            return Err(too_many("too many connections of this account"));
        }
        counts.credentials.insert(owner.credential, of_credential + 1);
        counts.tenants.insert(owner.tenant, of_tenant + 1);
        self.counted = Counted::Owner(owner.credential, owner.tenant);
        drop(counts);
        connections.freed.notify_waiters();
        Ok(())
    }

    fn try_stranger(&mut self) -> bool {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        let count = counts.strangers.entry(self.neighbour).or_default();
        if *count >= connections.limits.connections_per_address_max {
            return false;
        }
        *count += 1;
        self.leave(&mut counts);
        self.counted = Counted::Stranger;
        true
    }

    fn try_wait(&mut self) -> bool {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        let count = counts.waiting.entry(self.neighbour).or_default();
        if *count >= connections.limits.connections_waiting_per_address_max {
            return false;
        }
        *count += 1;
        self.counted = Counted::Waiting;
        true
    }

    /// Takes the connection out of whatever it counted against besides the total.
    fn leave(&mut self, counts: &mut Counts) {
        match std::mem::replace(&mut self.counted, Counted::Nothing) {
            Counted::Nothing => {}
            Counted::Waiting => take_one(&mut counts.waiting, self.neighbour),
            Counted::Stranger => take_one(&mut counts.strangers, self.neighbour),
            Counted::Owner(credential, tenant) => {
                take_one(&mut counts.credentials, credential);
                take_one(&mut counts.tenants, tenant);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        self.leave(&mut counts);
        counts.total -= 1;
        drop(counts);
        connections.freed.notify_waiters();
    }
}

impl Neighbour {
    fn of(peer: IpAddr) -> Neighbour {
        match peer.to_canonical() {
            v4 @ IpAddr::V4(_) => Neighbour::V4(v4),
            v6 @ IpAddr::V6(_) => Neighbour::V6(Network::of(v6)),
        }
    }
}

/// One less; a key without any is removed, so that the map is as large as what is here now.
fn take_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

fn too_many(public: &str) -> Refusal {
    Refusal::new(RefusalKind::TooManyConnections, public)
}

/// Octets of messages that sessions hold and that are not answered yet.
#[derive(Debug)]
pub struct Octets {
    held: AtomicUsize,
    max: usize,
}

/// What one session holds of them; gives it back when dropped.
#[derive(Debug)]
pub struct Held {
    octets: Arc<Octets>,
    own: usize,
}

impl Octets {
    pub fn new(max: usize) -> Arc<Octets> {
        Arc::new(Octets { held: AtomicUsize::new(0), max })
    }

    pub fn hold(self: &Arc<Octets>) -> Held {
        Held { octets: Arc::clone(self), own: 0 }
    }
}

impl Held {
    /// So much is held by this session now, or refused if that is too much for the house.
    pub fn set(&mut self, now: usize) -> Result<(), Refusal> {
        if now <= self.own {
            self.octets.held.fetch_sub(self.own - now, Ordering::Relaxed);
            self.own = now;
            return Ok(());
        }
        let more = now - std::mem::replace(&mut self.own, now);
        if self.octets.held.fetch_add(more, Ordering::Relaxed) + more > self.octets.max {
            self.clear();
            let public = "too much mail is arriving at once; please try again later";
            return Err(Refusal::new(RefusalKind::LocalTrouble, public));
        }
        Ok(())
    }

    pub fn clear(&mut self) {
        self.octets.held.fetch_sub(std::mem::take(&mut self.own), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    fn connections() -> Arc<Connections> {
        Connections::new(Limits {
            connections_max: 6,
            connections_per_address_max: 2,
            connections_per_credential_max: 3,
            connections_waiting_per_address_max: 2,
            connection_wait_ms_max: 50,
            ..Limits::default()
        })
    }

    fn peer() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn owner(credential_max: Option<usize>, tenant_max: usize) -> Owner {
        let mut random = Random::from_number(1);
        let credential = CredentialId::mint(Timestamp::UNIX_EPOCH, &mut random);
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut random);
        Owner { credential, tenant, credential_max, tenant_max }
    }

    async fn place(connections: &Arc<Connections>) -> Result<Place, Refusal> {
        let mut place = connections.enter(peer())?;
        place.settle_in().await?;
        Ok(place)
    }

    #[tokio::test]
    async fn the_third_from_one_address_waits_and_is_refused() {
        let connections = connections();
        let _held = (place(&connections).await.unwrap(), place(&connections).await.unwrap());
        let refusal = place(&connections).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::TooManyConnections);
        assert_eq!(connections.total(), 2);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let connections = connections();
        let _held = (place(&connections).await.unwrap(), place(&connections).await.unwrap());
        let (a, b) = (connections.enter(peer()).unwrap(), connections.enter(peer()).unwrap());
        let waiting = [a, b].map(|mut place| tokio::spawn(async move { place.settle_in().await.is_err() }));
        tokio::task::yield_now().await;
        let before = tokio::time::Instant::now();
        assert!(place(&connections).await.is_err());
        assert!(before.elapsed() < Duration::from_millis(40));
        for task in waiting {
            assert!(task.await.unwrap());
        }
    }

    #[tokio::test]
    async fn who_authenticates_makes_room_for_the_next() {
        let connections = connections();
        let mut first = place(&connections).await.unwrap();
        let _second = place(&connections).await.unwrap();
        let mut third = connections.enter(peer()).unwrap();
        let third = tokio::spawn(async move { third.settle_in().await.map(|()| third) });
        tokio::task::yield_now().await;
        first.belongs_to(owner(Some(1), 9)).unwrap();
        let mut third = third.await.unwrap().unwrap();
        assert!(third.belongs_to(owner(Some(1), 9)).is_err());
        drop(first);
        third.belongs_to(owner(Some(1), 9)).unwrap();
    }

    #[tokio::test]
    async fn nothing_stays_counted_after_the_last_has_left() {
        let connections = connections();
        for _ in 0..3 {
            let mut held = [place(&connections).await.unwrap(), place(&connections).await.unwrap()];
            held[0].belongs_to(owner(None, 9)).unwrap();
            assert!(held[0].belongs_to(owner(None, 9)).is_ok());
        }
        let counts = connections.lock();
        assert_eq!((counts.total, counts.strangers.len(), counts.credentials.len()), (0, 0, 0));
        assert!(counts.tenants.is_empty() && counts.waiting.is_empty());
    }

    #[tokio::test]
    async fn a_tenant_has_a_limit_over_all_its_credentials() {
        let connections = connections();
        let mut first = place(&connections).await.unwrap();
        let mut second = place(&connections).await.unwrap();
        first.belongs_to(owner(None, 1)).unwrap();
        assert!(second.belongs_to(owner(None, 1)).is_err());
    }

    #[test]
    fn octets_are_refused_over_the_limit_and_given_back() {
        let octets = Octets::new(100);
        let (mut a, mut b) = (octets.hold(), octets.hold());
        a.set(80).unwrap();
        assert_eq!(b.set(30).unwrap_err().kind, RefusalKind::LocalTrouble);
        a.set(40).unwrap();
        b.set(30).unwrap();
        a.set(70).unwrap();
        a.clear();
        b.set(100).unwrap();
        drop((a, b));
        assert_eq!(octets.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_total_is_a_limit_for_everybody() {
        let connections = connections();
        let held: Vec<_> = (0..6).map(|n| connections.enter(IpAddr::from([10, 0, 0, n])).unwrap()).collect();
        assert!(connections.enter(peer()).is_err());
        drop(held);
        assert!(connections.enter(peer()).is_ok());
    }
}
