//! How records lie in a segment file: the frame, its checksums, and reading a file that may be damaged.
//!
//! ```text
//! segment   "posthouse spool segment 1\n" padded with zeros to 32 octets, then frames
//! frame     magic 4 · kind 1 · version 1 · zero 2 · meta length 4 · body length 4 · meta crc 4 · body crc 4 ·
//!           header crc 4 · meta · body                                             (numbers little-endian)
//! ```
//!
//! The header's checksum also covers the segment number and the offset, so a frame is valid in one place only: a
//! piece of an older segment, or a block that the disk put elsewhere, is not taken for a record. Because a header
//! proves its lengths, damage in a body costs that record and no other. What may surprise: where a header itself is
//! damaged we look for the next octets that are a header for exactly their place; a sender would have to guess the
//! segment and offset of his own mail, and then the disk would have to destroy just the header in front of it.

use crate::error::is_passing;
use crate::{DiskFile, Position};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

pub(crate) const SEGMENT_HEADER: &[u8; 32] = b"posthouse spool segment 1\n\0\0\0\0\0\0";
pub(crate) const FRAME_HEADER_OCTETS: usize = 28;
const MAGIC: [u8; 4] = *b"\xf0PHR";
/// Read at once while scanning.
const WINDOW_OCTETS: usize = 256 << 10;
/// Read at once where a body was skipped: a header and, as a rule, its meta. Large bodies are not read to find out
/// what lies behind them.
const SKIPPED_OCTETS: usize = 8 << 10;
/// What one bad sector costs when a read fails.
const BLOCK_OCTETS: usize = 4_096;

pub(crate) fn file_name(segment: u32) -> String {
    format!("{segment:08x}.seg")
}

pub(crate) fn segment_of(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().filter(|segment| *segment > 0)
}

/// A record ready to be written; only its place is missing.
pub(crate) struct Frame {
    /// Header and meta.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

impl Frame {
    /// `encode` appends the meta. The checksums of the contents are made here, by the appender, so that the commit
    /// thread only has to do the 28 octets of the header.
    pub(crate) fn new(kind: u8, version: u8, body: Bytes, encode: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&[kind, version, 0, 0]);
        head.resize(FRAME_HEADER_OCTETS, 0);
        encode(&mut head);
        let meta_len = (head.len() - FRAME_HEADER_OCTETS) as u32;
        let meta_crc = crc32fast::hash(&head[FRAME_HEADER_OCTETS..]);
        head[8..12].copy_from_slice(&meta_len.to_le_bytes());
        head[12..16].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[16..20].copy_from_slice(&meta_crc.to_le_bytes());
        head[20..24].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
        Frame { head, body }
    }

    pub(crate) fn len(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    pub(crate) fn kind(&self) -> u8 {
        self.head[4]
    }

    pub(crate) fn version(&self) -> u8 {
        self.head[5]
    }

    pub(crate) fn meta(&self) -> &[u8] {
        &self.head[FRAME_HEADER_OCTETS..]
    }

    /// Makes the frame valid at `position` and nowhere else.
    pub(crate) fn place(&mut self, position: Position) {
        let crc = header_crc(&self.head[..24], position);
        self.head[24..28].copy_from_slice(&crc.to_le_bytes());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) meta_len: u32,
    pub(crate) body_len: u32,
    meta_crc: u32,
    body_crc: u32,
}

impl FrameHeader {
    /// None if these octets are not a header of a frame at `position`.
    pub(crate) fn parse(octets: &[u8], position: Position) -> Option<FrameHeader> {
        let octets = octets.get(..FRAME_HEADER_OCTETS)?;
        if octets[..4] != MAGIC || number(&octets[24..]) != header_crc(&octets[..24], position) {
            return None;
        }
        Some(FrameHeader {
            kind: octets[4],
            version: octets[5],
            meta_len: number(&octets[8..]),
            body_len: number(&octets[12..]),
            meta_crc: number(&octets[16..]),
            body_crc: number(&octets[20..]),
        })
    }

    pub(crate) fn len(&self) -> u64 {
        FRAME_HEADER_OCTETS as u64 + u64::from(self.meta_len) + u64::from(self.body_len)
    }

    pub(crate) fn meta_is_whole(&self, meta: &[u8]) -> bool {
        meta.len() == self.meta_len as usize && crc32fast::hash(meta) == self.meta_crc
    }

    pub(crate) fn body_is_whole(&self, body: &[u8]) -> bool {
        body.len() == self.body_len as usize && crc32fast::hash(body) == self.body_crc
    }
}

fn number(octets: &[u8]) -> u32 {
    u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]])
}

fn header_crc(octets: &[u8], position: Position) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(octets);
    hasher.update(&position.as_u64().to_le_bytes());
    hasher.finalize()
}

/// Whether a scan reads bodies to check them. Without, damage in a body shows when the body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    Check,
    Skip,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Frame { position: Position, header: FrameHeader, meta: Vec<u8> },
    Damage { position: Position, octets: u64 },
}

