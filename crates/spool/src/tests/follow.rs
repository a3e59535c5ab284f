//! Followers: order, completeness, nothing before its time.

use super::*;
use std::time::Duration;

async fn read_ids(follower: &mut Follower, count: usize, max: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let batch = follower.next_batch(max).await.unwrap();
        assert!(!batch.is_empty() && batch.len() <= max);
        ids.extend(batch.iter().filter_map(|(_, record)| record.message()));
    }
    ids
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<MessageId> {
    numbers.map(|number| message(number, 1).message).collect()
}

#[tokio::test]
async fn a_record_that_is_not_durable_is_never_shown() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..2).await;
    disk.fail_sync(1, crate::lying::Times::Once);
    assert!(spool.intake().append(message(2, 1), body(2)).await.is_err());
    let mut follower = spool.follow(Position::START);
    assert_eq!(read_ids(&mut follower, 2, 100).await, ids(0..2));
    assert!(matches!(follower.next_batch(100).await, Err(Fault::Sealed)));
}

#[tokio::test]
async fn a_follower_waits_for_what_comes_and_ends_with_the_journal() {
    let (spool, _) = open(&config(), &LyingDisk::new());
    let mut follower = spool.follow(Position::START);
    let nothing = tokio::time::timeout(Duration::from_millis(20), follower.next_batch(10)).await;
    assert!(nothing.is_err());
    append(&spool, 0..3).await;
    assert_eq!(read_ids(&mut follower, 3, 10).await, ids(0..3));
    spool.shutdown().await.unwrap();
    assert!(matches!(follower.next_batch(10).await, Err(Fault::Closed)));
}

#[tokio::test]
async fn memory_and_disk_tell_the_same_story_in_any_batch_size() {
    for recent_records_max in [0, 3, 8_192] {
        let disk = LyingDisk::new();
        let (spool, _) = open(&Config { recent_records_max, ..small() }, &disk);
        let mut live = spool.follow(Position::START);
        let mut live_ids = Vec::new();
        for round in 0..10 {
            append(&spool, round * 4..round * 4 + 4).await;
            live_ids.extend(read_ids(&mut live, 4, 3).await);
        }
        assert_eq!(live_ids, ids(0..40));
        assert!(spool.status().segments > 4);
        for max in [1, 7, 1_000] {
            assert_eq!(read_ids(&mut spool.follow(Position::START), 40, max).await, ids(0..40));
        }
        // Going on from a stored position after a restart.
        let mut follower = spool.follow(Position::START);
        read_ids(&mut follower, 11, 1).await;
        let cursor = Position::from_u64(follower.position().as_u64());
        drop((spool, live, follower));
        let (spool, recovery) = open(&small(), &disk);
        assert_eq!(recovery.end, spool.status().end);
        let mut follower = spool.follow(cursor);
        assert_eq!(read_ids(&mut follower, 29, 5).await, ids(11..40));
    }
}

#[tokio::test]
async fn a_position_ahead_of_the_log_is_a_gap_not_silence() {
    let (spool, _) = open(&config(), &LyingDisk::new());
    append(&spool, 0..2).await;
    let ahead = Position::from_u64(99 << 32);
    let mut follower = spool.follow(ahead);
    assert!(matches!(follower.next_batch(10).await, Err(Fault::Gap { from, .. }) if from == ahead));
    assert_eq!(read_ids(&mut follower, 2, 10).await, ids(0..2));
}

#[tokio::test]
async fn a_body_is_read_from_memory_or_from_the_disk_and_nowhere_else() {
    for body_cache_octets_max in [0, 5_000, 64 << 20] {
        let (spool, _) = open(&Config { body_cache_octets_max, ..small() }, &LyingDisk::new());
        let committed = append(&spool, 0..20).await;
        for (committed, number) in committed.iter().zip(0..) {
            let stored = spool.bodies().message(committed.position()).await.unwrap();
            assert_eq!((stored.accepted.message, stored.body), (committed.message(), body(number)));
        }
        let beyond = spool.status().end;
        assert!(matches!(spool.body(beyond).await, Err(Fault::NotAMessage(_))));
    }
}
