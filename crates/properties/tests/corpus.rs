//! The stored corpus of every fuzz target, and changes of it, without a fuzzing engine.
//!
//! A file of `fuzz/corpus/<target>` that failed once fails here again if its defect comes back. The changes are drawn from
//! a seed, so that a run on any machine is the same; `cargo xtask fuzz` looks further.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use mail::Random;
use properties::TARGETS;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Changes of each file.
const CHANGES: u64 = 60;
const OCTETS_MAX: usize = 4096;
/// What means something to one of the readers.
const WORDS: [&[u8]; 22] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b"\r\n.\r\n",
    b"\n.\n",
    b"BDAT 5 LAST\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"STARTTLS\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b",",
    b"(",
    b"250-",
    b" ",
    b"\xff",
];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn every_file_of_the_corpus_holds() {
    let mut mistakes = Vec::new();
    for (target, check) in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 3, "the corpus of {target} is gone");
        for (path, octets) in files {
            if catch_unwind(AssertUnwindSafe(|| check(&octets))).is_err() {
                mistakes.push(path.display().to_string());
            }
        }
    }
    assert!(mistakes.is_empty(), "these do not hold any more: {mistakes:#?}");
}

#[test]
fn changes_of_the_corpus_hold() {
    for (target, check) in TARGETS {
        let mut random = Random::from_number(4_1870);
        let files = corpus(target);
        let mut tried = 0;
        for (path, octets) in &files {
            for _ in 0..CHANGES {
                let other = &files[random.below(files.len() as u64) as usize].1;
                let changed = change(octets, other, &mut random);
                tried += 1;
                if catch_unwind(AssertUnwindSafe(|| check(&changed))).is_err() {
                    panic!(
                        "{target}: a change of {} does not hold: {}",
                        path.display(),
                        changed.escape_ascii()
                    );
                }
            }
        }
        println!("{target}: {tried} changes of {} files", files.len());
    }
}

/// One to four changes: an octet, a word, a piece less, a piece twice, the end of another file.
fn change(octets: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut changed = octets.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(changed.len() as u64 + 1) as usize;
        let end = at + random.below((changed.len() - at) as u64 + 1) as usize;
        match random.below(6) {
            0 if at < changed.len() => changed[at] = random.below(256) as u8,
            1 if at < changed.len() => changed[at] ^= 1 << random.below(8),
            2 => drop(changed.drain(at..end)),
            3 => {
                let piece = changed[at..end].to_vec();
                changed.splice(at..at, piece);
            }
            4 => {
                let from = random.below(other.len() as u64 + 1) as usize;
                changed.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let word = WORDS[random.below(WORDS.len() as u64) as usize];
                changed.splice(at..at, word.iter().copied());
            }
        }
        changed.truncate(OCTETS_MAX);
    }
    changed
}

/// Not vacuous: what the corpus holds leads behind the first refusal.
#[test]
fn the_corpus_reaches_records_and_messages() {
    let decoded = corpus("record")
        .iter()
        .filter(|(_, octets)| spool::probe::record(octets[0], 1, &octets[1..]))
        .count();
    assert!(decoded >= 4, "{decoded} records of the corpus are records");
    let ends = |octets: &[u8]| octets.windows(5).any(|window| window == b"\r\n.\r\n");
    assert!(corpus("server").iter().any(|(_, octets)| ends(octets)), "no message in the corpus");
}
