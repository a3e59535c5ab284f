//! Copy-forward: what waits for long does not keep what is done, is found where it lay, and is told once.

use super::*;
use crate::queue::{Copies, Copy};
use crate::record::Logged;
use crate::segment::SEGMENT_HEADER;

/// Copies as soon as a quarter or less of a few small segments waits.
pub(super) fn eager() -> Config {
    Config { copy_forward_octets_min: 8_192, copy_forward_octets_per_second_max: u64::MAX, ..small() }
}

pub(super) async fn settle(spool: &Spool, numbers: std::ops::Range<u64>) -> Result<(), Fault> {
    let records = numbers.map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await
}

/// Mail that comes and goes: every round fills about a segment.
async fn days(spool: &Spool, rounds: std::ops::Range<u64>) {
    for round in rounds {
        let numbers = 1_000 + round * 4..1_000 + round * 4 + 4;
        append(spool, numbers.clone()).await;
        settle(spool, numbers).await.unwrap();
        spool.until_trimmed();
    }
}

/// A message of three recipients: the first is delivered, the second was tried twice, the third never.
async fn patient(spool: &Spool) -> Position {
    let committed = spool.intake().append(message(1, 3), body(1)).await.unwrap();
    let accepted = message(1, 3);
    let records =
        vec![settled(&accepted, 0), attempted(&accepted, 1, 1, 1_000), attempted(&accepted, 1, 2, 2_000)];
    spool.outcomes().append_durable(records).await.unwrap();
    committed.position()
}

fn patient_states() -> Vec<RecipientState> {
    let tried = RecipientState { recipient: 1, attempt: 2, next_at: Some(Timestamp::from_millis(2_000)) };
    vec![tried, RecipientState { recipient: 2, attempt: 0, next_at: None }]
}

/// The acceptances a follower is told of, up to one more that is made now: the log may end in copies, and nobody is
/// told when they are through.
async fn accepted_ids(spool: &Spool, from: Position, last: u64) -> Vec<MessageId> {
    append(spool, last..last + 1).await;
    let (mut follower, mut ids) = (spool.follow(from), Vec::new());
    while !ids.contains(&message(last, 1).message) {
        let batch = match follower.next_batch(3).await {
            Ok(batch) => batch,
            Err(Fault::Gap { .. }) => continue,
            Err(fault) => panic!("{fault}"),
        };
        ids.extend(batch.iter().filter_map(|(_, record)| match &**record {
            Record::Accepted(accepted) => Some(accepted.message),
            Record::Attempted(_) | Record::Settled(_) | Record::Unknown { .. } => None,
        }));
    }
    ids
}

#[tokio::test]
async fn disk_use_follows_what_waits_and_the_old_place_still_leads_to_the_message() {
    for body_cache_octets_max in [0, 64 << 20] {
        let config = Config { body_cache_octets_max, ..eager() };
        let disk = LyingDisk::new();
        let (spool, _) = open(&config, &disk);
        let place = patient(&spool).await;
        for round in 0..30 {
            days(&spool, round..round + 1).await;
            assert!(disk.used() < 8_192 + 4 * 4_096, "{} octets after {round} rounds", disk.used());
            let stored = spool.bodies().message(place).await.unwrap();
            assert_eq!((stored.accepted, stored.body), (Arc::new(message(1, 3)), body(1)));
        }
        assert!(!disk.paths().contains(&segment_path(place.segment())));
        assert_eq!(spool.status().unsettled, 1);
        drop(spool);
        let disk = disk.crash(&mut Random::from_number(1));
        let (spool, mut recovery) = open(&config, &disk);
        let waiting = recovery.unsettled.next().unwrap();
        assert_eq!((&*waiting.accepted, &waiting.recipients), (&message(1, 3), &patient_states()));
        assert!(recovery.unsettled.next().is_none());
        // The place that recovery told is kept as well.
        days(&spool, 30..60).await;
        assert_eq!(spool.body(waiting.position).await.unwrap(), body(1));
        let accepted = message(1, 3);
        let records = vec![settled(&accepted, 1), settled(&accepted, 2)];
        spool.outcomes().append_durable(records).await.unwrap();
        days(&spool, 60..64).await;
        assert_eq!(spool.status().unsettled, 0);
        assert!(spool.body(waiting.position).await.is_err(), "nothing is remembered of a settled message");
    }
}

