//! Damage to the journal of a house that was killed: what lies behind its end (D8) and what rots in it (S9).

use crate::site::Site;
use mail::Random;
use posthouse_tests::arrivals::Arrivals;
use posthouse_tests::house::{House, Tenant, binary, let_pass, now_ms, rounds, wait_for, wait_or};
use posthouse_tests::ledger::{Cut, Ledger};
use posthouse_tests::load::{Load, Mix, Shape};
use posthouse_tests::strace::can_trace;
use serde_json::json;
use spool::inspect::{Content, Inspection};
use spool::{Position, Record};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const MIX: Mix = Mix { smtp: 3, http: 1 };
/// Where a block of the disk lies in a file.
const BLOCK: usize = 4_096;
/// Octets at the beginning of a segment that are no record.
const HEADER: usize = 32;

/// Every recipient is deferred, also in sessions that are open.
fn outage(house: &House, on: bool) {
    let outage = if on { json!("defer") } else { json!(false) };
    house.lab("PUT", "/providers/plain", Some(&json!({"outage": outage})));
}

fn path_of(spool: &Path, segment: u32) -> PathBuf {
    spool.join(format!("{segment:08x}.seg"))
}

fn segments(spool: &Path) -> Vec<u32> {
    Inspection::open(spool).unwrap().segments().to_vec()
}

/// What a disk may leave behind the end of a file that grew when the power went.
fn tail(round: usize, spool: &Path, random: &mut Random) -> Vec<u8> {
    let lengths = [1, 27, 512, 4_096, 70_000, 1 << 20];
    let len = lengths[round / 3 % lengths.len()];
    match round % 3 {
        0 => vec![0; len],
        1 => {
            let mut octets = vec![0; len];
            random.fill(&mut octets);
            octets
        }
        _ => {
            let segments = segments(spool);
            let older = std::fs::read(path_of(spool, segments[segments.len() - 2])).unwrap();
            older[older.len().saturating_sub(len)..].to_vec()
        }
    }
}

/// Whether a line says where the end was cut and how much was cut off. It has to, if there was something to cut.
fn names_the_cut(log: &str, tail: usize, header: usize) -> bool {
    let line = log.lines().find(|line| line.contains("ends in an unfinished write; it is cut off"));
    let Some(line) = line.filter(|line| line.contains("position=")) else {
        assert!(tail <= header, "no line names the cut of {tail} octets:\n{log}");
        return false;
    };
    let cut = line.split("octets=").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    assert!(cut.is_some_and(|cut: usize| cut + header >= tail), "{tail} octets: {line}");
    true
}

#[test]
fn d8_whatever_lies_behind_the_end_is_cut_off_and_named() {
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "65536");
    let mut house = site.start();
    let (tenant, _) = house.onboard("tail", "tail.example", "127.2.0.171");
    let spool = PathBuf::from(house.text("/spool"));
    outage(&house, true);
    let ledger = Arc::new(Ledger::default());
    let (mut arrivals, mut cuts, mut random) = (Arrivals::new(), Vec::new(), Random::from_number(8));
    let (rounds, mut slowest, mut named) = (rounds(9, 90), 0, 0);
    for round in 0..rounds {
        let load = Load::start(&site.door(&house, &tenant), &ledger, MIX, Shape::Small);
        let before = ledger.acknowledged();
        // At least two segments, the first time.
        wait_for("mail to be taken", || (ledger.acknowledged() >= before + 60).then_some(()));
        let from_ms = now_ms();
        house.kill();
        load.finish();
        let last = path_of(&spool, *segments(&spool).last().unwrap());
        let tail = tail(round, &spool, &mut random);
        let mut octets = std::fs::read(&last).unwrap();
        // Killed when it had just been made: what comes stands in the place of its header.
        let header = HEADER - octets.len().min(HEADER);
        octets.extend_from_slice(&tail);
        std::fs::write(&last, octets).unwrap();
        let seen = site.plot.log().len();
        let began = now_ms();
        house = site.start();
        slowest = slowest.max(now_ms() - began);
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        let log = site.plot.log()[seen..].to_owned();
        named += usize::from(names_the_cut(&log, tail.len(), header));
    }
    outage(&house, false);
    let verdict = ledger.settle(&house, &site.lab, &mut arrivals, &cuts);
    ledger.is_told(&house, &tenant.key, &arrivals);
    println!(
        "D8: {rounds} kills with 1 octet to 1 MiB of zeros, of random octets and of an older segment behind the end; {} \
         messages acknowledged, 0 lost, {} extra copies; {named} cuts named; started after {slowest} ms at most",
        verdict.messages,
        verdict.extra_copies()
    );
    assert_eq!(house.stop().code(), Some(0));
    is_read_over_errors(&spool);
}

