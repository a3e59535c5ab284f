//! What was passed over comes later: all of it, once, and the segment stays until then.

use super::follow::{HandClock, MESSAGES, ids, with_a_bad_sector, with_a_lost_segment};
use super::*;
use crate::ledger::Ledger;
use crate::record::{Logged, Moved};
use std::collections::BTreeSet;
use std::time::Duration;

/// Everything that the follower tells, over whatever it passes over.
async fn told(spool: &Spool, follower: &mut Follower) -> Vec<MessageId> {
    let mut seen = Vec::new();
    while follower.position() < spool.status().end {
        match follower.next_batch(7).await {
            Ok(batch) => seen.extend(batch.iter().filter_map(|(_, record)| record.message())),
            Err(Fault::Gap { .. }) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    seen
}

/// The messages that `seen` lacks.
fn lacking(seen: &[MessageId]) -> Vec<MessageId> {
    let seen: BTreeSet<_> = seen.iter().collect();
    ids(0..MESSAGES).into_iter().filter(|id| !seen.contains(id)).collect()
}

async fn given(owed: &mut Owed) -> Vec<MessageId> {
    let spans =
        tokio::time::timeout(Duration::from_secs(300), owed.given_again()).await.expect("nothing is given");
    owed.unsettled(spans).map(|waiting| waiting.accepted.message).collect()
}

async fn nothing_is_given(owed: &mut Owed) {
    assert!(tokio::time::timeout(Duration::from_secs(300), owed.given_again()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_was_passed_over_is_given_when_it_can_be_opened_once_and_in_whole() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool) = with_a_lost_segment(&clock, 5).await;
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    clock.hurry();
    let seen = told(&spool, &mut follower).await;
    let lost = lacking(&seen);
    assert!((1..10).contains(&lost.len()), "{}", lost.len());
    assert_eq!(owed.first(), Some(Position::beginning_of(3)));
    assert_eq!((spool.status().owed, spool.status().pinned), (1, 1));
    nothing_is_given(&mut owed).await;
    // All the others are settled, and one of those that are owed was settled otherwise: it stays settled.
    let others = (0..MESSAGES).map(|number| message(number, 1));
    let done = others.filter(|message| !lost[1..].contains(&message.message));
    spool.outcomes().append_durable(done.map(|message| settled(&message, 0)).collect()).await.unwrap();
    spool.until_trimmed();
    assert!(disk.paths().contains(&segment_path(3)) && !disk.paths().contains(&segment_path(2)));
    disk.fail_opens(&segment_path(3), None);
    assert_eq!(given(&mut owed).await, lost[1..]);
    assert_eq!((spool.status().owed, spool.status().pinned, owed.first()), (0, 0, None));
    nothing_is_given(&mut owed).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_bad_pieces_the_one_that_can_be_read_is_given_and_the_other_stays_owed() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool, path, _) = with_a_bad_sector(&clock).await;
    disk.fail_reads_too(&path, 20_480..20_490);
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    clock.hurry();
    let seen = told(&spool, &mut follower).await;
    let lost = lacking(&seen);
    disk.fail_reads(&path, 20_480..20_490);
    let first = given(&mut owed).await;
    assert!(!first.is_empty() && first.len() < lost.len() && first == lost[..first.len()]);
    assert_eq!(spool.status().owed, 1);
    disk.fail_reads(&path, 0..0);
    assert_eq!(given(&mut owed).await, lost[first.len()..]);
    assert_eq!((spool.status().owed, spool.status().pinned), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_back_passes_over_what_is_still_owed_at_once_and_owes_it_once() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool, path, _) = with_a_bad_sector(&clock).await;
    disk.fail_reads_too(&path, 20_480..20_490);
    disk.fail_reads(&segment_path(3), 0..u64::MAX);
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    clock.hurry();
    let lost = lacking(&told(&spool, &mut follower).await);
    // From now on no time passes in which a reader could lose its patience.
    clock.rest();
    disk.fail_reads(&path, 20_480..20_490);
    let spans = owed.given_again().await;
    let back = spans[0].from;
    follower.go_back(back);
    let again = told(&spool, &mut follower).await;
    let still: Vec<_> = lost.iter().filter(|message| !again.contains(message)).copied().collect();
    assert!(again.starts_with(&lost[..1]) && still.len() < lost.len(), "{} of {}", still.len(), lost.len());
    let all = ids(0..MESSAGES);
    let behind =
        all.iter().skip_while(|message| **message != again[0]).filter(|message| !still.contains(message));
    assert_eq!(again, behind.copied().collect::<Vec<_>>());
    assert_eq!((spool.status().owed, owed.first() > Some(back)), (2, true));
    disk.fail_reads(&path, 0..0);
    disk.fail_reads(&segment_path(3), 0..0);
    let mut given_now = Vec::new();
    while owed.first().is_some() {
        given_now.extend(given(&mut owed).await);
    }
    // All of it, once.
    assert_eq!(given_now, still);
    assert_eq!(spool.status().owed, 0);
}

/// It is met together with what cannot be read, but nothing more comes of it, so nobody goes back to it.
#[tokio::test(start_paused = true)]
async fn real_damage_beside_a_bad_piece_is_not_given_again_and_again() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool, path, _) = with_a_bad_sector(&clock).await;
    let mut octets = disk.read(&path);
    octets[Position::beginning_of(2).offset() as usize + 20] ^= 1;
    disk.replace(&path, octets);
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    clock.hurry();
    let lost = lacking(&told(&spool, &mut follower).await);
    assert!(lost.len() >= 2, "{}", lost.len());
    nothing_is_given(&mut owed).await;
    assert_eq!(spool.status().owed, 1);
    disk.fail_reads(&path, 0..0);
    assert_eq!(given(&mut owed).await, lost[1..]);
    assert_eq!((spool.status().owed, owed.first()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn what_waited_before_a_start_and_cannot_be_read_then_is_owed_too() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    append(&spool, 0..MESSAGES).await;
    spool.shutdown().await.unwrap();
    let (spool, recovery) = open(&small(), &disk);
    let mut follower = spool.follow(recovery.end);
    let mut owed = follower.owed();
    disk.fail_opens(&segment_path(3), Some(5));
    let found: Vec<_> = recovery.unsettled.owed_by(&owed).map(|waiting| waiting.accepted.message).collect();
    let lost = lacking(&found);
    assert!((1..10).contains(&lost.len()) && spool.status().owed == 1, "{}", lost.len());
    disk.fail_opens(&segment_path(3), None);
    assert_eq!(given(&mut owed).await, lost);
    assert_eq!(spool.status().pinned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_a_start_could_not_open_can_be_read_when_it_is_given() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    append(&spool, 0..MESSAGES).await;
    spool.shutdown().await.unwrap();
    disk.fail_opens(&segment_path(3), Some(5));
    let (spool, _) = open(&small(), &disk);
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    let lost = lacking(&told(&spool, &mut follower).await);
    assert!(!lost.is_empty() && owed.first() == Some(Position::beginning_of(3)));
    disk.fail_opens(&segment_path(3), None);
    let spans = owed.given_again().await;
    let seen = told(&spool, &mut spool.follow(spans[0].from)).await;
    assert_eq!(seen[..lost.len()], lost);
    // Its mail is not known before the next start, so it stays.
    assert_eq!((spool.status().owed, spool.status().pinned), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_segment_whose_name_is_gone_is_waited_for_and_then_given_up_so_that_the_rest_can_go() {
    let clock = Arc::<HandClock>::default();
    let (disk, spool) = with_a_lost_segment(&clock, rustix::io::Errno::NOENT.raw_os_error()).await;
    let mut follower = spool.follow(Position::START);
    let mut owed = follower.owed();
    clock.hurry();
    let lost = lacking(&told(&spool, &mut follower).await);
    clock.rest();
    // As long as the directory has its name it is not gone.
    nothing_is_given(&mut owed).await;
    clock.advance(Duration::from_secs(7_200));
    nothing_is_given(&mut owed).await;
    assert_eq!(spool.status().owed, 1);
    disk.remove(&segment_path(3)).unwrap();
    nothing_is_given(&mut owed).await;
    clock.advance(Duration::from_secs(3_599));
    nothing_is_given(&mut owed).await;
    assert_eq!((spool.status().owed, spool.status().unsettled), (1, MESSAGES as usize));
    clock.advance(Duration::from_secs(1));
    nothing_is_given(&mut owed).await;
    let status = spool.status();
    assert_eq!((status.owed, status.pinned, status.unsettled), (0, 0, MESSAGES as usize - lost.len()));
    let records = (0..MESSAGES).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    spool.until_trimmed();
    assert_eq!((spool.status().segments, spool.status().unsettled), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_owed_no_longer_than_to_somebody() {
    let clock = Arc::<HandClock>::default();
    let (_disk, spool) = with_a_lost_segment(&clock, 5).await;
    let mut follower = spool.follow(Position::START);
    let owed = follower.owed();
    clock.hurry();
    told(&spool, &mut follower).await;
    assert_eq!(spool.status().pinned, 1);
    drop((follower, owed));
    assert_eq!((spool.status().owed, spool.status().pinned), (0, 0));
}

/// It may be copied as soon as it is owed no more, which is before it is asked for.
#[test]
fn what_was_copied_before_it_is_asked_for_is_found_at_the_place_that_leads_to_it() {
    let mut ledger = Ledger::default();
    let at = |segment: u32| Position::beginning_of(segment);
    let spans = [Span { from: at(3), to: at(4) }];
    for (number, segment) in [(1, 2), (2, 3), (3, 4)] {
        let record = Record::Accepted(Arc::new(message(number, 1)));
        ledger.apply(at(segment), 90, &Logged::Record(Arc::new(record)));
    }
    let found = [(at(3), message(2, 1).message)];
    let none = |_| false;
    assert_eq!(ledger.in_spans(&spans, none), found);
    for to in [7, 8] {
        let open = vec![RecipientState { recipient: 0, attempt: 0, next_at: None }];
        let moved = Moved { accepted: Arc::new(message(2, 1)), from: at(3), open };
        ledger.apply(at(to), 99, &Logged::Moved(Arc::new(moved)));
        assert_eq!(ledger.in_spans(&spans, none), found);
        assert_eq!(ledger.place(at(3)), at(to));
    }
    // Whoever was told of it where it lay first is not told again where its copy lies, unless that is what was unread.
    let copies = [Span { from: at(8), to: at(9) }];
    assert!(ledger.in_spans(&copies, none).is_empty());
    assert_eq!(ledger.in_spans(&copies, |unread| unread == message(2, 1).message), found);
    assert!(ledger.in_spans(&[], none).is_empty());
}
