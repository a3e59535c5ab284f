//! The disk as the journal needs it: a port with two implementations, files and the disk that lies (`lying.rs`).
//!
//! Methods are blocking; they are called from the commit thread, from blocking tasks and during recovery. A write
//! that returned is in the page cache and nothing more; only `sync_data` and `sync_directory` promise anything.
//!
//! What may surprise: of ext4 a sync is asked for proof. When it meets an error it gives up its journal, and an
//! `fdatasync` that was under way at that moment may return 0 although the size of the file, and so the record at its end,
//! was never written (Linux 6.18; about one sync in four that meets the moment, on a busy machine). Whatever needs the
//! journal fails from then on, so the sync counts only when such a thing succeeds after it: setting an attribute to what
//! it is already, 3 µs, nothing written.

use rustix::fs::{FlockOperation, OFlags, XattrFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Slices one `pwritev` takes (IOV_MAX of Linux).
const SLICES_MAX: usize = 1_024;
/// `f_type` of statfs for ext2, ext3 and ext4, and for overlayfs, whose files may lie on one of them.
const PROVED: [u64; 2] = [0xEF53, 0x794c_7630];
/// The attribute that is set to prove that the journal of ext4 lives, and its value.
const PROOF: (&str, &[u8]) = ("user.posthouse", b"1");

/// All that the journal asks of a file system. The second implementation lies, for tests.
///
/// # Errors
/// Every call: what the operating system says, unchanged. By its kind are told apart `WouldBlock` of `lock`,
/// `StorageFull` and `QuotaExceeded` (no room, which passes), and by its number want of descriptors or memory
/// (EMFILE, ENFILE, ENOMEM), which passes too.
pub trait Disk: Send + Sync {
    /// Makes the directory and its parents; one that exists is fine.
    ///
    /// # Errors
    /// As [every call](Disk#errors); also if something that is no directory has the name.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// Names of the files in the directory, in no order. One that is not UTF-8 is left out.
    ///
    /// # Errors
    /// As [every call](Disk#errors), such as `NotFound`.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// A new, empty file; one of that name is emptied.
    ///
    /// # Errors
    /// As [every call](Disk#errors), such as `StorageFull`.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, for reading and writing.
    ///
    /// # Errors
    /// As [every call](Disk#errors); `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The directory entry goes; open files stay readable.
    ///
    /// # Errors
    /// As [every call](Disk#errors); `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Within one file system; replaces what is there.
    ///
    /// # Errors
    /// As [every call](Disk#errors); `NotFound` without `from`, `CrossesDevices` between two file systems.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, removals and renames in the directory durable.
    ///
    /// # Errors
    /// As [every call](Disk#errors). If the directory could be opened, nobody knows then what of them is
    /// durable, and asking again proves nothing.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Takes the directory for this process until the value is dropped. `path` is the lock file, made if need
    /// be.
    ///
    /// # Errors
    /// `WouldBlock` if another process holds it; else as [every call](Disk#errors).
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// For users without privileges.
    ///
    /// # Errors
    /// As [every call](Disk#errors).
    fn free_octets(&self, directory: &Path) -> io::Result<u64>;
}

/// One open file. Offsets and lengths are octets.
///
/// # Errors
/// Every call: what the operating system says, unchanged; but no interruption by a signal.
#[expect(clippy::len_without_is_empty, reason = "a file is no collection; nobody asks whether it is empty")]
pub trait DiskFile: Send + Sync {
    /// Writes all slices one after the other, in as few system calls as can be.
    ///
    /// # Errors
    /// As [every call](DiskFile#errors), such as `StorageFull`; `WriteZero` if nothing more is taken. A part
    /// may be written then.
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` octets; fewer only at the end of the file.
    ///
    /// # Errors
    /// As [every call](DiskFile#errors), such as EIO for a bad sector. What the buffer holds then counts for
    /// nothing.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Returns once the contents would survive a power cut.
    ///
    /// # Errors
    /// As [every call](DiskFile#errors), and if ext4 has given up its journal. Nobody knows then what the
    /// disk holds, and a later success proves nothing.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends with zeros.
    ///
    /// # Errors
    /// As [every call](DiskFile#errors).
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// As the file system has it now.
    ///
    /// # Errors
    /// As [every call](DiskFile#errors).
    fn len(&self) -> io::Result<u64>;
}

/// A directory just made survives a power cut only if its entry in the one above was synced. All the way up, for an
/// earlier start may have made some of them and died.
pub(crate) fn make_directory_durably(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    disk.make_directory(directory)?;
    for above in directory.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let Err(error) = disk.sync_directory(above) else { continue };
        match error.kind() {
            // Not ours to read or write, so nothing was made in it; or a file system that knows no such sync.
            InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported => {}
            _ => return Err(error),
        }
    }
    Ok(())
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(RealFile::new(options.open(path)?)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile::new(OpenOptions::new().read(true).write(true).open(path)?)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits() as i32)
            .open(directory)?
            .sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        // The lock belongs to the open file, so the kernel releases it however the process ends: no stale locks.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn free_octets(&self, directory: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// An open file that knows whether its syncs have to be proved.
pub(crate) struct RealFile {
    file: File,
    has_proof: bool,
}

impl RealFile {
    pub fn new(file: File) -> io::Result<RealFile> {
        let has_proof = PROVED.contains(&(rustix::fs::fstatfs(&file)?.f_type as u64));
        Ok(RealFile { file, has_proof })
    }

    /// An error if the file system has given up its journal. Other failures say nothing about that: one that keeps no
    /// attributes, or has no room for this one, is believed.
    fn prove(&self) -> io::Result<()> {
        let (name, value) = PROOF;
        match rustix::fs::fsetxattr(&self.file, name, value, XattrFlags::empty()) {
            Err(error @ (Errno::ROFS | Errno::IO | Errno::UCLEAN)) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl DiskFile for RealFile {
    fn write_all_at(&self, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut rest = slices;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(&self.file, &rest[..rest.len().min(SLICES_MAX)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.has_proof { self.prove() } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
