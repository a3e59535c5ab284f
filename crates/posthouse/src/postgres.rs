//! The PostgreSQL of `posthouse up`: made, started, adopted and stopped by us, under the data directory.
//!
//! Uses the host's binaries; never the host's own cluster, never a TCP port. Durability is PostgreSQL's default
//! (fsync on). `initdb` and `postgres` refuse to run as root, so under root they run as the user `postgres`, or as
//! `nobody` where that does not exist. What may surprise: after a crash of ours the server is told by the kernel to
//! stop (PR_SET_PDEATHSIG); a server that dies by itself is started again; a start that comes while it is still running adopts it, one that comes while it is
//! stopping waits. Two servers on one directory are impossible: PostgreSQL's own lock file is honoured.

mod cluster;

use anyhow::{Context, bail};
use cluster::{
    Account, Binaries, check_version, command, create_cluster, find_binaries, password, prepare_directory,
    socket_directory, unprivileged_account,
};
use mail::Random;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

const START_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts to start a server that does not start.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
/// At a start, a larger log becomes the old one.
const LOG_OCTETS_MAX: u64 = 1 << 20;
const POLL: Duration = Duration::from_millis(20);
const USER: &str = "posthouse";
pub const DATABASE: &str = "posthouse";

/// A running server, ours to keep running and to stop.
pub struct Server {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
    socket: PathBuf,
    password: String,
}

/// What the keeper's thread and the server's owner both see.
struct Shared {
    /// 0 while there is none.
    pid: AtomicU32,
    stopping: AtomicBool,
}

/// How to start the server on its cluster.
struct Cluster {
    binaries: Binaries,
    directory: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    account: Option<Account>,
}

impl Server {
    /// Makes the cluster if there is none, starts it or adopts the one that runs, and starts it again should it die.
    /// Blocks until it accepts.
    pub fn start(directory: &Path, random: &mut Random) -> anyhow::Result<Server> {
        let data = directory.join("data");
        let binaries = find_binaries(&data)?;
        let account = unprivileged_account()?;
        prepare_directory(directory, account.as_ref())?;
        let socket = socket_directory(directory)?;
        prepare_directory(&socket, account.as_ref())?;
        let password = password(directory, account.as_ref(), random)?;
        if !data.join("PG_VERSION").exists() {
            create_cluster(&binaries, directory, &data, account.as_ref())?;
        }
        check_version(&binaries, &data)?;
        let cluster =
            Cluster { binaries, directory: directory.to_path_buf(), data, socket: socket.clone(), account };
        let shared = Arc::new(Shared { pid: AtomicU32::new(0), stopping: AtomicBool::new(false) });
        let (started, first) = std::sync::mpsc::sync_channel(1);
        let seen = Arc::clone(&shared);
        let keeper = std::thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(move || keep(&cluster, &seen, &started))?;
        first.recv().context("the thread that keeps PostgreSQL died")??;
        Ok(Server { shared, keeper, socket, password })
    }

    /// A URL that libpq and tokio-postgres understand, for the database named.
    pub fn url(&self, database: &str) -> String {
        let host = self.socket.display().to_string().replace('%', "%25").replace('/', "%2F");
        format!("postgres://{USER}:{}@{host}/{database}", self.password)
    }

    /// Fast shutdown (SIGINT): open transactions are rolled back, everything committed is kept.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.signal(rustix::process::Signal::INT);
        if poll(STOP_WAIT, || self.keeper.is_finished().then_some(())).is_none() {
            tracing::warn!("PostgreSQL does not stop; asking for an immediate shutdown");
            self.signal(rustix::process::Signal::QUIT);
        }
        if self.keeper.join().is_err() {
            tracing::error!("the thread that keeps PostgreSQL died");
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.shared.pid.load(Ordering::SeqCst), signal);
    }
}

/// Nobody, for the number 0.
fn signal_process(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed())
        && let Err(error) = rustix::process::kill_process(pid, signal)
    {
        tracing::warn!(%error, "cannot signal PostgreSQL");
    }
}

