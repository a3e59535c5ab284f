//! A disk that lies, for tests: it keeps everything in memory and forgets what was never synced.
//!
//! `crash` gives the disk as it may look after a power cut: of the writes since the last sync of a file each may have
//! arrived, not arrived, or arrived in some of its sectors; of the changes to a directory each may have arrived or
//! not. Faults are ordered beforehand: the nth sync fails (and, as a real kernel does, later syncs then succeed
//! without writing what was lost), space runs out in the middle of a write, the power goes at the nth operation.

mod content;
mod world;

use crate::{Disk, DiskFile};
use content::{Change, Content, apply};
use mail::Random;
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use world::{World, is_due};

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct LyingDisk(Arc<Mutex<World>>);

/// How often a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next time only.
    Once,
    /// From now on.
    Always,
}

/// What was asked of the disk so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that changes something or makes it durable.
    pub operations: u64,
    /// Calls of `write_at`.
    pub writes: u64,
    /// By them.
    pub octets_written: u64,
    /// By `read_at`.
    pub octets_read: u64,
    /// Of files.
    pub syncs: u64,
    /// Of directories.
    pub directory_syncs: u64,
}

struct LyingFile {
    world: Arc<Mutex<World>>,
    file: usize,
    path: PathBuf,
}

struct Lock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
}

impl LyingDisk {
    /// Empty, honest and fast.
    pub fn new() -> LyingDisk {
        LyingDisk::default()
    }

    /// The disk after a power cut. This one is off from now on: whoever still uses it gets errors.
    pub fn crash(&self, random: &mut Random) -> LyingDisk {
        let mut world = self.lock();
        world.off = true;
        let mut after = World::default();
        for file in &world.files {
            let octets = file.after_crash(random);
            after.files.push(Content { live: octets.clone(), durable: octets, pending: Vec::new() });
        }
        let names: BTreeSet<&PathBuf> = world.names.keys().chain(world.durable_names.keys()).collect();
        for name in names {
            let versions = [world.names.get(name), world.durable_names.get(name)];
            if let Some(file) = versions[random.below(2) as usize] {
                after.names.insert(name.clone(), *file);
            }
        }
        let lost = world
            .directories
            .iter()
            .filter(|path| !world.durable_directories.contains(*path) && random.below(2) == 0);
        after.directories.clone_from(&world.directories);
        for directory in lost {
            after.names.retain(|name, _| !name.starts_with(directory));
            after.directories.retain(|name| !name.starts_with(directory));
        }
        after.durable_directories.clone_from(&after.directories);
        after.durable_names = after.names.clone();
        LyingDisk(Arc::new(Mutex::new(after)))
    }

    /// A copy of everything as it is, synced or not: what a killed process leaves, for the kernel lives on.
    pub fn kill(&self) -> LyingDisk {
        let mut old = self.lock();
        old.off = true;
        let (names, durable_names) = (old.names.clone(), old.durable_names.clone());
        LyingDisk(Arc::new(Mutex::new(World {
            files: old.files.clone(),
            names,
            durable_names,
            directories: old.directories.clone(),
            durable_directories: old.durable_directories.clone(),
            ..World::default()
        })))
    }

    /// Cuts the power in the middle of the nth operation from now, counted from 1.
    pub fn power_off_at(&self, operation: u64) {
        let mut world = self.lock();
        world.power_off_at = Some(world.counts.operations + operation);
    }

    /// The nth operation from now, counted from 1, does nothing and fails with this error code.
    pub fn fail_operation(&self, nth: u64, times: Times, code: i32) {
        let mut world = self.lock();
        world.failing_operation = Some(((world.counts.operations + nth, times), code));
    }

    /// Making a file fails with this error code, or no longer.
    pub fn fail_creations(&self, code: Option<i32>) {
        self.lock().failing_creation = code;
    }

    /// Makes the nth sync of a file from now fail, counted from 1; what it should have written is lost.
    pub fn fail_sync(&self, nth: u64, times: Times) {
        let mut world = self.lock();
        world.failing_sync = Some((world.counts.syncs + nth, times));
    }

    /// The same for directories.
    pub fn fail_directory_sync(&self, nth: u64, times: Times) {
        let mut world = self.lock();
        world.failing_directory_sync = Some((world.counts.directory_syncs + nth, times));
    }

    /// Reads of this file fail from now on if they touch these octets.
    pub fn fail_reads(&self, path: &Path, octets: Range<u64>) {
        self.lock().failing_reads.insert(path.to_owned(), vec![octets]);
    }

    /// With this error code instead of EIO.
    pub fn fail_reads_as(&self, code: i32) {
        self.lock().failing_reads_as = Some(code);
    }

    /// These octets beside those that were ordered before.
    pub fn fail_reads_too(&self, path: &Path, octets: Range<u64>) {
        self.lock().failing_reads.entry(path.to_owned()).or_default().push(octets);
    }

    /// Reads of this file wait from now on until they are released.
    pub fn hold_reads(&self, path: &Path) {
        self.lock().held_reads.insert(path.to_owned());
    }

