//! `cargo xtask up`: from a bare machine to a running house.
//!
//! Builds the optimised binary and replaces itself with it, so that Ctrl-C reaches posthouse alone.

use crate::{Outcome, cargo, host, root, target};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn run(rest: &[String]) -> Outcome {
    host::ensure(&[host::COMPILER, host::POSTGRESQL, host::CURL, host::JQ, host::SWAKS, host::PERL_TLS])?;
    println!("building posthouse (the first time takes some minutes)");
    crate::execute(cargo().args(["build", "--locked", "--release", "--package", "posthouse"]))?;
    let mut command = Command::new(target().join("release/posthouse"));
    command.arg("up").arg("--lab");
    if !rest.iter().any(|argument| argument == "--data" || argument.starts_with("--data=")) {
        command.arg("--data").arg(data_directory());
    }
    command.args(rest);
    Err(format!("cannot start posthouse: {}", command.exec()))
}

/// `.posthouse` in the checkout. Under root PostgreSQL runs as another user, who must be able to get there: a
/// checkout below a closed directory (such as /root) is of no use to it.
fn data_directory() -> PathBuf {
    let beside = root().join(".posthouse");
    if host::is_root() && !reachable_by_others(&root()) {
        let elsewhere = PathBuf::from("/var/lib/posthouse-demo");
        println!(
            "{} is closed to other users, so the data goes to {}",
            root().display(),
            elsewhere.display()
        );
        return elsewhere;
    }
    beside
}

fn reachable_by_others(path: &Path) -> bool {
    path.ancestors()
        .all(|parent| std::fs::metadata(parent).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}
