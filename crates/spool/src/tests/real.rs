//! The same on a real file system, small.

use super::*;

#[tokio::test]
async fn a_journal_on_a_real_disk_comes_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: directory.path().join("spool"), ..small() };
    let open = || Spool::open(config.clone(), Arc::new(RealDisk), Arc::new(StoppedClock));
    let (spool, _) = open().unwrap();
    let committed = append(&spool, 0..20).await;
    assert!(matches!(open(), Err(Fault::InUse(_))));
    settle_some(&spool).await;
    drop(spool);
    let (spool, recovery) = open().unwrap();
    assert!(recovery.torn.is_none() && recovery.quarantined().is_empty());
    let found = unsettled(&spool, recovery).await;
    assert_eq!(found.len(), 15);
    assert!(found.iter().zip(5..).all(|((id, at, found), number)| {
        let committed = committed[number as usize];
        (*id, *at, found.clone()) == (committed.message(), committed.position(), body(number))
    }));
    assert!(spool.status().segments > 2);
    spool.shutdown().await.unwrap();
}

async fn settle_some(spool: &Spool) {
    let records = (0..5).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
}

#[tokio::test]
async fn more_slices_than_one_system_call_takes_are_written_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: directory.path().to_owned(), ..config() };
    let (spool, _) = Spool::open(config.clone(), Arc::new(RealDisk), Arc::new(StoppedClock)).unwrap();
    let accepted = message(1, 3_000);
    let _ = spool.intake().append(accepted.clone(), body(1)).await.unwrap();
    let records = (0..2_999).map(|recipient| settled(&accepted, recipient)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    drop(spool);
    let (_spool, mut recovery) = Spool::open(config, Arc::new(RealDisk), Arc::new(StoppedClock)).unwrap();
    let waiting = recovery.unsettled.next().unwrap();
    assert_eq!(waiting.recipients, [RecipientState { recipient: 2_999, attempt: 0, next_at: None }]);
    assert_eq!(waiting.accepted.recipients.len(), 3_000);
}
