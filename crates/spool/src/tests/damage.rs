//! Torn ends, garbage, flipped bits, records from the future.

use super::*;
use crate::segment::{Frame, SEGMENT_HEADER};

/// Ten messages in one segment, on the disk; and where each lies.
async fn ten() -> (LyingDisk, Vec<Committed>) {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    let committed = append(&spool, 0..10).await;
    drop(spool);
    (disk.kill(), committed)
}

async fn survivors(disk: &LyingDisk) -> (Vec<(MessageId, Position, Bytes)>, Option<Torn>) {
    let (spool, mut recovery) = open(&config(), disk);
    let torn = recovery.torn.take();
    let found = unsettled(&spool, recovery).await;
    append(&spool, 100..101).await;
    (found, torn)
}

#[tokio::test]
async fn truncation_at_every_octet_of_the_last_records_loses_only_what_is_cut() {
    let (disk, committed) = ten().await;
    let whole = disk.read(&segment_path(1));
    let from = committed[7].position().offset() as usize;
    for len in from..whole.len() {
        let disk = disk.kill();
        disk.replace(&segment_path(1), whole[..len].to_vec());
        let (found, torn) = survivors(&disk).await;
        let ends: Vec<usize> = committed[1..].iter().map(|next| next.position().offset() as usize).collect();
        let expected = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(found.len(), expected, "cut to {len}");
        assert!(found.iter().zip(0..).all(|((.., found), number)| *found == body(number)));
        let clean = len == committed[expected].position().offset() as usize;
        assert_eq!(torn.is_none(), clean);
    }
}

#[tokio::test]
async fn garbage_behind_the_end_is_cut_off() {
    let (disk, _) = ten().await;
    let whole = disk.read(&segment_path(1));
    let mut random = Random::from_number(4);
    let mut tails = vec![
        vec![0],
        vec![0; 4_096],
        vec![0; 1 << 20],
        whole[32..].to_vec(),
        whole[whole.len() - 900..].to_vec(),
    ];
    for len in [1, 27, 28, 29, 5_000, 1 << 20] {
        let mut tail = vec![0; len];
        random.fill(&mut tail);
        tails.push(tail);
    }
    for tail in tails {
        let disk = disk.kill();
        disk.replace(&segment_path(1), [whole.clone(), tail.clone()].concat());
        let (found, torn) = survivors(&disk).await;
        assert_eq!(found.len(), 10);
        assert_eq!(torn.unwrap().octets, tail.len() as u64);
        let again = survivors(&disk).await;
        assert_eq!((again.0.len(), again.1), (11, None), "what was appended after the cut is whole");
    }
}

/// As a disk leaves it that gives a new file the blocks of a removed one: whole records of ours, at the wrong place.
#[tokio::test]
async fn the_tail_of_an_older_segment_behind_the_end_is_cut_off() {
    let whole = LyingDisk::new();
    let (spool, _) = open(&small(), &whole);
    let committed = append(&spool, 0..30).await;
    let last = spool.status().end.segment();
    assert!(last > 4);
    drop(spool);
    let whole = whole.kill();
    let end = whole.read(&segment_path(last));
    let mut cuts = 0;
    for older in committed.iter().map(|committed| committed.position()).filter(|at| at.segment() < last) {
        let octets = whole.read(&segment_path(older.segment()));
        let tail = &octets[older.offset() as usize..];
        for len in [1, 28, tail.len() / 2, tail.len() - 1, tail.len()] {
            let disk = whole.kill();
            disk.replace(&segment_path(last), [&end[..], &tail[..len]].concat());
            let (spool, recovery) = open(&small(), &disk);
            let torn = Torn { position: Position::new(last, end.len() as u32), octets: len as u64 };
            assert_eq!(recovery.torn.as_ref(), Some(&torn));
            assert_eq!(unsettled(&spool, recovery).await.len(), 30, "{len} octets from {older}");
            append(&spool, 100..101).await;
            drop(spool);
            let (_, recovery) = open(&small(), &disk.kill());
            assert_eq!((recovery.unsettled.len(), recovery.torn.is_none()), (31, true));
            assert_eq!(recovery.quarantined().len(), 0);
            cuts += 1;
        }
    }
    assert!(cuts >= 100, "{cuts}");
}

