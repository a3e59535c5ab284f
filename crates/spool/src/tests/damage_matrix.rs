//! Bit rot, lost and misdirected blocks, old copies of files: each costs the records it touches and no other, and no
//! wrong octet is ever read as somebody's mail.

use super::*;
use crate::segment::SEGMENT_HEADER;
use std::collections::HashMap;
use std::ops::Range;

/// Where a block of the disk lies in a file.
const BLOCK: usize = 4_096;

/// A journal in files, where each message lies, and which number has which id.
struct Laid {
    disk: LyingDisk,
    places: Vec<(u32, Range<usize>)>,
    numbers: HashMap<MessageId, u64>,
}

/// `count` messages in segments of `octets`, closed.
async fn laid(count: u64, octets: u32) -> Laid {
    let disk = LyingDisk::new();
    let (spool, _) = open(&Config { segment_octets_max: octets, ..config() }, &disk);
    let committed = append(&spool, 0..count).await;
    drop(spool);
    let disk = disk.kill();
    let ends = committed.iter().skip(1).map(|next| Some(next.position())).chain([None]);
    let places = committed.iter().zip(ends).map(|(this, next)| {
        let (segment, from) = (this.position().segment(), this.position().offset() as usize);
        let end = match next.filter(|next| next.segment() == segment) {
            Some(next) => next.offset() as usize,
            None => disk.read(&segment_path(segment)).len(),
        };
        (segment, from..end)
    });
    let places = places.collect();
    let numbers =
        committed.iter().zip(0..).map(|(committed, number)| (committed.message(), number)).collect();
    Laid { disk, places, numbers }
}

impl Laid {
    /// The numbers of the messages that can be delivered, each with its own bytes.
    async fn deliverable(&self, disk: &LyingDisk) -> Vec<u64> {
        self.look(disk).await.0
    }

    /// The same, and what is in quarantine when all were asked for.
    async fn look(&self, disk: &LyingDisk) -> (Vec<u64>, Vec<Quarantined>) {
        let (spool, mut recovery) = open(&Config { body_cache_octets_max: 0, ..config() }, disk);
        let mut whole = Vec::new();
        for waiting in recovery.unsettled.by_ref() {
            match spool.bodies().message(waiting.position).await {
                Ok(stored) => {
                    let number = self.numbers[&stored.accepted.message];
                    assert_eq!(*stored.accepted, message(number, 1));
                    assert_eq!(stored.body, body(number));
                    whole.push(number);
                }
                Err(Fault::Unreadable(_)) => {}
                Err(fault) => panic!("{fault}"),
            }
        }
        let quarantined = recovery.quarantined();
        // Whatever happened, new mail is taken.
        append(&spool, 9_000..9_001).await;
        (whole, quarantined)
    }

    /// The numbers of all messages but those that lie in one of these places.
    fn all_but(&self, hit: &[(u32, Range<usize>)]) -> Vec<u64> {
        let touched = |place: &(u32, Range<usize>)| {
            hit.iter().any(|(segment, range)| {
                *segment == place.0 && range.start < place.1.end && place.1.start < range.end
            })
        };
        let left = self.places.iter().zip(0..).filter(|(place, _)| !touched(place));
        left.map(|(_, number)| number).collect()
    }

    fn with(&self, segment: u32, octets: Vec<u8>) -> LyingDisk {
        let disk = self.disk.kill();
        disk.replace(&segment_path(segment), octets);
        disk
    }
}

#[tokio::test]
async fn each_octet_of_the_last_three_records_costs_its_own_record() {
    for younger in [false, true] {
        let laid = laid(8, 64 << 20).await;
        if younger {
            laid.disk.replace(&segment_path(2), SEGMENT_HEADER.to_vec());
        }
        let whole = laid.disk.read(&segment_path(1));
        for at in laid.places[5].1.start..whole.len() {
            let mut octets = whole.clone();
            octets[at] ^= 1 << (at % 8);
            let found = laid.deliverable(&laid.with(1, octets)).await;
            assert_eq!(found, laid.all_but(&[(1, at..at + 1)]), "octet {at}, younger: {younger}");
        }
    }
}

