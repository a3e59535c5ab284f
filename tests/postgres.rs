//! PostgreSQL outside of the house: it outlives every kill, and a test may stop, pause or restart it.
//!
//! `Outside` is a database of the test run's shared server; `Server` is a server for one test alone.

use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use testkit::{Cluster, TestDatabase};
use tokio::runtime::Runtime;

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
    pub fn new() -> Outside {
        let runtime = runtime();
        let database = runtime.block_on(TestDatabase::new());
        Outside { database, runtime }
    }

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
    pub fn start(name: &str) -> Server {
        let cluster = Cluster::own(name);
        let folder = std::env::temp_dir().join(format!("posthouse-{name}-{}", std::process::id()));
        Server { cluster, folder }
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