#[tokio::test]
async fn below_the_least_size_and_above_the_share_nothing_is_copied() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { copy_forward_octets_min: 1 << 20, ..eager() }, &disk);
    patient(&spool).await;
    days(&spool, 0..10).await;
    assert!(disk.paths().contains(&segment_path(1)));
    let disk = LyingDisk::new();
    let (spool, _) = open(&eager(), &disk);
    append(&spool, 0..40).await;
    settle(&spool, 10..20).await.unwrap();
    spool.until_trimmed();
    assert!(disk.paths().contains(&segment_path(1)), "three quarters wait");
    settle(&spool, 1..40).await.unwrap();
    append(&spool, 100..110).await;
    settle(&spool, 100..110).await.unwrap();
    append(&spool, 200..201).await;
    spool.until_trimmed();
    assert!(!disk.paths().contains(&segment_path(1)));
}

#[tokio::test]
async fn followers_are_told_of_an_acceptance_once() {
    let disk = LyingDisk::new();
    let config = Config { recent_records_max: 0, readers: vec!["events".to_owned()], ..eager() };
    let (spool, _) = open(&config, &disk);
    let (mut follower, mark) = (spool.follow(Position::START), spool.reader("events"));
    patient(&spool).await;
    let mut seen = Vec::new();
    for round in 0..20 {
        days(&spool, round..round + 1).await;
        while follower.position() < spool.status().end {
            let more =
                tokio::time::timeout(std::time::Duration::from_millis(50), follower.next_batch(5)).await;
            // Only copies were left, and they are no news.
            let Ok(batch) = more else { break };
            seen.extend(batch.unwrap().iter().filter_map(|(_, record)| record.message()));
        }
        mark.past(follower.position());
        spool.until_trimmed();
    }
    assert!(!disk.paths().contains(&segment_path(1)), "it was copied under the follower's eyes");
    let told = |id: &&MessageId| **id == message(1, 3).message;
    assert_eq!(seen.iter().filter(told).count(), 4, "accepted, settled, tried, tried");
    let cursor = follower.position();
    drop((follower, mark, spool));
    let (spool, _) = open(&eager(), &disk);
    assert!(!accepted_ids(&spool, cursor, 9_000).await.contains(&message(1, 3).message));
}

#[tokio::test]
async fn a_follower_that_came_too_late_is_told_of_what_still_waits() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&eager(), &disk);
    patient(&spool).await;
    let behind = spool.status().end;
    days(&spool, 0..20).await;
    let told = |ids: Vec<MessageId>| ids.iter().filter(|id| **id == message(1, 3).message).count();
    assert_eq!(told(accepted_ids(&spool, Position::START, 9_000).await), 1);
    assert_eq!(told(accepted_ids(&spool, Position::new(1, 32), 9_001).await), 1);
    assert_eq!(told(accepted_ids(&spool, behind, 9_002).await), 0, "it had read the original");
}

#[tokio::test]
async fn a_follower_that_has_not_met_a_message_keeps_it_in_its_place() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&eager(), &disk);
    let mut follower = spool.follow(Position::START);
    patient(&spool).await;
    days(&spool, 0..10).await;
    assert!(disk.paths().contains(&segment_path(1)));
    while follower.position().segment() == spool.status().end.segment() - 8
        || follower.position().segment() < 2
    {
        drop(follower.next_batch(1).await.unwrap());
    }
    spool.until_trimmed();
    assert!(!disk.paths().contains(&segment_path(1)));
    // One that is given up keeps nothing.
    let abandoned = spool.follow(Position::START);
    days(&spool, 10..20).await;
    let before = spool.status().segments;
    drop((abandoned, follower));
    spool.until_trimmed();
    assert!(spool.status().segments < before);
}

fn copy_of(number: u64, from: Position) -> Copy {
    let frame = crate::wire::accepted_frame(&message(number, 1), body(number));
    Copy { message: message(number, 1).message, from, accepted: frame.meta().to_vec(), body: body(number) }
}