/// The catalogue's number (S9), twenty at a time: each costs the message it is in and no other, is listed, and no start
/// is refused.
#[tokio::test]
async fn ten_thousand_flipped_bits_in_sealed_segments_cost_a_message_each_at_most() {
    const STARTS: usize = 500;
    const FLIPS: usize = 20;
    let laid = laid(60, 20_000).await;
    let last = laid.places.last().unwrap().0;
    assert!(last > 2);
    let files: Vec<Vec<u8>> = (1..last).map(|segment| laid.disk.read(&segment_path(segment))).collect();
    let mut random = Random::from_number(9);
    let (mut lost, mut listed) = (0, 0);
    for start in 0..STARTS {
        let (mut files, mut hit) = (files.clone(), Vec::new());
        while hit.len() < FLIPS {
            let segment = random.below(files.len() as u64) as usize;
            let bit = random.below(files[segment].len() as u64 * 8) as usize;
            let place = (segment as u32 + 1, bit / 8..bit / 8 + 1);
            // Two of the same bit would be none.
            if !hit.contains(&place) {
                files[segment][bit / 8] ^= 1 << (bit % 8);
                hit.push(place);
            }
        }
        let disk = laid.disk.kill();
        (1..).zip(files).for_each(|(segment, octets)| disk.replace(&segment_path(segment), octets));
        let (found, quarantined) = laid.look(&disk).await;
        assert_eq!(found, laid.all_but(&hit), "start {start}: {hit:?}");
        assert!(laid.places.len() - found.len() <= FLIPS);
        for (segment, range) in &hit {
            let holds = |piece: &Quarantined| {
                let from = piece.position.offset() as usize;
                piece.position.segment() == *segment
                    && (from..from + piece.octets as usize).contains(&range.start)
            };
            assert!(quarantined.iter().any(holds), "start {start}: {segment} {range:?} in {quarantined:?}");
        }
        lost += laid.places.len() - found.len();
        listed += quarantined.len();
    }
    println!(
        "{} flips: {lost} messages could not be delivered, {listed} pieces in quarantine",
        STARTS * FLIPS
    );
}

#[tokio::test]
async fn a_block_of_zeros_costs_the_records_in_it() {
    let laid = laid(60, 20_000).await;
    let segments = laid.places.last().unwrap().0;
    assert!(segments >= 3);
    for segment in 1..=segments {
        let whole = laid.disk.read(&segment_path(segment));
        for start in (0..whole.len()).step_by(BLOCK) {
            let block = start..whole.len().min(start + BLOCK);
            let mut octets = whole.clone();
            octets[block.clone()].fill(0);
            let found = laid.deliverable(&laid.with(segment, octets)).await;
            assert_eq!(found, laid.all_but(&[(segment, block.clone())]), "segment {segment}, {block:?}");
        }
    }
}

#[tokio::test]
async fn swapped_blocks_cost_the_records_in_both_and_deliver_nothing_twice() {
    let laid = laid(60, 20_000).await;
    let files: HashMap<u32, Vec<u8>> =
        (1..=3).map(|segment| (segment, laid.disk.read(&segment_path(segment)))).collect();
    let blocks: Vec<(u32, Range<usize>)> = files
        .iter()
        .flat_map(|(segment, octets)| {
            let whole_blocks = octets.len() / BLOCK;
            (0..whole_blocks).map(move |block| (*segment, block * BLOCK..(block + 1) * BLOCK))
        })
        .collect();
    for (index, one) in blocks.iter().enumerate() {
        for other in &blocks[index + 1..] {
            let mut files = files.clone();
            let (first, second) =
                (files[&one.0][one.1.clone()].to_vec(), files[&other.0][other.1.clone()].to_vec());
            files.get_mut(&one.0).unwrap()[one.1.clone()].copy_from_slice(&second);
            files.get_mut(&other.0).unwrap()[other.1.clone()].copy_from_slice(&first);
            let disk = laid.disk.kill();
            files.into_iter().for_each(|(segment, octets)| disk.replace(&segment_path(segment), octets));
            let found = laid.deliverable(&disk).await;
            assert_eq!(found, laid.all_but(&[one.clone(), other.clone()]), "{one:?} and {other:?}");
        }
    }
}

