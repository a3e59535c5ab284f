//! A disk whose syncs wait as long as the test wants, and which gives nothing to read while the test says so.

use spool::{Disk, DiskFile, RealDisk};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Clone, Default)]
pub struct SlowDisk(Arc<Valve>);

#[derive(Default)]
struct Valve {
    shut: Mutex<bool>,
    /// What every read ends with; 0 for none.
    reads: AtomicI32,
    moved: Condvar,
}

impl SlowDisk {
    pub fn hold_syncs(&self) {
        *self.0.shut.lock().unwrap() = true;
    }

    /// Every read ends with this error code, or none does any more.
    pub fn fail_reads(&self, code: Option<i32>) {
        self.0.reads.store(code.unwrap_or(0), Ordering::SeqCst);
    }

    pub fn release_syncs(&self) {
        *self.0.shut.lock().unwrap() = false;
        self.0.moved.notify_all();
    }
}

struct SlowFile(Arc<dyn DiskFile>, Arc<Valve>);

impl Disk for SlowDisk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.create(path)?, Arc::clone(&self.0))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.open(path)?, Arc::clone(&self.0))))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        RealDisk.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        RealDisk.lock(path)
    }

    fn free_octets(&self, directory: &Path) -> io::Result<u64> {
        RealDisk.free_octets(directory)
    }
}

impl DiskFile for SlowFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.0.write_all_at(slices, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.1.reads.load(Ordering::SeqCst) {
            0 => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
        self.0.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let shut = self.1.shut.lock().unwrap();
        drop(self.1.moved.wait_while(shut, |shut| *shut).unwrap());
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
