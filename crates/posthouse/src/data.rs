//! The data directory: made if missing, locked while we run, marked with the layout it has.
//!
//! Two processes on one directory would write one journal twice; the lock is held by the kernel for the life of the
//! process, so a crash leaves none behind.

use crate::exit::Failure;
use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bumped when an older posthouse could not read the directory any more.
const LAYOUT: &str = "1";

/// The directory, locked.
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    pub fn open(path: &Path) -> anyhow::Result<DataDirectory> {
        fs::create_dir_all(path).map_err(|error| {
            Failure::CannotCreate(format!("cannot make the data directory {}: {error}", path.display()))
        })?;
        let path = path.canonicalize()?;
        let lock = lock(&path)?;
        check_layout(&path)?;
        Ok(DataDirectory { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of its own below, closed to others.
    pub fn private(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        if !path.exists() {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(|error| Failure::CannotCreate(format!("cannot make {}: {error}", path.display())))?;
        }
        Ok(path)
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join("lock");
    let cannot = |error: std::io::Error| {
        Failure::CannotCreate(format!(
            "cannot write to {}: {error}\n  {}",
            file.display(),
            remedy(path, &error)
        ))
    };
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(&file);
    let mut lock = opened.map_err(cannot)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        let who = holder.trim().parse::<u32>().map_or(String::new(), |pid| format!(" (pid {pid})"));
        return Err(Failure::Unavailable(format!(
            "another posthouse{who} is running on {}; stop it first, or choose another --data",
            path.display()
        ))
        .into());
    }
    lock.set_len(0).and_then(|()| lock.rewind()).map_err(cannot)?;
    write!(lock, "{}", std::process::id()).map_err(cannot)?;
    Ok(lock)
}

/// What to do about a directory that cannot be written to.
fn remedy(path: &Path, error: &std::io::Error) -> String {
    let owner = fs::metadata(path).map(|metadata| metadata.uid());
    let own = rustix::process::geteuid().as_raw();
    match (error.kind(), owner) {
        (std::io::ErrorKind::PermissionDenied, Ok(owner)) if owner != own => format!(
            "the directory belongs to user {owner} and this is user {own}: run as that user, `chown -R {own} {}`, or \
             choose another --data",
            path.display()
        ),
        (std::io::ErrorKind::ReadOnlyFilesystem, _) => {
            "its file system is mounted read-only; see `dmesg` for why, before it is mounted anew".to_owned()
        }
        (std::io::ErrorKind::StorageFull, _) => {
            "the disk is full: make room, nothing here is lost".to_owned()
        }
        (_, _) => "see that this user may write there, or choose another --data".to_owned(),
    }
}

fn check_layout(path: &Path) -> anyhow::Result<()> {
    let file = path.join("layout");
    match fs::read_to_string(&file) {
        Ok(text) if text.trim() == LAYOUT => Ok(()),
        Ok(text) => Err(Failure::Unavailable(format!(
            "{} has layout {}, this posthouse knows layout {LAYOUT}; use the version that made it, or another --data",
            path.display(),
            text.trim()
        ))
        .into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Only a directory that is new to us is closed to others below: its own parts have their own modes.
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).ok();
            crate::authority::write(&file, LAYOUT.as_bytes(), 0o644)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_named() {
        let place = tempfile::tempdir().unwrap();
        let first = DataDirectory::open(place.path()).unwrap();
        let error = DataDirectory::open(place.path()).err().unwrap().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DataDirectory::open(place.path()).unwrap();
    }

    #[test]
    fn a_directory_of_another_layout_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("layout"), "99").unwrap();
        let error = DataDirectory::open(place.path()).err().unwrap().to_string();
        assert!(error.contains("layout 99"), "{error}");
        assert_eq!(fs::read_to_string(place.path().join("layout")).unwrap(), "99");
    }
}