/// The keeper's thread: one server after the other until we are to stop. The kernel ties a server's life to the
/// thread that started it, so this one lives as long as the process needs a server.
fn keep(cluster: &Cluster, shared: &Shared, started: &SyncSender<anyhow::Result<()>>) {
    let mut is_first = true;
    while !shared.stopping.load(Ordering::SeqCst) {
        let running = cluster.start();
        match (running, is_first) {
            (Ok((pid, child)), _) => {
                shared.pid.store(pid, Ordering::SeqCst);
                // Who stops us found nobody to tell while it started; nobody else would end it.
                if shared.stopping.load(Ordering::SeqCst) {
                    signal_process(pid, rustix::process::Signal::INT);
                }
                if is_first && started.send(Ok(())).is_err() {
                    return;
                }
                is_first = false;
                wait_gone(pid, child);
                shared.pid.store(0, Ordering::SeqCst);
                if !shared.stopping.load(Ordering::SeqCst) {
                    tracing::error!(pid, "PostgreSQL ended by itself; starting it again");
                }
            }
            (Err(error), true) => {
                // Nobody waits any more if the owner is gone.
                let _ = started.send(Err(error));
                return;
            }
            (Err(error), false) => {
                tracing::error!(error = format!("{error:#}"), "PostgreSQL does not start again");
                poll(RESTART_PAUSE, || shared.stopping.load(Ordering::SeqCst).then_some(()));
            }
        }
    }
}

/// Returns when the server has ended, be it our child or one that was adopted.
fn wait_gone(pid: u32, child: Option<Child>) {
    match child {
        Some(mut child) => {
            if let Err(error) = child.wait() {
                tracing::error!(%error, pid, "cannot wait for PostgreSQL");
            }
        }
        None => while poll(STOP_WAIT, || (!is_alive(pid)).then_some(())).is_none() {},
    }
}

impl Cluster {
    /// The pid of a server that accepts, and the child if we started it.
    fn start(&self) -> anyhow::Result<(u32, Option<Child>)> {
        if let Some(pid) = wait_for_earlier_server(&self.data)? {
            tracing::info!(pid, "adopted the PostgreSQL that an earlier run left");
            return Ok((pid, None));
        }
        let Cluster { binaries, directory, data, socket, account } = self;
        let mut child = spawn(binaries, directory, data, socket, account.as_ref())?;
        let pid = child.id();
        wait_until_ready(&mut child, data, directory)?;
        tracing::info!(pid, directory = %data.display(), "PostgreSQL started");
        Ok((pid, Some(child)))
    }
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
            lines.next().and_then(|line| line.trim().parse::<u32>().ok()).filter(|pid| serves(*pid, data));
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
    let log = server_log(directory).context("cannot create the PostgreSQL log")?;
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

/// Written on, so that why a server died is still there after the next one has started; one old file is kept.
fn server_log(directory: &Path) -> std::io::Result<fs::File> {
    let path = directory.join("server.log");
    if fs::metadata(&path).is_ok_and(|file| file.len() > LOG_OCTETS_MAX) {
        fs::rename(&path, directory.join("server.log.1"))?;
    }
    fs::OpenOptions::new().create(true).append(true).open(path)
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

/// Whether the process is a PostgreSQL on this very cluster: after a power cut the pid in the file may be anybody's,
/// even another PostgreSQL's. A server's working directory is its cluster.
fn serves(pid: u32, data: &Path) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let here = fs::read_link(format!("/proc/{pid}/cwd")).ok().zip(data.canonicalize().ok());
    is_alive(pid) && name.trim() == "postgres" && here.is_some_and(|(cwd, data)| cwd == data)
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
    use std::os::unix::fs::PermissionsExt;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::Builder::new().prefix("ph-pg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        directory
    }

    #[test]
    fn a_running_server_is_adopted_and_a_stopped_one_started_again() {
        let directory = directory();
        let place = directory.path().join("postgres");
        let first = Server::start(&place, &mut Random::from_number(1)).unwrap();
        let adopted = Server::start(&place, &mut Random::from_number(2)).unwrap();
        assert_eq!(pid(&first), pid(&adopted));
        assert_eq!(first.url("x"), adopted.url("x"));
        let earlier = pid(&first);
        // One server has two keepers here, and the second one would start it again as soon as the first has stopped it.
        adopted.shared.stopping.store(true, Ordering::SeqCst);
        first.stop();
        let again = Server::start(&place, &mut Random::from_number(3)).unwrap();
        assert_ne!(pid(&again), earlier);
        again.stop();
    }

    fn pid(server: &Server) -> u32 {
        server.shared.pid.load(Ordering::SeqCst)
    }

    #[test]
    fn a_server_that_dies_is_started_again() {
        let directory = directory();
        let server = Server::start(&directory.path().join("postgres"), &mut Random::from_number(1)).unwrap();
        let earlier = pid(&server);
        server.signal(rustix::process::Signal::KILL);
        poll(START_WAIT, || (![0, earlier].contains(&pid(&server))).then_some(())).unwrap();
        server.stop();
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
