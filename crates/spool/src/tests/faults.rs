//! Refusals and failing disks.

use super::*;
use crate::lying::Times;
use std::time::Duration;
use tokio::sync::oneshot;

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let second = Spool::open(config(), Arc::new(disk.clone()), Arc::new(StoppedClock));
    assert!(matches!(second, Err(Fault::InUse(_))));
    spool.shutdown().await.unwrap();
    open(&config(), &disk);
}

#[tokio::test]
async fn nothing_is_taken_after_shutdown_and_everything_queued_is_durable() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let message = message(1, 1);
    append(&spool, 1..2).await;
    spool.outcomes().append(vec![settled(&message, 0).into()]).await.unwrap();
    spool.shutdown().await.unwrap();
    assert!(matches!(spool.intake().append(message, body(1)).await, Err(Fault::Closed)));
    // The completion record was only queued; shutdown synced it.
    let (_, recovery) = open(&config(), &disk.crash(&mut Random::from_number(1)));
    assert_eq!((recovery.unsettled.len(), recovery.settled()), (0, 1));
}

#[tokio::test]
async fn what_a_full_disk_does_not_take_at_the_end_is_told_and_nothing_behind_it_is_taken() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..2).await;
    disk.set_capacity(Some(disk.used()));
    // Queued only, by whoever does not wait for it.
    spool.outcomes().append(vec![settled(&message(0, 1), 0).into()]).await.unwrap();
    assert!(matches!(spool.shutdown().await, Err(Fault::Full)));
    assert!(matches!(spool.shutdown().await, Err(Fault::Full)), "whoever asks again");
    disk.set_capacity(None);
    let (_, recovery) = open(&config(), &disk.crash(&mut Random::from_number(1)));
    assert_eq!((recovery.unsettled.len(), recovery.settled()), (2, 0), "it goes out again");
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_alone() {
    let config = Config { record_octets_max: 2_000, ..config() };
    let (spool, _) = open(&config, &LyingDisk::new());
    let large = spool.intake().append(message(1, 1), Bytes::from(vec![b'x'; 2_000])).await;
    assert!(matches!(large, Err(Fault::TooLarge { .. })));
    append(&spool, 2..3).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let config = Config { group_wait_ms_max: 21, ..config() };
    let opened = Spool::open(config, Arc::new(LyingDisk::new()), Arc::new(StoppedClock));
    assert!(matches!(opened, Err(Fault::Config(_))));
}

fn awaited(number: u64) -> (Completion, oneshot::Receiver<()>) {
    let (proof, proven) = oneshot::channel();
    (Completion { record: settled(&message(number, 1), 0), proof: Some(proof) }, proven)
}

#[tokio::test]
async fn whoever_waits_for_a_completion_record_hears_when_it_is_durable_and_not_before() {
    let disk = LyingDisk::new();
    // Patience is long here: one who waits alone is not kept waiting for others.
    let (spool, _) = open(&Config { group_wait_ms_max: 20, ..config() }, &disk);
    append(&spool, 0..3).await;
    for number in 0..2 {
        let syncs = disk.counts().syncs;
        let (completion, proven) = awaited(number);
        spool.outcomes().append(vec![completion]).await.unwrap();
        proven.await.unwrap();
        assert_eq!(disk.counts().syncs, syncs + 1);
    }
    let found = |disk: LyingDisk| open(&config(), &disk).1.unsettled.len();
    assert_eq!(found(disk.crash(&mut Random::from_number(1))), 1);
    disk.fail_sync(1, Times::Once);
    let (completion, proven) = awaited(2);
    spool.outcomes().append(vec![completion]).await.unwrap();
    assert!(proven.await.is_err(), "what is not known to be durable is told as if it were");
    assert!(spool.sealed());
}

/// The rule for both kinds of failing sync: refuse the group, seal, never sync that file again, lose nothing.
async fn a_failed_sync_seals(times: Times) {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let before = append(&spool, 0..5).await;
    disk.fail_sync(1, times);
    let failed = spool.intake().append(message(5, 1), body(5)).await;
    assert!(matches!(failed, Err(Fault::Sync { .. })));
    assert!(spool.sealed());
    spool.until_sealed().await;
    let syncs = disk.counts().syncs;
    assert!(matches!(spool.intake().append(message(6, 1), body(6)).await, Err(Fault::Sealed)));
    assert!(matches!(
        spool.outcomes().append(vec![settled(&message(0, 1), 0).into()]).await,
        Err(Fault::Sealed)
    ));
    // What was committed can still be read.
    assert_eq!(spool.body(before[4].position()).await.unwrap(), body(4));
    assert!(matches!(spool.shutdown().await, Err(Fault::Sealed)));
    assert_eq!(disk.counts().syncs, syncs, "nothing is synced after a failed sync");
    for seed in 0..20 {
        let (spool, recovery) = open(&config(), &disk.crash(&mut Random::from_number(seed)));
        let found = unsettled(&spool, recovery).await;
        for committed in &before {
            assert!(found.iter().any(|(message, ..)| *message == committed.message()));
        }
    }
}

#[tokio::test]
async fn a_sync_that_fails_once_seals_the_journal() {
    a_failed_sync_seals(Times::Once).await;
}

#[tokio::test]
async fn a_sync_that_keeps_failing_seals_the_journal() {
    a_failed_sync_seals(Times::Always).await;
}

