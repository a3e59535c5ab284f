//! What the host must have, and how it comes there.
//!
//! A tool is looked for first; only if one is missing apt is asked, once, for all of them. Nothing is removed or
//! upgraded.

use crate::{Outcome, execute};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const APT: &str = "apt-get";

/// A tool, the Debian package that has it, and how to see that it is there.
pub struct Need {
    pub package: &'static str,
    pub present: fn() -> bool,
}

pub const POSTGRESQL: Need = Need { package: "postgresql", present: has_postgresql };
pub const COMPILER: Need = Need { package: "build-essential", present: || on_path("cc") };
pub const SWAKS: Need = Need { package: "swaks", present: || on_path("swaks") };
pub const PERL_TLS: Need = Need { package: "libnet-ssleay-perl", present: || perl_has("Net::SSLeay") };
pub const CURL: Need = Need { package: "curl", present: || on_path("curl") };
pub const JQ: Need = Need { package: "jq", present: || on_path("jq") };
pub const PYTHON: Need = Need { package: "python3", present: || on_path("python3") };
pub const OPENSSL: Need = Need { package: "openssl", present: || on_path("openssl") };
pub const POSTFIX: Need = Need { package: "postfix", present: || Path::new("/usr/sbin/postfix").exists() };
pub const OPENDKIM: Need = Need { package: "opendkim", present: || Path::new("/usr/sbin/opendkim").exists() };
pub const VENV: Need = Need { package: "python3-venv", present: has_venv };
pub const STRACE: Need = Need { package: "strace", present: || on_path("strace") };
pub const EXT4: Need = Need { package: "e2fsprogs", present: || Path::new("/usr/sbin/mkfs.ext4").exists() };
pub const PGBOUNCER: Need =
    Need { package: "pgbouncer", present: || Path::new("/usr/sbin/pgbouncer").exists() };
pub const PRLIMIT: Need = Need { package: "util-linux", present: || on_path("prlimit") };

/// Installs what is missing of `needs`, or says what to install.
pub fn ensure(needs: &[Need]) -> Outcome {
    let missing: Vec<&str> = needs.iter().filter(|need| !(need.present)()).map(|need| need.package).collect();
    install(&missing, find_on_path(APT))?;
    match needs.iter().find(|need| !(need.present)()) {
        None => Ok(()),
        Some(need) => Err(format!("apt installed {} but it is still not found", need.package)),
    }
}

/// The same for a list in a file: `package: a command that succeeds if it is there`, one a line.
pub fn ensure_listed(list: &Path) -> Outcome {
    let text =
        std::fs::read_to_string(list).map_err(|error| format!("cannot read {}: {error}", list.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "));
    let missing: Vec<&str> = lines
        .filter(|(_, probe)| !quiet(Command::new("sh").args(["-c", probe])))
        .map(|(package, _)| package)
        .collect();
    install(&missing, find_on_path(APT))
}

fn install(missing: &[&str], apt_get: Option<PathBuf>) -> Outcome {
    if missing.is_empty() {
        return Ok(());
    }
    if apt_get.is_none() {
        return Err(format!(
            "this host lacks: {}. They can be installed automatically on Debian and Ubuntu only; here, install what \
             your system calls them and start again",
            missing.join(", ")
        ));
    }
    println!("installing with apt: {}", missing.join(" "));
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(missing);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Outcome {
    let mut command = if is_root() { Command::new(APT) } else { Command::new("sudo") };
    if !is_root() {
        if !on_path("sudo") {
            return Err(format!("not root and no sudo here; as root, run: apt-get {}", arguments.join(" ")));
        }
        command.arg(APT);
    }
    execute(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
}

pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}

pub fn on_path(program: &str) -> bool {
    find_on_path(program).is_some()
}

pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn has_postgresql() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders = versions.map(|entry| entry.path().join("bin"));
    folders.any(|folder| has_server(&folder)) || (on_path("initdb") && on_path("postgres"))
}

fn has_server(folder: &Path) -> bool {
    folder.join("initdb").exists() && folder.join("postgres").exists()
}

fn has_venv() -> bool {
    quiet(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

fn perl_has(module: &str) -> bool {
    quiet(Command::new("perl").arg(format!("-M{module}")).args(["-e", "1"]))
}

pub fn quiet(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_apt_every_missing_package_is_named() {
        let said = install(&["postgresql", "jq"], None).unwrap_err();
        assert!(said.contains("lacks: postgresql, jq.") && said.contains("start again"), "{said}");
        assert_eq!(install(&[], None), Ok(()));
    }
}
