//! Who gets the next turn: equal shares, weights, sizes, and a small tenant beside one with very much mail.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use queue::{Gate, Polled, Urgency};
use std::collections::HashMap;
use std::time::Duration;

/// Sends as long as there is something, at most `count`, and counts octets by tenant number.
fn send(house: &mut House, count: usize) -> HashMap<u64, u64> {
    let mut octets = HashMap::new();
    for _ in 0..count {
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) else { break };
        *octets.entry(house.number_of(delivery.flow.tenant)).or_default() += u64::from(delivery.entry.cost);
        house.queue.settle(delivery.ticket);
    }
    octets
}

#[test]
fn one_tenants_hundred_thousand_do_not_delay_another() {
    let mut house = House::new();
    for _ in 0..100_000 {
        house.insert(1, "big.example", 5_000);
    }
    send(&mut house, 100);
    house.insert(2, "big.example", 5_000);
    let mut ahead = 0;
    loop {
        match house.queue.poll(house.now, &mut |_| Gate::Open) {
            Some(Polled::Deliver(delivery)) => {
                let tenant = house.number_of(delivery.flow.tenant);
                house.queue.settle(delivery.ticket);
                if tenant == 2 {
                    break;
                }
                ahead += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ahead <= 2, "{ahead} messages of the large tenant went first");
}

#[test]
fn fifty_equal_tenants_get_equal_octets_whatever_their_sizes() {
    let mut house = House::new();
    for tenant in 0..50 {
        for number in 0..400 {
            // Some send many small messages, some few large ones.
            house.insert(tenant, "big.example", 3_000 + (tenant as u32 % 5) * 9_000 + number % 7);
        }
    }
    let octets = send(&mut house, 5_000);
    let (sum, squares) =
        octets.values().fold((0.0, 0.0), |(s, q), n| (s + *n as f64, q + (*n as f64).powi(2)));
    let jain = sum * sum / (50.0 * squares);
    let (min, max) = (octets.values().min().unwrap(), octets.values().max().unwrap());
    assert!(jain >= 0.97, "Jain's index is {jain}");
    assert!(*min as f64 / *max as f64 >= 0.90, "{min} of {max}");
}

#[test]
fn two_backlogged_lanes_never_differ_by_more_than_a_quantum_and_a_largest_cost() {
    let mut house = House::new();
    for number in 0..3_000 {
        house.insert(1, "big.example", 2_000 + number % 90_000);
        house.insert(2, "big.example", 60_000);
    }
    let mut sent = [0i64; 3];
    for _ in 0..2_000 {
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) else { break };
        sent[house.number_of(delivery.flow.tenant) as usize] += i64::from(delivery.entry.cost);
        house.queue.settle(delivery.ticket);
        assert!((sent[1] - sent[2]).abs() <= 8 * 1024 + 2 * 92_000, "{sent:?}");
    }
}

#[test]
fn weights_one_two_four_are_kept() {
    let mut house = House::new();
    for (tenant, weight) in [(1, 1), (2, 2), (3, 4)] {
        house.queue.set_weight(house.tenant(tenant), weight);
        for _ in 0..4_000 {
            house.insert(tenant, "big.example", 5_000);
        }
    }
    let octets = send(&mut house, 5_600);
    let unit = octets[&1] as f64;
    assert!((octets[&2] as f64 / unit / 2.0 - 1.0).abs() < 0.05, "{octets:?}");
    assert!((octets[&3] as f64 / unit / 4.0 - 1.0).abs() < 0.05, "{octets:?}");
}

#[test]
fn a_prompt_message_waits_behind_one_bulk_message_of_its_own_tenant_at_most() {
    let mut house = House::new();
    for _ in 0..1_000 {
        house.insert(1, "big.example", 5_000);
    }
    send(&mut house, 3);
    house.insert_as(1, "big.example", 5_000, Urgency::Prompt, Duration::ZERO);
    let mut before = 0;
    while let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) {
        let urgency = delivery.flow.urgency;
        house.queue.settle(delivery.ticket);
        if urgency == Urgency::Prompt {
            break;
        }
        before += 1;
    }
    assert!(before <= 1, "{before} went first");
}

#[test]
fn a_closed_site_does_not_stop_the_others_and_is_asked_once() {
    let mut house = House::new();
    for _ in 0..100 {
        house.insert(1, "down.example", 5_000);
        house.insert(1, "up.example", 5_000);
    }
    let (mut asked, mut sent) = (0, 0);
    while let Some(polled) = house.queue.poll(house.now, &mut |candidate| {
        if candidate.site.as_str() == "down.example" {
            asked += 1;
            return Gate::Shut;
        }
        Gate::Open
    }) {
        let Polled::Deliver(delivery) = polled else { panic!("nothing expires here") };
        assert_eq!(delivery.site.as_str(), "up.example");
        house.queue.settle(delivery.ticket);
        sent += 1;
    }
    assert_eq!((asked, sent), (1, 100));
}

#[test]
fn nobody_waits_longer_for_a_turn_than_the_bound_says() {
    let (mut house, mut random) = (House::new(), mail::Random::from_number(31));
    for tenant in 0..20 {
        let id = house.tenant(tenant);
        house.queue.set_weight(id, 1 + tenant as u32 % 4 * 30);
    }
    let (mut worst, mut waits) = (0.0_f64, 0);
    for _ in 0..30_000 {
        if random.below(2) == 0 {
            let cost = if random.below(20) == 0 { 900_000 } else { 1_000 + random.below(60_000) as u32 };
            house.insert(random.below(20), "big.example", cost);
            continue;
        }
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) else {
            continue;
        };
        let turn = delivery.turn.expect("it had its turn");
        assert!(turn.octets <= turn.bound, "{turn:?}");
        worst = worst.max(turn.octets as f64 / turn.bound as f64);
        waits += 1;
        house.queue.settle(delivery.ticket);
    }
    assert!(waits > 10_000 && worst > 0.05, "{waits} waits, at worst {worst} of the bound");
}
