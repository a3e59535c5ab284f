//! Followers: order, completeness, nothing before its time.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
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

pub fn ids(numbers: std::ops::Range<u64>) -> Vec<MessageId> {
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

/// Stands still, unless it is told to go on by a step whenever somebody looks.
#[derive(Default)]
pub struct HandClock {
    now: AtomicU64,
    step: AtomicU64,
}

impl HandClock {
    /// Every try takes longer than the patience of a reader.
    pub fn hurry(&self) {
        self.step.store(61_000_000, Ordering::SeqCst);
    }

    pub fn rest(&self) {
        self.step.store(0, Ordering::SeqCst);
    }

    pub fn advance(&self, time: Duration) {
        self.now.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn timestamp(&self) -> Timestamp {
        StoppedClock.timestamp()
    }
    fn instant(&self) -> Instant {
        Instant::from_micros(self.now.fetch_add(self.step.load(Ordering::SeqCst), Ordering::SeqCst))
    }
}

pub const MESSAGES: u64 = 100;

/// Some segments, nothing of them in memory; the disk does not give a part of the middle of the second. Says which message
/// lies there.
pub async fn with_a_bad_sector(clock: &Arc<HandClock>) -> (LyingDisk, Spool, PathBuf, u64) {
    let disk = LyingDisk::new();
    let config =
        Config { body_cache_octets_max: 0, recent_records_max: 0, segment_octets_max: 24_000, ..config() };
    let (spool, _) =
        Spool::open(config, Arc::new(disk.clone()), Arc::clone(clock) as Arc<dyn Clock>).unwrap();
    let committed = append(&spool, 0..MESSAGES).await;
    let middle = |committed: &Committed| committed.position() >= Position::new(2, 12_000);
    let bad = committed.iter().position(middle).unwrap();
    let offset = u64::from(committed[bad].position().offset());
    assert_eq!(committed[bad].position().segment(), 2);
    let path = segment_path(2);
    disk.fail_reads(&path, offset..offset + 40);
    (disk, spool, path, bad as u64)
}

/// Everything up to where the follower stops, and the follower waiting there.
async fn until_it_stops(spool: &Spool) -> (Vec<MessageId>, tokio::task::JoinHandle<(Follower, Batch)>) {
    let mut follower = spool.follow(Position::START);
    let mut seen = Vec::new();
    loop {
        let mut waiting = tokio::spawn(async move {
            let batch = follower.next_batch(7).await.unwrap();
            (follower, batch)
        });
        let next = loop {
            match tokio::time::timeout(Duration::from_millis(20), &mut waiting).await {
                Ok(next) => break Some(next.unwrap()),
                Err(_) if spool.status().readers_stopped == 1 => break None,
                Err(_) => {}
            }
        };
        match next {
            None => return (seen, waiting),
            Some((on, batch)) => {
                seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
                follower = on;
            }
        }
    }
}

type Batch = Vec<(Position, Arc<Record>)>;

#[tokio::test]
async fn a_bad_sector_that_passes_costs_a_follower_nothing() {
    let (disk, spool, path, bad) = with_a_bad_sector(&Arc::default()).await;
    let (mut seen, waiting) = until_it_stops(&spool).await;
    let stopped_at = seen.len() as u64;
    assert_eq!(seen, ids(0..stopped_at));
    // A read that fails is done again block by block: what lies in front of that block is told.
    assert!(stopped_at <= bad && stopped_at + 8 > bad, "{stopped_at} of {bad}");
    assert_eq!(spool.status().quarantined, 0, "nobody knows that it is damaged");
    disk.fail_reads(&path, 0..0);
    let (mut follower, batch) = waiting.await.unwrap();
    seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
    seen.extend(read_ids(&mut follower, MESSAGES as usize - seen.len(), 7).await);
    assert_eq!(seen, ids(0..MESSAGES));
    let status = spool.status();
    assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (0, 0, 0));
}

#[tokio::test]
async fn a_bad_sector_that_stays_costs_the_records_in_it_after_a_while_and_its_segment_is_kept() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool, path, bad) = with_a_bad_sector(&clock).await;
    let (mut seen, waiting) = until_it_stops(&spool).await;
    let stopped_at = seen.len() as u64;
    clock.hurry();
    let (mut follower, batch) = waiting.await.unwrap();
    seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
    while follower.position() < spool.status().end {
        let batch = follower.next_batch(7).await.unwrap();
        seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
    }
    let goes_on_at = MESSAGES - (seen.len() as u64 - stopped_at);
    assert_eq!(seen, [ids(0..stopped_at), ids(goes_on_at..MESSAGES)].concat());
    assert!(goes_on_at > bad && goes_on_at < bad + 8, "{goes_on_at} of {bad}");
    let status = spool.status();
    assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (0, 1, 1));
    // It was the reading that failed: what lies there is delivered when the disk gives it.
    disk.fail_reads(&path, 0..0);
    let (place, _) = spool.shared().ledger().waiting(message(bad, 1).message).unwrap();
    assert_eq!(spool.body(place).await.unwrap(), body(bad));
}

#[tokio::test]
async fn a_disk_with_many_bad_pieces_costs_its_time_once_for_a_segment() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool, path, _) = with_a_bad_sector(&clock).await;
    disk.fail_reads_too(&path, 20_480..20_490);
    let (mut seen, waiting) = until_it_stops(&spool).await;
    clock.hurry();
    let (mut follower, batch) = waiting.await.unwrap();
    clock.rest();
    seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
    // Nobody moves the clock any more.
    let rest = async {
        while follower.position() < spool.status().end {
            let batch = follower.next_batch(7).await.unwrap();
            seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rest).await.expect("it waits for the second one too");
    assert_eq!(seen.last(), Some(&message(MESSAGES - 1, 1).message));
    let status = spool.status();
    assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (0, 2, 1));
}

