//! Looking at a journal from outside: all of it is seen, damage is told from the unfinished end, nothing is touched.

use super::forward::{eager, settle};
use super::*;
use crate::inspect::{Content, Inspection};

fn open_real(config: &Config) -> Spool {
    Spool::open(config.clone(), Arc::new(RealDisk), Arc::new(StoppedClock)).unwrap().0
}

#[tokio::test]
async fn everything_is_counted_beside_a_running_node_and_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: directory.path().to_owned(), ..eager() };
    let spool = open_real(&config);
    append(&spool, 0..2).await;
    for number in 100..140 {
        append(&spool, number..number + 1).await;
        settle(&spool, number..number + 1).await.unwrap();
        spool.until_trimmed();
    }
    let inspection = Inspection::open(directory.path()).unwrap();
    assert!(inspection.is_in_use());
    let reports = inspection.verify();
    assert_eq!(reports.len(), spool.status().segments);
    assert!(reports.iter().all(|report| report.is_whole() && report.unfinished_octets == 0));
    assert_eq!(reports.iter().map(|report| report.waiting).sum::<u64>(), 2);
    assert!(reports.iter().map(|report| report.copies).sum::<u64>() >= 2);
    assert_eq!(reports.iter().map(|report| report.octets).sum::<u64>(), spool.status().octets);
    let mut copies = Vec::new();
    for segment in inspection.segments() {
        inspection
            .pieces(*segment, |piece| {
                if let Content::Copy { accepted, open, .. } = piece.content {
                    copies.push((accepted.message, piece.position, open.len()));
                }
            })
            .unwrap();
    }
    let (id, place, open) = copies.last().unwrap();
    assert_eq!(*open, 1);
    let number = u64::from(*id == message(1, 1).message);
    assert_eq!(inspection.body(*place).unwrap(), Some(body(number)));
    spool.shutdown().await.unwrap();
    drop(spool);
    assert!(!inspection.is_in_use());
}

#[tokio::test]
async fn damage_is_found_in_bodies_too_and_told_from_the_unfinished_end() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: directory.path().to_owned(), ..small() };
    let spool = open_real(&config);
    let committed = append(&spool, 0..20).await;
    spool.shutdown().await.unwrap();
    let file = |segment: u32| directory.path().join(crate::segment::file_name(segment));
    let mut octets = std::fs::read(file(1)).unwrap();
    let in_a_body = committed[1].position().offset() as usize - 1;
    octets[in_a_body] ^= 1;
    std::fs::write(file(1), &octets).unwrap();
    let last = committed[19].position().segment();
    let mut octets = std::fs::read(file(last)).unwrap();
    octets.truncate(octets.len() - 1);
    std::fs::write(file(last), &octets).unwrap();
    std::fs::remove_file(file(2)).unwrap();
    std::fs::create_dir(file(2)).unwrap();
    let inspection = Inspection::open(directory.path()).unwrap();
    let reports = inspection.verify();
    assert_eq!(reports[0].damage.len(), 1);
    assert_eq!(reports[0].damage[0].0, committed[0].position());
    assert!(reports[1].unreadable.is_some() && !reports[1].is_whole());
    let end = reports.last().unwrap();
    assert!(end.is_whole() && end.unfinished_octets > 0);
    assert_eq!(inspection.body(committed[0].position()).unwrap(), None);
    assert_eq!(std::fs::read(file(last)).unwrap(), octets, "nothing was cut");
    assert!(Inspection::open(&directory.path().join("nowhere")).is_err());
    // What was removed while it was looked at is no damage.
    std::fs::remove_file(file(3)).unwrap();
    assert_eq!(inspection.verify().len(), reports.len() - 1);
}