#[tokio::test]
async fn what_a_failed_sync_left_in_the_page_cache_is_written_anew_at_the_next_start() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..3).await;
    disk.fail_sync(1, Times::Once);
    assert!(spool.intake().append(message(3, 1), body(3)).await.is_err());
    drop(spool);
    // The process starts again on the same kernel: message 3 is seen in the page cache, and the disk does not have it.
    let disk = disk.kill();
    let (spool, recovery) = open(&config(), &disk);
    let seen = unsettled(&spool, recovery).await.len();
    drop(spool);
    // Whatever was shown to readers survives a power cut afterwards.
    let (_, recovery) = open(&config(), &disk.crash(&mut Random::from_number(9)));
    assert_eq!(recovery.unsettled.len(), seen);
}

#[tokio::test]
async fn what_a_failed_sync_left_in_the_page_cache_is_made_durable_on_a_full_disk_too() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..3).await;
    disk.fail_sync(1, Times::Once);
    assert!(spool.intake().append(message(3, 1), body(3)).await.is_err());
    drop(spool);
    let disk = disk.kill();
    // There is no room for a second copy of the segment, so it is used as it is.
    disk.set_capacity(Some(disk.used()));
    let (spool, recovery) = open(&config(), &disk);
    let seen = unsettled(&spool, recovery).await.len();
    drop(spool);
    for seed in 0..10 {
        let (_, recovery) = open(&config(), &disk.crash(&mut Random::from_number(seed)));
        assert_eq!((recovery.unsettled.len(), recovery.quarantined().len()), (seen, 0), "seed {seed}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_mail_and_goes_on_when_there_is_room() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let before = append(&spool, 0..3).await;
    disk.set_capacity(Some(disk.used() + 300));
    assert!(matches!(spool.intake().append(message(3, 1), body(3)).await, Err(Fault::Full)));
    assert!(!spool.sealed());
    disk.set_capacity(None);
    let after = append(&spool, 4..6).await;
    drop(spool);
    let (spool, recovery) = open(&config(), &disk.crash(&mut Random::from_number(1)));
    assert!(recovery.quarantined().is_empty() && recovery.torn.is_none());
    let found: Vec<MessageId> = unsettled(&spool, recovery).await.iter().map(|(id, ..)| *id).collect();
    assert_eq!(found, before.iter().chain(&after).map(Committed::message).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_reserve_is_for_completion_records() {
    let disk = LyingDisk::new();
    let config = Config { reserve_octets: 10_000, ..config() };
    let (spool, _) = open(&config, &disk);
    append(&spool, 0..1).await;
    disk.set_capacity(Some(disk.used() + 9_000));
    assert!(spool.status().full);
    assert!(matches!(spool.intake().append(message(1, 1), body(1)).await, Err(Fault::Full)));
    spool.outcomes().append_durable(vec![settled(&message(0, 1), 0)]).await.unwrap();
    disk.set_capacity(None);
    append(&spool, 2..3).await;
    assert!(!spool.status().full);
}

#[tokio::test]
async fn completion_records_wait_out_a_disk_that_is_full_to_the_brim() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..1).await;
    disk.set_capacity(Some(disk.used()));
    let outcomes = spool.outcomes();
    let waiting =
        tokio::spawn(async move { outcomes.append_durable(vec![settled(&message(0, 1), 0)]).await });
    assert!(matches!(spool.intake().append(message(1, 1), body(1)).await, Err(Fault::Full)));
    disk.set_capacity(None);
    waiting.await.unwrap().unwrap();
    assert_eq!(spool.status().unsettled, 0);
}

#[tokio::test]
async fn a_start_on_a_full_disk_leaves_the_space_that_is_left_to_completion_records() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..20).await;
    drop(spool);
    // Too little for a second copy of the last segment, enough for a record.
    disk.set_capacity(Some(disk.used() + 4_000));
    let (spool, recovery) = open(&config(), &disk);
    assert_eq!(recovery.unsettled.len(), 20);
    let records = vec![settled(&message(0, 1), 0)];
    let outcomes = spool.outcomes();
    let written = tokio::time::timeout(Duration::from_secs(5), outcomes.append_durable(records)).await;
    written.expect("there is room for a completion record").unwrap();
    let left_behind: Vec<_> =
        disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect();
    assert!(left_behind.is_empty(), "{left_behind:?}");
}

#[tokio::test]
async fn many_appenders_share_a_sync() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let before = disk.counts();
    let tasks: Vec<_> = (0..100_u64)
        .map(|client| {
            let intake = spool.intake();
            tokio::spawn(async move {
                for round in 0..10 {
                    let number = client * 10 + round;
                    let _ = intake.append(message(number, 1), body(number)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counts = disk.counts();
    let syncs = counts.syncs - before.syncs;
    assert!(syncs <= 100, "1,000 messages of 100 clients took {syncs} syncs");
    assert_eq!(counts.writes - before.writes, syncs, "one write a group");
    let payload: u64 = (0..1_000).map(|number| body(number).len() as u64).sum();
    let overhead = (counts.octets_written - before.octets_written - payload) / 1_000;
    assert!(overhead < 400, "{overhead} octets beside the body of each message");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_a_fault_with_its_cause() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = Config { directory: file.path().join("spool"), ..config() };
    let opened = Spool::open(config, Arc::new(RealDisk), Arc::new(StoppedClock));
    let Err(Fault::Directory { source, .. }) = opened else { panic!("a file cannot hold a directory") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotADirectory);
}