#[tokio::test]
async fn a_segment_replaced_by_an_older_copy_or_by_another_costs_what_it_held() {
    let laid = laid(60, 20_000).await;
    let last = laid.places.last().unwrap().0;
    let files: Vec<Vec<u8>> = (1..=last).map(|segment| laid.disk.read(&segment_path(segment))).collect();
    for segment in 1..=last {
        let whole = &files[segment as usize - 1];
        // As a backup taken in the middle of its life holds it.
        for cut in [whole.len() / 2, whole.len() / 3, 32, 0] {
            let found = laid.deliverable(&laid.with(segment, whole[..cut].to_vec())).await;
            assert_eq!(found, laid.all_but(&[(segment, cut..whole.len())]), "segment {segment} cut to {cut}");
        }
        for other in (1..=last).filter(|other| *other != segment) {
            let found = laid.deliverable(&laid.with(segment, files[other as usize - 1].clone())).await;
            assert_eq!(found, laid.all_but(&[(segment, 0..whole.len())]), "{segment} is {other}");
        }
    }
}

#[tokio::test]
async fn a_hole_in_the_numbers_costs_what_was_in_it() {
    let laid = laid(60, 8_000).await;
    let last = laid.places.last().unwrap().0;
    assert!(last > 4);
    for gone in 1..=last {
        let disk = laid.disk.kill();
        crate::Disk::remove(&disk, &segment_path(gone)).unwrap();
        let found = laid.deliverable(&disk).await;
        assert_eq!(found, laid.all_but(&[(gone, 0..usize::MAX)]), "segment {gone}");
    }
}

#[tokio::test]
async fn damage_in_a_copy_is_damage_to_that_message_alone() {
    let disk = LyingDisk::new();
    let (spool, _) = open(&super::forward::eager(), &disk);
    append(&spool, 0..2).await;
    for number in 100..140 {
        append(&spool, number..number + 1).await;
        super::forward::settle(&spool, number..number + 1).await.unwrap();
        spool.until_trimmed();
    }
    let place = spool.shared().ledger().waiting(message(0, 1).message).unwrap().0;
    assert!(place.segment() > 3, "it was copied");
    drop(spool);
    let disk = disk.kill();
    let path = segment_path(place.segment());
    let whole = disk.read(&path);
    let from = place.offset() as usize;
    let header = crate::segment::FrameHeader::parse(&whole[from..], place).unwrap();
    disk.replace(&segment_path(9_999), SEGMENT_HEADER.to_vec());
    for at in from..from + header.len() as usize {
        let mut octets = whole.clone();
        octets[at] ^= 1 << (at % 8);
        let disk = disk.kill();
        disk.replace(&path, octets);
        let (spool, recovery) = open(&config(), &disk);
        let mut found = Vec::new();
        for waiting in recovery.unsettled {
            if let Ok(stored) = spool.bodies().message(waiting.position).await {
                found.push((stored.accepted.message, stored.body));
            }
        }
        assert_eq!(found, [(message(1, 1).message, body(1))], "octet {at}");
        assert_eq!(spool.status().quarantined, 1);
    }
}