/// Goes through one segment from an offset to an end, frame by frame, over damage.
pub(crate) struct Scan {
    segment: u32,
    window: Window,
    offset: u64,
    end: u64,
    bodies: Bodies,
}

impl Scan {
    pub(crate) fn new(file: Arc<dyn DiskFile>, from: Position, end: u64, bodies: Bodies) -> Scan {
        let offset = u64::from(from.offset()).max(SEGMENT_HEADER.len() as u64);
        let window = Window { file, octets: Vec::new(), start: 0, met_errors: false };
        Scan { segment: from.segment(), window, offset, end, bodies }
    }

    /// The log has grown: what was read stays valid, what lay behind the old end is read anew.
    pub(crate) fn extend(&mut self, end: u64) {
        if end > self.end {
            self.end = end;
            self.window.octets.clear();
        }
    }

    /// Whether the disk refused to read a part: what looks like damage there may be whole.
    pub(crate) fn met_read_errors(&self) -> bool {
        self.window.met_errors
    }

    /// Where the next frame is expected.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.segment, self.offset as u32)
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let position = self.position();
        let header =
            FrameHeader::parse(self.window.slice(self.offset, FRAME_HEADER_OCTETS, self.end)?, position);
        let Some(header) = header else {
            let next = self.resynchronize()?;
            return Ok(Some(self.damage(position, next)));
        };
        let next = self.offset + header.len();
        if next > self.end {
            // The header is right and the rest was never written: nothing can follow.
            return Ok(Some(self.damage(position, self.end)));
        }
        let meta_at = self.offset + FRAME_HEADER_OCTETS as u64;
        let meta = self.window.slice(meta_at, header.meta_len as usize, self.end)?.to_vec();
        let mut whole = header.meta_is_whole(&meta);
        if whole && self.bodies == Bodies::Check {
            let body_at = meta_at + u64::from(header.meta_len);
            whole = header.body_is_whole(self.window.slice(body_at, header.body_len as usize, self.end)?);
        }
        if !whole {
            return Ok(Some(self.damage(position, next)));
        }
        self.offset = next;
        Ok(Some(Found::Frame { position, header, meta }))
    }

    fn damage(&mut self, position: Position, next: u64) -> Found {
        let octets = next - self.offset;
        self.offset = next;
        Found::Damage { position, octets }
    }

    /// The next offset with a valid header, or the end.
    fn resynchronize(&mut self) -> io::Result<u64> {
        let mut at = self.offset + 1;
        while at < self.end {
            let octets = self.window.slice(at, WINDOW_OCTETS, self.end)?;
            let last = octets.len().saturating_sub(FRAME_HEADER_OCTETS);
            for index in 0..=last {
                let here = Position::new(self.segment, (at + index as u64) as u32);
                if octets[index] == MAGIC[0] && FrameHeader::parse(&octets[index..], here).is_some() {
                    return Ok(at + index as u64);
                }
            }
            at += last as u64 + 1;
        }
        Ok(self.end)
    }
}

/// Whether the disk gave everything that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Whole,
    WithErrors,
}

/// A part of a file in memory.
struct Window {
    file: Arc<dyn DiskFile>,
    octets: Vec<u8>,
    start: u64,
    met_errors: bool,
}

impl Window {
    /// `len` octets from `offset`, fewer only where `end` cuts them off.
    fn slice(&mut self, offset: u64, len: usize, end: u64) -> io::Result<&[u8]> {
        let len = len.min(end.saturating_sub(offset) as usize);
        let held = self.start + self.octets.len() as u64;
        if offset < self.start || offset + len as u64 > held {
            let ahead = if offset > held { SKIPPED_OCTETS } else { WINDOW_OCTETS };
            let wanted = len.max(ahead).min((end - offset) as usize);
            self.octets.resize(wanted, 0);
            // Whatever comes of it, what was there is there no more.
            self.start = offset;
            let read = read_over_errors(&*self.file, &mut self.octets, offset);
            self.met_errors |= read.inspect_err(|_| self.octets.clear())? == Read::WithErrors;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.octets[from..from + len])
    }
}

/// Fills the buffer; what the disk cannot read, and what lies behind the end of the file, is zeros. A checksum tells
/// the difference, and one bad sector costs the records in it, not the segment. Errs for want of memory only, which says
/// nothing about the disk.
pub(crate) fn read_over_errors(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<Read> {
    match file.read_at(buffer, offset) {
        Ok(read) => {
            buffer[read..].fill(0);
            Ok(Read::Whole)
        }
        Err(error) if is_passing(&error) => Err(error),
        Err(error) => {
            tracing::warn!(offset, %error, "a read from the journal failed; reading block by block");
            for (index, block) in buffer.chunks_mut(BLOCK_OCTETS).enumerate() {
                let at = offset + (index * BLOCK_OCTETS) as u64;
                let read = match file.read_at(block, at) {
                    Err(error) if is_passing(&error) => return Err(error),
                    read => read.unwrap_or(0),
                };
                block[read..].fill(0);
            }
            Ok(Read::WithErrors)
        }
    }
}
