//! The same id offered again: written once, and told to everybody who offered it.

use super::*;
use futures_util::FutureExt as _;

/// The messages that the log tells of, in its order.
async fn told(spool: &Spool, records: usize) -> Vec<MessageId> {
    let mut follower = spool.follow(Position::START);
    let mut ids = Vec::new();
    while ids.len() < records {
        let batch = follower.next_batch(100).await.unwrap();
        ids.extend(batch.iter().filter_map(|(_, record)| record.message()));
    }
    ids
}

#[tokio::test]
async fn two_of_one_group_are_one_message_and_both_are_told_where() {
    let disk = LyingDisk::new();
    let (spool, mut steps, _) =
        Spool::open_stepped(config(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    let intake = spool.intake();
    let mut offers: Vec<_> =
        [1, 2, 1, 1].map(|number| Box::pin(intake.append(message(number, 1), body(number)))).into();
    offers.iter_mut().for_each(|offer| assert!(offer.now_or_never().is_none()));
    assert!(steps.commit());
    let first = offers[0].as_mut().now_or_never().unwrap().unwrap();
    assert!(offers[2].as_mut().now_or_never().is_none(), "told before it was looked up");
    while steps.commit() {}
    for repeated in [2, 3] {
        assert_eq!(offers[repeated].as_mut().now_or_never().unwrap().unwrap(), first);
    }
    assert_eq!(spool.status().unsettled, 2);
    assert_eq!(told(&spool, 2).await, [1, 2].map(|number| message(number, 1).message));
    assert!(spool.follow(spool.status().end).next_batch(1).now_or_never().is_none());
}

#[tokio::test]
async fn many_at_the_same_time_are_one_message() {
    let (spool, _) = open(&config(), &LyingDisk::new());
    let offers: Vec<_> = (0..32)
        .map(|_| {
            let intake = spool.intake();
            tokio::spawn(async move { intake.append(message(7, 2), body(7)).await.unwrap() })
        })
        .collect();
    let mut positions = Vec::new();
    for offer in offers {
        positions.push(offer.await.unwrap().position());
    }
    positions.dedup();
    assert_eq!((positions.len(), spool.status().unsettled), (1, 1));
    assert_eq!(told(&spool, 1).await, [message(7, 2).message]);
}

#[tokio::test]
async fn a_message_that_waits_since_before_a_restart_is_not_written_again() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let before = append(&spool, 0..3).await;
    drop(spool);
    let (spool, recovery) = open(&config(), &disk.crash(&mut Random::from_number(3)));
    let end = spool.status().end;
    assert_eq!(append(&spool, 0..3).await, before);
    assert_eq!((spool.status().end, recovery.unsettled.len()), (end, 3), "nothing was written");
}

#[tokio::test]
async fn a_repetition_is_told_where_a_copy_forward_put_the_first() {
    let (spool, _) = open(&super::forward::eager(), &LyingDisk::new());
    let first = append(&spool, 0..1).await;
    for number in 100..140 {
        append(&spool, number..number + 1).await;
        super::forward::settle(&spool, number..number + 1).await.unwrap();
        spool.until_trimmed();
    }
    let again = append(&spool, 0..1).await;
    assert!(again[0].position() > first[0].position(), "it was copied");
    assert_eq!(spool.body(again[0].position()).await.unwrap(), body(0));
    assert_eq!(spool.status().unsettled, 1);
}

/// A repetition that was put off is an offer like any other if the first of its group was refused.
#[tokio::test]
async fn a_refused_first_does_not_stand_for_its_repetition() {
    let disk = LyingDisk::new();
    let (spool, mut steps, _) =
        Spool::open_stepped(config(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    let intake = spool.intake();
    let [mut first, mut second] =
        [1, 1].map(|number| Box::pin(intake.append(message(number, 1), body(number))));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    disk.set_capacity(Some(disk.used() + 100));
    assert!(steps.commit());
    assert!(matches!(first.now_or_never().unwrap(), Err(Fault::Full)));
    disk.set_capacity(None);
    while steps.commit() {}
    let committed = second.now_or_never().unwrap().unwrap();
    assert_eq!(spool.body(committed.position()).await.unwrap(), body(1));
}
