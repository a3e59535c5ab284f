//! The data directory: ours, on a disk that keeps what it says it kept, with room, and fast enough.

use crate::doctor::finding::{Finding, Trouble};
use mail::Clock;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Syncs that are timed, and the octets before each.
const SYNCS: usize = 20;
const SYNC_OCTETS: usize = 4_096;
/// Every acceptance waits for a sync.
const SYNC_SLOW: Duration = Duration::from_millis(20);

/// `journal` may lie on a disk of its own: room, file system and speed are its.
pub fn check(
    (data, journal): (&Path, &Path),
    master: &Path,
    reserve_octets: u64,
    clock: &dyn Clock,
) -> Vec<Finding> {
    let (home, place) = match (nearest(data), nearest(journal)) {
        (Ok(home), Ok(place)) => (home, place),
        (Err(finding), _) | (_, Err(finding)) => return vec![finding],
    };
    let mut findings = vec![owner(data, &home)];
    findings.extend(master_key(master));
    if let Ok(space) = rustix::fs::statvfs(&place) {
        findings.push(room(space.f_bavail.saturating_mul(space.f_frsize), reserve_octets));
    }
    if let Ok(system) = rustix::fs::statfs(&place) {
        findings.push(file_system(u64::try_from(system.f_type).unwrap_or_default()));
    }
    findings.push(match time_syncs(&place, clock) {
        Ok(took) => sync_time(took),
        Err(error) => Finding::error(
            Trouble::CannotCreate,
            "sync",
            format!("cannot write and sync a file in {}: {error}", place.display()),
            "the user that runs posthouse must be able to write here",
        ),
    });
    findings
}

/// The directory, or the one it would be made in.
fn nearest(data: &Path) -> Result<PathBuf, Finding> {
    let wrong =
        |found: String, advice: &str| Finding::error(Trouble::CannotCreate, "data", found, advice.to_owned());
    let place =
        data.ancestors().map(|place| if place.as_os_str().is_empty() { Path::new(".") } else { place });
    let Some(place) = place.into_iter().find(|place| place.exists()) else {
        return Err(wrong(
            format!("{} cannot be looked at", data.display()),
            "name another directory (node.data)",
        ));
    };
    if !place.is_dir() {
        let found = format!("{} is not a directory", place.display());
        return Err(wrong(found, "move it away, or name another directory (node.data)"));
    }
    Ok(place.to_path_buf())
}

fn owner(data: &Path, place: &Path) -> Finding {
    let own = rustix::process::geteuid().as_raw();
    match fs::metadata(place) {
        _ if place != data => Finding::ok("data", format!("{} will be made", data.display())),
        Ok(metadata) if metadata.uid() != own => Finding::warning(
            "data",
            format!("{} belongs to user {}, and this is user {own}", data.display(), metadata.uid()),
            "run doctor as the user that runs the node, or give the directory to that user",
        ),
        Ok(_) => Finding::ok("data", data.display().to_string()),
        Err(error) => Finding::error(
            Trouble::CannotCreate,
            "data",
            format!("{}: {error}", data.display()),
            "name another directory (node.data)",
        ),
    }
}

/// Nothing is said before there is one.
fn master_key(master: &Path) -> Option<Finding> {
    let mode = fs::metadata(master).ok()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let found = format!("others may read the master key {} (mode {mode:04o})", master.display());
        return Some(Finding::warning("master key", found, format!("chmod 0600 {}", master.display())));
    }
    Some(Finding::ok("master key", master.display().to_string()))
}

fn room(free: u64, reserve: u64) -> Finding {
    let (free_mib, reserve_mib) = (free >> 20, reserve >> 20);
    if free <= reserve {
        let found = format!("{free_mib} MiB are free, and at {reserve_mib} MiB mail is refused");
        return Finding::error(
            Trouble::Unavailable,
            "space",
            found,
            "make room, or lower spool.reserve_octets",
        );
    }
    if free < reserve.saturating_mul(4) {
        let found = format!("{free_mib} MiB are free; at {reserve_mib} MiB mail is refused");
        return Finding::warning(
            "space",
            found,
            "make room before a site is down for a day and mail piles up",
        );
    }
    Finding::ok("space", format!("{free_mib} MiB are free"))
}

