//! What waits does not stay in memory: it lies on the disk, and is read from there when it is due again.

use super::*;

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
