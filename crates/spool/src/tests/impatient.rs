//! Followers whose waiters go away again and again, as in a `select!` beside busy branches, and those who wait for us.

use super::follow::{Batch, HandClock, ids, read_ids, with_a_lost_segment};
use super::*;
use std::time::Duration;

/// As long as nobody waits for longer than that.
async fn impatiently(follower: &mut Follower, patience: Duration) -> Batch {
    for _ in 0..1_000 {
        if let Ok(batch) = tokio::time::timeout(patience, follower.next_batch(7)).await {
            return batch.unwrap();
        }
    }
    panic!("nothing comes, however often it is asked for");
}

#[tokio::test]
async fn a_slow_read_is_done_once_however_often_its_waiter_goes_away() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { recent_records_max: 0, ..config() }, &disk);
    append(&spool, 0..20).await;
    let mut follower = spool.follow(Position::START);
    while follower.position().segment() == 0 {
        follower.next_batch(1).await.unwrap();
    }
    let mut follower = spool.follow(follower.position());
    let before = disk.counts().octets_read;
    disk.hold_reads(&segment_path(1));
    for _ in 0..50 {
        let asked = tokio::time::timeout(Duration::from_millis(1), follower.next_batch(7)).await;
        assert!(asked.is_err());
    }
    disk.release_reads(&segment_path(1));
    let batch = impatiently(&mut follower, Duration::from_millis(1)).await;
    let read = disk.counts().octets_read - before;
    let octets = u64::from(spool.status().end.offset());
    assert!((1..=7).contains(&batch.len()) && read <= octets, "{read} octets of {octets} were read");
}

#[tokio::test]
async fn whoever_wants_less_than_was_asked_for_before_gets_less_and_the_rest_later() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { recent_records_max: 0, ..config() }, &disk);
    append(&spool, 0..20).await;
    let mut follower = spool.follow(Position::beginning_of(1));
    disk.hold_reads(&segment_path(1));
    assert!(tokio::time::timeout(Duration::from_millis(1), follower.next_batch(15)).await.is_err());
    disk.release_reads(&segment_path(1));
    assert_eq!(read_ids(&mut follower, 20, 3).await, ids(0..20));
}

#[tokio::test(start_paused = true)]
async fn a_pause_before_the_next_try_ends_although_its_waiter_goes_away() {
    let (disk, spool) = with_a_lost_segment(&Arc::default(), 5).await;
    let mut follower = spool.follow(Position::beginning_of(3));
    let first = tokio::time::timeout(Duration::from_millis(10), follower.next_batch(7)).await;
    assert!(first.is_err() && follower.is_stopped());
    disk.fail_opens(&segment_path(3), None);
    assert!(!impatiently(&mut follower, Duration::from_millis(10)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_want_of_descriptors_is_waited_for_as_long_as_it_takes_and_told() {
    let clock = Arc::<HandClock>::default();
    let code = rustix::io::Errno::MFILE.raw_os_error();
    let (disk, spool) = with_a_lost_segment(&clock, code).await;
    let mut follower = spool.follow(Position::beginning_of(3));
    clock.hurry();
    let waiting = tokio::time::timeout(Duration::from_secs(600), follower.next_batch(7)).await;
    assert!(waiting.is_err(), "nothing is wrong with the segment: {waiting:?}");
    let status = spool.status();
    assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (1, 0, 0));
    disk.fail_opens(&segment_path(3), None);
    assert!(!impatiently(&mut follower, Duration::from_secs(2)).await.is_empty());
    assert_eq!(spool.status().readers_stopped, 0);
}
