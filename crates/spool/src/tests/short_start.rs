//! No descriptors or no memory at a start: what waits from before is waited for, and owed to nobody. Nothing is wrong with the
//! disk, and what is made a debt beyond the bound of debts would wait for the next start.

use super::follow::ids;
use super::*;
use rustix::io::Errno;

const SHORT: [i32; 3] =
    [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error(), Errno::NOMEM.raw_os_error()];

async fn left_behind() -> LyingDisk {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    append(&spool, 0..30).await;
    spool.shutdown().await.unwrap();
    assert!(spool.status().segments > 5);
    disk
}

/// Reads what waits on a thread of its own.
fn read(recovery: Recovery, owed: &Owed) -> tokio::task::JoinHandle<Vec<MessageId>> {
    let unsettled = recovery.unsettled.owed_by(owed);
    tokio::task::spawn_blocking(move || unsettled.map(|waiting| waiting.accepted.message).collect())
}

async fn until_a_reader_stands_still(spool: &Spool) {
    while spool.status().readers_stopped == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_rest_of_what_waits_is_read_when_there_is_something_to_read_with_and_owed_to_nobody() {
    let disk = left_behind().await;
    for code in SHORT {
        let (spool, recovery) = open(&small(), &disk);
        let owed = spool.follow(recovery.end).owed();
        disk.fail_opens(&segment_path(3), Some(code));
        let reading = read(recovery, &owed);
        until_a_reader_stands_still(&spool).await;
        assert_eq!((spool.status().owed, owed.first(), reading.is_finished()), (0, None, false));
        disk.fail_opens(&segment_path(3), None);
        assert_eq!(reading.await.unwrap(), ids(0..30), "error {code}");
        assert_eq!((spool.status().owed, spool.status().readers_stopped), (0, 0));
    }
}

#[tokio::test]
async fn whoever_waits_for_a_descriptor_ends_with_the_journal_and_the_next_start_has_it_all() {
    let disk = left_behind().await;
    let (spool, recovery) = open(&small(), &disk);
    let owed = spool.follow(recovery.end).owed();
    disk.fail_opens(&segment_path(3), Some(SHORT[0]));
    let reading = read(recovery, &owed);
    until_a_reader_stands_still(&spool).await;
    spool.shutdown().await.unwrap();
    let found = reading.await.unwrap();
    assert!(!found.is_empty() && found == ids(0..found.len() as u64));
    drop((spool, owed));
    disk.fail_opens(&segment_path(3), None);
    let (_spool, recovery) = open(&small(), &disk);
    assert_eq!(recovery.unsettled.len(), 30);
}

#[tokio::test]
async fn a_segment_that_is_loaded_without_a_descriptor_is_waited_for_while_mail_is_taken() {
    let disk = left_behind().await;
    disk.hold_reads(&segment_path(1));
    let (spool, recovery) = Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    disk.fail_opens(&segment_path(3), Some(SHORT[0]));
    disk.release_reads(&segment_path(1));
    until_a_reader_stands_still(&spool).await;
    append(&spool, 100..103).await;
    let loading = spool.status().loading.unwrap();
    assert_eq!((loading.segments_read, spool.status().quarantined, spool.status().pinned), (2, 0, 0));
    disk.fail_opens(&segment_path(3), None);
    assert_eq!((recovery.unsettled.len(), spool.status().unsettled), (30, 33));
    assert_eq!(spool.status().readers_stopped, 0);
    // And without that it would end with the journal.
    drop((spool, recovery));
    disk.hold_reads(&segment_path(1));
    let (spool, _recovery) = Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    disk.fail_opens(&segment_path(3), Some(SHORT[0]));
    disk.release_reads(&segment_path(1));
    until_a_reader_stands_still(&spool).await;
    spool.shutdown().await.unwrap();
}

/// Four segments of large messages, each read in many pieces; every third message is settled, most of them in the segment
/// that they lie in.
async fn left_behind_large() -> (Config, LyingDisk) {
    let (config, disk) = (Config { segment_octets_max: 1 << 20, ..config() }, LyingDisk::new());
    let (spool, _) = open(&config, &disk);
    let (intake, large) = (spool.intake(), Bytes::from(vec![b'x'; 90_000]));
    for number in 0..44 {
        let _ = intake.append(message(number, 1), large.clone()).await.unwrap();
        if number % 3 == 1 {
            spool.outcomes().append_durable(vec![settled(&message(number - 1, 1), 0)]).await.unwrap();
        }
    }
    spool.shutdown().await.unwrap();
    assert_eq!(spool.status().segments, 4);
    (config, disk)
}

/// What a start has found.
fn found(spool: &Spool, recovery: Recovery) -> (u64, Vec<(u32, u32, u64)>, Vec<MessageId>) {
    let settled = recovery.settled();
    let segments = {
        let ledger = spool.shared().ledger();
        ledger.segments.iter().map(|(segment, state)| (*segment, state.open, state.open_octets)).collect()
    };
    (settled, segments, recovery.unsettled.map(|waiting| waiting.accepted.message).collect())
}

#[tokio::test]
async fn a_segment_that_is_read_half_for_want_of_memory_counts_once() {
    let (config, disk) = left_behind_large().await;
    let (spool, recovery) = open(&config, &disk);
    let expected = found(&spool, recovery);
    assert_eq!((expected.0, expected.2.len()), (15, 29));
    spool.shutdown().await.unwrap();
    drop(spool);
    disk.fail_reads_as(Errno::NOMEM.raw_os_error());
    let mut in_part = 0;
    for (segment, at) in (1..=4).flat_map(|segment| (0..10).map(move |piece| (segment, piece * 100_000))) {
        let path = segment_path(segment);
        let (spool, mut steps, recovery) =
            Spool::open_loading(config.clone(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
        disk.fail_reads(&path, at..u64::MAX);
        for _ in 0..10 {
            assert!(steps.load(), "there is more to read");
        }
        in_part += usize::from(spool.status().loading.unwrap().segments_read == segment as usize - 1);
        disk.fail_reads(&path, 0..0);
        while steps.load() {}
        assert_eq!(found(&spool, recovery), expected, "segment {segment} at {at}");
        drop((spool, steps));
    }
    assert_eq!(in_part, 40);
}

/// Before the log is taken up there is nobody who could wait: whoever started the process starts it again.
#[tokio::test]
async fn a_start_that_cannot_open_the_log_for_want_of_descriptors_is_refused_and_sets_nothing_aside() {
    let disk = left_behind().await;
    let last =
        disk.paths().iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).count() as u32;
    for (segment, code) in [(1, SHORT[0]), (3, SHORT[1]), (last, SHORT[2])] {
        disk.fail_opens(&segment_path(segment), Some(code));
        let opened = Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock));
        assert!(matches!(opened, Err(Fault::Read { .. })), "segment {segment}");
        disk.fail_opens(&segment_path(segment), None);
    }
    let (spool, recovery) = open(&small(), &disk);
    assert_eq!((recovery.unsettled.len(), spool.status().quarantined), (30, 0));
}