#[tokio::test]
async fn a_flipped_bit_costs_one_record_and_never_gives_wrong_bytes() {
    let (disk, committed) = ten().await;
    // A second segment makes the first one sealed.
    disk.replace(&segment_path(2), SEGMENT_HEADER.to_vec());
    let whole = disk.read(&segment_path(1));
    let mut random = Random::from_number(8);
    for _ in 0..400 {
        let bit = random.below(whole.len() as u64 * 8) as usize;
        let mut octets = whole.clone();
        octets[bit / 8] ^= 1 << (bit % 8);
        let disk = disk.kill();
        disk.replace(&segment_path(1), octets.clone());
        let (spool, recovery) = open(&config(), &disk);
        assert!(recovery.torn.is_none());
        let mut whole_ones = 0;
        for waiting in recovery.unsettled {
            match spool.bodies().message(waiting.position).await {
                Ok(stored) => {
                    let number = committed
                        .iter()
                        .position(|known| known.message() == stored.accepted.message)
                        .unwrap();
                    assert_eq!(stored.body, body(number as u64));
                    whole_ones += 1;
                }
                Err(Fault::Unreadable(_)) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
        let hit = usize::from(bit / 8 >= SEGMENT_HEADER.len());
        assert_eq!(whole_ones, 10 - hit, "bit {bit}");
        assert_eq!(spool.status().quarantined, 1);
        let kept = disk.paths().into_iter().find(|path| path.starts_with("/spool/quarantine")).unwrap();
        let offset = if hit == 1 {
            usize::from_str_radix(&kept.file_stem().unwrap().to_str().unwrap()[9..], 16).unwrap()
        } else {
            0
        };
        let copy = disk.read(&kept);
        assert_eq!(copy, octets[offset..offset + copy.len()], "the copy is what the segment holds");
        assert_eq!(disk.read(&segment_path(1)), octets, "the segment itself is left alone");
    }
}

#[tokio::test]
async fn a_zeroed_block_and_a_block_of_another_place_cost_what_lies_in_them() {
    let (disk, _) = ten().await;
    disk.replace(&segment_path(2), SEGMENT_HEADER.to_vec());
    let whole = disk.read(&segment_path(1));
    for moved in [vec![0; 1_024], whole[32..32 + 1_024].to_vec()] {
        let mut octets = whole.clone();
        octets[3_000..4_024].copy_from_slice(&moved);
        let disk = disk.kill();
        disk.replace(&segment_path(1), octets);
        let (spool, recovery) = open(&config(), &disk);
        let mut found = 0;
        for waiting in recovery.unsettled {
            found += usize::from(spool.body(waiting.position).await.is_ok());
        }
        assert!((6..10).contains(&found), "{found}");
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_does_not_keep_the_others_from_being_served() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&small(), &disk);
    append(&spool, 0..20).await;
    let segments = spool.status().segments;
    assert!(segments > 3);
    drop(spool);
    let disk = disk.kill();
    disk.fail_reads(&segment_path(2), 0..u64::MAX);
    let (_, recovery) = open(&small(), &disk);
    assert!(recovery.unsettled.len() >= 10);
    assert_eq!(recovery.quarantined()[0].position.segment(), 2);
}

#[tokio::test]
async fn a_bad_sector_leaves_every_envelope_readable_that_was_found() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&config(), &disk);
    append(&spool, 0..40).await;
    drop(spool);
    let disk = disk.kill();
    disk.replace(&segment_path(2), SEGMENT_HEADER.to_vec());
    let octets = disk.read(&segment_path(1)).len() as u64;
    for bad in (0..octets).step_by(61) {
        let disk = disk.kill();
        disk.fail_reads(&segment_path(1), bad..bad + 1);
        let (_, recovery) = open(&config(), &disk);
        let found = recovery.unsettled.len();
        assert!(found > 0, "octet {bad}");
        assert_eq!(recovery.unsettled.count(), found, "octet {bad}");
    }
}

#[tokio::test]
async fn what_the_disk_does_not_give_for_a_moment_is_there_again_at_the_next_start() {
    for younger in [Some(segment_path(2)), None] {
        let (disk, _) = ten().await;
        // A younger segment makes the first one sealed.
        younger.iter().for_each(|path| disk.replace(path, SEGMENT_HEADER.to_vec()));
        let before = disk.read(&segment_path(1));
        disk.fail_reads(&segment_path(1), 0..u64::MAX);
        let (spool, recovery) = open(&small(), &disk);
        assert_eq!(recovery.unsettled.len(), 0);
        // Enough to make the segment an old one that nobody needs.
        append(&spool, 100..120).await;
        let records = (100..120).map(|number| settled(&message(number, 1), 0)).collect();
        spool.outcomes().append_durable(records).await.unwrap();
        spool.shutdown().await.unwrap();
        assert!(disk.read(&segment_path(1)) == before, "the segment was touched, younger: {younger:?}");
        let (_, recovery) = open(&small(), &disk.kill());
        assert_eq!(recovery.unsettled.len(), 10, "{younger:?}");
    }
}

