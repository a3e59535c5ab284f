//! Segments go when nobody needs them, oldest first.

use super::*;

async fn settle(spool: &Spool, numbers: impl Iterator<Item = u64>) {
    let records = numbers.map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
}

#[tokio::test]
async fn a_segment_stays_while_a_message_is_open_or_a_reader_is_behind() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { readers: vec!["events".to_owned()], ..small() }, &disk);
    append(&spool, 0..30).await;
    let before = spool.status().segments;
    settle(&spool, 1..30).await;
    let mark = spool.reader("events");
    mark.past(spool.status().end);
    spool.until_trimmed();
    assert!(spool.status().segments >= before, "message 0 is open");
    drop((spool, mark));

    let (spool, recovery) = open(&Config { readers: vec!["events".to_owned()], ..small() }, &disk.kill());
    assert_eq!(recovery.unsettled.len(), 1);
    settle(&spool, 0..1).await;
    spool.until_trimmed();
    assert!(spool.status().segments >= before, "the reader has not reported yet");
    spool.reader("events").past(spool.status().end);
    spool.until_trimmed();
    assert_eq!(spool.status().segments, 1);
}

#[tokio::test]
async fn a_follower_that_was_left_behind_is_told_of_the_gap_once() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { recent_records_max: 0, ..small() }, &disk);
    append(&spool, 0..10).await;
    let mut follower = spool.follow(Position::START);
    drop(follower.next_batch(1).await.unwrap());
    let behind = follower.position();
    settle(&spool, 0..10).await;
    append(&spool, 10..20).await;
    settle(&spool, 10..11).await;
    spool.until_trimmed();
    assert!(!disk.paths().contains(&segment_path(1)) && spool.status().segments < 5);
    let mut late = spool.follow(behind);
    assert!(matches!(late.next_batch(10).await, Err(Fault::Gap { from, .. }) if from == behind));
    assert!(late.next_batch(10).await.is_ok());
}

#[tokio::test]
async fn disk_use_returns_to_little_after_a_long_day() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    for round in 0..20_u64 {
        append(&spool, round * 10..round * 10 + 10).await;
        settle(&spool, round * 10..round * 10 + 10).await;
    }
    append(&spool, 500..505).await;
    settle(&spool, 500..505).await;
    append(&spool, 600..605).await;
    settle(&spool, 600..605).await;
    spool.until_trimmed();
    assert!(spool.status().segments <= 3);
    assert!(disk.used() < 30_000, "{}", disk.used());
    drop(spool);
    let (_, recovery) = open(&small(), &disk.crash(&mut Random::from_number(3)));
    assert_eq!(recovery.unsettled.len(), 0);
}
