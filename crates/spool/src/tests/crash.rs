//! Power cuts at every operation, with every kind of lost and torn write: what was acknowledged is there, once, with
//! its bytes.

use super::*;
use std::collections::HashMap;

/// What the outside was told before the lights went out.
#[derive(Default)]
struct Told {
    committed: HashMap<MessageId, (u64, Position)>,
    settled: Vec<MessageId>,
}

/// A small working day: messages from four clients, some settled, some deferred, over several segments.
async fn work(spool: &Spool, from: u64) -> Told {
    let mut told = Told::default();
    let mark = spool.reader("events");
    for round in 0..6 {
        let numbers = (0..4).map(|client| from + round * 4 + client);
        let appends: Vec<_> = numbers
            .map(|number| {
                let intake = spool.intake();
                tokio::spawn(async move { (number, intake.append(message(number, 2), body(number)).await) })
            })
            .collect();
        for append in appends {
            if let (number, Ok(committed)) = append.await.unwrap() {
                told.committed.insert(committed.message(), (number, committed.position()));
            }
        }
        let done = message(from + round * 4, 2);
        let records = vec![settled(&done, 0), attempted(&done, 1, 1, 77), settled(&done, 1)];
        if spool.outcomes().append_durable(records).await.is_ok() {
            told.settled.push(done.message);
        }
        mark.past(spool.status().end);
    }
    told
}

async fn check(disk: &LyingDisk, told: &Told) -> Vec<(MessageId, Position, Bytes)> {
    let (spool, recovery) = open(&small(), disk);
    assert!(recovery.unsettled.len() as u64 <= 1_000);
    let found = unsettled(&spool, recovery).await;
    let by_id: HashMap<MessageId, (Position, Bytes)> =
        found.iter().map(|(id, at, body)| (*id, (*at, body.clone()))).collect();
    assert_eq!(by_id.len(), found.len(), "no message is there twice");
    for (id, (number, position)) in &told.committed {
        if told.settled.contains(id) {
            assert!(!by_id.contains_key(id), "a settled message is never due again");
            continue;
        }
        // A settlement that nobody was told of may have become durable all the same.
        let Some((at, found)) = by_id.get(id) else {
            assert!(number % 4 == 0, "message {number} was acknowledged and is lost");
            continue;
        };
        assert_eq!((at, found), (position, &body(*number)));
    }
    // The journal goes on.
    append(&spool, 5_000..5_002).await;
    found
}

#[tokio::test]
async fn every_acknowledged_message_survives_a_power_cut_at_any_operation() {
    let whole = LyingDisk::new();
    let (spool, _) = open(&small(), &whole);
    work(&spool, 0).await;
    drop(spool);
    let operations = whole.counts().operations;
    assert!(operations > 25, "{operations}");
    for cut_at in 1..=operations + 2 {
        let disk = LyingDisk::new();
        disk.power_off_at(cut_at);
        let Ok((spool, _)) = Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)) else {
            continue;
        };
        let told = work(&spool, 0).await;
        drop(spool);
        for seed in 0..4 {
            check(&disk.crash(&mut Random::from_number(cut_at * 100 + seed)), &told).await;
        }
        check(&disk.kill(), &told).await;
    }
}

#[tokio::test]
async fn a_directory_that_was_made_for_the_journal_survives_with_what_is_in_it() {
    let config = Config { directory: PathBuf::from("/data/node/spool"), ..config() };
    for seed in 0..20 {
        let disk = LyingDisk::new();
        let (spool, _) = open(&config, &disk);
        append(&spool, 0..1).await;
        drop(spool);
        let (_, recovery) = open(&config, &disk.crash(&mut Random::from_number(seed)));
        assert_eq!(recovery.unsettled.len(), 1, "seed {seed}");
    }
}

#[tokio::test]
async fn a_crash_in_recovery_costs_nothing() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    let mut told = work(&spool, 0).await;
    disk.power_off_at(2);
    told.committed.extend(work(&spool, 100).await.committed);
    drop(spool);
    for seed in 0..10 {
        let mut random = Random::from_number(seed);
        let start = disk.crash(&mut random);
        let once = check(&start.kill(), &told).await;
        let mut disk = start;
        for cut_at in 1..12 {
            disk.power_off_at(cut_at);
            drop(Spool::open(small(), Arc::new(disk.clone()), Arc::new(StoppedClock)));
            disk = disk.crash(&mut random);
        }
        assert_eq!(check(&disk, &told).await, once, "recovering often is recovering once");
    }
}

#[tokio::test]
async fn attempts_survive_with_the_time_of_the_next() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let accepted = message(1, 70);
    let _ = spool.intake().append(accepted.clone(), body(1)).await.unwrap();
    let mut records =
        vec![attempted(&accepted, 3, 1, 1_000), attempted(&accepted, 3, 2, 2_000), settled(&accepted, 69)];
    records.extend((4..69).map(|recipient| settled(&accepted, recipient)));
    spool.outcomes().append_durable(records).await.unwrap();
    drop(spool);
    let (_, mut recovery) = open(&config(), &disk.crash(&mut Random::from_number(1)));
    let waiting = recovery.unsettled.next().unwrap();
    assert_eq!(*waiting.accepted, accepted);
    let states: Vec<_> = waiting.recipients.iter().map(|state| (state.recipient, state.attempt)).collect();
    assert_eq!(states, [(0, 0), (1, 0), (2, 0), (3, 2)]);
    assert_eq!(waiting.recipients[3].next_at, Some(Timestamp::from_millis(2_000)));
}
