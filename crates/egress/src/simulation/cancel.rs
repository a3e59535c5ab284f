//! Messages that are taken back before the journal has given them.

use super::{Model, World};
use crate::error::Fault;
use mail::MessageId;
use spool::{RecipientState, Settlement, Waiting};
use std::time::Duration;

/// The journal is still being read.
fn not_known(_: MessageId) -> Waiting {
    Waiting::NotKnownYet
}

#[test]
fn a_message_that_is_taken_back_before_it_is_recovered_is_never_sent() {
    let mut world = World::new(21, |_| {});
    let now = world.now();
    let early = world.message(0, "some.example", 3, |_| {});
    assert_eq!(world.dispatcher.handle_cancel(early.message, &not_known, now).unwrap(), 0);
    // Once more changes nothing.
    assert_eq!(world.dispatcher.handle_cancel(early.message, &not_known, now).unwrap(), 0);
    let open = |recipient| RecipientState { recipient, attempt: 2, next_at: None };
    world.dispatcher.handle_recovered(0, &early, &[open(0), open(2)], now);
    let sent = world.accept(0, "some.example", 1);
    world.run(Duration::from_secs(1));
    let cancelled: Vec<_> = world.settled().filter(|(_, one)| one.message == early.message).collect();
    assert_eq!(cancelled.len(), 2);
    assert!(cancelled.iter().all(|(_, one)| (one.settlement, one.attempt) == (Settlement::Cancelled, 2)));
    assert!(world.settled().any(|(_, one)| one.message == sent && one.settlement == Settlement::Delivered));
    world.check(3);
}

#[test]
fn a_message_that_is_taken_back_before_it_is_followed_is_never_sent() {
    let mut world = World::new(22, |_| {});
    let now = world.now();
    let late = world.message(0, "some.example", 2, |_| {});
    assert_eq!(world.dispatcher.handle_cancel(late.message, &|_| Waiting::Yes, now).unwrap(), 0);
    world.dispatcher.handle_accepted(0, &late, now);
    world.run(Duration::from_secs(1));
    assert!(world.settled().all(|(_, one)| one.settlement == Settlement::Cancelled));
    world.check(2);
}

#[test]
fn only_what_is_taken_back_is_counted_and_what_is_in_flight_has_no_further_attempt() {
    let mut world = World::new(24, |config| config.limits.connections = Some(1));
    let deferring = Model { pace: Duration::from_secs(2), deferred: 1_000, ..Model::default() };
    world.models.insert("mx.some.example".to_owned(), deferring);
    let message = world.accept(0, "some.example", 3);
    world.run(Duration::from_secs(1));
    let views = world.dispatcher.why(message, world.now()).unwrap();
    let flying = views.iter().filter(|view| view.reason.code() == "in_flight").count();
    assert!((1..3).contains(&flying), "{views:?}");
    for taken in [3 - flying, 0] {
        let now = world.now();
        assert_eq!(world.dispatcher.handle_cancel(message, &|_| Waiting::Yes, now).unwrap(), taken);
    }
    world.run(Duration::from_secs(24 * 3600));
    let settled: Vec<_> = world.settled().map(|(_, one)| (one.settlement, one.attempt)).collect();
    assert!(settled.iter().all(|(settlement, _)| *settlement == Settlement::Cancelled), "{settled:?}");
    assert_eq!(settled.iter().filter(|(_, attempt)| *attempt == 1).count(), flying);
    world.check(3);
}

#[test]
fn more_than_can_be_remembered_is_refused_and_none_that_may_come_is_forgotten_for_it() {
    let mut world = World::new(23, |config| config.cancels_remembered_max = 2);
    let now = world.now();
    let messages: Vec<_> = (0..5).map(|_| world.message(0, "some.example", 1, |_| {})).collect();
    for known in &messages[..2] {
        world.dispatcher.handle_cancel(known.message, &not_known, now).unwrap();
    }
    for waiting in [&not_known as &dyn Fn(MessageId) -> Waiting, &|_| Waiting::Yes] {
        let refused = world.dispatcher.handle_cancel(messages[2].message, waiting, now);
        assert!(matches!(refused, Err(Fault::CancelsFull)));
    }
    // Once more changes nothing, and what never comes needs no room.
    world.dispatcher.handle_cancel(messages[1].message, &not_known, now).unwrap();
    world.dispatcher.handle_cancel(messages[4].message, &|_| Waiting::No, now).unwrap();
    // Each that comes makes room.
    world.dispatcher.handle_accepted(0, &messages[0], now);
    world.dispatcher.handle_cancel(messages[2].message, &|_| Waiting::Yes, now).unwrap();
    // So does one that was settled otherwise, or given up with its segment.
    let gone = messages[1].message;
    let waiting = |message| if message == gone { Waiting::No } else { Waiting::Yes };
    world.dispatcher.handle_cancel(messages[3].message, &waiting, now).unwrap();
    for message in &messages[2..] {
        world.dispatcher.handle_accepted(0, message, now);
    }
    world.run(Duration::from_secs(1));
    let delivered = world.settled().filter(|(_, one)| one.settlement == Settlement::Delivered);
    assert_eq!(delivered.map(|(_, one)| one.message).collect::<Vec<_>>(), [messages[4].message]);
    world.check(4);
}
