//! Where the cluster lies, whose it is, and how it is made. Found or refused before anything is started.

use super::USER;
use anyhow::{Context, bail};
use mail::Random;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A socket path is at most 107 octets (unix(7)); `/.s.PGSQL.5432.lock` takes 19 of them.
const SOCKET_DIRECTORY_OCTETS_MAX: usize = 85;

/// Whom the server runs as, when not as ourselves.
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

pub(super) struct Binaries {
    initdb: PathBuf,
    pub(super) postgres: PathBuf,
}

/// Debian's versioned folders, that of the cluster in `data` first, if there is one, then the newest; then the PATH.
pub(super) fn find_binaries(data: &Path) -> anyhow::Result<Binaries> {
    let made_by = fs::read_to_string(data.join("PG_VERSION")).ok();
    let made_by = made_by.and_then(|text| text.trim().parse().ok());
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        if let Some(version) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            folders.push((version, entry.path().join("bin")));
        }
    }
    in_order(&mut folders, made_by);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.into_iter().map(|(_, path)| path).chain(std::env::split_paths(&path));
    for folder in folders {
        let (initdb, postgres) = (folder.join("initdb"), folder.join("postgres"));
        if initdb.exists() && postgres.exists() {
            return Ok(Binaries { initdb, postgres });
        }
    }
    bail!(
        "no PostgreSQL server is installed. Install it (Debian, Ubuntu: apt-get install postgresql), or point \
         posthouse to one that runs elsewhere: --database postgres://user:password@host/name"
    )
}

fn in_order(folders: &mut [(u32, PathBuf)], made_by: Option<u32>) {
    folders.sort_by_key(|(version, _)| (Some(*version) != made_by, std::cmp::Reverse(*version)));
}

pub(super) fn unprivileged_account() -> anyhow::Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |name: &str| {
        users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
    };
    let fields = find("postgres").or_else(|| find("nobody")).context(
        "PostgreSQL refuses to run as root and this host has neither a user postgres nor a user nobody; \
         start posthouse as an ordinary user",
    )?;
    match (fields.get(2).and_then(|uid| uid.parse().ok()), fields.get(3).and_then(|gid| gid.parse().ok())) {
        (Some(uid), Some(gid)) => Ok(Some(Account { uid, gid })),
        _ => bail!("/etc/passwd has no numeric ids for the user {}", fields[0]),
    }
}

/// Mode 0700, owned by whom the server runs as.
pub(super) fn prepare_directory(directory: &Path, account: Option<&Account>) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot set the mode of {}", directory.display()))?;
    let Some(account) = account else { return Ok(()) };
    chown(directory, Some(account.uid), Some(account.gid))
        .with_context(|| format!("cannot give {} to the user that runs PostgreSQL", directory.display()))?;
    let absolute = directory.canonicalize()?;
    for parent in absolute.ancestors().skip(1) {
        let metadata = fs::metadata(parent)?;
        let searchable = metadata.mode() & 0o001 != 0
            || (metadata.uid() == account.uid && metadata.mode() & 0o100 != 0)
            || (metadata.gid() == account.gid && metadata.mode() & 0o010 != 0);
        if !searchable {
            bail!(
                "PostgreSQL does not run as root, and its user cannot reach {} because {} is closed to others. \
                 Choose another place (--data /var/lib/posthouse), start posthouse as an ordinary user, or use \
                 an external server (--database URL)",
                directory.display(),
                parent.display()
            );
        }
    }
    Ok(())
}

/// Beside the cluster if that is short enough for a socket, else in the temporary directory under a name that
/// follows from the path: the same data directory finds the same socket.
pub(super) fn socket_directory(directory: &Path) -> anyhow::Result<PathBuf> {
    let beside = directory.canonicalize()?.join("run");
    if beside.as_os_str().len() <= SOCKET_DIRECTORY_OCTETS_MAX {
        return Ok(beside);
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, beside.as_os_str().as_encoded_bytes());
    let name: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let short = std::env::temp_dir().join(format!("posthouse-{name}"));
    if short.as_os_str().len() > SOCKET_DIRECTORY_OCTETS_MAX {
        bail!(
            "the data directory and TMPDIR both have paths too long for a PostgreSQL socket; use a shorter --data"
        );
    }
    Ok(short)
}

pub(super) fn password(
    directory: &Path,
    account: Option<&Account>,
    random: &mut Random,
) -> anyhow::Result<String> {
    let path = directory.join("password");
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => {
            let password: String = random.bytes::<24>().iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(&path, &password).with_context(|| format!("cannot write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            if let Some(account) = account {
                chown(&path, Some(account.uid), Some(account.gid))?;
            }
            Ok(password)
        }
    }
}

pub(super) fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null()).env_remove("PGDATA").env("LC_ALL", "C.UTF-8");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

pub(super) fn create_cluster(
    binaries: &Binaries,
    directory: &Path,
    data: &Path,
    account: Option<&Account>,
) -> anyhow::Result<()> {
    // An interrupted initdb leaves a directory without PG_VERSION that holds nothing of value.
    if data.exists() {
        fs::remove_dir_all(data).with_context(|| format!("cannot clear the half-made {}", data.display()))?;
    }
    let output = command(&binaries.initdb, account, directory)
        .arg("--pgdata")
        .arg(data)
        .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"])
        .arg("--pwfile")
        .arg(directory.join("password"))
        .output()
        .with_context(|| format!("cannot run {}", binaries.initdb.display()))?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

pub(super) fn check_version(binaries: &Binaries, data: &Path) -> anyhow::Result<()> {
    let of_data = fs::read_to_string(data.join("PG_VERSION")).context("cannot read PG_VERSION")?;
    let output = Command::new(&binaries.postgres).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_binary = text.split_whitespace().nth(2).and_then(|word| word.split('.').next()).unwrap_or("");
    if of_data.trim() != of_binary {
        bail!(
            "the cluster in {} was made by PostgreSQL {}, but {} is version {of_binary}. Install PostgreSQL {} again, \
             or move the data with pg_upgrade",
            data.display(),
            of_data.trim(),
            binaries.postgres.display(),
            of_data.trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_that_made_the_cluster_goes_before_a_newer_one() {
        let folders = |made_by| {
            let mut folders = [15, 17, 16].map(|version: u32| (version, PathBuf::new()));
            in_order(&mut folders, made_by);
            folders.map(|(version, _)| version)
        };
        assert_eq!(folders(Some(15)), [15, 17, 16]);
        assert_eq!(folders(Some(9)), [17, 16, 15]);
        assert_eq!(folders(None), [17, 16, 15]);
    }

    #[test]
    fn a_directory_that_the_server_cannot_reach_is_named() {
        let outer = tempfile::Builder::new().prefix("ph-pg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = outer.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { uid: 65_534, gid: 65_534 };
        if !rustix::process::geteuid().is_root() {
            return testkit::skipped(
                "a directory that PostgreSQL cannot reach",
                "only root looks as another user",
            );
        }
        let error = prepare_directory(&closed.join("postgres"), Some(&stranger)).unwrap_err().to_string();
        assert!(error.contains(&closed.display().to_string()) && error.contains("--data"), "{error}");
    }
}
