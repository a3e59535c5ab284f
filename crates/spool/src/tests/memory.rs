//! What waits does not stay in memory: it lies on the disk, and is read from there when it is due again.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds, set by hand.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn timestamp(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn instant(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000)
    }
}

fn cached(spool: &Spool) -> (usize, u64) {
    let cache = spool.shared().cache();
    (cache.len(), cache.octets())
}

#[tokio::test]
async fn a_message_leaves_memory_when_all_its_recipients_were_deferred_and_is_read_from_the_disk_then() {
    let (spool, _) = open(&config(), &LyingDisk::new());
    let (one, many) = (message(1, 1), message(2, 3));
    let first = spool.intake().append(one.clone(), body(1)).await.unwrap();
    let second = spool.intake().append(many.clone(), body(2)).await.unwrap();
    assert_eq!(cached(&spool).0, 2);
    let outcomes = spool.outcomes();
    outcomes.append_durable(vec![attempted(&one, 0, 1, 5), attempted(&many, 0, 1, 5)]).await.unwrap();
    assert_eq!(cached(&spool).0, 1, "two recipients were never tried, and their turn may come any moment");
    outcomes.append_durable(vec![attempted(&many, 2, 1, 5)]).await.unwrap();
    assert_eq!(cached(&spool).0, 1);
    outcomes.append_durable(vec![settled(&many, 1)]).await.unwrap();
    assert_eq!(cached(&spool), (0, 0));
    assert_eq!(spool.body(first.position()).await.unwrap(), body(1));
    assert_eq!(spool.body(second.position()).await.unwrap(), body(2));
    assert_eq!(cached(&spool), (0, 0), "what is read for another attempt does not stay either");
    spool.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_nobody_sends_for_half_a_minute_leaves_memory_too() {
    let (clock, disk) = (Arc::new(HandClock::default()), LyingDisk::new());
    let (spool, _) = Spool::open(config(), Arc::new(disk), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let first = append(&spool, 1..4).await[0];
    clock.0.store(30, Ordering::Relaxed);
    append(&spool, 4..5).await;
    assert_eq!(cached(&spool).0, 4);
    clock.0.store(31, Ordering::Relaxed);
    append(&spool, 5..6).await;
    assert_eq!(cached(&spool).0, 2);
    assert_eq!(spool.body(first.position()).await.unwrap(), body(1));
    spool.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_from_the_cache_is_counted_like_what_is_read_from_the_disk() {
    for body_cache_octets_max in [0, 64 << 20] {
        let config = Config { body_cache_octets_max, loaded_octets_max: 100_000, ..config() };
        let (spool, _) = open(&config, &LyingDisk::new());
        let large = Bytes::from(vec![b'x'; 30_000]);
        let mut places = Vec::new();
        for number in 1..5 {
            let accepted = Accepted { tenant: message(1, 1).tenant, ..message(number, 1) };
            places.push(spool.intake().append(accepted, large.clone()).await.unwrap().position());
        }
        let bodies = spool.bodies();
        let mut sent = Vec::new();
        for place in &places {
            sent.extend(bodies.message(*place).await);
        }
        assert_eq!(sent.len(), 1, "half of the bound is for one tenant; cache of {body_cache_octets_max}");
        assert!(matches!(bodies.message(places[1]).await, Err(fault) if fault.is_passing()));
        sent.clear();
        assert_eq!(bodies.message(places[1]).await.unwrap().body, large);
        spool.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_large_message_no_octet_is_read_twice() {
    let disk = LyingDisk::new();
    let config = Config { body_cache_octets_max: 0, ..config() };
    let (spool, _) = open(&config, &disk);
    let (large, before) = (Bytes::from(vec![b'x'; 300_000]), spool.status().octets);
    let committed = spool.intake().append(message(1, 500), large.clone()).await.unwrap();
    let frame = spool.status().octets - before;
    assert!(frame > 320_000, "{frame}");
    let read = disk.counts().octets_read;
    let stored = spool.bodies().message(committed.position()).await.unwrap();
    assert_eq!((stored.body, stored.accepted.recipients.len()), (large, 500));
    let read = disk.counts().octets_read - read;
    assert!(read <= frame, "{read} of {frame}");
    spool.shutdown().await.unwrap();
}
