//! No space and no descriptors: refused for now, with nothing lost, and by itself as before when there is some again.

use super::forward_crash::{Told, check, day, opened, operations};
use super::*;
use crate::lying::Times;
use futures_util::FutureExt as _;
use rustix::io::Errno;

const NO_SPACE: i32 = Errno::NOSPC.raw_os_error();
const NO_DESCRIPTORS: i32 = Errno::MFILE.raw_os_error();

#[tokio::test]
async fn no_space_at_any_single_operation_loses_nothing() {
    let mut survived = 0;
    let operations = operations().await;
    for nth in 1..=operations {
        let disk = LyingDisk::new();
        disk.fail_operation(nth, Times::Once, NO_SPACE);
        let Some(spool) = opened(&disk) else { continue };
        let mut told = Told::default();
        day(&spool, &mut told).await;
        // No space is no broken disk, unless it comes when a sync has to allocate: then nobody knows what is written.
        if !spool.sealed() {
            survived += 1;
            append(&spool, 800..801).await;
        }
        drop(spool);
        let what = format!("no space at {nth}");
        check(&disk.kill(), &told, &what).await;
        check(&disk.crash(&mut Random::from_number(nth)), &told, &what).await;
    }
    assert!(survived > operations / 3, "{survived} of {operations}");
}

#[tokio::test]
async fn a_disk_that_fills_at_any_octet_refuses_mail_keeps_outcomes_and_goes_on() {
    // Up to two records and a new segment.
    for left in (0..4_000).step_by(97) {
        let disk = LyingDisk::new();
        let (spool, _) = open(&Config { reserve_octets: 1, ..small() }, &disk);
        let before = append(&spool, 0..5).await;
        disk.set_capacity(Some(disk.used() + left));
        let mut taken = Vec::new();
        let refused = loop {
            let number = 10 + taken.len() as u64;
            match spool.intake().append(message(number, 1), body(number)).await {
                Ok(committed) => taken.push(committed.message()),
                Err(fault) => break fault,
            }
        };
        assert!(matches!(refused, Fault::Full), "{refused}");
        assert!(spool.status().full || left > 0);
        spool.outcomes().append(vec![settled(&message(0, 1), 0).into()]).await.unwrap();
        disk.set_capacity(None);
        spool.outcomes().append_durable(vec![settled(&message(1, 1), 0)]).await.unwrap();
        let after = append(&spool, 50..52).await;
        drop(spool);
        let (spool, recovery) = open(&small(), &disk.crash(&mut Random::from_number(left)));
        assert!(recovery.quarantined().is_empty() && recovery.torn.is_none());
        let found: Vec<MessageId> = unsettled(&spool, recovery).await.iter().map(|(id, ..)| *id).collect();
        let ids = |committed: &[Committed]| committed.iter().map(Committed::message).collect::<Vec<_>>();
        assert_eq!(found, [ids(&before[2..]), taken, ids(&after)].concat(), "{left} octets left");
    }
}

#[tokio::test]
async fn no_descriptors_at_a_rotation_pass_and_outcomes_wait_them_out() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    append(&spool, 0..1).await;
    disk.fail_creations(Some(NO_DESCRIPTORS));
    let (mut number, mut taken) = (1, 1);
    let refused = loop {
        match spool.intake().append(message(number, 1), body(number)).await {
            Ok(_) => (number, taken) = (number + 1, taken + 1),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(refused, Fault::Rotate { .. }), "{refused}");
    assert!(!spool.sealed());
    let records = (0..40).map(|attempt| attempted(&message(0, 1), 0, attempt, 9)).collect();
    let outcomes = spool.outcomes();
    let waiting = tokio::spawn(async move { outcomes.append_durable(records).await });
    assert!(spool.intake().append(message(90, 1), body(90)).await.is_err());
    disk.fail_creations(None);
    waiting.await.unwrap().unwrap();
    append(&spool, 100..110).await;
    drop(spool);
    let (_, recovery) = open(&small(), &disk.crash(&mut Random::from_number(1)));
    assert_eq!(recovery.unsettled.len(), taken + 10);
}