/// By the magic numbers of statfs(2).
fn file_system(kind: u64) -> Finding {
    let memory = "what was acknowledged is lost with the power";
    match kind {
        0x0102_1994 | 0x8584_58f6 => Finding::warning(
            "file system",
            format!("the data directory is in memory (tmpfs): {memory}"),
            "put node.data on a disk",
        ),
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b => Finding::warning(
            "file system",
            "the data directory is on a network file system",
            "put node.data on a disk of this host: a sync over the network is slow, and a lock may not hold",
        ),
        0xef53 => Finding::ok("file system", "ext4"),
        0x5846_5342 => Finding::ok("file system", "XFS"),
        0x9123_683e => Finding::ok("file system", "btrfs"),
        0x2fc1_2fc1 => Finding::ok("file system", "ZFS"),
        0x794c_7630 => Finding::warning(
            "file system",
            "the data directory is in a container's own layer (overlayfs)",
            "mount a volume there: the layer goes with the container",
        ),
        other => Finding::ok("file system", format!("{other:#x}")),
    }
}

fn sync_time(took: Duration) -> Finding {
    let found = format!("a sync takes {:.1} ms", took.as_secs_f64() * 1_000.0);
    if took > SYNC_SLOW {
        let advice =
            "use a disk with a write cache that survives the power; every acceptance waits for a sync";
        return Finding::warning("sync", found, advice);
    }
    Finding::ok("sync", found)
}

/// The middle one of some.
fn time_syncs(place: &Path, clock: &dyn Clock) -> std::io::Result<Duration> {
    let path = place.join(format!(".posthouse-doctor-{}", std::process::id()));
    let measured = measure(&path, clock);
    let _ = fs::remove_file(&path);
    measured
}

fn measure(path: &Path, clock: &dyn Clock) -> std::io::Result<Duration> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[b'x'; SYNC_OCTETS])?;
        let began = clock.instant();
        file.sync_data()?;
        took.push(clock.instant().saturating_since(began));
    }
    took.sort();
    Ok(took[SYNCS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::doctor::finding::State;

    #[test]
    fn a_file_where_the_directory_should_be_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("data");
        fs::write(&file, "").unwrap();
        let findings =
            check((&file.join("below"), &file.join("below")), Path::new("none"), 0, &SystemClock::new());
        assert_eq!((findings.len(), findings[0].state), (1, State::Error));
        assert!(findings[0].found.ends_with("data is not a directory"), "{}", findings[0].found);
    }

    #[test]
    fn a_directory_that_is_not_there_will_be_made_and_nothing_is_left_behind() {
        let place = tempfile::tempdir().unwrap();
        let findings = check(
            (&place.path().join("a/b"), &place.path().join("c/spool")),
            Path::new("none"),
            0,
            &SystemClock::new(),
        );
        assert!(findings[0].found.ends_with("a/b will be made"), "{}", findings[0].found);
        assert!(
            findings
                .iter()
                .any(|finding| finding.check == "sync" && finding.found.starts_with("a sync takes"))
        );
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn too_little_room_is_wrong_and_little_is_doubtful() {
        let full = room(200 << 20, 256 << 20);
        assert_eq!(full.state, State::Error);
        assert_eq!(full.found, "200 MiB are free, and at 256 MiB mail is refused");
        assert_eq!(room(512 << 20, 256 << 20).state, State::Warning);
        assert_eq!(room(4 << 30, 256 << 20).state, State::Ok);
    }

    #[test]
    fn disks_that_forget_are_told() {
        for (kind, word) in [(0x0102_1994, "tmpfs"), (0x6969, "network"), (0x794c_7630, "container")] {
            let finding = file_system(kind);
            assert_eq!(finding.state, State::Warning);
            assert!(finding.found.contains(word), "{}", finding.found);
        }
        assert_eq!(file_system(0xef53), Finding::ok("file system", "ext4"));
    }

    #[test]
    fn a_slow_disk_is_told_in_milliseconds() {
        let slow = sync_time(Duration::from_millis(35));
        assert_eq!((slow.state, &*slow.found), (State::Warning, "a sync takes 35.0 ms"));
    }

    #[test]
    fn a_master_key_that_others_can_read_is_told_with_the_command() {
        let place = tempfile::tempdir().unwrap();
        let key = place.path().join("master.key");
        assert!(master_key(&key).is_none());
        fs::write(&key, "x").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let finding = master_key(&key).unwrap();
        assert!(finding.found.contains("mode 0644"), "{}", finding.found);
        assert!(finding.advice.unwrap().starts_with("chmod 0600"));
    }
}
