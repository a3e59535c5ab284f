//! The last segment written anew, before the log goes on in it.
//!
//! Its last groups may be in the page cache only, and if a sync failed before, the kernel may call such pages clean:
//! reading them proves nothing, and syncing the same file again proves nothing either. A fresh file that is synced,
//! renamed and whose directory is synced is proof. Called by recovery only. What may surprise: without space for a
//! second file the old one is cut and used, because mail must go out to make room. It is written over with what it
//! holds, so that the kernel has something to sync.

use crate::segment::{Read, SEGMENT_HEADER, file_name, read_over_errors};
use crate::{Disk, DiskFile};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

const CHUNK_OCTETS: u64 = 1 << 20;

/// Gives the file to go on with: `end` octets of `old`, durable.
pub(crate) fn write_anew(
    disk: &dyn Disk,
    directory: &Path,
    segment: u32,
    old: &Arc<dyn DiskFile>,
    end: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    rewrite(disk, directory, segment, old, end).or_else(|error| {
        // Half a copy would take the very space that completion records need now.
        drop(disk.remove(&directory.join(unfinished_name(segment))));
        cut_in_place(error, old, end)
    })
}

fn unfinished_name(segment: u32) -> String {
    format!("{segment:08x}.tmp")
}

/// Copies the first `end` octets into a fresh file that takes the old one's name.
fn rewrite(
    disk: &dyn Disk,
    directory: &Path,
    segment: u32,
    old: &Arc<dyn DiskFile>,
    end: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let unfinished = directory.join(unfinished_name(segment));
    let new = disk.create(&unfinished)?;
    new.write_all_at(&mut [IoSlice::new(SEGMENT_HEADER)], 0)?;
    copy_records(&**old, &*new, end)?;
    new.sync_data()?;
    disk.rename(&unfinished, &directory.join(file_name(segment)))?;
    disk.sync_directory(directory)?;
    Ok(new)
}

/// Everything behind the header up to `end`. Both may be the same file.
fn copy_records(old: &dyn DiskFile, new: &dyn DiskFile, end: u64) -> io::Result<()> {
    let mut done = SEGMENT_HEADER.len() as u64;
    let mut chunk = Vec::new();
    while done < end {
        chunk.resize((end - done).min(CHUNK_OCTETS) as usize, 0);
        if read_over_errors(old, &mut chunk, done)? == Read::WithErrors {
            // It could be read a moment ago. Zeros in its place would be mail destroyed by us.
            return Err(io::Error::other("the old segment cannot be read any more"));
        }
        new.write_all_at(&mut [IoSlice::new(&chunk)], done)?;
        done += chunk.len() as u64;
    }
    Ok(())
}

/// On a full disk there is no room for a fresh file, and mail must go out to make room: the old one is cut.
fn cut_in_place(error: io::Error, old: &Arc<dyn DiskFile>, end: u64) -> io::Result<Arc<dyn DiskFile>> {
    if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Err(error);
    }
    tracing::warn!("no space to write the last segment anew; it is used as it is");
    old.truncate(end)?;
    old.write_all_at(&mut [IoSlice::new(SEGMENT_HEADER)], 0)?;
    // Pages that a failed sync left behind as clean are dirty again, so this sync proves something.
    copy_records(&**old, &**old, end)?;
    old.sync_data()?;
    Ok(Arc::clone(old))
}