    /// Lets go of what was held back there.
    pub fn release_reads(&self, path: &Path) {
        self.lock().held_reads.remove(path);
    }

    /// Opening this file fails with this error code, or no longer.
    pub fn fail_opens(&self, path: &Path, code: Option<i32>) {
        let mut world = self.lock();
        match code {
            Some(code) => drop(world.failing_opens.insert(path.to_owned(), code)),
            None => drop(world.failing_opens.remove(path)),
        }
    }

    /// Octets that fit, or none for no limit.
    pub fn set_capacity(&self, octets: Option<u64>) {
        self.lock().capacity = octets;
    }

    /// Octets of all files.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Every file that is there.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// What a file holds; empty if there is none.
    pub fn read(&self, path: &Path) -> Vec<u8> {
        let world = self.lock();
        world.names.get(path).map(|file| world.files[*file].live.clone()).unwrap_or_default()
    }

    /// Replaces what a file holds, durably: truncation, garbage, flipped bits.
    pub fn replace(&self, path: &Path, octets: Vec<u8>) {
        let mut world = self.lock();
        let file = world.file_at(path);
        world.durable_names.insert(path.to_owned(), file);
        world.files[file] = Content { live: octets.clone(), durable: octets, pending: Vec::new() };
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.0)
    }
}

fn handle(world: &Arc<Mutex<World>>, file: usize, path: &Path) -> Arc<dyn DiskFile> {
    Arc::new(LyingFile { world: Arc::clone(world), file, path: path.to_owned() })
}

impl Disk for LyingDisk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.powered()?;
        let below_root = path.ancestors().filter(|path| path.parent().is_some());
        world.directories.extend(below_root.map(Path::to_owned));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let world = self.lock();
        world.powered()?;
        let inside = world.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.lock();
        world.operate()?;
        if let Some(code) = world.failing_creation {
            return Err(io::Error::from_raw_os_error(code));
        }
        world.files.push(Content::default());
        let file = world.files.len() - 1;
        world.names.insert(path.to_owned(), file);
        world.finish()?;
        Ok(handle(&self.0, file, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.lock();
        world.powered()?;
        if let Some(code) = world.failing_opens.get(path) {
            return Err(io::Error::from_raw_os_error(*code));
        }
        let file = world.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(handle(&self.0, file, path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.finish()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        let file = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), file);
        world.finish()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        world.counts.directory_syncs += 1;
        let count = world.counts.directory_syncs;
        world.finish()?;
        if is_due(world.failing_directory_sync, count) {
            world.lose_names(directory);
            return Err(broken());
        }
        world.sync_names(directory);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut world = lock(&self.0);
        world.powered()?;
        if !world.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { world: Arc::clone(&self.0), path: path.to_owned() }))
    }

    fn free_octets(&self, _directory: &Path) -> io::Result<u64> {
        let world = lock(&self.0);
        world.powered()?;
        Ok(world.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(world.used())))
    }
}

impl DiskFile for LyingFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut octets = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| octets.extend_from_slice(slice));
        let offset = offset as usize;
        let mut world = lock(&self.world);
        world.operate()?;
        let grows = (offset + octets.len()).saturating_sub(world.files[self.file].live.len()) as u64;
        let free = world.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(world.used()));
        let full = grows > free;
        if full {
            octets.truncate(octets.len().saturating_sub((grows - free) as usize));
        }
        world.counts.writes += 1;
        world.counts.octets_written += octets.len() as u64;
        let file = &mut world.files[self.file];
        apply(&mut file.live, offset, &octets);
        file.pending.push(Change::Write { offset, octets });
        world.finish()?;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        while world.held_reads.contains(&self.path) {
            drop(world);
            std::thread::yield_now();
            world = lock(&self.world);
        }
        world.powered()?;
        let touches = |bad: &Range<u64>| offset < bad.end && bad.start < offset + buffer.len() as u64;
        if world.failing_reads.get(&self.path).is_some_and(|bad| bad.iter().any(touches)) {
            return Err(world.failing_reads_as.map_or_else(broken, io::Error::from_raw_os_error));
        }
        let live = &world.files[self.file].live;
        let from = live.len().min(offset as usize);
        let count = buffer.len().min(live.len() - from);
        buffer[..count].copy_from_slice(&live[from..from + count]);
        world.counts.octets_read += count as u64;
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.operate()?;
        world.counts.syncs += 1;
        let count = world.counts.syncs;
        world.finish()?;
        let fails = is_due(world.failing_sync, count);
        let file = &mut world.files[self.file];
        let pending = std::mem::take(&mut file.pending);
        if fails {
            // The kernel marks the pages clean: readers still see them, the disk never will.
            return Err(broken());
        }
        pending.iter().for_each(|change| change.apply(&mut file.durable));
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.operate()?;
        let file = &mut world.files[self.file];
        let change = Change::Truncate(len as usize);
        change.apply(&mut file.live);
        file.pending.push(change);
        world.finish()
    }

    fn len(&self) -> io::Result<u64> {
        let world = lock(&self.world);
        world.powered()?;
        Ok(world.files[self.file].live.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.world).locks.remove(&self.path);
    }
}

/// EIO.
fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