/// Octets of segments that were changed.
type Hits = Vec<(u32, Range<usize>)>;

/// Damages sealed segments; each kind in its turn.
fn rot(round: usize, spool: &Path, sealed: &[u32], random: &mut Random) -> Hits {
    let mut files: Vec<Vec<u8>> =
        sealed.iter().map(|segment| std::fs::read(path_of(spool, *segment)).unwrap()).collect();
    let mut hits = Hits::new();
    let mut block = |files: &[Vec<u8>]| {
        let file = random.below(files.len() as u64) as usize;
        let start = random.below((files[file].len() / BLOCK) as u64) as usize * BLOCK;
        (file, start..start + BLOCK)
    };
    match round % 3 {
        0 => {
            for _ in 0..20 {
                let (file, range) = block(&files);
                let at = range.start + (range.start / BLOCK * 977 + 13) % BLOCK;
                files[file][at] ^= 1 << (at % 8);
                hits.push((sealed[file], at..at + 1));
            }
        }
        1 => {
            for _ in 0..4 {
                let (file, range) = block(&files);
                files[file][range.clone()].fill(0);
                hits.push((sealed[file], range));
            }
        }
        _ => {
            for _ in 0..3 {
                let (one, other) = (block(&files), block(&files));
                let (first, second) =
                    (files[one.0][one.1.clone()].to_vec(), files[other.0][other.1.clone()].to_vec());
                files[one.0][one.1.clone()].copy_from_slice(&second);
                files[other.0][other.1.clone()].copy_from_slice(&first);
                hits.extend([(sealed[one.0], one.1), (sealed[other.0], other.1)]);
            }
        }
    }
    for (segment, octets) in sealed.iter().zip(files) {
        std::fs::write(path_of(spool, *segment), octets).unwrap();
    }
    hits
}

/// The recipients of messages that lie in these places.
fn recipients_in(spool: &Path, segments: &[u32]) -> Vec<(u32, Range<usize>, Vec<String>)> {
    let (inspection, mut found) = (Inspection::open(spool).unwrap(), Vec::new());
    for segment in segments {
        let show = |piece: spool::inspect::Piece| {
            let Content::Record(record) = piece.content else { return };
            let Record::Accepted(accepted) = &*record else { return };
            let from = piece.position.offset() as usize;
            let recipients = accepted.recipients.iter().map(|one| one.forward_path.to_string()).collect();
            found.push((*segment, from..from + piece.octets as usize, recipients));
        };
        inspection.pieces(*segment, show).unwrap();
    }
    found
}

/// The recipients of the messages in whose places something was changed.
fn hit_by(hits: &Hits, places: Vec<(u32, Range<usize>, Vec<String>)>) -> HashSet<String> {
    let is_hit = |segment: u32, range: &Range<usize>| {
        hits.iter()
            .any(|(hit, octets)| *hit == segment && octets.start < range.end && range.start < octets.end)
    };
    let hit = places.into_iter().filter(|(segment, range, _)| is_hit(*segment, range));
    hit.flat_map(|(.., recipients)| recipients).collect()
}

/// Where the damaged pieces are. `posthouse spool verify` says the same.
fn damaged(spool: &Path) -> Vec<Position> {
    let reports = Inspection::open(spool).unwrap().verify();
    let pieces: Vec<Position> =
        reports.into_iter().flat_map(|report| report.damage).map(|(position, _)| position).collect();
    let output = Command::new(binary()).args(["spool", "verify", "--spool"]).arg(spool).output().unwrap();
    assert_eq!(output.status.code(), Some(if pieces.is_empty() { 0 } else { 65 }));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(pieces.iter().all(|piece| said.contains(&piece.to_string())), "{said}");
    pieces
}

/// The first read of the journal fails once, as where a sector is bad for a while: what is found is the same.
fn is_read_over_errors(spool: &Path) {
    if !can_trace("D8") {
        return;
    }
    let verify = |mut command: Command| {
        let output = command.args(["spool", "verify", "--json", "--spool"]).arg(spool).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let plain = verify(Command::new(binary()));
    let lines = tempfile::NamedTempFile::new().unwrap();
    let traced = |words: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-y", "-qq", "-etrace=pread64"]).args(words).arg("-o").arg(lines.path()).arg(binary());
        (verify(strace), std::fs::read_to_string(lines.path()).unwrap())
    };
    // The loader of the program reads before it does.
    let (seen, calls) = traced(&[]);
    let first = calls.lines().position(|line| line.contains(".seg>")).expect("it reads the journal") + 1;
    let (with_error, calls) = traced(&[&format!("-einject=pread64:error=EIO:when={first}")]);
    let hit = calls.lines().find(|line| line.contains("(INJECTED)")).expect("a read failed");
    assert!(hit.contains(".seg>"), "{hit}");
    assert_eq!((&seen, &with_error), (&plain, &plain));
}