#[tokio::test]
async fn records_of_a_newer_program_are_kept_and_skipped() {
    let (disk, committed) = ten().await;
    let mut octets = disk.read(&segment_path(1));
    for (kind, version) in [(9, 1), (crate::wire::KIND_SETTLED, 2), (0x85, 1)] {
        let mut frame = Frame::new(kind, version, Bytes::from_static(b"body"), |meta| meta.extend(b"meta"));
        frame.place(Position::new(1, octets.len() as u32));
        octets.extend(&frame.head);
        octets.extend(&frame.body[..]);
    }
    disk.replace(&segment_path(1), octets);
    let (spool, recovery) = open(&Config { segment_octets_max: 4_096, ..config() }, &disk);
    assert_eq!((recovery.unknown(), recovery.quarantined().len(), recovery.unsettled.len()), (3, 0, 10));
    let mut follower = spool.follow(Position::START);
    let mut seen = Vec::new();
    while seen.len() < 13 {
        seen.extend(follower.next_batch(100).await.unwrap());
    }
    assert_eq!(*seen[10].1, Record::Unknown { kind: 9, version: 1 });
    // Settled and passed by, the segment stays all the same: something in it is not ours to lose.
    spool.reader("events");
    let records = (0..10).map(|number| settled(&message(number, 1), 0)).collect();
    spool.outcomes().append_durable(records).await.unwrap();
    append(&spool, 100..110).await;
    assert_eq!(spool.status().unsettled, 10);
    assert!(spool.body(committed[0].position()).await.is_ok());
    assert!(disk.paths().contains(&segment_path(1)));
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_named_and_kept_and_the_rest_goes_on() {
    let codes = [rustix::io::Errno::ACCESS, rustix::io::Errno::IO, rustix::io::Errno::NOENT]
        .map(rustix::io::Errno::raw_os_error);
    let whole = LyingDisk::new();
    let (spool, _) = open(&small(), &whole);
    append(&spool, 0..20).await;
    let segments = spool.status().segments as u32;
    assert!(segments > 3);
    drop(spool);
    for code in codes {
        for unreadable in 1..=segments {
            let disk = whole.kill();
            disk.fail_opens(&segment_path(unreadable), Some(code));
            let (spool, recovery) = open(&small(), &disk);
            let place = Position::new(unreadable, 0);
            assert_eq!(recovery.quarantined(), [Quarantined { position: place, octets: 0, copy: None }]);
            let status = spool.status();
            assert_eq!((status.quarantined, status.pinned), (1, 1));
            let found = unsettled(&spool, recovery).await;
            assert!(
                (10..20).contains(&found.len()) && found.iter().all(|(_, at, _)| at.segment() != unreadable)
            );
            // New mail is taken, and a follower from the start sees all there is, over one gap.
            append(&spool, 100..110).await;
            let (mut follower, mut seen, mut gaps) = (spool.follow(Position::START), 0, 0);
            while follower.position() < spool.status().end {
                match follower.next_batch(100).await {
                    Ok(batch) => seen += batch.len(),
                    Err(Fault::Gap { .. }) => gaps += 1,
                    Err(fault) => panic!("{fault}"),
                }
            }
            assert_eq!((seen, gaps), (found.len() + 10, 1), "segment {unreadable}");
            // Everything is settled, and what may hold mail stays.
            let records = (0..20).chain(100..110).map(|number| settled(&message(number, 1), 0)).collect();
            spool.outcomes().append_durable(records).await.unwrap();
            spool.until_trimmed();
            drop(spool);
            let disk = disk.kill();
            disk.fail_opens(&segment_path(unreadable), None);
            let (_, recovery) = open(&small(), &disk);
            assert_eq!(recovery.quarantined().len(), 0);
            // Settled messages whose records this start has are not due again.
            assert_eq!(recovery.unsettled.len(), 0, "segment {unreadable}");
        }
    }
}

#[tokio::test]
async fn a_segment_whose_header_cannot_be_read_gives_its_records_all_the_same() {
    for younger in [Some(segment_path(2)), None] {
        let (disk, _) = ten().await;
        younger.iter().for_each(|path| disk.replace(path, SEGMENT_HEADER.to_vec()));
        disk.fail_reads(&segment_path(1), 0..SEGMENT_HEADER.len() as u64);
        let (spool, recovery) = open(&config(), &disk);
        assert_eq!(recovery.quarantined().len(), usize::from(younger.is_some()));
        assert_eq!(unsettled(&spool, recovery).await.len(), 10);
    }
}

#[tokio::test]
async fn what_is_no_file_or_has_no_number_is_no_segment() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { directory: directory.path().to_owned(), ..small() };
    let open = || Spool::open(config.clone(), Arc::new(RealDisk), Arc::new(StoppedClock)).unwrap();
    let (spool, _) = open();
    append(&spool, 0..20).await;
    spool.shutdown().await.unwrap();
    for name in ["00000000.seg", "1.seg", "0000000g.seg", "notes", "00000002.seg.old"] {
        std::fs::write(directory.path().join(name), "not ours").unwrap();
    }
    std::fs::remove_file(directory.path().join("00000002.seg")).unwrap();
    std::fs::create_dir(directory.path().join("00000002.seg")).unwrap();
    let (spool, recovery) = open();
    assert_eq!(recovery.quarantined()[0].position.segment(), 2);
    assert!(recovery.unsettled.len() > 10);
    append(&spool, 100..101).await;
    assert_eq!(std::fs::read_to_string(directory.path().join("notes")).unwrap(), "not ours");
}