/// Errors that opening a segment may give, and none of them passes by itself.
fn unopened() -> [i32; 3] {
    [rustix::io::Errno::ACCESS, rustix::io::Errno::IO, rustix::io::Errno::NOENT]
        .map(rustix::io::Errno::raw_os_error)
}

/// Some segments, nothing of them in memory, of which the third cannot be opened any more.
pub async fn with_a_lost_segment(clock: &Arc<HandClock>, code: i32) -> (LyingDisk, Spool) {
    let disk = LyingDisk::new();
    let config = Config { body_cache_octets_max: 0, recent_records_max: 0, ..small() };
    let (spool, _) =
        Spool::open(config, Arc::new(disk.clone()), Arc::clone(clock) as Arc<dyn Clock>).unwrap();
    append(&spool, 0..MESSAGES).await;
    disk.fail_opens(&segment_path(3), Some(code));
    spool.shared().forget_file(3);
    (disk, spool)
}

async fn rest_of(spool: &Spool, follower: &mut Follower) -> Vec<MessageId> {
    let mut seen = Vec::new();
    while follower.position() < spool.status().end {
        let batch = follower.next_batch(7).await.unwrap();
        seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
    }
    seen
}

#[tokio::test]
async fn a_segment_that_can_be_opened_again_in_time_costs_a_follower_nothing() {
    for code in unopened() {
        let (disk, spool) = with_a_lost_segment(&Arc::default(), code).await;
        let (mut seen, waiting) = until_it_stops(&spool).await;
        assert_eq!((&seen, spool.status().quarantined), (&ids(0..seen.len() as u64), 0), "{code}");
        disk.fail_opens(&segment_path(3), None);
        let (mut follower, batch) = waiting.await.unwrap();
        seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
        seen.extend(rest_of(&spool, &mut follower).await);
        assert_eq!(seen, ids(0..MESSAGES), "{code}");
        let status = spool.status();
        assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_for_long_is_a_gap_and_kept_and_the_rest_is_told() {
    for code in unopened() {
        let clock = Arc::<HandClock>::default();
        let (disk, spool) = with_a_lost_segment(&clock, code).await;
        let mut follower = spool.follow(Position::START);
        let mut seen = Vec::new();
        while follower.position().segment() < 3 {
            let batch = follower.next_batch(7).await.unwrap();
            seen.extend(batch.iter().filter_map(|(_, record)| record.message()));
        }
        let told = seen.len() as u64;
        let waiting = tokio::time::timeout(Duration::from_millis(300), follower.next_batch(7)).await;
        assert!(waiting.is_err() && follower.is_stopped(), "{code}: {waiting:?}");
        clock.hurry();
        let gap = tokio::time::timeout(Duration::from_secs(20), follower.next_batch(7)).await.unwrap();
        let (begins, ends) = (Position::beginning_of(3), Position::beginning_of(4));
        assert!(
            matches!(gap, Err(Fault::Gap { from, resumes_at }) if (from, resumes_at) == (begins, ends)),
            "{code}: {gap:?}"
        );
        assert!(!follower.is_stopped());
        seen.extend(rest_of(&spool, &mut follower).await);
        let lost = MESSAGES - seen.len() as u64;
        assert!((1..10).contains(&lost), "{code}: {lost}");
        assert_eq!(seen, [ids(0..told), ids(told + lost..MESSAGES)].concat(), "{code}");
        let status = spool.status();
        assert_eq!((status.readers_stopped, status.quarantined, status.pinned), (0, 1, 1), "{code}");
        // It stays for whoever mends it, although nobody needs it any more; then it is read again.
        let records = (0..MESSAGES).map(|number| settled(&message(number, 1), 0)).collect();
        spool.outcomes().append_durable(records).await.unwrap();
        spool.until_trimmed();
        let kept = disk.paths();
        assert!(kept.contains(&segment_path(3)) && !kept.contains(&segment_path(2)), "{code}");
        disk.fail_opens(&segment_path(3), None);
        let mut another = spool.follow(begins);
        let batch = another.next_batch(1).await.unwrap();
        assert_eq!(batch[0].1.message(), Some(message(told, 1).message));
    }
}

#[tokio::test]
async fn a_segment_that_was_removed_in_order_is_a_gap_at_once() {
    let (spool, _) = open(&Config { recent_records_max: 0, ..small() }, &LyingDisk::new());
    append(&spool, 0..20).await;
    let mut follower = spool.follow(Position::START);
    let first = follower.next_batch(1).await.unwrap();
    assert_eq!((first.len(), follower.position().segment()), (1, 1));
    let records = (0..20).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    spool.until_trimmed();
    assert!(matches!(follower.next_batch(7).await, Err(Fault::Gap { .. })));
    assert!(!follower.is_stopped());
    assert_eq!((spool.status().quarantined, spool.status().pinned), (0, 0));
}

#[tokio::test]
async fn a_follower_that_goes_away_does_not_count_as_stopped() {
    let (_disk, spool, ..) = with_a_bad_sector(&Arc::default()).await;
    let (_, waiting) = until_it_stops(&spool).await;
    waiting.abort();
    assert!(waiting.await.is_err());
    assert_eq!(spool.status().readers_stopped, 0);
}

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
