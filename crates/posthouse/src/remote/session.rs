//! The login that `posthouse login` keeps: a short token, and the cookie that gets the next one.
//!
//! The file is closed to others. A cookie is good for one use (a second use ends the login, because two people would
//! hold it), so that two commands at once take turns by a lock on the file's neighbour.

use crate::authority;
use crate::exit::Failure;
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    pub api: String,
    pub email: String,
    pub token: String,
    pub cookie: String,
    pub expires_at: Timestamp,
}

/// Where the session lies; locked for as long as this lives.
#[derive(Debug)]
pub struct Keeper {
    file: PathBuf,
    _lock: File,
}

impl Session {
    /// A token that ends within this command is as good as ended.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.checked_add(SignedDuration::from_secs(30)).is_ok_and(|soon| soon < self.expires_at)
    }
}

/// The file that was named, or the one in the home directory.
pub fn place(named: Option<&Path>) -> Option<PathBuf> {
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    named.map(Path::to_owned).or_else(|| Some(home()?.join(".config/posthouse/session.json")))
}

/// What is kept there, if anything.
pub fn read(file: &Path) -> anyhow::Result<Option<Session>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let session = serde_json::from_str(&text);
            let spoiled = |_| {
                Failure::Input(format!(
                    "{} is no login of posthouse; `posthouse login` makes a new one",
                    file.display()
                ))
            };
            Ok(Some(session.map_err(spoiled)?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

impl Keeper {
    /// Waits for others who use the same login.
    pub fn open(file: &Path) -> anyhow::Result<Keeper> {
        let attempt = || -> std::io::Result<File> {
            if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let lock =
                File::options().create(true).truncate(false).write(true).open(file.with_extension("lock"))?;
            flock(&lock, FlockOperation::LockExclusive)?;
            Ok(lock)
        };
        let lock = attempt().map_err(|error| {
            Failure::CannotCreate(format!("cannot keep a login in {}: {error}", file.display()))
        })?;
        Ok(Keeper { file: file.to_owned(), _lock: lock })
    }

    pub fn read(&self) -> anyhow::Result<Option<Session>> {
        read(&self.file)
    }

    pub fn keep(&self, session: &Session) -> anyhow::Result<()> {
        authority::write(&self.file, serde_json::to_string(session)?.as_bytes(), 0o600)
    }

    pub fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.file.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn session() -> Session {
        Session {
            api: "https://a.example".to_owned(),
            email: "o@a.example".to_owned(),
            token: "t".to_owned(),
            cookie: "c".to_owned(),
            expires_at: "2026-11-23T09:15:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_file_that_is_no_login_is_refused_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("session.json");
        assert!(read(&file).unwrap().is_none());
        fs::write(&file, "{}").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("posthouse login"));
    }

    #[test]
    fn a_login_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("new/session.json");
        let keeper = Keeper::open(&file).unwrap();
        keeper.keep(&session()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(keeper.read().unwrap().map(|kept| kept.cookie).as_deref(), Some("c"));
        keeper.forget().unwrap();
        assert!(keeper.read().unwrap().is_none());
    }

    #[test]
    fn a_token_that_ends_soon_is_not_fresh() {
        let now = |text: &str| text.parse().unwrap();
        assert!(session().is_fresh(now("2026-11-23T09:14:00Z")));
        assert!(!session().is_fresh(now("2026-11-23T09:14:45Z")));
    }
}
