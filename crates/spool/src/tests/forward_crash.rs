//! Power cuts and faults at every operation of rotation, copy-forward and removal, and of the recovery afterwards.

use super::forward::{eager, settle};
use super::*;
use crate::lying::Times;
use std::collections::{HashMap, HashSet};

/// What the outside was told before the lights went out.
#[derive(Default)]
pub(super) struct Told {
    /// Message and its number.
    pub(super) committed: HashMap<MessageId, u64>,
    settled: HashSet<MessageId>,
    /// Settlements were asked for; whether they are durable nobody was told.
    maybe_settled: HashSet<MessageId>,
    /// The last durable attempt on the message that waits.
    attempt: u32,
}

const PATIENT: u64 = 1;
const ROUNDS: u64 = 9;

/// One message waits and is tried again and again; the others come and go. Everything in one order, always the same.
pub(super) async fn day(spool: &Spool, told: &mut Told) {
    let intake = spool.intake();
    let patient = message(PATIENT, 1);
    if intake.append(patient.clone(), body(PATIENT)).await.is_ok() {
        told.committed.insert(patient.message, PATIENT);
    }
    for round in 0..ROUNDS {
        for number in 100 + round * 3..100 + round * 3 + 3 {
            if let Ok(committed) = intake.append(message(number, 1), body(number)).await {
                told.committed.insert(committed.message(), number);
            }
            spool.until_trimmed();
        }
        let numbers = 100 + round * 3..100 + round * 3 + 3;
        let ids: Vec<_> = numbers.clone().map(|number| message(number, 1).message).collect();
        told.maybe_settled.extend(ids.iter().copied());
        if settle(spool, numbers).await.is_ok() {
            told.settled.extend(ids);
        }
        spool.until_trimmed();
        let attempt = round as u32 + 1;
        let tried = vec![attempted(&patient, 0, attempt, i64::from(attempt) * 1_000)];
        if spool.outcomes().append_durable(tried).await.is_ok() {
            told.attempt = attempt;
        }
        spool.until_trimmed();
    }
}

/// After any accident: all that was acknowledged is there, once, with its bytes and its attempts, and nothing settled.
/// Gives the octets on the disk when all of it is settled; of a day that has more than the patient message left, none.
pub(super) async fn check(disk: &LyingDisk, told: &Told, what: &str) -> Option<u64> {
    let (spool, recovery) = open(&eager(), disk);
    let mut found = HashSet::new();
    for waiting in recovery.unsettled {
        let id = waiting.accepted.message;
        assert!(found.insert(id), "{what}: a message is there twice");
        assert!(!told.settled.contains(&id), "{what}: a settled message is due again");
        if let Some(number) = told.committed.get(&id) {
            assert_eq!(spool.body(waiting.position).await.unwrap(), body(*number), "{what}");
        }
        if id == message(PATIENT, 1).message {
            let state = waiting.recipients[0];
            assert!(state.attempt >= told.attempt, "{what}: attempt {} of {}", state.attempt, told.attempt);
            let next_at = Timestamp::from_millis(i64::from(state.attempt) * 1_000);
            assert_eq!(state.next_at, (state.attempt > 0).then_some(next_at), "{what}");
        }
    }
    for id in told.committed.keys() {
        let missing = !found.contains(id) && !told.maybe_settled.contains(id);
        assert!(!missing, "{what}: an acknowledged message is lost");
    }
    // The journal goes on, and disk use returns to little.
    for number in 5_000..5_030 {
        append(&spool, number..number + 1).await;
        settle(&spool, number..number + 1).await.unwrap();
        spool.until_trimmed();
    }
    if found.len() <= 1 {
        assert!(disk.used() < 8_192 + 5 * 4_096, "{what}: {} octets", disk.used());
    }
    (found.len() <= 1).then(|| disk.used())
}

pub(super) fn opened(disk: &LyingDisk) -> Option<Spool> {
    let (spool, _) = Spool::open(eager(), Arc::new(disk.clone()), Arc::new(StoppedClock)).ok()?;
    spool.shared().loading.until_loaded();
    Some(spool)
}

