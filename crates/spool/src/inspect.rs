//! Looking at a journal without opening it: every record of every segment, with all checksums checked.
//!
//! It reads and nothing else: no lock is taken, nothing is cut, copied or removed, so it may run beside the node that
//! owns the journal. What may change meanwhile: the last segment grows and may end in a write that is not finished,
//! and an old segment may go; both are told from damage. For people who must know what is on the disk
//! (`posthouse spool`).

use crate::disk::RealFile;
use crate::ledger::Ledger;
use crate::record::Logged;
use crate::segment::{self, Found, SEGMENT_HEADER, Scan, file_name, read_over_errors, segment_of};
use crate::{Accepted, DiskFile, Position, RecipientState, Record, wire};
use bytes::Bytes;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of a segment: a whole record, or damage.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where it begins.
    pub position: Position,
    /// How long it is, frame included.
    pub octets: u64,
    /// What it holds.
    pub content: Content,
}

/// What stands at a position.
#[derive(Debug, Clone)]
pub enum Content {
    /// A record of what happened.
    Record(Arc<Record>),
    /// A waiting message that was copied forward.
    Copy {
        /// The message, but for its text.
        accepted: Arc<Accepted>,
        /// Where it lay before.
        from: Position,
        /// Recipients that were open when it was copied.
        open: Vec<RecipientState>,
    },
    /// Nothing that can be read.
    Damage,
    /// The end of the last segment: a write that was not finished, or is not yet.
    Unfinished,
}

/// What one segment holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// Number of the segment, as in its file name.
    pub segment: u32,
    /// Of the file.
    pub octets: u64,
    /// That can be read.
    pub records: u64,
    /// Of them, messages copied forward.
    pub copies: u64,
    /// Of them, of a kind or version that this program does not know.
    pub unknown: u64,
    /// Messages lying here that have open recipients.
    pub waiting: u64,
    /// Where the damaged pieces are, and how long.
    pub damage: Vec<(Position, u64)>,
    /// Behind the last whole record of the last segment: a group that was being written. No damage.
    pub unfinished_octets: u64,
    /// Why it could not be read at all.
    pub unreadable: Option<String>,
}

impl SegmentReport {
    /// Every octet of it belongs to a record.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.unreadable.is_none()
    }
}

/// The segments of a spool directory, for reading.
pub struct Inspection {
    directory: PathBuf,
    segments: Vec<u32>,
}

