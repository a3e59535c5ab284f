//! The state of the log as recovery reads it, segment by segment, oldest first.
//!
//! What is whole counts; damage goes to quarantine and is skipped. A segment that the disk does not give, in whole or
//! at all, is neither cut nor removed: the next start may be luckier. Called by `recover.rs` and `loading.rs`.

use crate::ledger::{Ledger, SegmentState};
use crate::quarantine::{Kept, Quarantine};
use crate::record::{Logged, Record};
use crate::recover::Torn;
use crate::segment::{self, Found, SEGMENT_HEADER, Scan, read_over_errors};
use crate::{DiskFile, Position, wire};
use std::io;
use std::sync::Arc;

const CHUNK_OCTETS: u64 = 1 << 20;

/// How the last segment is gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Written on from here.
    Ends(u64),
    /// The disk did not give all of it. It stays as it is: what looks like a torn end may be acknowledged mail, which
    /// another start may be able to read. The log goes on in the next segment.
    Unreadable(u64),
}

/// The state of the log as far as it was read.
pub(crate) struct Reading {
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) ledger: Ledger,
    pub(crate) unknown: u64,
    pub(crate) torn: Option<Torn>,
}

/// A segment that is being read.
pub(crate) struct Begun {
    part: Part,
    file: Arc<dyn DiskFile>,
    scan: Scan,
}

enum Part {
    Sealed,
    BeginningOfActive,
}

impl Reading {
    pub(crate) fn new(quarantine: Arc<Quarantine>) -> Reading {
        Reading { quarantine, ledger: Ledger::default(), unknown: 0, torn: None }
    }

    /// It is there; what is in it shows when it is read.
    pub(crate) fn note_segment(&mut self, segment: u32, len: u64) {
        let octets = len.min(u64::from(u32::MAX));
        self.ledger.segments.insert(segment, SegmentState { octets, ..SegmentState::default() });
    }

    /// What was found in the last segment when the log was taken up, once more and behind all others: what is settled
    /// in it was accepted in them. `end` is where it ended then. Bodies are checked again, for a group that was torn may
    /// have left whole records behind damaged ones.
    pub(crate) fn beginning_of_active(segment: u32, file: Arc<dyn DiskFile>, end: u64) -> Begun {
        let scan = Scan::new(Arc::clone(&file), Position::new(segment, 0), end, segment::Bodies::Check);
        Begun { part: Part::BeginningOfActive, file, scan }
    }

    /// All of it was acknowledged: whatever cannot be read is damage.
    pub(crate) fn sealed_segment(&mut self, segment: u32, file: Arc<dyn DiskFile>) -> io::Result<Begun> {
        let octets = file.len()?.min(u64::from(u32::MAX));
        self.note_segment(segment, octets);
        self.check_header(segment, &file)?;
        let scan = Scan::new(Arc::clone(&file), Position::new(segment, 0), octets, segment::Bodies::Skip);
        Ok(Begun { part: Part::Sealed, file, scan })
    }

    /// To the end of it. After an error that passes it goes on where it was: no record is taken twice.
    pub(crate) fn go_on(&mut self, Begun { part, file, scan }: &mut Begun) -> io::Result<()> {
        while let Some(found) = scan.next()? {
            self.take(file, found);
        }
        if !scan.met_read_errors() {
            return Ok(());
        }
        match part {
            Part::Sealed => {
                self.keep_for_the_next_start(scan.position().segment());
                Ok(())
            }
            Part::BeginningOfActive => Err(io::Error::other("it could be read a moment ago")),
        }
    }

