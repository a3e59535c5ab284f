//! Where damaged pieces of the journal go: copied aside for a person to look at, listed, never deleted.
//!
//! The piece stays where it is in its segment as well, until the segment goes; the copy stays for good. A copy that
//! cannot be made does not stop anybody: it is logged, and the segment is kept instead.

use crate::segment::read_over_errors;
use crate::{Disk, DiskFile, Position};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pieces listed; more are copied and counted, not listed.
const LISTED_MAX: usize = 10_000;
const CHUNK_OCTETS: u64 = 1 << 20;

/// A stretch of a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it lay.
    pub position: Position,
    /// 0 for a segment that cannot be opened: nobody knows how long it is.
    pub octets: u64,
    /// Name of the copy in the directory `quarantine` of the spool; none if none could be made, and then the segment
    /// itself is kept.
    pub copy: Option<String>,
}

/// Whether the copy could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Copied,
    NotCopied,
}

pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    listed: Mutex<Vec<Quarantined>>,
}

impl Quarantine {
    pub(crate) fn new(disk: Arc<dyn Disk>, spool: &Path) -> Quarantine {
        Quarantine { disk, directory: spool.join("quarantine"), listed: Mutex::new(Vec::new()) }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn list(&self) -> Vec<Quarantined> {
        self.listed().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.listed().len()
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Quarantined>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a stretch of `file` aside. Doing it again for the same place changes nothing.
    pub(crate) fn keep(&self, file: &dyn DiskFile, position: Position, octets: u64) -> Kept {
        if let Some(known) = self.enter(position, octets) {
            return known;
        }
        match self.copy(&name(position), file, position, octets) {
            Ok(()) => {
                tracing::error!(%position, octets, "a piece of the journal is damaged; it was copied to quarantine");
                self.copied(position);
                Kept::Copied
            }
            Err(error) => {
                tracing::error!(%position, octets, %error, "a piece of the journal is damaged and cannot be copied aside");
                Kept::NotCopied
            }
        }
    }

    /// A segment that cannot be opened has nothing to copy: its name is all there is.
    pub(crate) fn list_segment(&self, segment: u32, error: &io::Error) {
        tracing::error!(segment, %error, "a segment cannot be opened; it is kept as it is");
        self.enter(Position::new(segment, 0), 0);
    }

    /// Says what became of it if it was listed before.
    fn enter(&self, position: Position, octets: u64) -> Option<Kept> {
        let mut listed = self.listed();
        if let Some(known) = listed.iter().find(|known| known.position == position) {
            return Some(if known.copy.is_some() { Kept::Copied } else { Kept::NotCopied });
        }
        if listed.len() < LISTED_MAX {
            listed.push(Quarantined { position, octets, copy: None });
        }
        metrics::counter!("posthouse_spool_quarantined_total").increment(1);
        None
    }

    fn copied(&self, position: Position) {
        let mut listed = self.listed();
        if let Some(known) = listed.iter_mut().find(|known| known.position == position) {
            known.copy = Some(name(position));
        }
    }

    /// For what is cut off the end of the log. Under another name: the place will be written again.
    pub(crate) fn keep_torn(&self, file: &dyn DiskFile, position: Position, octets: u64) {
        let name = format!("{:08x}-{:08x}.torn", position.segment(), position.offset());
        if let Err(error) = self.copy(&name, file, position, octets) {
            tracing::warn!(%position, octets, %error, "the end that is cut off cannot be copied aside");
        }
    }

    fn copy(&self, name: &str, file: &dyn DiskFile, position: Position, octets: u64) -> io::Result<()> {
        let copy = self.disk.create(&self.directory.join(name))?;
        let mut done = 0;
        while done < octets {
            let mut chunk = vec![0; (octets - done).min(CHUNK_OCTETS) as usize];
            read_over_errors(file, &mut chunk, u64::from(position.offset()) + done)?;
            copy.write_all_at(&mut [IoSlice::new(&chunk)], done)?;
            done += chunk.len() as u64;
        }
        copy.sync_data()?;
        self.disk.sync_directory(&self.directory)
    }
}

fn name(position: Position) -> String {
    format!("{:08x}-{:08x}.bad", position.segment(), position.offset())
}
