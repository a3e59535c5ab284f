//! PgBouncer in front of a test server: what we refuse to work behind.

use crate::cluster::Cluster;
use crate::skipped::lacking;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio_postgres::NoTls;

const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// It is there within a fraction of a second, on a quiet machine.
const STARTS: u32 = 200;

/// Ends with the value.
pub struct PgBouncer {
    folder: PathBuf,
    process: Child,
}

impl PgBouncer {
    /// None, with a notice, where it is not installed. `settings` are lines of its section.
    pub async fn before(cluster: &Cluster, settings: &str) -> Option<PgBouncer> {
        if !Path::new(PROGRAM).exists() {
            lacking("P8", "PgBouncer is not installed");
            return None;
        }
        let folder = cluster.folder().join("bouncer");
        fs::create_dir_all(&folder).expect("make a folder for PgBouncer");
        let text = format!(
            "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {}\nauth_type = any\n{settings}\n",
            cluster.folder().display(),
            folder.display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, text).expect("write the file of PgBouncer");
        let mut command = Command::new(PROGRAM);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = cluster.user() {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("give the folder away");
            command.uid(uid).gid(gid);
        }
        let bouncer = PgBouncer { folder, process: command.spawn().expect("start PgBouncer") };
        let mut again = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..STARTS {
            again.tick().await;
            if let Ok((_, connection)) = tokio_postgres::connect(&bouncer.url("postgres"), NoTls).await {
                drop(connection);
                return Some(bouncer);
            }
        }
        panic!("PgBouncer does not answer");
    }

    /// `postgres://` of a database through it.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{folder}:6432/{database}")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
