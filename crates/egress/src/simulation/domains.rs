//! A domain that an operator suspends while mail from it waits, and lets go on.

use super::{Model, World};
use mail::{DomainId, MessageId};
use registry::DomainState::{Degraded, Failed, Suspended, Verified};
use spool::{RecipientState, Settlement};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    fn set_domain(&mut self, state: registry::DomainState) {
        let snapshot = Arc::new(self.ids.with_domain(state));
        self.dispatcher.handle_snapshot(snapshot);
    }

    /// Of the first recipient.
    fn reason(&self, message: MessageId) -> &'static str {
        self.dispatcher.why(message, self.now()).unwrap()[0].reason.code()
    }

    fn delivered_of(&self, message: MessageId) -> usize {
        let of_it = |settled: &&spool::Settled| {
            settled.message == message && settled.settlement == Settlement::Delivered
        };
        self.settled().map(|(_, settled)| settled).filter(of_it).count()
    }
}

#[test]
fn what_waits_from_a_suspended_domain_leaves_when_it_is_released_and_the_rest_at_once() {
    let mut world = World::new(51, |_| {});
    world.set_domain(Verified);
    let later = world.now().timestamp.saturating_add(MINUTE);
    let scheduled = world.accept_with(0, "some.example", 1, |accepted| accepted.not_before = Some(later));
    let down = Some((Duration::ZERO, Duration::from_secs(30)));
    world.models.insert("mx.down.example".to_owned(), Model { down, ..Model::default() });
    let deferred = world.accept(0, "down.example", 2);
    world.run(Duration::from_secs(1));

    world.set_domain(Suspended);
    let fresh = world.accept(0, "some.example", 1);
    let other_domain = DomainId::mint(later, &mut world.random);
    let other = world.accept_with(0, "some.example", 1, |accepted| accepted.domain = other_domain);
    world.run(Duration::from_secs(3));
    assert_eq!((world.delivered_of(other), world.delivered_of(fresh)), (1, 0));
    assert_eq!((world.reason(fresh), world.reason(scheduled)), ("domain_suspended", "not_before"));

    world.run(30 * MINUTE);
    assert_eq!(world.settled().count(), 1);
    let sentence = world.dispatcher.why(scheduled, world.now()).unwrap()[0].reason.sentence();
    assert_eq!(sentence, "its domain is suspended by the operator");
    assert_eq!((world.reason(scheduled), world.reason(deferred)), ("domain_suspended", "domain_suspended"));
    let queues = world.dispatcher.queues(9, world.now());
    let reasons = queues.iter().map(|queue| queue.reason.as_ref().map(|reason| reason.code()));
    assert!(reasons.eq([Some("domain_suspended"); 2]), "{queues:?}");

    world.set_domain(Degraded);
    world.run(31 * MINUTE);
    let delivered = [fresh, scheduled, deferred].map(|message| world.delivered_of(message));
    assert_eq!(delivered, [1, 1, 2]);
    world.check(5);
}

#[test]
fn what_is_recovered_from_a_suspended_domain_waits_and_expires() {
    let mut world = World::new(52, |_| {});
    world.set_domain(Suspended);
    let recovered = world.message(0, "some.example", 1, |_| {});
    let open = RecipientState { recipient: 0, attempt: 1, next_at: None };
    let now = world.now();
    world.dispatcher.handle_recovered(0, &recovered, &[open], now);
    world.run(Duration::from_secs(23 * 3600));
    assert_eq!(world.reason(recovered.message), "domain_suspended");
    world.run(Duration::from_secs(25 * 3600));
    let settled: Vec<_> = world.settled().map(|(_, settled)| settled.settlement).collect();
    assert_eq!(settled, [Settlement::Expired]);
    assert!(world.opened.is_empty(), "nobody was called");
    world.check(1);
}

/// What was accepted is signed; records that are gone stop new mail only.
#[test]
fn a_domain_that_failed_its_checks_gets_out_what_waits() {
    let mut world = World::new(53, |_| {});
    world.set_domain(Failed);
    let waits = world.accept(0, "some.example", 1);
    world.run(Duration::from_secs(1));
    assert_eq!(world.delivered_of(waits), 1);
    world.check(1);
}
