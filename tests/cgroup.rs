//! A ceiling of memory: a control group of its own for one house, by either version of the kernel's interface.

use crate::volume::is_root;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A bound of the kernel for the memory of a process; gone when it is dropped.
pub struct Ceiling {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

static CEILINGS: AtomicU32 = AtomicU32::new(0);

impl Ceiling {
    /// None, with a notice for this row, where no control group can be made.
    pub fn of(row: &str, octets: u64) -> Option<Ceiling> {
        let name = format!("posthouse-{}-{}", std::process::id(), CEILINGS.fetch_add(1, Ordering::Relaxed));
        let places = [
            (Version::V2, "/sys/fs/cgroup", "memory.max"),
            (Version::V1, "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ];
        for (version, root, limit) in places {
            let folder = Path::new(root).join(&name);
            if !is_root() || std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let ceiling = Ceiling { folder, version };
            // Without the controller the file is not there; a tmpfs would take any file, which is then no limit.
            let known = ceiling.folder.join(limit).exists();
            if known && std::fs::write(ceiling.folder.join(limit), octets.to_string()).is_ok() {
                return Some(ceiling);
            }
        }
        testkit::skipped(row, "no control group with a ceiling of memory can be made here");
        None
    }

    /// The words to start a house through.
    pub fn words(&self) -> [String; 3] {
        let procs = self.folder.join("cgroup.procs").display().to_string();
        ["sh".to_owned(), "-c".to_owned(), format!("echo $$ > {procs} && exec \"$0\" \"$@\"")]
    }

    /// Processes that the kernel killed for want of memory.
    pub fn killed(&self) -> u64 {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("the kernel counts them").trim().parse().unwrap()
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        // It cannot be removed as long as somebody lives in it; whoever does is at its end.
        let gone = || std::fs::remove_dir(&self.folder).ok();
        for _ in 0..50 {
            if gone().is_some() {
                return;
            }
            crate::house::let_pass(std::time::Duration::from_millis(20));
        }
    }
}