    pub(crate) fn last_segment(&mut self, segment: u32, file: &Arc<dyn DiskFile>) -> io::Result<Tail> {
        let octets = file.len()?.min(u64::from(u32::MAX));
        self.ledger.segments.insert(segment, SegmentState::default());
        let mut scan = Scan::new(Arc::clone(file), Position::new(segment, 0), octets, segment::Bodies::Check);
        let mut end = SEGMENT_HEADER.len() as u64;
        // Damage is only damage if a whole record follows; else it is the torn end.
        let mut damaged: Vec<Found> = Vec::new();
        while let Some(found) = scan.next()? {
            match found {
                Found::Damage { .. } => damaged.push(found),
                Found::Frame { .. } => {
                    damaged.drain(..).for_each(|found| self.take(file, found));
                    self.take(file, found);
                    end = u64::from(scan.position().offset());
                }
            }
        }
        if scan.met_read_errors() {
            damaged.drain(..).for_each(|found| self.take(file, found));
            self.ledger.segments.entry(segment).or_default().octets = octets;
            self.keep_for_the_next_start(segment);
            return Ok(Tail::Unreadable(octets));
        }
        if octets > end {
            self.cut(file, Torn { position: Position::new(segment, end as u32), octets: octets - end })?;
        }
        if let Some(state) = self.ledger.segments.get_mut(&segment) {
            state.octets = end;
        }
        Ok(Tail::Ends(end))
    }

    /// It cannot be opened, or does not even say how long it is. The others are served; what only it knows, waiting
    /// messages and completion records, is missing until a start that can read it.
    pub(crate) fn unreadable_segment(&mut self, segment: u32, error: &io::Error) {
        self.quarantine.list_segment(segment, error);
        let state = SegmentState { pinned: true, unreadable: true, ..SegmentState::default() };
        self.ledger.segments.insert(segment, state);
    }

    fn cut(&mut self, file: &Arc<dyn DiskFile>, torn: Torn) -> io::Result<()> {
        tracing::warn!(position = %torn.position, octets = torn.octets, "the journal ends in an unfinished write; it is cut off");
        if !is_zero(&**file, &torn)? {
            self.quarantine.keep_torn(&**file, torn.position, torn.octets);
        }
        self.torn = Some(torn);
        Ok(())
    }

    fn check_header(&mut self, segment: u32, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        let mut header = [0; SEGMENT_HEADER.len()];
        read_over_errors(&**file, &mut header, 0)?;
        if header != *SEGMENT_HEADER {
            self.quarantine.keep(&**file, Position::new(segment, 0), header.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, file: &Arc<dyn DiskFile>, found: Found) {
        match found {
            Found::Damage { position, octets } => {
                if self.quarantine.keep(&**file, position, octets) == Kept::NotCopied {
                    self.pin(position);
                }
            }
            Found::Frame { position, header, meta } => match wire::decode(header.kind, header.version, &meta)
            {
                Some(logged) => self.apply(position, header.len(), &logged),
                None => {
                    self.quarantine.keep(&**file, position, header.len());
                    self.pin(position);
                }
            },
        }
    }

    fn apply(&mut self, position: Position, octets: u64, logged: &Logged) {
        self.ledger.apply(position, octets, logged);
        if let Logged::Record(record) = logged
            && let Record::Unknown { kind, .. } = **record
        {
            self.unknown += 1;
            if kind < wire::KIND_DISPENSABLE {
                self.pin(position);
            }
        }
    }

    /// There may be mail in it that nobody knows of now.
    fn keep_for_the_next_start(&mut self, segment: u32) {
        tracing::error!(segment, "the disk does not give all of a segment; it is kept as it is");
        self.pin(Position::new(segment, 0));
    }

    fn pin(&mut self, position: Position) {
        self.ledger.segments.entry(position.segment()).or_default().pinned = true;
    }
}

/// A file system often leaves zeros where a write did not arrive; they need no copy.
fn is_zero(file: &dyn DiskFile, torn: &Torn) -> io::Result<bool> {
    let mut done = 0;
    let mut chunk = Vec::new();
    while done < torn.octets {
        chunk.resize((torn.octets - done).min(CHUNK_OCTETS) as usize, 0);
        read_over_errors(file, &mut chunk, u64::from(torn.position.offset()) + done)?;
        if chunk.iter().any(|octet| *octet != 0) {
            return Ok(false);
        }
        done += chunk.len() as u64;
    }
    Ok(true)
}
