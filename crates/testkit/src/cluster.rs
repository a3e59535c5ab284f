//! A PostgreSQL server of our own: one for the whole test run, or one that a test may stop and start.
//!
//! The shared one lives under the target folder (under the temporary folder if that path cannot be reached by the
//! user it must run as, or is too long for a socket). Test processes come and go by the dozen, so nobody owns it:
//! each process holds a shared lock on `users.lock`; whoever finds no server starts one under `start.lock`, together
//! with a watchdog that stops it once nobody has held the lock for a while. Nothing outlives the run by more than
//! that. PostgreSQL refuses to run as root; the package's user or `nobody` runs it then. `fsync` is off: a crash of
//! the machine loses test data.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio_postgres::NoTls;

/// Seconds without any user after which the watchdog stops the server.
const IDLE_SECONDS: u32 = 20;
/// A socket's path has at most 107 octets; the name takes about 20.
const SOCKET_FOLDER_OCTETS_MAX: usize = 80;
const VERSIONS: [&str; 5] = ["18", "17", "16", "15", "14"];

/// A running server and how to reach it.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    /// Held while this process may use the server.
    _in_use: File,
    own: bool,
}

impl Cluster {
    /// The server of this test run, started if it is not there.
    pub async fn shared() -> Cluster {
        let user = unprivileged_user();
        let folder = shared_folder(user);
        fs::create_dir_all(&folder).expect("make the folder of the test server");
        own_folder(&folder, user);
        let users = lock_file(&folder.join("users.lock"));
        flock(&users, FlockOperation::LockShared).expect("lock users.lock");
        let cluster = Cluster { folder, binaries: binaries(), user, _in_use: users, own: false };
        let start = lock_file(&cluster.folder.join("start.lock"));
        flock(&start, FlockOperation::LockExclusive).expect("lock start.lock");
        if !cluster.answers().await {
            cluster.start();
            cluster.watch();
        }
        cluster
    }

    /// A server for one test, in a folder of its own; both go when the value is dropped.
    pub fn own(name: &str) -> Cluster {
        let user = unprivileged_user();
        let folder = std::env::temp_dir().join(format!("posthouse-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("make the folder of the test server");
        own_folder(&folder, user);
        let users = lock_file(&folder.join("users.lock"));
        flock(&users, FlockOperation::LockShared).expect("lock users.lock");
        let cluster = Cluster { folder, binaries: binaries(), user, _in_use: users, own: true };
        cluster.start();
        // For the case that this process is killed and nothing is dropped.
        cluster.watch();
        cluster
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whom its processes run as, if not as we do.
    pub(crate) fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// `postgres://` of a database as the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_of("postgres", database)
    }

    /// For a user and a database of this cluster.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://{user}@{folder}/{database}")
    }

    /// Initialises the cluster if it is new, and starts the server.
    pub fn start(&self) {
        let data = self.folder.join("data");
        if !data.join("PG_VERSION").exists() {
            // What an interrupted initdb left behind.
            let _ = fs::remove_dir_all(&data);
            let mut initdb = self.command("initdb");
            initdb.args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
            ]);
            run(initdb.arg("--pgdata").arg(&data));
        }
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off -c synchronous_commit=off \
             -c full_page_writes=off -c max_connections=200 -c shared_buffers=64MB",
            self.folder.display()
        );
        let mut start = self.command("pg_ctl");
        start.args(["start", "--wait", "--silent", "--pgdata"]).arg(&data);
        run(start.arg("--log").arg(self.folder.join("log")).arg("--options").arg(options));
    }

    /// Stops the server at once; connections end.
    pub fn stop(&self) {
        let mut stop = self.command("pg_ctl");
        run(stop
            .args(["stop", "--wait", "--silent", "--mode=fast", "--pgdata"])
            .arg(self.folder.join("data")));
    }

    async fn answers(&self) -> bool {
        match tokio_postgres::connect(&self.url("postgres"), NoTls).await {
            Err(_) => false,
            Ok((client, connection)) => {
                let driver = tokio::spawn(connection);
                let answers = client.simple_query("SELECT 1").await.is_ok();
                driver.abort();
                answers
            }
        }
    }

    /// Starts the watchdog: three looks without a user in a row, and the server is stopped under the exclusive lock,
    /// so that a process that comes just then waits and starts a new one.
    fn watch(&self) {
        let script = format!(
            "free=0
             while [ $free -lt 3 ]; do
               sleep {seconds}
               if flock --nonblock --exclusive users.lock true; then free=$((free + 1)); else free=0; fi
               [ -e data/postmaster.pid ] || exit 0
             done
             flock --exclusive users.lock {pg_ctl} stop --silent --mode=immediate --pgdata data",
            seconds = IDLE_SECONDS / 3,
            pg_ctl = self.binaries.join("pg_ctl").display(),
        );
        let mut watchdog = Command::new("setsid");
        watchdog.args(["sh", "-c", &script]).current_dir(&self.folder);
        self.lower(&mut watchdog);
        #[expect(
            clippy::zombie_processes,
            reason = "it outlives this process on purpose, to stop the server after us"
        )]
        watchdog.spawn().expect("start the watchdog of the test server");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(&self.folder);
        self.lower(&mut command);
        command
    }

    /// Nothing of ours is inherited: a server that kept our standard output would keep the test runner waiting.
    fn lower(&self, command: &mut Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env_remove("PGHOST").env_remove("PGPORT").env_remove("PGUSER").env_remove("PGDATA");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.own {
            if self.folder.join("data/postmaster.pid").exists() {
                self.stop();
            }
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("run a program of PostgreSQL");
    assert!(status.success(), "{command:?} failed: {status}");
}

fn lock_file(path: &Path) -> File {
    let file = OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path);
    let file = file.expect("open a lock file");
    // Whoever made it, the watchdog's user must be able to lock it.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o666));
    file
}

/// The user that PostgreSQL runs as when we are root.
fn unprivileged_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user to run PostgreSQL as"))
}

fn shared_folder(user: Option<(u32, u32)>) -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let _ = fs::create_dir_all(&target);
    let target = target.canonicalize().expect("the target folder");
    let folder = target.join("test-postgres");
    let searchable = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    let reachable = user.is_none() || target.ancestors().all(searchable);
    if reachable && folder.as_os_str().len() <= SOCKET_FOLDER_OCTETS_MAX {
        return folder;
    }
    let place = target.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    std::env::temp_dir().join(format!("posthouse-test-{place:016x}"))
}

fn own_folder(folder: &Path, user: Option<(u32, u32)>) {
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder, Some(uid), Some(gid))
            .expect("give the folder to the user of PostgreSQL");
    }
}

/// `POSTHOUSE_TEST_POSTGRES_BIN`, Debian's folders, then the search path.
fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("POSTHOUSE_TEST_POSTGRES_BIN") {
        return PathBuf::from(folder);
    }
    let debian = VERSIONS.iter().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = debian.chain(std::env::split_paths(&path).collect::<Vec<_>>());
    folders.find(|folder| folder.join("initdb").exists()).expect(
        "PostgreSQL's programs: install the package postgresql, or name their folder in POSTHOUSE_TEST_POSTGRES_BIN",
    )
}
