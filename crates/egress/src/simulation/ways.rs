//! Worlds whose pools, sources and exchangers change while mail waits, and mail that not every connection may carry.

use super::{World, route};
use mail::{Domain, EgressPath, SiteName, SourceName};
use queue::TlsNeed;
use registry::SourceState::{Active, Draining, Held};
use shaping::Hold;
use spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// The names of the sources from which these messages were delivered so far.
    fn sources_of(&self, messages: &[mail::MessageId]) -> Vec<String> {
        let settled = self.settled().filter(|(_, settled)| messages.contains(&settled.message));
        settled.map(|(_, settled)| settled.source.as_ref().unwrap().to_string()).collect()
    }

    fn set_sources(&mut self, main: &[registry::SourceState], overflow: &[registry::SourceState]) {
        let snapshot = Arc::new(self.ids.registry(main, overflow));
        self.dispatcher.handle_snapshot(snapshot);
    }
}

#[test]
fn a_stream_without_an_address_does_not_block_one_that_may_use_another_pool() {
    let mut world = World::new(11, |_| {});
    world.set_sources(&[Held], &[Active]);
    let overflowing = world.ids.overflowing;
    let waits = world.accept(0, "some.example", 1);
    let mut goes = Vec::new();
    for tenant in [0, 0, 1] {
        goes.push(world.accept_with(tenant, "some.example", 1, |accepted| accepted.stream = overflowing));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.sources_of(&goes), ["out-1"; 3]);
    assert_eq!(world.dispatcher.why(waits, world.now()).unwrap()[0].reason.code(), "no_source");
    world.set_sources(&[Active], &[Active]);
    world.run(Duration::from_secs(2));
    assert_eq!(world.sources_of(&[waits]), ["out-0"]);
    world.check(4);
}

#[test]
fn a_pool_whose_addresses_are_all_held_is_told_from_one_without_any() {
    let mut world = World::new(17, |_| {});
    let waits = world.accept(0, "some.example", 1);
    let held = "every address of the pool is held or disabled by the operator";
    let pools = [(&[Held, Draining][..], held), (&[], "the pool has no address"), (&[Held], held)];
    for (sources, sentence) in pools {
        world.set_sources(sources, &[]);
        world.run(world.clock + Duration::from_secs(1));
        let reason = world.dispatcher.why(waits, world.now()).unwrap().remove(0).reason;
        assert_eq!((reason.code(), reason.sentence().as_str()), ("no_source", sentence));
        let queues = world.dispatcher.queues(9, world.now());
        assert_eq!(queues[0].reason.as_ref(), Some(&reason));
    }
    world.check(1);
}

#[test]
fn mail_that_stands_before_a_held_source_goes_over_to_the_other_pool_and_back() {
    let mut world = World::new(12, |_| {});
    world.set_sources(&[Held], &[Held]);
    let overflowing = world.ids.overflowing;
    world.accept(0, "some.example", 1);
    let first = world.accept_with(0, "some.example", 1, |accepted| accepted.stream = overflowing);
    world.run(Duration::from_secs(1));
    assert_eq!(world.settled().count(), 0);
    world.set_sources(&[Held], &[Active]);
    world.run(Duration::from_secs(2));
    assert_eq!(world.sources_of(&[first]), ["out-1"]);
    world.set_sources(&[Active], &[Held]);
    let second = world.accept_with(0, "some.example", 1, |accepted| accepted.stream = overflowing);
    world.run(Duration::from_secs(3));
    assert_eq!(world.sources_of(&[second]), ["out-0"]);
    world.check(3);
}

#[test]
fn a_second_hold_of_a_path_says_why_and_until_when_in_place_of_the_first() {
    let mut world = World::new(16, |_| {});
    let path = EgressPath { source: SourceName::new("out-0"), site: SiteName::new("mx.some.example") };
    let waits = world.accept(0, "some.example", 1);
    for (seconds, reason) in [(None, "first"), (Some(60), "sooner"), (Some(90), "later")] {
        let now = world.now();
        let until = seconds.map(|seconds| now.instant + Duration::from_secs(seconds));
        world.dispatcher.handle_hold(&path, Hold { until, reason: reason.to_owned() }, now);
        world.run(world.clock + Duration::from_secs(1));
        let view = world.dispatcher.why(waits, world.now()).unwrap().remove(0);
        assert_eq!(view.reason.sentence(), format!("the path is suspended: {reason}"));
        assert_eq!(view.until, until.map(|until| now.wall(until)));
    }
    // The last one was said at two seconds.
    world.run(Duration::from_secs(91));
    assert_eq!(world.settled().count(), 0);
    world.run(Duration::from_secs(93));
    assert_eq!(world.sources_of(&[waits]), ["out-0"]);
    world.check(1);
}

#[test]
fn mail_before_a_suspended_path_is_looked_at_when_its_pool_gets_a_source_and_not_before() {
    let mut world = World::new(13, |_| {});
    let path = EgressPath { source: SourceName::new("out-0"), site: SiteName::new("mx.some.example") };
    let until = Some(world.now().instant + Duration::from_secs(7200));
    let hold = Hold { until, reason: "by hand".to_owned() };
    let now = world.now();
    world.dispatcher.handle_hold(&path, hold, now);
    let waits = world.accept(0, "some.example", 1);
    world.run(Duration::from_secs(1));
    let wakes = world.dispatcher.queue.next_wakeup();
    world.set_sources(&[Active], &[]);
    assert_eq!((world.dispatcher.queue.next_wakeup(), wakes), (wakes, until), "nothing has changed");
    world.set_sources(&[Active, Active], &[]);
    world.run(Duration::from_secs(2));
    assert_eq!(world.sources_of(&[waits]), ["out-1"]);
    // The same when a source is resumed.
    world.set_sources(&[Active, Held], &[]);
    let waits = world.accept(0, "some.example", 1);
    world.run(Duration::from_secs(3));
    assert_eq!(world.sources_of(&[waits]).len(), 0);
    world.set_sources(&[Active, Active], &[]);
    world.run(Duration::from_secs(4));
    assert_eq!(world.sources_of(&[waits]), ["out-1"]);
    world.check(2);
}