/// Operations of the day when nothing happens.
pub(super) async fn operations() -> u64 {
    let disk = LyingDisk::new();
    let (spool, _) = open(&eager(), &disk);
    let mut told = Told::default();
    day(&spool, &mut told).await;
    drop(spool);
    assert!(!disk.paths().contains(&segment_path(1)), "the day holds a copy and a removal");
    assert!(disk.paths().iter().all(|path| *path != segment_path(4)), "and several of them");
    check(&disk.kill(), &told, "nothing happened").await;
    disk.counts().operations
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_and_doubles_nothing() {
    let operations = operations().await;
    let (mut cuts, mut used) = (0, Vec::new());
    for cut_at in 1..=operations {
        let disk = LyingDisk::new();
        disk.power_off_at(cut_at);
        let Some(spool) = opened(&disk) else { continue };
        let mut told = Told::default();
        day(&spool, &mut told).await;
        drop(spool);
        for seed in 0..3 {
            let after = disk.crash(&mut Random::from_number(cut_at * 100 + seed));
            used.extend(check(&after, &told, &format!("cut at {cut_at}, seed {seed}")).await);
        }
        used.extend(check(&disk.kill(), &told, &format!("killed at {cut_at}")).await);
        cuts += 4;
    }
    used.sort_unstable();
    let (drained, least, most) = (used.len(), used[0], used[used.len() - 1]);
    println!("{operations} operations, {cuts} cuts; {drained} times drained to {least} to {most} octets");
    assert!(drained >= 100 && most < 3 * 4_096, "{drained} times, {most} octets");
}

#[tokio::test]
async fn a_power_cut_at_any_operation_of_recovery_and_again_in_the_next_costs_nothing() {
    // Cut in a removal, in a copy and in an append.
    for cut_at in (10..operations().await).step_by(7) {
        let disk = LyingDisk::new();
        disk.power_off_at(cut_at);
        let Some(spool) = opened(&disk) else { continue };
        let mut told = Told::default();
        day(&spool, &mut told).await;
        drop(spool);
        let mut random = Random::from_number(cut_at);
        let start = disk.crash(&mut random);
        for first in 1.. {
            let once = start.kill();
            if recovered_before_cut(&once, first) {
                break;
            }
            for second in 1.. {
                let twice = once.crash(&mut random);
                if recovered_before_cut(&twice, second) {
                    break;
                }
                let what = format!("cut at {cut_at}, in recovery at {first}, again at {second}");
                check(&twice.crash(&mut random), &told, &what).await;
            }
        }
    }
}

/// Whether recovery was through before the power went at its nth operation.
fn recovered_before_cut(disk: &LyingDisk, operation: u64) -> bool {
    disk.power_off_at(operation);
    let spool = opened(disk);
    let through = spool.is_some();
    if let Some(spool) = spool {
        spool.until_trimmed();
    }
    through
}

#[tokio::test]
async fn a_sync_that_fails_while_copying_seals_and_loses_nothing() {
    let whole = LyingDisk::new();
    let (spool, _) = open(&eager(), &whole);
    day(&spool, &mut Told::default()).await;
    drop(spool);
    for times in [Times::Once, Times::Always] {
        for sync in 1..=whole.counts().syncs {
            let disk = LyingDisk::new();
            disk.fail_sync(sync, times);
            let Some(spool) = opened(&disk) else { continue };
            let mut told = Told::default();
            day(&spool, &mut told).await;
            assert!(spool.sealed());
            drop(spool);
            let what = format!("sync {sync} failed");
            check(&disk.kill(), &told, &what).await;
            check(&disk.crash(&mut Random::from_number(sync)), &told, &what).await;
        }
    }
}

#[tokio::test]
async fn a_removal_that_cannot_be_made_durable_is_the_last() {
    let whole = LyingDisk::new();
    let (spool, _) = open(&eager(), &whole);
    day(&spool, &mut Told::default()).await;
    drop(spool);
    for sync in 1..=whole.counts().directory_syncs {
        let disk = LyingDisk::new();
        disk.fail_directory_sync(sync, Times::Once);
        let Some(spool) = opened(&disk) else { continue };
        let mut told = Told::default();
        day(&spool, &mut told).await;
        drop(spool);
        for seed in 0..3 {
            let after = disk.crash(&mut Random::from_number(sync * 10 + seed));
            check(&after, &told, &format!("directory sync {sync} failed, seed {seed}")).await;
        }
    }
}
