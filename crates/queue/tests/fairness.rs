//! Who gets the next turn: equal shares, weights, sizes, and a small tenant beside one with very much mail.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use queue::{Gate, Polled, Urgency, cost_of_turn};
use std::collections::HashMap;
use std::time::Duration;

/// Sends as long as there is something, at most `count`, and counts the cost of it by tenant number.
fn send(house: &mut House, count: usize) -> HashMap<u64, u64> {
    let mut spent = HashMap::new();
    for _ in 0..count {
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) else { break };
        let cost = u64::from(cost_of_turn(delivery.entry.octets));
        *spent.entry(house.number_of(delivery.flow.tenant)).or_default() += cost;
        house.queue.settle(delivery.ticket);
    }
    spent
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
fn fifty_equal_tenants_spend_the_same_whatever_the_sizes_of_their_messages() {
    let mut house = House::new();
    for tenant in 0..50 {
        for number in 0..400 {
            // Some send many small messages, some few large ones.
            house.insert(tenant, "big.example", 3_000 + (tenant as u32 % 5) * 9_000 + number % 7);
        }
    }
    let spent = send(&mut house, 5_000);
    let (sum, squares) =
        spent.values().fold((0.0, 0.0), |(s, q), n| (s + *n as f64, q + (*n as f64).powi(2)));
    let jain = sum * sum / (50.0 * squares);
    let (min, max) = (spent.values().min().unwrap(), spent.values().max().unwrap());
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
        let cost = cost_of_turn(delivery.entry.octets);
        sent[house.number_of(delivery.flow.tenant) as usize] += i64::from(cost);
        house.queue.settle(delivery.ticket);
        assert!((sent[1] - sent[2]).abs() <= 128 * 1024 + 2 * (128 * 1024 + 92_000), "{sent:?}");
    }
}

#[test]
fn turns_are_counted_more_than_octets_but_not_alone() {
    let mut house = House::new();
    for _ in 0..2_000 {
        house.insert(1, "big.example", 3_000);
        house.insert(2, "big.example", 30_000);
        house.insert(3, "big.example", 900_000);
    }
    let mut turns = HashMap::new();
    for _ in 0..1_500 {
        let Some(Polled::Deliver(delivery)) = house.queue.poll(house.now, &mut |_| Gate::Open) else { break };
        *turns.entry(house.number_of(delivery.flow.tenant)).or_insert(0_u32) += 1;
        house.queue.settle(delivery.ticket);
    }
    let share = |tenant| f64::from(turns[&tenant]) / f64::from(turns[&1]);
    assert!((0.8..0.9).contains(&share(2)) && (0.1..0.2).contains(&share(3)), "{turns:?}");
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
    let spent = send(&mut house, 5_600);
    let unit = spent[&1] as f64;
    assert!((spent[&2] as f64 / unit / 2.0 - 1.0).abs() < 0.05, "{spent:?}");
    assert!((spent[&3] as f64 / unit / 4.0 - 1.0).abs() < 0.05, "{spent:?}");
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
