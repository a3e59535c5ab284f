//! The PostgreSQL of `posthouse up`: made, started, adopted and stopped by us, under the data directory.
//!
//! Uses the host's binaries; never the host's own cluster, never a TCP port. Durability is PostgreSQL's default
//! (fsync on). `initdb` and `postgres` refuse to run as root, so under root they run as the user `postgres`, or as
//! `nobody` where that does not exist. What may surprise: after a crash of ours the server is told by the kernel to
//! stop (PR_SET_PDEATHSIG); a start that comes while it is still running adopts it, one that comes while it is
//! stopping waits. Two servers on one directory are impossible: PostgreSQL's own lock file is honoured.

use anyhow::{Context, bail};
use mail::Random;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A socket path is at most 107 octets (unix(7)); `/.s.PGSQL.5432.lock` takes 19 of them.
const SOCKET_DIRECTORY_OCTETS_MAX: usize = 85;
const START_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
const USER: &str = "posthouse";
pub const DATABASE: &str = "posthouse";

/// A running server, ours to stop.
pub struct Server {
    pid: u32,
    child: Option<Child>,
    socket: PathBuf,
    password: String,
}

/// Whom the server runs as, when not as ourselves.
struct Account {
    uid: u32,
    gid: u32,
}

impl Server {
    /// Makes the cluster if there is none, starts it or adopts the one that runs. Blocks; must be called from a
    /// thread that lives as long as the process, because the kernel ties the server's life to it.
    pub fn start(directory: &Path, random: &mut Random) -> anyhow::Result<Server> {
        let binaries = find_binaries()?;
        let account = unprivileged_account()?;
        prepare_directory(directory, account.as_ref())?;
        let data = directory.join("data");
        let socket = socket_directory(directory)?;
        prepare_directory(&socket, account.as_ref())?;
        let password = password(directory, account.as_ref(), random)?;
        if !data.join("PG_VERSION").exists() {
            create_cluster(&binaries, directory, &data, account.as_ref())?;
        }
        check_version(&binaries, &data)?;
        if let Some(pid) = wait_for_earlier_server(&data)? {
            tracing::info!(pid, "adopted the PostgreSQL that an earlier run left");
            return Ok(Server { pid, child: None, socket, password });
        }
        let mut child = spawn(&binaries, directory, &data, &socket, account.as_ref())?;
        let pid = child.id();
        wait_until_ready(&mut child, &data, directory)?;
        tracing::info!(pid, directory = %data.display(), "PostgreSQL started");
        Ok(Server { pid, child: Some(child), socket, password })
    }

    /// A URL that libpq and tokio-postgres understand, for the database named.
    pub fn url(&self, database: &str) -> String {
        let host = self.socket.display().to_string().replace('%', "%25").replace('/', "%2F");
        format!("postgres://{USER}:{}@{host}/{database}", self.password)
    }

    /// Fast shutdown (SIGINT): open transactions are rolled back, everything committed is kept.
    pub fn stop(mut self) {
        self.signal(rustix::process::Signal::INT);
        if !self.wait_gone(STOP_WAIT) {
            tracing::warn!(pid = self.pid, "PostgreSQL does not stop; asking for an immediate shutdown");
            self.signal(rustix::process::Signal::QUIT);
            self.wait_gone(STOP_WAIT);
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid as i32)
            && let Err(error) = rustix::process::kill_process(pid, signal)
        {
            tracing::warn!(%error, pid = self.pid, "cannot signal PostgreSQL");
        }
    }

    fn wait_gone(&mut self, limit: Duration) -> bool {
        poll(limit, || {
            let gone = match &mut self.child {
                Some(child) => !matches!(child.try_wait(), Ok(None)),
                None => !is_alive(self.pid),
            };
            gone.then_some(())
        })
        .is_some()
    }
}

struct Binaries {
    initdb: PathBuf,
    postgres: PathBuf,
}

/// Debian's versioned folders, newest first, then the PATH.
fn find_binaries() -> anyhow::Result<Binaries> {
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        if let Some(version) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            folders.push((version, entry.path().join("bin")));
        }
    }
    folders.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
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