#[tokio::test]
async fn a_copy_never_brings_back_what_was_settled_before_it() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let committed = append(&spool, 0..2).await;
    let copy = |number: u64| {
        let copies = vec![copy_of(number, committed[number as usize].position())];
        let (answer, answered) = tokio::sync::oneshot::channel();
        spool.shared().queue.push_copies(Copies { copies, answer }).unwrap();
        answered
    };
    // In one group with its settlement, as likely as not; behind it in any case once that is durable.
    let outcomes = spool.outcomes();
    let (settled_0, copied_0) =
        tokio::join!(outcomes.append_durable(vec![settled(&message(0, 1), 0)]), async {
            copy(0).await.unwrap()
        });
    settled_0.unwrap();
    copied_0.unwrap();
    let end = spool.status().end;
    copy(0).await.unwrap().unwrap();
    assert_eq!(spool.status().end, end, "nothing is written for a settled message");
    copy(1).await.unwrap().unwrap();
    let moved_to = end;
    copy(1).await.unwrap().unwrap();
    let Some((place, _)) = spool.shared().ledger().waiting(committed[1].message()) else { panic!() };
    assert_eq!(place, moved_to, "a copy of a place where it does not lie any more is not written");
    for disk in [disk.kill(), disk.crash(&mut Random::from_number(2))] {
        let (spool, recovery) = open(&config(), &disk);
        let found = unsettled(&spool, recovery).await;
        assert_eq!(found, [(committed[1].message(), moved_to, body(1))]);
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_not_copied_and_keeps_its_segment() {
    let disk = LyingDisk::new();
    let config = Config { body_cache_octets_max: 0, ..eager() };
    let (spool, _) = open(&config, &disk);
    let committed = append(&spool, 0..1).await;
    drop(spool);
    let disk = disk.kill();
    let mut octets = disk.read(&segment_path(1));
    let last = octets.len() - 1;
    octets[last] ^= 1;
    octets.resize(octets.len(), 0);
    disk.replace(&segment_path(1), octets);
    // A younger segment makes it a sealed one, in which damage is no torn end.
    disk.replace(&segment_path(2), SEGMENT_HEADER.to_vec());
    let (spool, recovery) = open(&config, &disk);
    assert_eq!(recovery.unsettled.len(), 1);
    days(&spool, 0..10).await;
    assert!(disk.paths().contains(&segment_path(1)));
    assert_eq!(spool.status().quarantined, 1);
    assert!(matches!(spool.body(committed[0].position()).await, Err(Fault::Unreadable(_))));
    settle(&spool, 0..1).await.unwrap();
    days(&spool, 10..12).await;
    assert!(!disk.paths().contains(&segment_path(1)));
}

#[tokio::test]
async fn records_of_a_newer_program_keep_their_segment_from_being_copied() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&eager(), &disk);
    patient(&spool).await;
    drop(spool);
    let disk = disk.kill();
    let mut octets = disk.read(&segment_path(1));
    let mut frame =
        crate::segment::Frame::new(9, 1, Bytes::from_static(b"body"), |meta| meta.extend(b"meta"));
    frame.place(Position::new(1, octets.len() as u32));
    octets.extend(&frame.head);
    octets.extend(&frame.body[..]);
    disk.replace(&segment_path(1), octets.clone());
    let (spool, recovery) = open(&eager(), &disk);
    assert_eq!(recovery.unknown(), 1);
    days(&spool, 0..10).await;
    assert_eq!(spool.status().pinned, 1);
    assert!(disk.read(&segment_path(1)).starts_with(&octets));
}

#[tokio::test]
async fn nothing_is_copied_below_the_reserve() {
    let disk = LyingDisk::new();
    let (spool, _) =
        open(&Config { reserve_octets: 100_000, copy_forward_octets_min: 30_000, ..eager() }, &disk);
    patient(&spool).await;
    days(&spool, 0..6).await;
    disk.set_capacity(Some(disk.used() + 90_000));
    assert!(spool.status().full);
    let accepts = spool.intake().append(message(2, 1), body(2)).await;
    assert!(matches!(accepts, Err(Fault::Full)), "{accepts:?}");
    // Completion records go on and fill segments, and what waits stays where it is.
    let late: Vec<_> = (0..200).map(|attempt| attempted(&message(1, 3), 1, attempt, 5)).collect();
    spool.outcomes().append_durable(late).await.unwrap();
    spool.until_trimmed();
    assert!(disk.paths().contains(&segment_path(1)));
    disk.set_capacity(None);
    days(&spool, 6..12).await;
    assert!(!disk.paths().contains(&segment_path(1)));
}

#[tokio::test]
async fn a_slow_copy_does_not_keep_the_journal_from_closing() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { copy_forward_octets_per_second_max: 1, ..eager() }, &disk);
    patient(&spool).await;
    for round in 0..5 {
        let numbers = 1_000 + round * 4..1_000 + round * 4 + 4;
        append(&spool, numbers.clone()).await;
        settle(&spool, numbers).await.unwrap();
    }
    spool.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_copy_is_no_record_for_those_who_follow_from_memory() {
    let (spool, _) = open(&config(), &LyingDisk::new());
    let committed = append(&spool, 0..1).await;
    let mut follower = spool.follow(spool.status().end);
    let (answer, answered) = tokio::sync::oneshot::channel();
    let copies = vec![copy_of(0, committed[0].position())];
    spool.shared().queue.push_copies(Copies { copies, answer }).unwrap();
    answered.await.unwrap().unwrap();
    append(&spool, 1..2).await;
    let batch = follower.next_batch(10).await.unwrap();
    assert_eq!(batch[0].1.message(), Some(message(1, 1).message));
    let frame = crate::wire::moved_frame(Vec::new(), Position::START, &[], Bytes::new());
    let decoded = crate::wire::decode(frame.kind(), frame.version(), frame.meta());
    assert!(!matches!(decoded, Some(Logged::Moved(_))), "a copy of nothing is damage");
}
