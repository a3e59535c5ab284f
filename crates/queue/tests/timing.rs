//! When something is handed out: due times, retries, expiry, holds, cancelling, sites that become known.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use mail::{Domain, Instant, MessageId, SiteName};
use queue::{Candidate, Delivery, Flow, Gate, Polled, Queue, Retried, Standing, TlsNeed, Urgency};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn open(queue: &mut Queue, now: Instant) -> Option<Polled> {
    queue.poll(now, &mut |_| Gate::Open)
}

fn deliver(queue: &mut Queue, now: Instant) -> Delivery {
    match open(queue, now) {
        Some(Polled::Deliver(delivery)) => delivery,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_handed_out_a_microsecond_early() {
    let mut house = House::new();
    house.insert_as(1, "a.example", 1, Urgency::Bulk, MINUTE);
    let due = house.now + MINUTE;
    assert_eq!(house.queue.next_wakeup(), Some(due));
    let early = Instant::from_micros(due.as_micros() - 1);
    assert_eq!(open(&mut house.queue, early), None);
    let delivery = deliver(&mut house.queue, due);
    house.queue.settle(delivery.ticket);
    assert!(house.queue.is_empty());
    assert_eq!(house.queue.next_wakeup(), None);
}

#[test]
fn a_tenant_is_held_until_the_last_of_its_mail_is_settled() {
    let mut house = House::new();
    let (one, two) = (house.tenant(1), house.tenant(2));
    house.insert_as(1, "a.example", 1, Urgency::Bulk, MINUTE);
    assert!(house.queue.holds(one) && !house.queue.holds(two));
    house.advance(MINUTE);
    let delivery = deliver(&mut house.queue, house.now);
    assert!(house.queue.holds(one));
    house.queue.settle(delivery.ticket);
    assert!(!house.queue.holds(one));
}

#[test]
fn a_retry_counts_the_attempt_and_comes_back_when_it_is_due() {
    let mut house = House::new();
    house.insert(1, "a.example", 1);
    let first = deliver(&mut house.queue, house.now);
    assert_eq!(first.entry.attempt, 0);
    assert_eq!(house.queue.retry(first, house.now + MINUTE), Retried::Waiting);
    assert_eq!(open(&mut house.queue, house.now), None);
    house.advance(MINUTE);
    let second = deliver(&mut house.queue, house.now);
    assert_eq!(second.entry.attempt, 1);
    // Given back: no attempt was made, and it is next at once.
    assert_eq!(house.queue.give_back(second), Retried::Waiting);
    let third = deliver(&mut house.queue, house.now);
    assert_eq!(third.entry.attempt, 1);
    house.queue.settle(third.ticket);
}

#[test]
fn mail_expires_at_its_time_whether_it_waits_or_stands_before_a_closed_site() {
    let mut house = House::new();
    house.insert_as(1, "a.example", 1, Urgency::Bulk, Duration::from_secs(9_000));
    house.insert(2, "b.example", 1);
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::Shut), None);
    let expires = house.now + Duration::from_secs(3600);
    assert_eq!(house.queue.next_wakeup(), Some(expires));
    for _ in 0..2 {
        match open(&mut house.queue, expires) {
            Some(Polled::Expired(delivery)) => house.queue.settle(delivery.ticket),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open(&mut house.queue, expires), None);
    assert!(house.queue.is_empty());
}

#[test]
fn a_gate_that_names_a_time_is_asked_again_at_that_time() {
    let mut house = House::new();
    house.insert(1, "a.example", 1);
    let later = house.now + MINUTE;
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::Until(later)), None);
    assert_eq!(house.queue.next_wakeup(), Some(later));
    assert_eq!(house.queue.poll(house.now, &mut |_| panic!("it is closed")), None);
    let delivery = deliver(&mut house.queue, later);
    house.queue.settle(delivery.ticket);
}

#[test]
fn a_shut_gate_stays_shut_until_the_site_is_reopened() {
    let mut house = House::new();
    house.insert(1, "a.example", 1);
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::Shut), None);
    house.insert(1, "a.example", 1);
    assert_eq!(house.queue.poll(house.now, &mut |_| panic!("it is shut")), None);
    house.queue.reopen_site(&SiteName::new("a.example"));
    for _ in 0..2 {
        let delivery = deliver(&mut house.queue, house.now);
        house.queue.settle(delivery.ticket);
    }
}

