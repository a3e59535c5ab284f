//! `posthouse keys`: which keys the installation has, a new one beside the old, and the end of the old one.
//!
//! They work on the key files; a node reads these when it starts. Nobody is locked out on the way: a new key is known
//! before it is used, what an old one sealed and signed is read until it is retired, and it is not retired while
//! anything needs it (docs/design/0014). A file is replaced whole, with its owner and mode.

use crate::cli::{KeysCommand, KeysPlace, KeysRetire, KeysRotate};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::exit::Failure;
use crate::key_file::{KeyFile, KeyKind, KeyState, NoChange};
use crate::node::unavailable;
use crate::printing::{print, print_line};
use crate::roles::up::os_random;
use crate::secrets::{left_of, read, session_path};
use anyhow::Context;
use database::{Database, Keys};
use mail::{Clock, Timestamp};
use registry::Access;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const KINDS: [KeyKind; 2] = [KeyKind::Master, KeyKind::Session];
/// Beside the time that answers are kept: a token is good for a quarter of an hour.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

/// The key files of one installation.
struct Place {
    config: Config,
    now: Timestamp,
}

pub fn run(command: &KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Show(place) => show(place),
        KeysCommand::Rotate(options) => rotate(options),
        KeysCommand::Retire(options) => retire(options),
    }
}

impl Place {
    fn of(options: &KeysPlace) -> anyhow::Result<Place> {
        let mut config = Config::load(options.config.as_deref())
            .map_err(|error| Failure::Configuration(error.to_string()))?;
        if let Some(data) = &options.data {
            config.node.data.clone_from(data);
        }
        Ok(Place { config, now: SystemClock::new().timestamp() })
    }

    fn path(&self, kind: KeyKind) -> PathBuf {
        match kind {
            KeyKind::Master => self.config.master_key(),
            KeyKind::Session => session_path(&self.config),
        }
    }

    fn read(&self, kind: KeyKind) -> anyhow::Result<KeyFile> {
        let path = self.path(kind);
        let file = read(kind, &path).map_err(|error| Failure::Input(format!("{error:#}")))?;
        let missing = || {
            Failure::Input(format!(
                "there is no {} key in {}; a node makes it when it first starts. --data DIR or --config FILE says where \
                 another one is",
                kind.as_str(),
                path.display()
            ))
        };
        Ok(file.ok_or_else(missing)?)
    }

    /// The node's user must still be able to read it, whoever runs this.
    fn write(&self, kind: KeyKind, file: &KeyFile) -> anyhow::Result<()> {
        let path = self.path(kind);
        let before = std::fs::metadata(&path)?;
        let mode = before.permissions().mode() & 0o777;
        crate::authority::write(&path, file.to_text().as_bytes(), mode)
            .map_err(|error| Failure::CannotCreate(format!("{error:#}")))?;
        let own = std::fs::metadata(&path)?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            chown(&path, Some(before.uid()), Some(before.gid()))
                .with_context(|| format!("cannot give {} back to its owner", path.display()))?;
        }
        Ok(())
    }
}

fn show(options: &KeysPlace) -> anyhow::Result<()> {
    let place = Place::of(options)?;
    let mut keys = Vec::new();
    let mut text = String::from("key      version  in force from             state\n");
    for kind in KINDS {
        let file = place.read(kind)?;
        for key in file.keys() {
            let state = file.state(key, place.now);
            let from = match key.from {
                Timestamp::UNIX_EPOCH => "the first start".to_owned(),
                from => from.to_string(),
            };
            let (word, version) = (kind.as_str(), key.version);
            writeln!(text, "{word:<8} {version:>7}  {from:<24} {}", told(kind, state))?;
            keys.push(json!({
                "kind": word, "version": version, "state": state.as_str().replace(' ', "_"),
                "from": (key.from != Timestamp::UNIX_EPOCH).then(|| key.from.to_string()),
            }));
        }
    }
    match options.json {
        true => print_line(format_args!("{}", json!({ "keys": keys }))),
        false => print(format_args!("{text}")),
    }
}

fn told(kind: KeyKind, state: KeyState) -> &'static str {
    match (state, kind) {
        (KeyState::InForce, _) => "in force",
        (KeyState::Next, _) => "known, not used yet",
        (KeyState::Before, KeyKind::Master) => "opens what it sealed; `posthouse keys retire` ends it",
        (KeyState::Before, KeyKind::Session) => "reads what it signed; `posthouse keys retire` ends it",
        (KeyState::Retired, _) => "retired: checks credentials and return paths made under it",
    }
}