impl Inspection {
    /// Lists the segments.
    ///
    /// # Errors
    /// What the operating system says if the directory cannot be listed, such as `NotFound`.
    pub fn open(directory: &Path) -> io::Result<Inspection> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            segments.extend(entry?.file_name().to_str().and_then(segment_of));
        }
        segments.sort_unstable();
        Ok(Inspection { directory: directory.to_owned(), segments })
    }

    /// Whether a node has the journal open.
    pub fn is_in_use(&self) -> bool {
        let held = |file: File| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        File::open(self.directory.join("lock")).is_ok_and(held)
    }

    /// Numbers of all segments that are there, oldest first.
    pub fn segments(&self) -> &[u32] {
        &self.segments
    }

    /// Reads everything, body by body. One report a segment, oldest first.
    pub fn verify(&self) -> Vec<SegmentReport> {
        let mut ledger = Ledger::default();
        let mut reports: Vec<SegmentReport> =
            self.segments.iter().filter_map(|segment| self.verify_segment(*segment, &mut ledger)).collect();
        for report in &mut reports {
            report.waiting = ledger.segments.get(&report.segment).map_or(0, |state| u64::from(state.open));
        }
        reports
    }

    /// None if it was removed meanwhile.
    fn verify_segment(&self, segment: u32, ledger: &mut Ledger) -> Option<SegmentReport> {
        let mut report = SegmentReport { segment, ..SegmentReport::default() };
        let walked = self.walk(segment, |piece, logged| {
            report.octets = u64::from(piece.position.offset()) + piece.octets;
            match piece.content {
                Content::Damage => report.damage.push((piece.position, piece.octets)),
                Content::Unfinished => report.unfinished_octets += piece.octets,
                Content::Copy { .. } => {
                    (report.records, report.copies) = (report.records + 1, report.copies + 1)
                }
                Content::Record(record) => {
                    report.records += 1;
                    report.unknown += u64::from(matches!(*record, Record::Unknown { .. }));
                }
            }
            logged.map(|logged| ledger.apply(piece.position, piece.octets, logged));
        });
        match walked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(SegmentReport { unreadable: Some(error.to_string()), ..report }),
            Ok(()) => Some(report),
        }
    }

    /// Shows every piece of a segment in order.
    ///
    /// # Errors
    /// What the operating system says if the segment cannot be opened (`NotFound` if it is gone), or there are
    /// no descriptors or memory. Damage and bad sectors are shown, not an error.
    pub fn pieces(&self, segment: u32, mut show: impl FnMut(Piece)) -> io::Result<()> {
        self.walk(segment, |piece, _| show(piece))
    }

    fn segment_file(&self, segment: u32) -> io::Result<RealFile> {
        let file = File::open(self.directory.join(file_name(segment)))?;
        // The node opens it to write as well, which no directory allows.
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        RealFile::new(file)
    }

    fn walk(&self, segment: u32, mut show: impl FnMut(Piece, Option<&Logged>)) -> io::Result<()> {
        let file: Arc<dyn DiskFile> = Arc::new(self.segment_file(segment)?);
        let end = file.len()?.min(u64::from(u32::MAX));
        let mut header = [0; SEGMENT_HEADER.len()];
        // A bad sector costs what lies in it, here as for the node.
        read_over_errors(&*file, &mut header, 0)?;
        let read = SEGMENT_HEADER.len().min(end as usize);
        let is_last = self.segments.last() == Some(&segment);
        if header[..read] != SEGMENT_HEADER[..read] || (read < header.len() && !is_last) {
            let content = Content::Damage;
            show(Piece { position: Position::new(segment, 0), octets: read as u64, content }, None);
        }
        let mut scan = Scan::new(file, Position::new(segment, 0), end, segment::Bodies::Check);
        // Damage is the unfinished end only if nothing whole follows and nothing was written behind.
        let mut damage = Vec::new();
        while let Some(found) = scan.next()? {
            match found {
                Found::Damage { position, octets } => damage.push((position, octets)),
                Found::Frame { position, header, meta } => {
                    for (position, octets) in damage.drain(..) {
                        show(Piece { position, octets, content: Content::Damage }, None);
                    }
                    let logged = wire::decode(header.kind, header.version, &meta);
                    let content = logged.clone().map_or(Content::Damage, Content::from);
                    show(Piece { position, octets: header.len(), content }, logged.as_ref());
                }
            }
        }
        for (position, octets) in damage {
            let content = if is_last { Content::Unfinished } else { Content::Damage };
            show(Piece { position, octets, content }, None);
        }
        Ok(())
    }

    /// The body of the message at a position, if it is whole.
    ///
    /// # Errors
    /// What the operating system says if the segment cannot be opened (`NotFound` if it is gone) or does not
    /// give the octets. A damaged record is no error, but none.
    pub fn body(&self, position: Position) -> io::Result<Option<Bytes>> {
        let file = self.segment_file(position.segment())?;
        let mut head = [0; segment::FRAME_HEADER_OCTETS];
        file.read_at(&mut head, u64::from(position.offset()))?;
        let Some(header) = segment::FrameHeader::parse(&head, position) else { return Ok(None) };
        let at = u64::from(position.offset()) + header.len() - u64::from(header.body_len);
        // The header is checked, so this is what was written, not what somebody made up.
        let mut body = vec![0; header.body_len as usize];
        let read = file.read_at(&mut body, at)?;
        body.truncate(read);
        Ok(header.body_is_whole(&body).then(|| Bytes::from(body)))
    }
}

impl From<Logged> for Content {
    fn from(logged: Logged) -> Content {
        match logged {
            Logged::Record(record) => Content::Record(record),
            Logged::Moved(moved) => Content::Copy {
                accepted: Arc::clone(&moved.accepted),
                from: moved.from,
                open: moved.open.clone(),
            },
        }
    }
}
