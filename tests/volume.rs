//! A small disk of its own: ext4 in a file, mounted by loop. Full when the test wants it.

use rustix::process::geteuid;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system of its own, on a loop device; unmounted when it is dropped.
pub struct Volume {
    /// Where it is mounted.
    pub path: PathBuf,
    _place: tempfile::TempDir,
}

impl Volume {
    /// None, with a notice for this row, where this process may not mount.
    pub fn ext4(row: &str, megabytes: u64, inodes: Option<u32>) -> Option<Volume> {
        let skipped = |why: &str| {
            testkit::skipped(row, why);
            None
        };
        if !geteuid().is_root() {
            return skipped("a volume of its own needs root");
        }
        let place = tempfile::Builder::new().prefix("phv").tempdir_in("/tmp").unwrap();
        let (image, path) = (place.path().join("image"), place.path().join("mounted"));
        std::fs::create_dir(&path).unwrap();
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let mut format = Command::new("/usr/sbin/mkfs.ext4");
        // Nothing is kept back for root, as the house may be root here.
        format.args(["-q", "-F", "-m", "0"]);
        if let Some(inodes) = inodes {
            format.args(["-N", &inodes.to_string()]);
        }
        if !succeeds(format.arg(&image)) {
            return skipped("mkfs.ext4 is not installed");
        }
        if !mount(&image, &path) {
            return skipped("there is no loop device here");
        }
        Some(Volume { path, _place: place })
    }

    /// The file system meets an error of its own and goes read-only, as after a bad sector in its journal. A remount by
    /// hand is no test: the kernel refuses it while a file is open for writing.
    pub fn break_down(&self) {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let path = self.path.display().to_string();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&path)).unwrap();
        let device = line.split(' ').next().unwrap().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "posthouse test").unwrap();
    }

    /// Unmounted, checked, and mounted again. Nobody may have a file open there.
    pub fn mend(&self) {
        let image = self.path.parent().unwrap().join("image");
        assert!(succeeds(Command::new("umount").arg(&self.path)), "somebody is still there");
        // It says 1 when it has mended something.
        succeeds(Command::new("/usr/sbin/e2fsck").args(["-f", "-y"]).arg(&image));
        assert!(mount(&image, &self.path));
    }

    /// Free for users without privileges.
    pub fn free_octets(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.path).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Takes room so that this much is left, whatever others write meanwhile. The room is free again when the returned
    /// file is removed.
    pub fn leave(&self, octets: u64) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let block = vec![7; 1 << 16];
        while self.free_octets() > octets {
            let take = (self.free_octets().saturating_sub(octets) as usize).clamp(1, block.len());
            if std::io::Write::write_all(&mut file, &block[..take]).is_err() {
                break;
            }
        }
        ballast
    }

    /// Takes all names, so that no file can be made. They are free again when the returned folder is removed.
    pub fn take_all_inodes(&self) -> PathBuf {
        let folder = self.path.join("names");
        std::fs::create_dir(&folder).unwrap();
        for number in 0.. {
            if std::fs::File::create(folder.join(format!("{number}"))).is_err() {
                break;
            }
        }
        folder
    }

    /// For processes that are not root.
    pub fn open_to_all(&self) {
        open_to_all(&self.path);
    }
}

/// Mounting and limits want it.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// For reading and writing, by whoever the house runs as.
pub fn open_to_all(path: &Path) {
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(path, open).unwrap();
}

fn mount(image: &Path, path: &Path) -> bool {
    succeeds(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(image).arg(path))
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open must not keep the test from ending.
        succeeds(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
