//! When each slot must be looked at next: a binary heap that can also move and remove, exact to the microsecond. The
//! same holds the times of closed outlets and of lanes that step aside, by their numbers.
//!
//! A slot has at most one time here: it becomes due, or it expires. A timing wheel would be O(1) but either rounds
//! or cascades, and stale timers of delivered mail would stay in it until they expire, days later. Here a delivered
//! recipient takes its timer with it: removal is O(log n), and nearly free for the usual case of a time far away.

use mail::Instant;

const NOWHERE: u32 = u32::MAX;

/// 12 octets a slot for the heap, 4 for the way back.
#[derive(Default)]
pub(crate) struct Due {
    heap: Vec<Item>,
    /// Where in `heap` a slot is.
    places: Vec<u32>,
}

/// A time and its slot, in halves so that there is no gap behind the slot.
#[derive(Debug, Clone, Copy)]
struct Item {
    at: [u32; 2],
    slot: u32,
}

impl Item {
    fn new(at: Instant, slot: u32) -> Item {
        let micros = at.as_micros();
        Item { at: [(micros >> 32) as u32, micros as u32], slot }
    }

    fn at(self) -> Instant {
        let [high, low] = self.at;
        Instant::from_micros(u64::from(high) << 32 | u64::from(low))
    }
}

impl Due {
    /// The earliest time and its slot.
    pub fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().map(|item| (item.at(), item.slot))
    }

    /// Every slot that has a time.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.heap.iter().map(|item| item.slot)
    }

    pub fn at(&self, slot: u32) -> Option<Instant> {
        let place = *self.places.get(slot as usize)?;
        self.heap.get(place as usize).map(|item| item.at())
    }

    /// Gives `slot` the time `at`, whether it had one or not.
    pub fn set(&mut self, slot: u32, at: Instant) {
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, NOWHERE);
        }
        let place = self.places[slot as usize];
        if place == NOWHERE {
            self.heap.push(Item::new(at, slot));
            self.rise(self.heap.len() - 1);
            return;
        }
        let before = std::mem::replace(&mut self.heap[place as usize], Item::new(at, slot));
        if at < before.at() { self.rise(place as usize) } else { self.sink(place as usize) }
    }

    pub fn remove(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let place = std::mem::replace(place, NOWHERE);
        if place == NOWHERE {
            return;
        }
        let place = place as usize;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.places[self.heap[place].slot as usize] = place as u32;
            self.rise(place);
            self.sink(self.places[self.heap[place].slot as usize] as usize);
        }
    }

    fn rise(&mut self, mut place: usize) {
        let moving = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].at() <= moving.at() {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, moving);
    }

    fn sink(&mut self, mut place: usize) {
        let moving = self.heap[place];
        loop {
            let left = 2 * place + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let earlier_right = right < self.heap.len() && self.heap[right].at() < self.heap[left].at();
            let child = if earlier_right { right } else { left };
            if moving.at() <= self.heap[child].at() {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, moving);
    }

    fn put(&mut self, place: usize, item: Item) {
        self.heap[place] = item;
        self.places[item.slot as usize] = place as u32;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Destination, Entry, Flow, Gate, Polled, Queue, TlsNeed, Urgency};
    use mail::{Domain, DomainId, MessageId, PoolId, Random, SiteName, StreamId, TenantId, Timestamp};
    use std::collections::BTreeSet;
    use std::time::Duration;

    #[test]
    fn it_agrees_with_a_sorted_set_whatever_is_set_moved_and_removed() {
        let (mut due, mut random) = (Due::default(), Random::from_number(11));
        let mut model: BTreeSet<(Instant, u32)> = BTreeSet::new();
        for _ in 0..20_000 {
            let slot = random.below(300) as u32;
            let known = model.iter().find(|(_, s)| *s == slot).copied();
            if let Some(known) = known {
                model.remove(&known);
            }
            if random.below(3) == 0 {
                due.remove(slot);
            } else {
                let at = Instant::from_micros(random.below(1000));
                due.set(slot, at);
                model.insert((at, slot));
            }
            assert_eq!(due.first().map(|(at, _)| at), model.first().map(|(at, _)| *at));
            assert_eq!(due.at(slot), model.iter().find(|(_, s)| *s == slot).map(|(at, _)| *at));
        }
    }
    #[test]
    fn an_outlet_has_one_time_however_often_it_is_closed_anew() {
        let (mut queue, mut random) = (Queue::new(), Random::from_number(3));
        let (at, now) = (Timestamp::from_millis(5), Instant::from_micros(1));
        let pool = PoolId::mint(at, &mut random);
        let tenant = TenantId::mint(at, &mut random);
        let flow = Flow {
            tenant,
            stream: StreamId::mint(at, &mut random),
            sending_domain: DomainId::mint(at, &mut random),
            pool,
            urgency: Urgency::Bulk,
            tls: TlsNeed::AsSite,
        };
        let message = MessageId::mint(at, &mut random);
        let expires = now + Duration::from_secs(90_000);
        let entry = Entry { message, position: 0, recipient: 0, attempt: 0, expires, octets: 1 };
        let (domain, site) = (Domain::parse("a.example").unwrap(), SiteName::new("a.example"));
        queue.insert(entry, &flow, Destination { pool, domain: &domain, site: &site }, now, now);
        for second in 0..1_000 {
            let until = now + Duration::from_secs(50_000 - second);
            assert_eq!(queue.poll(now, &mut |_| Gate::Until(until)), None);
            assert_eq!((queue.wakeups.heap.len(), queue.next_wakeup()), (1, Some(until)));
            queue.reopen_site(&site);
        }
        let Some(Polled::Deliver(delivery)) = queue.poll(now, &mut |_| Gate::Open) else {
            panic!("it is open")
        };
        queue.settle(delivery.ticket);
        assert!(queue.is_empty() && queue.wakeups.first().is_none());
    }
}
