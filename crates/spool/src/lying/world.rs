//! All that the disk that lies keeps: files, names, what of both is durable, and the faults that were ordered.

use super::content::Content;
use super::{Counts, Times, broken};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Default)]
pub(super) struct World {
    pub(super) files: Vec<Content>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    /// Below the root, which is always there.
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) durable_directories: BTreeSet<PathBuf>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) counts: Counts,
    pub(super) off: bool,
    pub(super) power_off_at: Option<u64>,
    /// With the error code.
    pub(super) failing_operation: Option<((u64, Times), i32)>,
    pub(super) failing_creation: Option<i32>,
    pub(super) failing_sync: Option<(u64, Times)>,
    pub(super) failing_directory_sync: Option<(u64, Times)>,
    /// What a directory was told to keep when its sync failed: the kernel calls it clean and never writes it.
    pub(super) lost_names: BTreeMap<PathBuf, Option<usize>>,
    pub(super) failing_reads: BTreeMap<PathBuf, Vec<Range<u64>>>,
    pub(super) failing_reads_as: Option<i32>,
    /// Reads of these files do not come back.
    pub(super) held_reads: BTreeSet<PathBuf>,
    /// With the error code that opening gives.
    pub(super) failing_opens: BTreeMap<PathBuf, i32>,
    pub(super) capacity: Option<u64>,
}

impl World {
    pub(super) fn powered(&self) -> io::Result<()> {
        if self.off { Err(broken()) } else { Ok(()) }
    }

    /// Before an operation.
    pub(super) fn operate(&mut self) -> io::Result<()> {
        self.powered()?;
        self.counts.operations += 1;
        match self.failing_operation {
            Some((ordered, code)) if is_due(Some(ordered), self.counts.operations) => {
                Err(io::Error::from_raw_os_error(code))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// After it took effect in memory: when the power goes now, the caller does not hear of it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.off |= self.power_off_at.is_some_and(|at| self.counts.operations >= at);
        self.powered()
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].live.len() as u64).sum()
    }

    pub(super) fn file_at(&mut self, path: &Path) -> usize {
        let next = self.files.len();
        let file = *self.names.entry(path.to_owned()).or_insert(next);
        self.files.resize_with(next.max(file + 1), Content::default);
        file
    }

    /// The names in a directory as the next power cut will leave them; what an earlier failed sync lost stays lost
    /// unless it changed again.
    pub(super) fn sync_names(&mut self, directory: &Path) {
        let inside = |path: &PathBuf| path.parent() == Some(directory);
        let lost = &self.lost_names;
        let is_lost = |path: &PathBuf, now: Option<usize>| lost.get(path).is_some_and(|then| *then == now);
        let names = &self.names;
        self.durable_names.retain(|path, _| !inside(path) || is_lost(path, names.get(path).copied()));
        let now: Vec<_> = self
            .names
            .iter()
            .filter(|(path, file)| inside(path) && !is_lost(path, Some(**file)))
            .map(|(path, file)| (path.clone(), *file))
            .collect();
        self.durable_names.extend(now);
        let now: Vec<_> = self.directories.iter().filter(|path| inside(path)).cloned().collect();
        self.durable_directories.extend(now);
    }

    pub(super) fn lose_names(&mut self, directory: &Path) {
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        let paths: BTreeSet<_> =
            self.names.keys().chain(self.durable_names.keys()).filter(inside).cloned().collect();
        for path in paths {
            let now = self.names.get(&path).copied();
            if now != self.durable_names.get(&path).copied() {
                self.lost_names.insert(path, now);
            }
        }
    }
}

/// Whether the fault that was ordered comes with this one.
pub(super) fn is_due(ordered: Option<(u64, Times)>, count: u64) -> bool {
    match ordered {
        Some((nth, Times::Once)) => count == nth,
        Some((nth, Times::Always)) => count >= nth,
        None => false,
    }
}