#[test]
fn what_waits_moves_to_the_site_of_its_domain_when_that_becomes_known() {
    let mut house = House::new();
    for domain in ["a.example", "b.example", "a.example"] {
        house.insert(1, domain, 1);
    }
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::Shut), None);
    let site = SiteName::new("mx.provider.example");
    for domain in ["a.example", "b.example"] {
        house.queue.assign_site(&Domain::parse(domain).unwrap(), &site);
    }
    let mut asked = Vec::new();
    while let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |candidate| {
        asked.push(candidate.site.clone());
        Gate::Open
    }) {
        house.queue.settle(delivery.ticket);
    }
    assert_eq!(asked, vec![site; 3]);
}

#[test]
fn a_domain_that_leaves_a_closed_site_takes_its_mail_along_from_behind_the_others() {
    let mut house = House::new();
    let (old, new) = (SiteName::new("old.provider.example"), SiteName::new("new.provider.example"));
    for domain in ["a.example", "b.example"] {
        house.insert(1, domain, 1);
        house.queue.assign_site(&Domain::parse(domain).unwrap(), &old);
    }
    let behind = house.insert(1, "b.example", 1);
    house.insert(2, "a.example", 1);
    house.insert(2, "b.example", 1);
    let mut gate = |candidate: &Candidate<'_>| if *candidate.site == old { Gate::Shut } else { Gate::Open };
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    house.queue.hold_tenant(house.tenant(2));
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    house.queue.assign_site(&Domain::parse("b.example").unwrap(), &new);
    assert_eq!(house.queue.places(behind)[0].standing, Standing::Ready);
    house.queue.resume_tenant(house.tenant(2));
    for _ in 0..3 {
        match house.queue.poll(house.now, &mut gate) {
            Some(Polled::Deliver(delivery)) => {
                assert_eq!((delivery.domain.as_str(), &delivery.site), ("b.example", &new));
                house.queue.settle(delivery.ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    assert_eq!(house.queue.len(), 2);
}

#[test]
fn a_flow_that_may_leave_from_another_pool_does_not_wait_behind_one_that_may_not() {
    let mut house = House::new();
    let stays = house.insert(1, "a.example", 1);
    let goes: Vec<_> =
        (0..3).map(|_| house.insert_as(1, "a.example", 1, Urgency::Prompt, Duration::ZERO)).collect();
    let (pool, overflow) = (house.pool, house.overflow);
    let mut gate = |candidate: &Candidate<'_>| if candidate.pool == pool { Gate::Shut } else { Gate::Open };
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    let pool_of = |flow: &Flow| if flow.urgency == Urgency::Prompt { overflow } else { flow.pool };
    house.queue.assign_pools(pool_of);
    assert_eq!(house.queue.places(goes[0])[0].pool, overflow);
    for message in goes {
        match house.queue.poll(house.now, &mut gate) {
            Some(Polled::Deliver(delivery)) => {
                assert_eq!((delivery.entry.message, delivery.flow.pool), (message, pool));
                house.queue.settle(delivery.ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    // Back again, and nothing has changed for the other.
    house.queue.assign_pools(|flow| flow.pool);
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    assert_eq!(house.queue.places(stays)[0].standing, Standing::Closed(None));
}

#[test]
fn a_message_that_requires_tls_neither_waits_for_others_nor_lets_them_wait() {
    let mut house = House::new();
    house.insert(1, "a.example", 1);
    house.tls = TlsNeed::RequireTls;
    let demanding = house.insert(1, "a.example", 1);
    let mut closed = |candidate: &Candidate<'_>| match candidate.tls {
        TlsNeed::AsSite => Gate::Open,
        TlsNeed::RequireTls => Gate::Shut,
    };
    let Some(Polled::Deliver(other)) = house.queue.poll(house.now, &mut closed) else { panic!("one may go") };
    assert_ne!(other.entry.message, demanding);
    assert_eq!(house.queue.poll(house.now, &mut closed), None);
    assert_eq!(house.queue.give_back(other), Retried::Waiting);
    house.queue.reopen_site(&SiteName::new("a.example"));
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::Shut), None);
    house.queue.reopen_site(&SiteName::new("a.example"));
    // The one that is hard to please is asked first although it came last.
    let mut asked = Vec::new();
    while let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |candidate| {
        asked.push(candidate.tls);
        Gate::Open
    }) {
        house.queue.settle(delivery.ticket);
    }
    assert_eq!(asked, [TlsNeed::RequireTls, TlsNeed::AsSite]);
}

#[test]
fn a_held_tenant_gets_nothing_out_and_everything_back_when_it_is_resumed() {
    let mut house = House::new();
    let message = house.insert(1, "a.example", 1);
    house.insert(2, "a.example", 1);
    house.queue.hold_tenant(house.tenant(1));
    let other = deliver(&mut house.queue, house.now);
    assert_eq!(other.flow.tenant, house.tenant(2));
    house.queue.settle(other.ticket);
    assert_eq!(open(&mut house.queue, house.now), None);
    assert_eq!(house.queue.places(message)[0].standing, Standing::TenantHeld);
    house.queue.resume_tenant(house.tenant(1));
    let delivery = deliver(&mut house.queue, house.now);
    assert_eq!(delivery.entry.message, message);
    house.queue.settle(delivery.ticket);
}

#[test]
fn a_tenant_that_steps_aside_lets_the_others_pass_and_is_asked_about_again_at_its_time() {
    let mut house = House::new();
    let aside = house.insert(1, "a.example", 1);
    house.insert(2, "a.example", 1);
    house.insert(2, "a.example", 1);
    let (held, until) = (house.tenant(1), house.now + MINUTE);
    let mut asked = 0;
    let mut gate = |candidate: &Candidate<'_>| {
        asked += u32::from(candidate.tenant == held);
        if candidate.tenant == held { Gate::TenantUntil(until) } else { Gate::Open }
    };
    for _ in 0..2 {
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut gate) else {
            panic!("it is open")
        };
        assert_eq!(delivery.flow.tenant, house.tenant(2));
        house.queue.settle(delivery.ticket);
    }
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    assert_eq!((asked, house.queue.next_wakeup()), (1, Some(until)));
    assert_eq!(house.queue.places(aside)[0].standing, Standing::Aside(until));
    assert_eq!(house.queue.lanes(9)[0].standing, Standing::Aside(until));
    // An opening of the site for the others changes nothing for it; one for everybody does.
    house.queue.reopen_site(&SiteName::new("a.example"));
    assert_eq!(house.queue.poll(house.now, &mut |_| panic!("nobody is there")), None);
    house.queue.wake_site(&SiteName::new("a.example"));
    assert_eq!(house.queue.poll(house.now, &mut |_| Gate::TenantUntil(until)), None);
    let delivery = deliver(&mut house.queue, until);
    assert_eq!(delivery.entry.message, aside);
    house.queue.settle(delivery.ticket);
    assert_eq!((house.queue.next_wakeup(), house.queue.totals()), (None, Default::default()));
}

#[test]
fn what_stands_aside_expires_is_cancelled_and_moves_like_everything() {
    let mut house = House::new();
    let [cancelled, moves] = ["a.example", "b.example"].map(|domain| house.insert(1, domain, 1));
    let site = SiteName::new("mx.example");
    for domain in ["a.example", "b.example"] {
        house.queue.assign_site(&Domain::parse(domain).unwrap(), &site);
    }
    let until = house.now + MINUTE * 600;
    let mut gate = |_: &Candidate<'_>| Gate::TenantUntil(until);
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    for delivery in house.queue.cancel(cancelled) {
        house.queue.settle(delivery.ticket);
    }
    let new = SiteName::new("new.example");
    house.queue.assign_site(&Domain::parse("b.example").unwrap(), &new);
    assert_eq!(house.queue.places(moves)[0].standing, Standing::Ready);
    assert_eq!(house.queue.poll(house.now, &mut gate), None);
    let expires = house.now + Duration::from_secs(100_000);
    match open(&mut house.queue, expires) {
        Some(Polled::Expired(delivery)) => house.queue.settle(delivery.ticket),
        other => panic!("{other:?}"),
    }
    assert_eq!(open(&mut house.queue, expires), None);
    assert!(house.queue.is_empty() && house.queue.next_wakeup().is_none());
}

#[test]
fn cancelling_takes_out_what_waits_and_marks_what_is_in_flight() {
    let mut house = House::new();
    let message = MessageId::from_uuid(house.tenant(3).uuid());
    for (recipient, due) in [(0, Duration::ZERO), (1, Duration::ZERO), (2, MINUTE)] {
        house.insert_recipient(message, recipient, 1, "a.example", 1, Urgency::Bulk, due);
    }
    let flying = deliver(&mut house.queue, house.now);
    let standings: Vec<_> = house.queue.places(message).into_iter().map(|place| place.standing).collect();
    assert_eq!(standings, [Standing::InFlight, Standing::Ready, Standing::Waiting(house.now + MINUTE)]);
    let taken = house.queue.cancel(message);
    assert_eq!(taken.len(), 2);
    for delivery in taken {
        house.queue.settle(delivery.ticket);
    }
    match house.queue.retry(flying, house.now) {
        Retried::Cancelled(delivery) => house.queue.settle(delivery.ticket),
        Retried::Waiting => panic!("it was cancelled"),
    }
    assert!(house.queue.is_empty() && house.queue.places(message).is_empty());
    assert_eq!(open(&mut house.queue, house.now), None);
    assert_eq!(house.queue.totals(), Default::default());
}

#[test]
fn a_long_random_life_ends_with_nothing_left() {
    let mut house = House::new();
    let mut random = mail::Random::from_number(5);
    let (mut inserted, mut ended, mut flying) = (0u64, 0u64, Vec::new());
    for step in 0..30_000u64 {
        match random.below(8) {
            0..3 => {
                let domain = format!("d{}.example", random.below(40));
                let due = Duration::from_secs(random.below(300));
                let urgency = if random.below(4) == 0 { Urgency::Prompt } else { Urgency::Bulk };
                house.insert_as(random.below(20), &domain, random.below(50_000) as u32, urgency, due);
                inserted += 1;
            }
            3..5 => {
                let polled = house.queue.poll(house.now, &mut |_| match random.below(4) {
                    0 => Gate::Shut,
                    3 => Gate::TenantUntil(house.now + MINUTE),
                    1 => Gate::Until(house.now + MINUTE),
                    _ => Gate::Open,
                });
                match polled {
                    Some(Polled::Deliver(delivery)) => flying.push(delivery),
                    Some(Polled::Expired(delivery)) => {
                        house.queue.settle(delivery.ticket);
                        ended += 1;
                    }
                    None => house.advance(Duration::from_secs(1)),
                }
            }
            5 => {
                let domain = format!("d{}.example", random.below(40));
                let site = SiteName::new(format!("s{}", random.below(5)));
                house.queue.assign_site(&Domain::parse(&domain).unwrap(), &site);
                house.queue.reopen_site(&site);
                let (pool, overflow) = (house.pool, house.overflow);
                let other = random.below(2) == 0;
                house.queue.assign_pools(|flow| {
                    if other && flow.urgency == Urgency::Bulk { overflow } else { pool }
                });
            }
            6 if step % 3 == 0 => house.queue.hold_tenant(house.tenant(random.below(20))),
            6 => house.queue.resume_tenant(house.tenant(random.below(20))),
            _ => {
                let Some(delivery) = flying.pop() else { continue };
                match random.below(3) {
                    0 => drop(house.queue.retry(delivery, house.now + MINUTE)),
                    1 => drop(house.queue.give_back(delivery)),
                    _ => {
                        house.queue.settle(delivery.ticket);
                        ended += 1;
                    }
                }
            }
        }
    }
    for delivery in flying {
        house.queue.settle(delivery.ticket);
        ended += 1;
    }
    assert_eq!(house.queue.len(), inserted - ended);
    house.advance(Duration::from_secs(100_000));
    while let Some(polled) = open(&mut house.queue, house.now) {
        let Polled::Expired(delivery) = polled else { panic!("everything is over") };
        house.queue.settle(delivery.ticket);
        ended += 1;
    }
    assert_eq!((house.queue.len(), ended), (0, inserted));
}
