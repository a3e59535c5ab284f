//! How many connections may be here at once: counted by places that free themselves.
//!
//! A `Place` stands for one connection: of its address until it has authenticated, then of its credential and tenant,
//! so that an office with two hundred senders behind one address is not held to the limit made for strangers. Strangers
//! have places of their own, which tenants cannot use up; when all are taken, whoever has been a stranger longest makes
//! room, so that a crowd that never says who it is keeps nobody out. Tenants share the rest (`registry::Shares`).
//! Dropping a place gives everything back, however the session ended.
//!
//! Called by `listener.rs` and `session.rs`. What may surprise: a connection over the limit of its address may wait a
//! moment for its turn, because clients that connect in a burst authenticate within milliseconds.

use crate::config::Limits;
use mail::{CredentialId, Instant, Refusal, RefusalKind, TenantId};
use registry::{Crowded, Neighbour, Party, Shares, Tally};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const FROM_ADDRESS: &str = "too many connections from your address";
const TOO_MANY: &str = "too many connections here just now";
/// So many strangers of one address are a crowd to somebody whose address has less than a fourth of them.
const CROWD_MIN: usize = 8;
const CROWD_TIMES: usize = 4;
/// Of the oldest, so many are looked at for one of a crowd.
const LOOKED_AT_MAX: usize = 32;

#[derive(Debug)]
struct Counts {
    total: usize,
    /// Those who have not authenticated, in the order in which they came.
    unknown: BTreeMap<u64, Unknown>,
    unknown_of: Tally<Neighbour>,
    next_unknown: u64,
    /// Those who have.
    known: Shares,
    strangers: Tally<Neighbour>,
    waiting: Tally<Neighbour>,
    credentials: Tally<CredentialId>,
    tenants: Tally<TenantId>,
}

#[derive(Debug)]
struct Unknown {
    since: Instant,
    neighbour: Neighbour,
    leave: CancellationToken,
}

/// How many strangers there may be, and how long one is safe.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    pub max: usize,
    pub seconds_min: u64,
}

/// All connections of one kind of door.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    crowd: Crowd,
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
    unknown: Option<u64>,
    leave: CancellationToken,
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
    pub fn new(limits: Limits, crowd: Crowd) -> Arc<Connections> {
        let counts = Counts {
            total: 0,
            unknown: BTreeMap::new(),
            unknown_of: Tally::default(),
            next_unknown: 0,
            known: Shares::new(limits.connections_max as u64),
            strangers: Tally::default(),
            waiting: Tally::default(),
            credentials: Tally::default(),
            tenants: Tally::default(),
        };
        Arc::new(Connections { limits, crowd, counts: Mutex::new(counts), freed: Notify::new() })
    }

    pub fn total(&self) -> usize {
        self.lock().total
    }

    /// A place among the strangers, asked for in the accept loop. The address is counted by `settle_in`. Refuses if
    /// the house is full of strangers.
    pub fn enter(self: &Arc<Connections>, peer: IpAddr, now: Instant) -> Result<Place, Refusal> {
        let mut counts = self.lock();
        let neighbour = Neighbour::of(peer);
        if counts.unknown.len() >= self.crowd.max {
            let leaves = counts.who_leaves(self.crowd, neighbour, now).ok_or_else(|| too_many(TOO_MANY))?;
            if let Some(row) = counts.forget_unknown(leaves) {
                row.leave.cancel();
            }
        }
        let (number, leave) = (counts.next_unknown, CancellationToken::new());
        counts.next_unknown += 1;
        counts.unknown.insert(number, Unknown { since: now, neighbour, leave: leave.clone() });
        counts.unknown_of.add(neighbour);
        counts.total += 1;
        drop(counts);
        let connections = Arc::clone(self);
        Ok(Place { connections, neighbour, counted: Counted::Nothing, unknown: Some(number), leave })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic while counting leaves whole numbers behind: nothing to protect others from.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Who makes room for a newcomer: whoever has been a stranger longest, once that is long enough; before, one of a
    /// crowd from one address for somebody who comes alone.
    fn who_leaves(&self, crowd: Crowd, newcomer: Neighbour, now: Instant) -> Option<u64> {
        let (oldest, row) = self.unknown.first_key_value()?;
        if now.saturating_since(row.since).as_secs() >= crowd.seconds_min {
            return Some(*oldest);
        }
        let own = self.unknown_of.of(&newcomer);
        let is_crowd = |count: usize| count >= CROWD_MIN && count > own.saturating_mul(CROWD_TIMES);
        let mut looked_at = self.unknown.iter().take(LOOKED_AT_MAX);
        let (number, _) = looked_at.find(|(_, row)| is_crowd(self.unknown_of.of(&row.neighbour)))?;
        Some(*number)
    }

    fn forget_unknown(&mut self, number: u64) -> Option<Unknown> {
        let row = self.unknown.remove(&number)?;
        self.unknown_of.remove(&row.neighbour);
        Some(row)
    }
}

