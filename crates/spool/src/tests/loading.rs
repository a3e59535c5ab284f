//! Mail is taken before all that waits is known, and what is found then is what was there, and no more.

use super::*;

/// Twenty messages in several segments, the first ten of them settled in the last segment.
async fn left_behind() -> LyingDisk {
    let disk = LyingDisk::new();
    // A reader that never reports, so that nothing is removed.
    let (spool, _) = open(&Config { readers: vec!["events".to_owned()], ..small() }, &disk);
    append(&spool, 0..20).await;
    let records = (0..10).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    assert!(spool.status().segments > 4);
    drop(spool);
    disk.kill()
}

/// The journal with the oldest segment not yet given by the disk.
fn open_slowly(disk: &LyingDisk) -> (Spool, Recovery) {
    disk.hold_reads(
        &disk.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap(),
    );
    Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap()
}

fn release(disk: &LyingDisk) {
    disk.paths().iter().for_each(|path| disk.release_reads(path));
}

fn ids(recovery: Recovery) -> Vec<MessageId> {
    recovery.unsettled.map(|waiting| waiting.accepted.message).collect()
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<MessageId> {
    numbers.map(|number| message(number, 1).message).collect()
}

#[tokio::test]
async fn mail_is_taken_followed_and_settled_while_the_rest_is_still_read() {
    let disk = left_behind().await;
    let before = disk.paths().len();
    let (spool, recovery) = open_slowly(&disk);
    let loading = spool.status().loading.unwrap();
    assert!(loading.segments_read < loading.segments && loading.segments > 3);
    let mut follower = spool.follow(recovery.end);
    append(&spool, 100..103).await;
    let seen = follower.next_batch(10).await.unwrap();
    assert_eq!(seen[0].1.message(), Some(message(100, 1).message));
    let tried = vec![settled(&message(100, 1), 0), attempted(&message(101, 1), 0, 4, 77)];
    spool.outcomes().append_durable(tried).await.unwrap();
    assert_eq!(spool.body(seen[0].0).await.unwrap(), body(100));
    let waiting = |number| spool.outcomes().waiting(message(number, 1).message);
    assert_eq!([15, 100, 101].map(waiting), [Waiting::NotKnownYet, Waiting::NotKnownYet, Waiting::Yes]);
    spool.until_trimmed();
    assert!(disk.paths().len() >= before, "nothing is removed before all is known");
    release(&disk);
    assert_eq!(recovery.settled(), 10);
    assert_eq!(recovery.unsettled.len(), 10);
    assert_eq!(ids(recovery), expected(10..20), "what came since comes from the follower, and not twice");
    assert_eq!((spool.status().unsettled, spool.status().loading), (12, None));
    assert_eq!([5, 15, 100, 101].map(waiting), [Waiting::No, Waiting::Yes, Waiting::No, Waiting::Yes]);
    spool.until_trimmed();
    assert!(disk.paths().len() < before, "now it is");
    let (place, states) = spool.shared().ledger().waiting(message(101, 1).message).unwrap();
    assert_eq!((states[0].attempt, spool.body(place).await.unwrap()), (4, body(101)));
    let records = (10..20).chain(101..103).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    assert_eq!(spool.status().unsettled, 0);
}

#[tokio::test]
async fn how_far_it_is_is_told_segment_by_segment_and_mail_is_taken_meanwhile() {
    let disk = left_behind().await;
    let (spool, mut steps, recovery) =
        Spool::open_loading(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    let (mut percents, mut taken) = (Vec::new(), 100..);
    loop {
        percents.push(spool.status().loading.unwrap().percent());
        let number = taken.next().unwrap();
        let intake = spool.intake();
        let mut offer = Box::pin(intake.append(message(number, 1), body(number)));
        assert!(futures_util::FutureExt::now_or_never(&mut offer).is_none());
        while steps.commit() {}
        let _ = offer.await.unwrap();
        if !steps.load() {
            break;
        }
    }
    let segments = percents.len();
    assert!(segments > 4 && percents[0] == 0 && percents[segments - 1] < 100, "{percents:?}");
    assert!(percents.windows(2).all(|pair| pair[0] < pair[1]), "{percents:?}");
    assert_eq!(spool.status().loading, None);
    assert_eq!(ids(recovery), expected(10..20));
    assert_eq!(spool.status().unsettled, 10 + segments);
}

#[tokio::test]
async fn a_power_cut_before_all_is_known_costs_nothing() {
    let disk = left_behind().await;
    for seed in 0..10 {
        let disk = disk.kill();
        let (spool, _) = open_slowly(&disk);
        append(&spool, 100..103).await;
        spool.outcomes().append_durable(vec![settled(&message(101, 1), 0)]).await.unwrap();
        let after = disk.crash(&mut Random::from_number(seed));
        release(&disk);
        drop(spool);
        let (_spool, recovery) = open(&small(), &after);
        let both = [expected(10..20), expected(100..101), expected(102..103)].concat();
        assert_eq!(ids(recovery), both, "seed {seed}");
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_all_segments_and_nobody_waits_for_ever() {
    let disk = left_behind().await;
    let (spool, recovery) = open_slowly(&disk);
    let waiting = tokio::task::spawn_blocking(move || ids(recovery));
    spool.shared().close();
    assert_eq!(waiting.await.unwrap(), []);
    release(&disk);
    spool.shutdown().await.unwrap();
    assert_eq!(spool.status().loading, None);
    drop(spool);
    let (_spool, recovery) = open(&small(), &disk);
    assert_eq!(ids(recovery), expected(10..20));
}

#[tokio::test]
async fn a_segment_that_is_not_given_while_loading_is_set_aside() {
    let disk = left_behind().await;
    let (spool, recovery) = open_slowly(&disk);
    let last_but_one = spool.status().end.segment() - 1;
    disk.fail_opens(&segment_path(last_but_one), Some(5));
    release(&disk);
    assert_eq!(recovery.quarantined()[0].position.segment(), last_but_one);
    let found = ids(recovery);
    assert!((1..20).contains(&found.len()) && found.len() != 10, "{}", found.len());
    assert_eq!(spool.status().pinned, 1);
    append(&spool, 200..210).await;
}