/// Messages of one group, offered one after the other; each with what it was told.
async fn group(spool: &Spool, steps: &mut Steps, numbers: std::ops::Range<u64>) -> Vec<(MessageId, bool)> {
    let intake = spool.intake();
    let mut offers: Vec<_> =
        numbers.clone().map(|number| Box::pin(intake.append(message(number, 1), body(number)))).collect();
    offers.iter_mut().for_each(|offer| assert!(offer.now_or_never().is_none()));
    while steps.commit() {}
    let mut told = Vec::new();
    for offer in offers {
        told.push(offer.await.is_ok());
    }
    numbers.map(|number| message(number, 1).message).zip(told).collect()
}

/// After a power cut right after the refusal nothing of what was refused is there: whoever offered it comes again.
fn stays_refused(disk: &LyingDisk, told: &[(MessageId, bool)], what: &str) {
    let disk = disk.kill();
    for seed in 0..30 {
        let (_spool, recovery) = open(&small(), &disk.kill().crash(&mut Random::from_number(seed)));
        let found: Vec<MessageId> = recovery.unsettled.map(|waiting| waiting.accepted.message).collect();
        let kept: Vec<MessageId> = told.iter().filter(|(_, kept)| *kept).map(|(id, _)| *id).collect();
        assert_eq!(found, kept, "{what}, seed {seed}");
    }
}

#[tokio::test]
async fn what_was_refused_for_want_of_a_descriptor_does_not_come_back() {
    let mut refused = 0;
    // Making the new segment, making its name durable, and what is done with it then.
    for nth in 1..=6 {
        let disk = LyingDisk::new();
        let (spool, mut steps, _) =
            Spool::open_stepped(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
        let mut told = group(&spool, &mut steps, 0..3).await;
        disk.fail_operation(nth, Times::Once, NO_DESCRIPTORS);
        told.extend(group(&spool, &mut steps, 10..13).await);
        // A write or sync that fails seals, and then nobody was told no.
        if !spool.sealed() {
            refused += told.iter().filter(|(_, kept)| !kept).count();
            stays_refused(&disk, &told, &format!("no descriptor at {nth}"));
        }
    }
    assert_eq!(refused, 6, "the group was refused when the file and when its directory could not be opened");
}

#[tokio::test]
async fn what_was_refused_for_want_of_room_does_not_come_back() {
    // The first of the group is whole in the file, the last is not.
    for left in (0..4_000).step_by(211) {
        let disk = LyingDisk::new();
        let (spool, mut steps, _) =
            Spool::open_stepped(config(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
        let mut told = group(&spool, &mut steps, 0..3).await;
        disk.set_capacity(Some(disk.used() + left));
        told.extend(group(&spool, &mut steps, 10..20).await);
        assert!(!spool.sealed() && told[3..].iter().all(|(_, kept)| !kept));
        disk.set_capacity(None);
        stays_refused(&disk, &told, &format!("{left} octets left"));
    }
}

#[tokio::test]
async fn no_descriptors_for_reading_pass() {
    let disk = LyingDisk::new();
    let config = Config { body_cache_octets_max: 0, recent_records_max: 0, ..small() };
    let (spool, _) = open(&config, &disk);
    append(&spool, 0..200).await;
    assert!(spool.status().segments > 40, "more than are kept open");
    let first = segment_path(1);
    disk.fail_opens(&first, Some(NO_DESCRIPTORS));
    let mut follower = spool.follow(Position::START);
    let place = Position::new(1, 32);
    let body_now = spool.body(place).await;
    assert!(matches!(&body_now, Err(Fault::Read { .. })), "{body_now:?}");
    // The follower waits instead of giving up: whoever follows must not end for want of a descriptor.
    let mut waiting = tokio::spawn(async move { follower.next_batch(1).await.map(|batch| batch.len()) });
    let ended = tokio::time::timeout(std::time::Duration::from_millis(20), &mut waiting).await;
    assert!(ended.is_err());
    disk.fail_opens(&first, None);
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    assert_eq!(spool.body(place).await.unwrap(), body(0));
    assert_eq!(spool.status().quarantined, 0);
}