/// Starts do not read bodies, so a message whose body rotted waits like any other until somebody wants to send it. Then it
/// is in quarantine; it is never sent, and it is not forgotten either: it is tried again, told as deferred, and expires.
#[tokio::test]
async fn a_rotten_body_in_a_sealed_segment_waits_is_never_sent_and_is_set_aside_when_it_is_wanted() {
    let laid = laid(60, 20_000).await;
    let last = laid.places.last().unwrap().0;
    let sealed = laid.places.iter().zip(0_u64..).filter(|((segment, _), _)| *segment < last);
    for ((segment, place), number) in sealed {
        let mut octets = laid.disk.read(&segment_path(*segment));
        octets[place.end - 1 - number as usize % 200] ^= 0x10;
        let disk = laid.with(*segment, octets);
        let config = Config { body_cache_octets_max: 0, ..small() };
        let (spool, recovery) = open(&config, &disk);
        assert_eq!(spool.status().quarantined, 0, "message {number}: bodies are not read at a start");
        let mut rotten = Vec::new();
        for waiting in recovery.unsettled {
            match spool.body(waiting.position).await {
                Ok(body) => assert_eq!(body, super::body(laid.numbers[&waiting.accepted.message])),
                Err(Fault::Unreadable(position)) => rotten.push((waiting.accepted, position)),
                Err(fault) => panic!("{fault}"),
            }
        }
        let [(accepted, position)] = &rotten[..] else { panic!("message {number}: {rotten:?}") };
        assert_eq!(accepted.message, message(number, 1).message);
        assert_eq!((spool.status().quarantined, spool.status().pinned), (1, 0));
        let copies =
            || disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "bad"));
        assert_eq!(copies().count(), 1);
        // Asked for again it is the same piece, and what is said of the recipient in the end is taken.
        assert!(matches!(spool.body(*position).await, Err(Fault::Unreadable(_))));
        spool.outcomes().append_durable(vec![settled(accepted, 0)]).await.unwrap();
        assert_eq!((spool.status().quarantined, spool.status().unsettled), (1, 59));
        spool.until_trimmed();
        assert_eq!(copies().count(), 1, "the copy outlives the message");
    }
}

#[tokio::test]
async fn a_rotten_body_that_cannot_be_copied_keeps_its_segment() {
    let laid = laid(60, 20_000).await;
    let (segment, place) = &laid.places[3];
    let mut octets = laid.disk.read(&segment_path(*segment));
    octets[place.end - 1] ^= 1;
    let disk = laid.with(*segment, octets);
    let (spool, recovery) = open(&Config { body_cache_octets_max: 0, ..small() }, &disk);
    disk.fail_creations(Some(28));
    let waiting: Vec<_> = recovery.unsettled.collect();
    assert!(matches!(spool.body(waiting[3].position).await, Err(Fault::Unreadable(_))));
    assert_eq!((spool.status().quarantined, spool.status().pinned), (1, 1));
    disk.fail_creations(None);
    for waiting in &waiting {
        spool.outcomes().append_durable(vec![settled(&waiting.accepted, 0)]).await.unwrap();
    }
    spool.until_trimmed();
    assert!(disk.paths().contains(&segment_path(*segment)), "it is all that is left of the message");
}

/// A last segment that the disk does not give in whole is not cut, so a group that was torn in it stays, and the segment is
/// a sealed one from the next start on. Nobody was told 250 for what is torn: it must not be sent, and must not cost others.
#[tokio::test]
async fn a_torn_end_that_could_not_be_cut_is_never_sent() {
    let laid = laid(10, 64 << 20).await;
    let whole = laid.disk.read(&segment_path(1));
    let (_, place) = laid.places[9].clone();
    // Head and meta of the last message arrived, the end of its body did not.
    let mut octets = whole.clone();
    octets[place.end - 100..].fill(0);
    let disk = laid.with(1, octets);
    disk.fail_reads(&segment_path(1), 40..50);
    let (spool, _) = open(&config(), &disk);
    append(&spool, 500..501).await;
    assert_eq!(spool.status().end.segment(), 2, "the log goes on in the next one");
    drop(spool);
    let disk = disk.kill();
    let (spool, recovery) = open(&Config { body_cache_octets_max: 0, ..config() }, &disk);
    let mut sendable = Vec::new();
    for waiting in recovery.unsettled {
        if let Ok(stored) = spool.bodies().message(waiting.position).await {
            sendable.push((stored.accepted.message, stored.body));
        }
    }
    let expected: Vec<_> =
        (0..9).chain([500]).map(|number| (message(number, 1).message, body(number))).collect();
    assert_eq!(sendable, expected);
    assert_eq!(spool.status().quarantined, 1);
}