fn unprivileged_account() -> anyhow::Result<Option<Account>> {
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
fn prepare_directory(directory: &Path, account: Option<&Account>) -> anyhow::Result<()> {
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
fn socket_directory(directory: &Path) -> anyhow::Result<PathBuf> {
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

fn password(directory: &Path, account: Option<&Account>, random: &mut Random) -> anyhow::Result<String> {
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

fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null()).env_remove("PGDATA").env("LC_ALL", "C.UTF-8");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

fn create_cluster(
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

fn check_version(binaries: &Binaries, data: &Path) -> anyhow::Result<()> {
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

/// The pid of a server that already runs on this directory and accepts; waits for one that is starting or stopping.
fn wait_for_earlier_server(data: &Path) -> anyhow::Result<Option<u32>> {
    let file = data.join("postmaster.pid");
    let mut seen = 0;
    let answer = poll(START_WAIT, || {
        // No file, or one left by a server that is gone: nobody is there, PostgreSQL clears the rest itself.
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines();
        let pid =
            lines.next().and_then(|line| line.trim().parse::<u32>().ok()).filter(|pid| is_postgres(*pid));
        let Some(pid) = pid else { return Some(None) };
        seen = pid;
        // Line 8 is the state; one that stops removes the file.
        (lines.nth(6).map(str::trim) == Some("ready")).then_some(Some(pid))
    });
    match answer {
        Some(answer) => Ok(answer),
        None => bail!(
            "another PostgreSQL (pid {seen}) holds {} and is neither ready nor gone after {} s",
            data.display(),
            START_WAIT.as_secs()
        ),
    }
}

#[expect(unsafe_code, reason = "PR_SET_PDEATHSIG can only be set in the child between fork and exec")]
fn spawn(
    binaries: &Binaries,
    directory: &Path,
    data: &Path,
    socket: &Path,
    account: Option<&Account>,
) -> anyhow::Result<Child> {
    let log = fs::File::create(directory.join("server.log")).context("cannot create the PostgreSQL log")?;
    let mut command = command(&binaries.postgres, account, directory);
    command
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(socket)
        .args(["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700", "-c", "max_connections=60"])
        .args(["-c", "log_min_messages=warning", "-c", "log_connections=off"])
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for us; we stop the server when nobody needs it any more.
        .process_group(0);
    // SAFETY: prctl is async-signal-safe and touches only the child's own state.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().with_context(|| format!("cannot run {}", binaries.postgres.display()))
}

fn wait_until_ready(child: &mut Child, data: &Path, directory: &Path) -> anyhow::Result<()> {
    let file = data.join("postmaster.pid");
    let mut exited = None;
    let ready = poll(START_WAIT, || {
        if let Ok(Some(status)) = child.try_wait() {
            exited = Some(status);
            return Some(());
        }
        let text = fs::read_to_string(&file).ok()?;
        let mut lines = text.lines();
        let ours = lines.next()?.trim() == child.id().to_string();
        (ours && lines.nth(6)?.trim() == "ready").then_some(())
    });
    if exited.is_none() && ready.is_some() {
        return Ok(());
    }
    let log = fs::read_to_string(directory.join("server.log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(5).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n  ");
    bail!("PostgreSQL did not start; the end of {}:\n  {tail}", directory.join("server.log").display())
}

fn is_alive(pid: u32) -> bool {
    // A zombie is gone for our purpose.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

fn is_postgres(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    is_alive(pid) && name.trim() == "postgres"
}

/// Asks until there is an answer or the time is up. Blocking on purpose: it runs before and after the runtime.
#[expect(clippy::disallowed_methods, reason = "another process is waited for; it has no way to wake us")]
fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if waited >= limit {
            return None;
        }
        std::thread::sleep(POLL);
        waited += POLL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::Builder::new().prefix("ph-pg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        directory
    }

    #[test]
    fn a_directory_that_the_server_cannot_reach_is_named() {
        let outer = directory();
        let closed = outer.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { uid: 65_534, gid: 65_534 };
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let error = prepare_directory(&closed.join("postgres"), Some(&stranger)).unwrap_err().to_string();
        assert!(error.contains(&closed.display().to_string()) && error.contains("--data"), "{error}");
    }

    #[test]
    fn a_running_server_is_adopted_and_a_stopped_one_started_again() {
        let directory = directory();
        let place = directory.path().join("postgres");
        let first = Server::start(&place, &mut Random::from_number(1)).unwrap();
        let adopted = Server::start(&place, &mut Random::from_number(2)).unwrap();
        assert_eq!(first.pid, adopted.pid);
        assert_eq!(first.url("x"), adopted.url("x"));
        first.stop();
        let again = Server::start(&place, &mut Random::from_number(3)).unwrap();
        assert_ne!(again.pid, adopted.pid);
        again.stop();
    }

    #[test]
    fn a_half_made_cluster_is_made_anew() {
        let directory = directory();
        let place = directory.path().join("postgres");
        fs::create_dir_all(place.join("data/base")).unwrap();
        let server = Server::start(&place, &mut Random::from_number(1)).unwrap();
        server.stop();
    }
}
