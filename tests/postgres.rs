//! PostgreSQL outside of the house: it outlives every kill, and a test may stop, pause or restart it.
//!
//! `Outside` is a database of the test run's shared server; `Server` is a server for one test alone, `Slow` a long way
//! to it.

use crate::volume::Volume;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::{Cluster, TestDatabase};
use tokio::runtime::Runtime;

const SOCKET: &str = ".s.PGSQL.5432";

/// A database of its own on the shared server.
pub struct Outside {
    database: TestDatabase,
    runtime: Runtime,
}

/// A server of its own.
pub struct Server {
    cluster: Cluster,
    folder: PathBuf,
}

impl Outside {
    /// A server that is there, or one of our own.
    pub fn new() -> Outside {
        let runtime = runtime();
        let database = runtime.block_on(TestDatabase::new());
        Outside { database, runtime }
    }

    /// To connect as its owner.
    pub fn url(&self) -> &str {
        self.database.url()
    }

    /// Runs a statement as the superuser.
    pub fn execute(&self, sql: &str) {
        self.runtime.block_on(async { self.database.admin().await.batch_execute(sql).await.unwrap() });
    }

    /// Runs statements in a transaction that stays open until the returned value is dropped.
    pub fn hold(&self, sql: &str) -> impl Drop + use<> {
        let client = self.runtime.block_on(self.database.admin());
        self.runtime.block_on(client.batch_execute(&format!("BEGIN; {sql}"))).unwrap();
        Held(Some(client))
    }
}

/// Its end is the end of the transaction.
struct Held<T>(Option<T>);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl Default for Outside {
    fn default() -> Outside {
        Outside::new()
    }
}

impl Server {
    /// Begins one with this name, in a directory of its own.
    pub fn start(name: &str) -> Server {
        let cluster = Cluster::own(name);
        let folder = folder_of(name);
        let server = Server { cluster, folder };
        // The servers of other tests may forget what they have just committed; this one is going to be stopped.
        server.execute("ALTER ROLE postgres SET synchronous_commit = on");
        server
    }

    /// All of it on this volume, which must outlive it.
    pub fn start_on(name: &str, volume: &Volume) -> Server {
        let (there, here) = (volume.path.join("postgres"), folder_of(name));
        std::fs::create_dir(&there).unwrap();
        // It does not run as root.
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(volume.path.parent().unwrap(), everybody).unwrap();
        std::os::unix::fs::symlink(&there, &here).unwrap();
        Server::start(name)
    }

    /// The same server at the end of a way of its own.
    pub fn far_away(&self) -> Slow {
        Slow::to(self.folder.join(SOCKET))
    }

    /// Starts it if it is not there, as somebody who is on call would.
    pub fn revive(&self) {
        if self.run("SELECT 1").is_err() {
            let pid = self.folder.join("data/postmaster.pid");
            let gone = || (!pid.exists() || self.run("SELECT 1").is_ok()).then_some(());
            crate::house::wait_for("PostgreSQL to be there or gone", gone);
            if !pid.exists() {
                self.start_again();
            }
        }
    }

    /// The house makes the database itself.
    pub fn url(&self) -> String {
        self.cluster.url("posthouse")
    }

    /// `pg_ctl stop -m immediate`: no goodbye, recovery at the next start.
    pub fn stop_immediately(&self) {
        let postmaster = self.processes()[0];
        kill_process(postmaster, Signal::QUIT).unwrap();
        let gone = || (!self.folder.join("data/postmaster.pid").exists()).then_some(());
        crate::house::wait_for("PostgreSQL to be gone", gone);
    }

    /// With the same data, on the same port.
    pub fn start_again(&self) {
        self.cluster.start();
    }

    /// No process of the server does anything until the value is dropped.
    pub fn pause(&self) -> Paused {
        let processes = self.processes();
        for pid in &processes {
            // A backend may have ended since it was listed.
            let _ = kill_process(*pid, Signal::STOP);
        }
        Paused(processes)
    }

    /// Ends the house's connections and takes every one that the server has until the list is dropped.
    pub fn take_all_connections(&self) -> Vec<UnixStream> {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'posthouse'";
        let mut taken: Vec<UnixStream> = Vec::new();
        // The server lets us in first, then we fill it: reserved places are for superusers, and that is what we are.
        self.execute(kill);
        while let Some(stream) = self.connect() {
            taken.push(stream);
        }
        taken
    }

    /// A session of the superuser that does nothing; none if the server has no room.
    fn connect(&self) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.folder.join(SOCKET)).ok()?;
        // StartupMessage of protocol 3.0.
        let parameters = b"user\0postgres\0database\0postgres\0\0";
        let length = (8 + parameters.len()) as u32;
        let start = [&length.to_be_bytes()[..], &196_608_u32.to_be_bytes(), parameters].concat();
        stream.write_all(&start).ok()?;
        let mut kind = [0];
        stream.read_exact(&mut kind).ok()?;
        // R: authenticated. E: too many clients.
        (kind == *b"R").then_some(stream)
    }

    /// Runs a statement as the superuser.
    pub fn execute(&self, sql: &str) {
        self.run(sql).unwrap();
    }

    /// The same, or what it complains about.
    ///
    /// # Errors
    /// The complaint of psql, as it stands in its standard error.
    pub fn run(&self, sql: &str) -> Result<(), String> {
        let url = self.cluster.url("postgres");
        let output = std::process::Command::new("psql").args(["-qAt", "-c", sql, &url]).output().unwrap();
        let complaint = || String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(complaint()) }
    }

    /// The postmaster, then its children.
    fn processes(&self) -> Vec<Pid> {
        let text = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let postmaster: i32 = text.lines().next().unwrap().parse().unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        std::iter::once(postmaster).chain(children).filter_map(Pid::from_raw).collect()
    }
}

fn folder_of(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("posthouse-{name}-{}", std::process::id()))
}

/// Whatever is said to the server arrives later; what it answers comes at once.
pub struct Slow {
    place: tempfile::TempDir,
    delay_ms: Arc<AtomicU64>,
}

impl Slow {
    /// Its threads end with the connections, that of the listener with the process.
    fn to(server: PathBuf) -> Slow {
        let place = tempfile::Builder::new().prefix("phs").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(place.path().join(SOCKET)).unwrap();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delay = Arc::clone(&delay_ms);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is not there is a connection that ends.
                let Ok(server) = UnixStream::connect(&server) else { continue };
                let (mut asks, mut hears) = (client.try_clone().unwrap(), client);
                let (mut told, mut answers) = (server.try_clone().unwrap(), server);
                let delay = Arc::clone(&delay);
                std::thread::spawn(move || {
                    let mut octets = [0; 65_536];
                    while let Ok(count @ 1..) = asks.read(&mut octets) {
                        crate::house::let_pass(Duration::from_millis(delay.load(Ordering::Relaxed)));
                        if told.write_all(&octets[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = told.shutdown(std::net::Shutdown::Both);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut answers, &mut hears);
                    let _ = hears.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Slow { place, delay_ms }
    }

    /// Of the house's database, over this way.
    pub fn url(&self) -> String {
        let folder = self.place.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{folder}/posthouse")
    }

    /// From now on everything takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

/// Processes that stand still until it is dropped.
pub struct Paused(Vec<Pid>);

impl Drop for Paused {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
