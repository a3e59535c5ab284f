//! What must hold of a record and of a journal whatever octets they are made of. For `properties` and its fuzz targets;
//! not part of what a node runs.
//!
//! A journal is built from a list of pieces: frames that are whole and in their place, and rubbish between them. So a
//! generator that knows nothing of checksums gets behind them, and what has to be found again is known.

use crate::lying::LyingDisk;
use crate::record::{Accepted, Attempted, Logged, Moved, OutcomeRecord, Record, Settled};
use crate::segment::{FRAME_HEADER_OCTETS, Frame, SEGMENT_HEADER, file_name};
use crate::wire::{self, KIND_MOVED, VERSION};
use crate::{Config, Position, Spool};
use bytes::Bytes;
use mail::{Clock, Instant, MessageId, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One piece of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole frame in its place.
    Frame {
        /// What it says it is.
        kind: u8,
        /// What stands before the body.
        meta: &'a [u8],
        /// The text of a message; empty for every other record.
        body: &'a [u8],
    },
    /// A frame one octet of whose contents is another than it was.
    Damaged {
        /// What it says it is.
        kind: u8,
        /// What stands before the body.
        meta: &'a [u8],
        /// Which octet of it is another.
        octet: usize,
    },
    /// Octets that are no frame.
    Rubbish(&'a [u8]),
    /// The next segment begins.
    Rotation,
}

/// Decoding gives what encoding gave, or nothing. Whether it gave something.
pub fn record(kind: u8, version: u8, meta: &[u8]) -> bool {
    let Some(logged) = wire::decode(kind, version, meta) else { return false };
    let again = match &logged {
        Logged::Record(record) => match &**record {
            Record::Accepted(accepted) => wire::accepted_frame(accepted, Bytes::new()),
            Record::Attempted(attempted) => outcome(OutcomeRecord::Attempted(Attempted::clone(attempted))),
            Record::Settled(settled) => outcome(OutcomeRecord::Settled(Settled::clone(settled))),
            Record::Unknown { .. } => return true,
        },
        Logged::Moved(moved) => copy_of(moved),
    };
    let decoded = wire::decode(again.kind(), again.version(), again.meta());
    assert!(
        decoded.is_some_and(|decoded| decoded == logged),
        "a record is another one when it is read again"
    );
    true
}

/// Opens what is left of a journal, twice. Every message that lies there whole and was not settled is found both times,
/// in order, with its body.
pub fn journal(pieces: &[Piece<'_>]) {
    let config = Config {
        directory: PathBuf::from("/spool"),
        reserve_octets: 0,
        readers: Vec::new(),
        ..Config::default()
    };
    let disk = LyingDisk::new();
    let written = write(pieces, &config.directory, &disk);
    let first = recovered(&config, &disk);
    assert_eq!(first, recovered(&config, &disk), "opening a journal twice does not give the same");
    let found: Vec<MessageId> = first.iter().map(|(message, _, _)| *message).collect();
    let missing = written.iter().find(|message| !found.contains(message));
    assert!(missing.is_none(), "a message lies whole in the journal and was not found");
    let twice = found.iter().enumerate().find(|(index, message)| found[..*index].contains(message));
    assert!(twice.is_none(), "a message is found twice");
}

/// Gives the messages that have to be found: those that nothing but their own acceptance speaks of.
fn write(pieces: &[Piece<'_>], directory: &Path, disk: &LyingDisk) -> Vec<MessageId> {
    let (mut segment, mut octets) = (1, SEGMENT_HEADER.to_vec());
    let (mut accepted, mut spoken_of) = (Vec::new(), Vec::new());
    for piece in pieces {
        let place = |frame: &mut Frame| frame.place(Position::new(segment, octets.len() as u32));
        match piece {
            Piece::Rotation => {
                disk.replace(&directory.join(file_name(segment)), std::mem::take(&mut octets));
                (segment, octets) = (segment + 1, SEGMENT_HEADER.to_vec());
            }
            Piece::Rubbish(rubbish) => octets.extend_from_slice(rubbish),
            Piece::Frame { kind, meta, body } => {
                match wire::decode(*kind, VERSION, meta) {
                    Some(Logged::Record(record)) => match &*record {
                        Record::Accepted(record) if is_open(record) => accepted.push(record.message),
                        record => spoken_of.extend(record.message()),
                    },
                    Some(Logged::Moved(moved)) => spoken_of.push(moved.accepted.message),
                    None => {}
                }
                let mut frame = frame(*kind, meta, body);
                place(&mut frame);
                octets.extend_from_slice(&frame.head);
                octets.extend_from_slice(&frame.body);
            }
            Piece::Damaged { kind, meta, octet } => {
                let mut frame = frame(*kind, meta, b"body");
                place(&mut frame);
                let at = FRAME_HEADER_OCTETS + octet % meta.len().max(1);
                match frame.head.get_mut(at) {
                    Some(octet) => *octet ^= 1,
                    None => frame.body = Bytes::from_static(b"bodx"),
                }
                octets.extend_from_slice(&frame.head);
                octets.extend_from_slice(&frame.body);
            }
        }
    }
    disk.replace(&directory.join(file_name(segment)), octets);
    let mut once = Vec::new();
    for message in &accepted {
        let times = accepted.iter().filter(|other| *other == message).count();
        if times == 1 && !spoken_of.contains(message) {
            once.push(*message);
        }
    }
    once
}

fn is_open(accepted: &Accepted) -> bool {
    !accepted.recipients.is_empty()
}

/// What is waiting: message, position, length of its body or nothing if that is damaged.
fn recovered(config: &Config, disk: &LyingDisk) -> Vec<(MessageId, Position, u64)> {
    let opened = Spool::open_stepped(config.clone(), Arc::new(disk.clone()), Arc::new(StoppedClock));
    let Ok((_spool, _steps, recovery)) = opened else { panic!("the journal did not open") };
    recovery.unsettled.map(|found| (found.accepted.message, found.position, found.accepted.size)).collect()
}

fn frame(kind: u8, meta: &[u8], body: &[u8]) -> Frame {
    Frame::new(kind, VERSION, Bytes::copy_from_slice(body), |head| head.extend_from_slice(meta))
}

fn outcome(record: OutcomeRecord) -> Frame {
    wire::outcome_frame(&record)
}

fn copy_of(moved: &Moved) -> Frame {
    let accepted = wire::accepted_frame(&moved.accepted, Bytes::new()).meta().to_vec();
    let frame = wire::moved_frame(accepted, moved.from, &moved.open, Bytes::new());
    debug_assert_eq!(frame.kind(), KIND_MOVED);
    frame
}

struct StoppedClock;

impl Clock for StoppedClock {
    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(1_795_425_249_120)
    }

    fn instant(&self) -> Instant {
        Instant::ZERO
    }
}