impl Place {
    /// Counts the connection against its address; waits a moment if the address has none left. Refuses if it still
    /// has none then.
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
        let credential_max = owner.credential_max.unwrap_or(house_max).min(house_max);
        if counts.credentials.of(&owner.credential) >= credential_max {
            return Err(too_many("too many connections with this credential"));
        }
        if counts.tenants.of(&owner.tenant) >= owner.tenant_max {
            return Err(too_many("too many connections of this account"));
        }
        let party = Party::Tenant(owner.tenant);
        counts.known.take(party, 1).map_err(|crowded| {
            too_many(match crowded {
                Crowded::OwnShare => "your account has its share of the connections here",
                Crowded::Everything => TOO_MANY,
            })
        })?;
        if let Some(number) = self.unknown.take() {
            counts.forget_unknown(number);
        }
        // It may have been asked to leave a moment ago.
        self.leave = CancellationToken::new();
        counts.credentials.add(owner.credential);
        counts.tenants.add(owner.tenant);
        self.counted = Counted::Owner(owner.credential, owner.tenant);
        drop(counts);
        connections.freed.notify_waiters();
        Ok(())
    }

    /// Returns when this stranger has to make room for another; never for one that has authenticated.
    pub async fn make_room(&self) {
        self.leave.cancelled().await;
    }

    fn try_stranger(&mut self) -> bool {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        let max = connections.limits.connections_per_address_max;
        if !counts.strangers.add_within(self.neighbour, max) {
            return false;
        }
        self.leave(&mut counts);
        self.counted = Counted::Stranger;
        true
    }

    fn try_wait(&mut self) -> bool {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        let max = connections.limits.connections_waiting_per_address_max;
        if !counts.waiting.add_within(self.neighbour, max) {
            return false;
        }
        self.counted = Counted::Waiting;
        true
    }

    /// Takes the connection out of whatever it counted against besides the total.
    fn leave(&mut self, counts: &mut Counts) {
        match std::mem::replace(&mut self.counted, Counted::Nothing) {
            Counted::Nothing => {}
            Counted::Waiting => counts.waiting.remove(&self.neighbour),
            Counted::Stranger => counts.strangers.remove(&self.neighbour),
            Counted::Owner(credential, tenant) => {
                counts.credentials.remove(&credential);
                counts.tenants.remove(&tenant);
                counts.known.give_back(Party::Tenant(tenant), 1);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = Arc::clone(&self.connections);
        let mut counts = connections.lock();
        self.leave(&mut counts);
        if let Some(number) = self.unknown {
            counts.forget_unknown(number);
        }
        counts.total -= 1;
        drop(counts);
        connections.freed.notify_waiters();
    }
}

fn too_many(public: &str) -> Refusal {
    Refusal::new(RefusalKind::TooManyConnections, public)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn connections() -> Arc<Connections> {
        let limits = Limits {
            connections_max: 6,
            connections_per_address_max: 2,
            connections_per_credential_max: 3,
            connections_waiting_per_address_max: 2,
            connection_wait_ms_max: 50,
            ..Limits::default()
        };
        Connections::new(limits, Crowd { max: 6, seconds_min: 5 })
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
        let mut place = connections.enter(peer(), NOW)?;
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
        let (a, b) = (connections.enter(peer(), NOW).unwrap(), connections.enter(peer(), NOW).unwrap());
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
        let mut third = connections.enter(peer(), NOW).unwrap();
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
        assert_eq!(counts.total, 0);
        assert!(counts.strangers.is_empty() && counts.waiting.is_empty());
        assert!(counts.credentials.is_empty() && counts.tenants.is_empty());
    }

    #[tokio::test]
    async fn a_tenant_has_a_limit_over_all_its_credentials() {
        let connections = connections();
        let mut first = place(&connections).await.unwrap();
        let mut second = place(&connections).await.unwrap();
        first.belongs_to(owner(None, 1)).unwrap();
        assert!(second.belongs_to(owner(None, 1)).is_err());
    }

    #[tokio::test]
    async fn when_strangers_fill_the_house_the_oldest_makes_room_unless_it_has_only_come() {
        let connections = connections();
        let held: Vec<_> =
            (0..6).map(|n| connections.enter(IpAddr::from([10, 0, 0, n]), NOW).unwrap()).collect();
        assert!(connections.enter(peer(), NOW + Duration::from_millis(4_999)).is_err());
        let later = NOW + Duration::from_secs(5);
        let newcomer = connections.enter(peer(), later).unwrap();
        assert!(held[0].leave.is_cancelled() && !held[1].leave.is_cancelled());
        drop(held);
        assert_eq!((connections.total(), connections.lock().unknown.len()), (1, 1));
        assert!(!newcomer.leave.is_cancelled());
    }

    #[tokio::test]
    async fn who_comes_alone_does_not_wait_for_a_crowd_of_one_address() {
        let limits = Limits { connections_per_address_max: 50, ..Limits::default() };
        let connections = Connections::new(limits, Crowd { max: 20, seconds_min: 5 });
        let from = |number: u8| IpAddr::from([10, 0, 0, number]);
        let quiet = connections.enter(from(1), NOW).unwrap();
        let crowd: Vec<_> = (0..19).map(|_| connections.enter(from(2), NOW).unwrap()).collect();
        let newcomer = connections.enter(from(3), NOW).unwrap();
        assert!(crowd[0].leave.is_cancelled() && !crowd[1].leave.is_cancelled());
        assert!(!quiet.leave.is_cancelled(), "it was here longest, but alone");
        // One more of the crowd pushes nobody out.
        assert!(connections.enter(from(2), NOW).is_err());
        // A crowd of its own is no way round: a fourth of theirs and no more.
        let others: Vec<_> = (0..9).map_while(|_| connections.enter(from(4), NOW).ok()).collect();
        assert_eq!(others.len(), 4);
        drop((quiet, crowd, newcomer, others));
        assert!(connections.total() == 0 && connections.lock().unknown_of.is_empty());
    }

    #[tokio::test]
    async fn one_tenant_does_not_take_the_places_of_all() {
        let connections = connections();
        let tenant = |number| {
            let mut random = Random::from_number(number);
            let credential = CredentialId::mint(Timestamp::UNIX_EPOCH, &mut random);
            let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut random);
            Owner { credential, tenant, credential_max: None, tenant_max: 100 }
        };
        let greedy = tenant(7);
        let mut held = Vec::new();
        for n in 0..3 {
            let mut place = connections.enter(IpAddr::from([10, 0, 1, n]), NOW).unwrap();
            place.belongs_to(greedy).unwrap();
            held.push(place);
        }
        let mut more = connections.enter(peer(), NOW).unwrap();
        // The credential is at its limit; another one of the same tenant is no way round.
        let refusal = more.belongs_to(Owner { credential: tenant(8).credential, ..greedy }).unwrap_err();
        assert!(refusal.public().contains("share"), "{}", refusal.public());
        connections.enter(peer(), NOW).unwrap().belongs_to(tenant(9)).unwrap();
    }
}