#[test]
fn mail_with_requiretls_gets_a_connection_of_its_own_although_all_are_taken() {
    for connections in [1, 4] {
        let mut world = World::new(14, |config| config.limits.connections = Some(connections));
        for _ in 0..40 {
            world.accept(0, "some.example", 100);
        }
        world.run(Duration::from_secs(2));
        let sent = world.clock;
        let demanding: Vec<_> = (0..3)
            .map(|tenant| {
                world.accept_with(tenant, "some.example", 1, |accepted| accepted.require_tls = true)
            })
            .collect();
        world.run(Duration::from_secs(3));
        let carried = world.carried.iter().filter(|(message, _)| demanding.contains(message));
        assert!(carried.clone().all(|(_, tls)| *tls == TlsNeed::RequireTls));
        assert_eq!(world.sources_of(&demanding).len(), 3, "{connections} connections");
        assert!(world.settled().any(|(at, one)| at > sent && one.message != demanding[0]));
        world.run(Duration::from_secs(3600));
        assert_eq!(world.settled().count(), 4_003);
        assert!(world.most_lines["mx.some.example"] <= connections as usize);
        world.check(4_003);
    }
}

#[test]
fn mail_of_a_domain_that_was_forgotten_leaves_its_old_site_when_its_exchangers_change() {
    let mut world = World::new(15, |config| config.domains_remembered_max = 2);
    let path = EgressPath { source: SourceName::new("out-0"), site: SiteName::new("mx.some.example") };
    let now = world.now();
    world.dispatcher.handle_hold(&path, Hold { until: None, reason: "by hand".to_owned() }, now);
    world.accept(0, "some.example", 2);
    world.run(Duration::from_secs(1));
    for number in 0..10 {
        world.accept(0, &format!("d{number}.example"), 1);
        world.run(Duration::from_secs(2 + number));
    }
    let (domain, now) = (Domain::parse("some.example").unwrap(), world.now());
    world.dispatcher.handle_resolved(&domain, Ok(route("mx.new.example")), now);
    world.run(Duration::from_secs(20));
    let moved =
        world.settled().filter(|(_, one)| one.site.as_ref().is_some_and(|s| s.as_str() == "mx.new.example"));
    assert_eq!(moved.count(), 2);
    world.check(12);
}

/// RFC 8689 §4.2.1: without DNSSEC and MTA-STS only a name within the domain is sure to be the domain's.
#[test]
fn mail_with_requiretls_is_not_given_to_a_host_that_only_the_dns_vouches_for() {
    let mut world = World::new(16, |_| {});
    let (domain, now) = (Domain::parse("some.example").unwrap(), world.now());
    let plain = world.accept(0, "some.example", 1);
    let demanding = world.accept_with(0, "some.example", 1, |accepted| accepted.require_tls = true);
    // "notsome.example" ends like the domain and is not within it.
    world.dispatcher.handle_resolved(&domain, Ok(route("mx.notsome.example")), now);
    world.run(Duration::from_secs(5));
    let came_of = |message| world.settled().find(|(_, one)| one.message == message).unwrap().1.settlement;
    assert_eq!((came_of(plain), came_of(demanding)), (Settlement::Delivered, Settlement::Failed));
    assert!(world.carried.iter().all(|(message, _)| *message != demanding), "it was sent all the same");
    world.check(2);
}

#[test]
fn the_wait_for_the_first_attempt_is_counted_from_the_acceptance_and_not_from_when_the_dispatcher_heard_of_it()
 {
    let mut world = World::new(31, |_| {});
    let message = world.message(0, "some.example", 1, |_| {});
    world.run(Duration::from_millis(700));
    let now = world.now();
    world.dispatcher.handle_accepted(0, &message, now);
    world.run(Duration::from_secs(2));
    let (_, settled) = world.settled().next().unwrap();
    assert!((700..1_000).contains(&settled.queued_ms), "{}", settled.queued_ms);
    world.check(1);
}

/// Two sources: a tenant is held on one of them by its own doing, the other is held for everybody.
#[test]
fn what_is_held_of_one_tenant_closes_no_path_to_the_others() {
    let mut world = World::new(44, |_| {});
    world.set_sources(&[Active, Active], &[]);
    world.accept(0, "a.example", 20);
    world.run(Duration::from_secs(5));
    let paths: Vec<_> = world.dispatcher.paths(world.now()).into_iter().map(|view| view.path).collect();
    assert_eq!(paths.len(), 2, "both were used");
    let (tenant, now) = (world.ids.tenants[0], world.now());
    let hold =
        Hold { until: Some(now.instant + Duration::from_secs(3_600)), reason: "complaints".to_owned() };
    world.dispatcher.ways.shaper.hold_tenant(&paths[0], tenant, hold.clone(), now.instant);
    world.dispatcher.handle_hold(&paths[1], hold, now);
    let (waits, goes) = (world.accept(0, "a.example", 3), world.accept(1, "a.example", 3));
    world.run(Duration::from_secs(10));
    assert!(world.dispatcher.why(goes, world.now()).is_none(), "the other tenant has a path");
    assert!(world.dispatcher.why(waits, world.now()).is_some());
    world.run(Duration::from_secs(7_200));
    assert!(world.dispatcher.why(waits, world.now()).is_none());
}