fn rotate(options: &KeysRotate) -> anyhow::Result<()> {
    let (place, kind) = (Place::of(&options.place)?, options.kind);
    let from = match &options.from {
        None => place.now,
        Some(text) => Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Failure::Usage(format!("--from wants a time such as 2026-12-01T12:00:00Z, and this is {text}"))
        })?,
    };
    if from < place.now {
        return Err(Failure::Usage(format!("--from {from} is over; leave it out for now")).into());
    }
    let mut file = place.read(kind)?;
    let material = match kind {
        KeyKind::Master => Zeroizing::new(os_random()?.bytes::<32>().to_vec()),
        KeyKind::Session => Zeroizing::new(api::TokenKeys::generate().context("cannot make a key")?),
    };
    let version = file.rotate(material, from).map_err(|why| refused(kind, file.keys().len() as u32, why))?;
    place.write(kind, &file)?;
    let path = place.path(kind);
    if options.place.json {
        let (file, from) = (path.display().to_string(), from.to_string());
        return print_line(format_args!(
            "{}",
            json!({"kind": kind.as_str(), "version": version, "from": from, "file": file})
        ));
    }
    let (word, path, old) = (kind.as_str(), path.display(), version - 1);
    let then = match kind {
        KeyKind::Master => "the nodes seal anew what an earlier key sealed.",
        KeyKind::Session => "nobody is logged out.",
    };
    print(format_args!(
        "Version {version} of the {word} key is in {path}, in force from {from}.\n\n\
         1. Back the file up. Several nodes: copy it to each.\n\
         2. Restart every node{}; {then}\n\
         3. Then end the old one: posthouse keys retire {word} {old}\n",
        if from > place.now { " before that time" } else { "" }
    ))
}

fn retire(options: &KeysRetire) -> anyhow::Result<()> {
    let (place, kind, version) = (Place::of(&options.place)?, options.kind, options.version);
    let mut file = place.read(kind)?;
    let changed = match kind {
        KeyKind::Master => file.retire(version, place.now, left_of),
        KeyKind::Session => file.retire(version, place.now, |_| None),
    };
    changed.map_err(|why| refused(kind, version, why))?;
    match kind {
        KeyKind::Master => expect_unused(&place, options)?,
        KeyKind::Session if options.at_once => {}
        KeyKind::Session => expect_over(&place, version)?,
    }
    place.write(kind, &file)?;
    let path = place.path(kind);
    if options.place.json {
        let file = path.display().to_string();
        return print_line(format_args!(
            "{}",
            json!({"kind": kind.as_str(), "version": version, "file": file})
        ));
    }
    let rest = match kind {
        KeyKind::Master => {
            "It opens nothing any more; what is left checks credentials and return paths made under it."
        }
        KeyKind::Session => "What it signed and kept is not read any more.",
    };
    print(format_args!(
        "Version {version} of the {} key is retired in {}. {rest}\nSeveral nodes: copy the file to each. Restart every \
         node; backups of the file still hold the old key.\n",
        kind.as_str(),
        path.display()
    ))
}

fn refused(kind: KeyKind, version: u32, why: NoChange) -> Failure {
    let word = kind.as_str();
    Failure::Input(match why {
        NoChange::LaterOne(from) => {
            format!("there is a {word} key already that is in force from {from} on; --from a later time")
        }
        NoChange::NoSuchVersion => {
            format!("there is no version {version} of the {word} key; `posthouse keys show` lists them")
        }
        NoChange::Needed => format!(
            "version {version} of the {word} key is in force, or will be; `posthouse keys rotate {word}` makes the next \
             one first"
        ),
        NoChange::Already => format!("version {version} of the {word} key is retired already"),
    })
}

/// Tokens and kept answers of a session key have a time after which nobody asks for them.
fn expect_over(place: &Place, version: u32) -> anyhow::Result<()> {
    let hours = u64::from(place.config.housekeeping.idempotency_hours);
    let needed = TOKEN_TIME + Duration::from_secs(hours * 3600);
    let until = place.read(KeyKind::Session)?.succeeded_at(version).map(|from| from.saturating_add(needed));
    match until.filter(|until| *until > place.now) {
        None => Ok(()),
        Some(until) => Err(Failure::Input(format!(
            "version {version} of the session key is needed until {until}: logins and answers kept for an \
             Idempotency-Key may be of it. --at-once retires it now; whoever is logged in by it logs in again"
        ))
        .into()),
    }
}

/// What a master key sealed cannot be opened without it.
fn expect_unused(place: &Place, options: &KeysRetire) -> anyhow::Result<()> {
    let mut config = place.config.database.clone();
    let of_up = || running_database(place);
    if let Some(url) = options.database.clone().or_else(|| config.url.is_empty().then(of_up).flatten()) {
        config.url = url;
    }
    if config.url.is_empty() {
        let text = "whether anything still needs this key stands in the database: say which with --database URL, or \
                    database.url in --config FILE; that of `posthouse up` is found while it runs";
        return Err(Failure::Usage(text.to_owned()).into());
    }
    let mut random = os_random()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counts: BTreeMap<u32, u64> = runtime.block_on(async {
        // Nothing is sealed or opened with these.
        let keys = Keys::from_master(&random.bytes());
        let database = Database::connect(&config, keys, Arc::new(SystemClock::new()), random)
            .await
            .map_err(|error| unavailable("cannot use the database", error))?;
        let counts = database.sealed_by_version(&Access::house("posthouse keys retire")).await;
        counts.map_err(|fault| unavailable("cannot count what is sealed", fault))
    })?;
    match counts.get(&options.version) {
        None | Some(0) => Ok(()),
        Some(count) => Err(Failure::Input(format!(
            "{count} secrets are still sealed with version {}; each node seals them anew within an hour of its restart \
             with the new key, and the log says so",
            options.version
        ))
        .into()),
    }
}

/// That of a `posthouse up` which runs on this data directory.
fn running_database(place: &Place) -> Option<String> {
    let text = std::fs::read_to_string(place.config.node.data.join("ready.json")).ok()?;
    let ready: Value = serde_json::from_str(&text).ok()?;
    ready.get("database")?.as_str().map(str::to_owned)
}
