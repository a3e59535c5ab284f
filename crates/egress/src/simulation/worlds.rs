//! The worlds: bad days, dead sites, greedy tenants, tarpits, a drain.

use super::{Model, World};
use spool::Settlement;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_bad_day_at_many_sites_loses_nothing_and_settles_everything_once() {
    for seed in 0..10 {
        let mut world = World::new(seed, |_| {});
        let mut recipients = 0;
        for site in 0..8u64 {
            let model = Model {
                pace: Duration::from_millis(1 + world.random.below(400)),
                connections_max: 1 + world.random.below(12) as usize,
                deferred: world.random.below(300),
                bounced: world.random.below(100),
                broken: world.random.below(100),
                down: (site % 3 == 0).then_some((Duration::from_secs(10), HOUR)),
                ..Model::default()
            };
            world.models.insert(format!("mx.d{site}.example"), model);
        }
        for _ in 0..300 {
            let count = 1 + world.random.below(5) as usize;
            let (tenant, site) = (world.random.below(10) as usize, world.random.below(8));
            world.accept(tenant, &format!("d{site}.example"), count);
            recipients += count;
            let step = Duration::from_millis(world.random.below(200));
            world.run(world.clock + step);
        }
        world.run(30 * HOUR);
        world.check(recipients);
        assert!(world.dispatcher.queue.is_empty(), "seed {seed}: something is neither settled nor due");
        let delivered = world.settled().filter(|(_, one)| one.settlement == Settlement::Delivered).count();
        assert!(delivered * 10 > recipients * 8, "seed {seed}: {delivered} of {recipients}");
    }
}

#[test]
fn a_site_that_is_down_is_probed_seldom_and_met_gently_when_it_is_back() {
    let mut world = World::new(1, |_| {});
    let down = Some((Duration::ZERO, HOUR));
    world.models.insert("mx.down.example".to_owned(), Model { down, ..Model::default() });
    for _ in 0..200 {
        world.accept(0, "down.example", 10);
    }
    world.run(HOUR);
    // 5 at first, then one after 1, 2, 4, 8, 15, 15, 15 minutes.
    assert!(world.attempts_while_down <= 15, "{} attempts", world.attempts_while_down);
    world.most_lines.clear();
    world.run(HOUR + Duration::from_secs(900));
    assert_eq!(world.settled().count(), 2000);
    world.check(2000);
}

#[test]
fn a_tenant_with_one_message_a_second_does_not_wait_behind_one_with_twenty_thousand() {
    let mut world = World::new(2, |_| {});
    world
        .models
        .insert("mx.big.example".to_owned(), Model { pace: Duration::from_millis(20), ..Model::default() });
    for _ in 0..20 {
        world.accept(0, "big.example", 1000);
    }
    let mut accepted = HashMap::new();
    for second in 1..30 {
        world.run(Duration::from_secs(second));
        accepted.insert(world.accept(1, "big.example", 1), world.clock);
    }
    world.run(Duration::from_secs(31));
    let waits: Vec<_> = world
        .settled()
        .filter_map(|(at, settled)| accepted.get(&settled.message).map(|since| at - *since))
        .collect();
    assert_eq!(waits.len(), 29);
    let worst = waits.iter().max().unwrap();
    assert!(*worst <= Duration::from_millis(500), "{worst:?}");
}

/// What a plan says of weight is what a tenant gets of a site that is busy, from the change on.
#[test]
fn turns_at_a_busy_site_follow_the_weights_of_the_plans() {
    let mut world = World::new(21, |_| {});
    let slow = Model { pace: Duration::from_millis(20), ..Model::default() };
    world.models.insert("mx.big.example".to_owned(), slow);
    let messages: HashMap<_, _> = (0..3)
        .flat_map(|tenant| (0..10).map(move |_| tenant))
        .map(|tenant| (world.accept(tenant, "big.example", 1000), tenant))
        .collect();
    let mut seen = [0.0; 3];
    for (weights, until) in [([1, 2, 4], 20), ([4, 1, 2], 40)] {
        world.dispatcher.handle_snapshot(Arc::new(world.ids.weighted(&weights)));
        world.run(Duration::from_secs(until));
        let mut sent = [0.0; 3];
        world.settled().for_each(|(_, settled)| sent[messages[&settled.message]] += 1.0);
        let all: f64 = sent.iter().sum::<f64>() - seen.iter().sum::<f64>();
        for (tenant, weight) in weights.into_iter().enumerate() {
            let share = (sent[tenant] - seen[tenant]) / all;
            let due = f64::from(weight) / 7.0;
            assert!(
                (share / due - 1.0).abs() <= 0.05,
                "{share:.3} of the turns, {due:.3} are due: {weights:?}"
            );
        }
        assert!(all > 1_000.0, "{all} is no busy site");
        seen = sent;
    }
}

#[test]
fn a_tarpit_of_one_tenant_takes_no_more_than_its_share_of_connections() {
    let mut world = World::new(3, |config| {
        config.connections_max = 40;
        config.deliveries_per_tenant_max = 20;
    });
    for site in 0..30 {
        let pace = Duration::from_secs(250);
        world.models.insert(format!("mx.tar{site}.example"), Model { pace, ..Model::default() });
        for _ in 0..10 {
            world.accept(0, &format!("tar{site}.example"), 1);
        }
    }
    world.run(Duration::from_secs(5));
    let sent = world.accept(1, "fast.example", 1);
    world.run(Duration::from_secs(6));
    assert!(
        world.settled().any(|(_, settled)| settled.message == sent),
        "the other tenant waits for the tarpit"
    );
    assert!(world.lines.len() <= 21);
}

#[test]
fn after_a_drain_nothing_is_begun_and_what_flies_lands() {
    let mut world = World::new(4, |_| {});
    world.accept(0, "some.example", 50);
    world.run(Duration::from_millis(100));
    world.dispatcher.handle_drain();
    let flying = world.lines.len();
    assert!(flying > 0 && !world.dispatcher.is_drained());
    world.run(Duration::from_secs(5));
    assert!(world.dispatcher.is_drained());
    world.check(50);
    assert!(!world.dispatcher.queue.is_empty());
}

#[test]
fn sites_of_one_provider_share_its_connections_and_none_is_forgotten() {
    let mut world = World::new(5, |config| config.idle_seconds = 1);
    // Their exchangers make them sites of Google, whose profile allows five connections of one source in all.
    for site in 0..40 {
        world.accept(site % 10, &format!("w{site}.google.com"), 20);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.lines.len(), 5);
    world.run(HOUR);
    assert_eq!(world.settled().count(), 800);
    world.check(800);
}