/// Of these, those that have no copy in quarantine.
fn not_kept(spool: &Path, pieces: &[Position]) -> Vec<Position> {
    let copy = |piece: &&Position| {
        let name = format!("quarantine/{:08x}-{:08x}.bad", piece.segment(), piece.offset());
        spool.join(name).exists()
    };
    pieces.iter().filter(|piece| !copy(piece)).copied().collect()
}

/// Mail that waits in segments of its own, closed by the kill; the house is down.
fn lie_in_wait(site: &Site, house: House, tenant: &Tenant, ledger: &Arc<Ledger>) -> Vec<u32> {
    let spool = PathBuf::from(house.text("/spool"));
    outage(&house, true);
    let last = || segments(&spool).last().copied().unwrap_or(0);
    let first = last();
    let load = Load::start(&site.door(&house, tenant), ledger, MIX, Shape::Small);
    wait_for("four closed segments", || {
        let_pass(Duration::from_millis(100));
        (last() >= first + 6).then_some(())
    });
    house.kill();
    load.finish();
    let all = segments(&spool);
    all[..all.len() - 1].iter().copied().filter(|segment| *segment > first).collect()
}

#[test]
fn s9_rot_costs_what_it_hits_and_no_wrong_octet_is_delivered() {
    let mut site = Site::new();
    site.plot.set("spool.segment_octets_max", "65536");
    // A message that cannot be read takes the turn of a connection each time.
    site.plot.set("egress.limits.connections_per_minute", "0");
    let mut house = site.start();
    let (tenant, _) = house.onboard("rot", "rot.example", "127.2.0.172");
    let spool = PathBuf::from(house.text("/spool"));
    let ledger = Arc::new(Ledger::default());
    let (mut arrivals, mut cuts, mut random) = (Arrivals::new(), Vec::new(), Random::from_number(9));
    let (rounds, mut changed, mut lost) = (rounds(6, 60), 0, HashSet::new());
    for round in 0..rounds {
        let from_ms = now_ms();
        let sealed = lie_in_wait(&site, house, &tenant, &ledger);
        let places = recipients_in(&spool, &sealed);
        let hits = rot(round, &spool, &sealed, &mut random);
        let hit = hit_by(&hits, places);
        changed += hits.len();
        let pieces = damaged(&spool);
        assert!(!pieces.is_empty());
        // Never refused.
        house = site.start();
        cuts.push(Cut { from_ms, to_ms: now_ms() });
        outage(&house, false);
        lost.extend(hit.iter().cloned());
        wait_for("everything that was not hit to arrive", || {
            arrivals.collect(&site.lab);
            ledger.missing(&arrivals).iter().all(|recipient| lost.contains(recipient)).then_some(())
        });
        // Bodies are looked at when they are wanted: until each of those has been asked for.
        wait_or(
            "all that was hit to be in quarantine",
            || not_kept(&spool, &pieces).is_empty().then_some(()),
            || format!("{:?} of {pieces:?}", not_kept(&spool, &pieces)),
        );
        let (_, ready) = house.api("GET", "/ready", "", None);
        let told = ready["journal"]["quarantined"].as_u64().unwrap_or(0);
        let figure = house.metric("posthouse_spool_quarantined_total");
        assert!(told >= 1 && figure == told as f64, "{told}, {figure}");
        println!(
            "S9, round {round}: {} places in {} segments changed, {} messages hit, {} pieces of the journal damaged, {told} \
             told of by the API",
            hits.len(),
            sealed.len(),
            hit.len(),
            pieces.len(),
        );
    }
    arrivals.collect(&site.lab);
    let breaches = ledger.judge(&arrivals, &cuts).err().unwrap_or_default();
    let of_the_hit = |breach: &&String| {
        breach.strip_suffix(": acknowledged, lost").is_some_and(|recipient| lost.contains(recipient))
    };
    let other: Vec<_> = breaches.iter().filter(|breach| !of_the_hit(breach)).collect();
    assert_eq!(other, Vec::<&String>::new(), "only what was hit may be missing, and nothing may be wrong");
    println!(
        "S9: {rounds} kills, {changed} places changed, {} messages acknowledged, {} of them hit and not delivered, 0 \
         wrong",
        ledger.acknowledged(),
        breaches.len(),
    );
    assert_eq!(house.stop().code(), Some(0));
}
