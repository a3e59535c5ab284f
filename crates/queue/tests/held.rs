//! A sending domain that is held: its mail stands apart, the rest of its tenant goes on, and nothing of it is lost.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use mail::SiteName;
use queue::{Delivery, Gate, Polled, Retried, Standing, Urgency};
use std::collections::HashSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn poll(house: &mut House) -> Option<Polled> {
    house.queue.poll(house.now, &mut |_| Gate::Open)
}

fn deliver(house: &mut House) -> Delivery {
    match poll(house) {
        Some(Polled::Deliver(delivery)) => delivery,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_from_a_held_domain_waits_and_delays_nothing_else_of_its_tenant() {
    let mut house = House::new();
    let held = house.sending_domain;
    let ready = house.insert(1, "a.example", 1);
    let later = house.insert_as(1, "a.example", 1, Urgency::Prompt, MINUTE);
    house.another_sending_domain();
    let other = house.insert(1, "a.example", 1);
    house.queue.hold_domain(held);
    assert_eq!(house.queue.places(ready)[0].standing, Standing::DomainHeld, "before its turn has come");

    house.advance(MINUTE);
    let delivery = deliver(&mut house);
    assert_eq!(delivery.entry.message, other);
    house.queue.settle(delivery.ticket);
    assert_eq!(poll(&mut house), None);
    assert_eq!(
        house.queue.next_wakeup(),
        Some(house.now + (HOUR - MINUTE)),
        "nothing but the expiry wakes it"
    );
    for message in [ready, later] {
        assert_eq!(house.queue.places(message)[0].standing, Standing::DomainHeld);
    }
    let lanes = house.queue.lanes(9);
    assert_eq!((lanes.len(), lanes[0].ready, &lanes[0].standing), (1, 2, &Standing::DomainHeld));
    let totals = house.queue.totals();
    assert_eq!((totals.waiting, totals.ready, totals.in_flight), (0, 2, 0));
    assert_eq!(house.queue.domains_held(), [held]);

    house.queue.resume_domain(held);
    for _ in 0..2 {
        let delivery = deliver(&mut house);
        assert!([ready, later].contains(&delivery.entry.message));
        house.queue.settle(delivery.ticket);
    }
    assert!(house.queue.is_empty() && house.queue.domains_held().is_empty());
    assert_eq!(house.queue.totals(), queue::control::QueueTotals::default());
}

#[test]
fn a_domain_that_is_held_while_its_mail_is_in_flight_makes_no_further_attempt() {
    let mut house = House::new();
    let held = house.sending_domain;
    for _ in 0..3 {
        house.insert(1, "a.example", 1);
    }
    let (settled, given_back, retried) = (deliver(&mut house), deliver(&mut house), deliver(&mut house));
    house.queue.hold_domain(held);
    house.queue.settle(settled.ticket);
    let (first, last) = (given_back.entry.message, retried.entry.message);
    assert_eq!(house.queue.retry(retried, house.now + MINUTE), Retried::Waiting);
    house.advance(MINUTE);
    assert_eq!(poll(&mut house), None);
    assert_eq!(house.queue.give_back(given_back), Retried::Waiting);
    assert_eq!(poll(&mut house), None);

    house.queue.resume_domain(held);
    for message in [first, last] {
        let delivery = deliver(&mut house);
        assert_eq!(delivery.entry.message, message, "what was given back is at the front");
        house.queue.settle(delivery.ticket);
    }
    assert!(house.queue.is_empty());
}

#[test]
fn what_is_from_a_held_domain_expires_is_cancelled_and_follows_its_site() {
    let mut house = House::new();
    let held = house.sending_domain;
    house.queue.hold_domain(held);
    let messages: Vec<_> = (0..4).map(|_| house.insert(1, "a.example", 1)).collect();
    // From the middle, the front and the back of what stands apart.
    for cancelled in [1, 0, 3] {
        let taken = house.queue.cancel(messages[cancelled]);
        assert_eq!(taken.len(), 1);
        taken.into_iter().for_each(|delivery| house.queue.settle(delivery.ticket));
    }
    let moved = house.insert(2, "b.example", 1);
    house.queue.assign_site(&mail::Domain::parse("b.example").unwrap(), &SiteName::new("mx.example"));
    house.queue.resume_domain(held);
    house.queue.hold_domain(held);
    assert_eq!(poll(&mut house), None);
    let place = &house.queue.places(moved)[0];
    assert_eq!((place.site.as_str(), &place.standing), ("mx.example", &Standing::DomainHeld));

    house.advance(HOUR);
    for _ in 0..2 {
        match poll(&mut house) {
            Some(Polled::Expired(delivery)) => {
                assert!([messages[2], moved].contains(&delivery.entry.message));
                house.queue.settle(delivery.ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(house.queue.is_empty());
    house.queue.resume_domain(held);
    assert_eq!((poll(&mut house), house.queue.next_wakeup()), (None, None));
}

#[test]
fn in_a_long_random_life_nothing_leaves_from_a_held_domain_and_nothing_is_left_behind() {
    let mut house = House::new();
    let mut random = mail::Random::from_number(6);
    let domains: Vec<_> = (0..6).map(|_| house.another_sending_domain()).collect();
    let (mut waiting, mut flying) = (Vec::new(), Vec::new());
    let mut ended = HashSet::new();
    for _ in 0..20_000 {
        let domain = domains[random.below(6) as usize];
        let name = format!("d{}.example", random.below(10));
        match random.below(9) {
            0..3 => {
                house.sending_domain = domain;
                let due = Duration::from_secs(random.below(20));
                waiting.push(house.insert_as(random.below(3), &name, 1, Urgency::Bulk, due));
            }
            3..5 => match poll(&mut house) {
                Some(Polled::Deliver(delivery)) => {
                    let from = delivery.flow.sending_domain;
                    assert!(!house.queue.domains_held().contains(&from), "it is held");
                    flying.push(delivery);
                }
                Some(Polled::Expired(_)) => panic!("nothing is an hour old"),
                None => house.advance(Duration::from_millis(100)),
            },
            5 => {
                let site = SiteName::new(format!("s{}", random.below(3)));
                house.queue.assign_site(&mail::Domain::parse(&name).unwrap(), &site);
                let pool = if random.below(2) == 0 { house.overflow } else { house.pool };
                house.queue.assign_pools(|_| pool);
            }
            6 if random.below(2) == 0 => house.queue.hold_domain(domain),
            6 => house.queue.resume_domain(domain),
            7 if !waiting.is_empty() => {
                let message = waiting.swap_remove(random.below(waiting.len() as u64) as usize);
                for delivery in house.queue.cancel(message) {
                    assert!(ended.insert(message));
                    house.queue.settle(delivery.ticket);
                }
            }
            _ => {
                let Some(delivery) = flying.pop() else { continue };
                match house.queue.give_back(delivery) {
                    Retried::Waiting => {}
                    Retried::Cancelled(delivery) => house.queue.settle(delivery.ticket),
                }
            }
        }
    }
    flying.into_iter().for_each(|delivery| house.queue.settle(delivery.ticket));
    domains.iter().for_each(|domain| house.queue.resume_domain(*domain));
    house.advance(MINUTE);
    while let Some(Polled::Deliver(delivery)) = poll(&mut house) {
        assert!(!ended.contains(&delivery.entry.message));
        house.queue.settle(delivery.ticket);
    }
    assert!(house.queue.is_empty());
    assert_eq!(house.queue.totals(), queue::control::QueueTotals::default());
}
