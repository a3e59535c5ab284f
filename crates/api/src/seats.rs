//! How many connections the API holds: by address, in all, and who makes room for whom.
//!
//! A `Seat` stands for one connection. It is idle until a request has been read and again once it is answered, whether or
//! not the client has read the answer: one that never reads is of no more use than one that never asks.
//! When an address has all the seats that one may have, its own connection that has idled longest makes room; when all
//! seats are taken, the one that has idled longest of all. So a crowd that connects and asks nothing keeps nobody out,
//! not even others behind its own address. A request in progress is never interrupted: where all are busy, newcomers
//! wait in the kernel, or are closed if their address has its share. Dropping a seat gives everything back.
//!
//! No clock is read: the order in which connections became idle is all that is needed. `server.rs` is the caller.

use registry::{Neighbour, Tally};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All connections of one listener.
#[derive(Debug)]
pub struct Seats {
    max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
    /// Told when a seat is given back or becomes idle.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    seated: HashMap<u64, Seated>,
    addresses: Tally<Neighbour>,
    /// Seats without a request, in the order in which they became idle.
    idle: BTreeMap<u64, u64>,
    /// Numbers seats and turns to be idle; never used twice.
    next: u64,
}

#[derive(Debug)]
struct Seated {
    address: Neighbour,
    requests: usize,
    /// Its key in `idle`.
    since: Option<u64>,
    leave: CancellationToken,
}

/// The right of one connection to be here.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    number: u64,
    leave: CancellationToken,
}

/// A request in progress.
#[derive(Debug)]
pub struct Busy(Arc<Seat>);

impl Seats {
    pub fn new(max: usize, per_address_max: usize) -> Arc<Seats> {
        let (counts, freed) = (Mutex::default(), Notify::new());
        Arc::new(Seats { max: max.max(1), per_address_max: per_address_max.max(1), counts, freed })
    }

    /// Until somebody could be seated.
    pub async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            {
                let counts = self.lock();
                if counts.seated.len() < self.max || !counts.idle.is_empty() {
                    return;
                }
            }
            freed.await;
        }
    }

    /// A seat, at the cost of an idle connection if need be. None if there is nobody to make room.
    pub fn take(self: &Arc<Seats>, peer: IpAddr) -> Option<Arc<Seat>> {
        let address = Neighbour::of(peer);
        let mut counts = self.lock();
        if counts.addresses.of(&address) >= self.per_address_max {
            let of_address = |seat: &&u64| counts.seated.get(*seat).is_some_and(|row| row.address == address);
            let oldest = counts.idle.values().find(of_address).copied()?;
            counts.show_out(oldest);
        }
        if counts.seated.len() >= self.max {
            let oldest = counts.idle.values().next().copied()?;
            counts.show_out(oldest);
        }
        let (number, leave) = (counts.number(), CancellationToken::new());
        counts.addresses.add(address);
        counts.seated.insert(number, Seated { address, requests: 0, since: None, leave: leave.clone() });
        counts.rest(number);
        drop(counts);
        Some(Arc::new(Seat { seats: Arc::clone(self), number, leave }))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic while counting leaves whole numbers behind: nothing to protect others from.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A request has been read; it is in progress until what is returned is dropped.
    pub fn request(self: &Arc<Seat>) -> Busy {
        let mut counts = self.seats.lock();
        if let Some(row) = counts.seated.get_mut(&self.number) {
            row.requests += 1;
            if let Some(since) = row.since.take() {
                counts.idle.remove(&since);
            }
        }
        Busy(Arc::clone(self))
    }

    /// Which of its idle times this is; none while it is busy.
    pub fn idle(&self) -> Option<u64> {
        self.seats.lock().seated.get(&self.number).and_then(|row| row.since)
    }

    /// Returns when this connection has to make room for another.
    pub async fn make_room(&self) {
        self.leave.cancelled().await;
    }
}

impl Counts {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn rest(&mut self, seat: u64) {
        let since = self.number();
        if let Some(row) = self.seated.get_mut(&seat) {
            row.since = Some(since);
            self.idle.insert(since, seat);
        }
    }

    /// Its seat is free at once; the connection itself ends a moment later.
    fn show_out(&mut self, seat: u64) {
        if let Some(row) = self.remove(seat) {
            row.leave.cancel();
        }
    }

    fn remove(&mut self, seat: u64) -> Option<Seated> {
        let row = self.seated.remove(&seat)?;
        if let Some(since) = row.since {
            self.idle.remove(&since);
        }
        self.addresses.remove(&row.address);
        Some(row)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let (seats, number) = (&self.0.seats, self.0.number);
        let mut counts = seats.lock();
        let rests = counts.seated.get_mut(&number).is_some_and(|row| {
            row.requests -= 1;
            row.requests == 0
        });
        if rests {
            counts.rest(number);
        }
        drop(counts);
        seats.freed.notify_waiters();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().remove(self.number);
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_makes_room_for_itself_first() {
        let seats = Seats::new(4, 2);
        let other = seats.take(from(9)).unwrap();
        let (first, second) = (seats.take(from(1)).unwrap(), seats.take(from(1)).unwrap());
        let _third = seats.take(from(1)).unwrap();
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled() && !other.leave.is_cancelled());
        assert_eq!(seats.lock().addresses.of(&Neighbour::of(from(1))), 2);
    }

    #[test]
    fn of_all_the_one_that_idled_longest_makes_room_and_nobody_who_is_busy() {
        let seats = Seats::new(2, 2);
        let (first, second) = (seats.take(from(1)).unwrap(), seats.take(from(2)).unwrap());
        drop(first.request());
        let _third = seats.take(from(3)).unwrap();
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled());
        let (_busy, seats) = (first.request(), Seats::new(1, 1));
        let only = seats.take(from(1)).unwrap();
        let busy = only.request();
        assert!(seats.take(from(1)).is_none() && seats.take(from(2)).is_none());
        drop(busy);
        assert!(seats.take(from(2)).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let seats = Seats::new(9, 1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = seats.take(address("2001:db8::1")).unwrap();
        let _busy = first.request();
        assert!(seats.take(address("2001:db8::ffff:2")).is_none());
        assert!(seats.take(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_stays_counted_after_the_last_has_left() {
        let seats = Seats::new(2, 2);
        for n in 0..9 {
            let seat = seats.take(from(n)).unwrap();
            let (one, two) = (seat.request(), seat.request());
            assert!(seat.idle().is_none());
            drop((one, seat, two));
        }
        let counts = seats.lock();
        assert!(counts.seated.is_empty() && counts.addresses.is_empty() && counts.idle.is_empty());
    }

    #[tokio::test]
    async fn a_full_house_is_waited_for() {
        let seats = Seats::new(1, 1);
        let seat = seats.take(from(1)).unwrap();
        let busy = seat.request();
        let waiting = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(busy);
        waiting.await.unwrap();
    }
}
