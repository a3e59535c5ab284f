//! How large and how slow: memory of a waiting recipient, time of a pick, with very many of both.
#![allow(clippy::unwrap_used)]

mod house;

use house::House;
use queue::{Gate, Polled, Urgency};
use std::time::Duration;

/// Resident memory of this process in octets.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// `count` recipients of as many messages, of 200 tenants at 50 sites: 10,000 lanes.
fn fill(count: u64, due: Duration) -> (House, u64) {
    let mut house = House::new();
    let before = resident();
    for number in 0..count {
        let domain = format!("d{}.example", number % 50);
        house.insert_as(number / 50 % 200, &domain, 5_000, Urgency::Bulk, due);
    }
    (house, resident() - before)
}

/// Picks everything and settles it; says how long one took.
fn pick_all(house: &mut House, count: u64) -> Duration {
    let clock = stopwatch();
    for _ in 0..count {
        match house.queue.poll(house.now, &mut |_| Gate::Open) {
            Some(Polled::Deliver(delivery)) => house.queue.settle(delivery.ticket),
            other => panic!("{other:?}"),
        }
    }
    clock.elapsed() / count as u32
}

#[expect(clippy::disallowed_methods, reason = "a measurement of this process, not of mail")]
fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn a_hundred_thousand_need_less_than_300_octets_each_whether_ready_or_waiting() {
    for due in [Duration::ZERO, Duration::from_secs(60)] {
        let (mut house, octets) = fill(100_000, due);
        println!("{} octets each", octets / 100_000);
        assert!(octets / 100_000 <= 300, "{} octets each", octets / 100_000);
        house.advance(due);
        println!("{:?} a pick", pick_all(&mut house, 100_000));
        assert!(house.queue.is_empty());
    }
}

#[test]
#[ignore = "a measurement: run it alone, optimised"]
fn a_million() {
    for due in [Duration::ZERO, Duration::from_secs(60)] {
        let (mut house, octets) = fill(1_000_000, due);
        house.advance(due);
        println!("{} octets each, {:?} a pick", octets / 1_000_000, pick_all(&mut house, 1_000_000));
    }
}

#[test]
#[ignore = "a measurement: run it alone, optimised"]
fn a_million_lanes_of_one() {
    let mut house = House::new();
    let before = resident();
    for number in 0..1_000_000u64 {
        let domain = format!("d{}.example", number % 2000);
        house.insert_as(number / 2000, &domain, 5_000, Urgency::Bulk, Duration::ZERO);
    }
    let octets = (resident() - before) / 1_000_000;
    println!("{octets} octets each, {:?} a pick", pick_all(&mut house, 1_000_000));
}
