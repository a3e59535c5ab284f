//! `posthouse keys`: which keys the installation has, a new one beside the old, and the end of the old one.
//!
//! They work on the key files; a node reads these when it starts. Nobody is locked out on the way: a new key is known
//! before it is used, what an old one sealed and signed is read until it is retired, and a master key is not retired
//! while the database has anything that only it opens (docs/design/0014). One command at a time changes a file.

use crate::cli::{KeysCommand, KeysPlace, KeysRetire, KeysRotate};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::exit::Failure;
use crate::key_file::{KeyFile, KeyKind, KeyState, Left, NoChange};
use crate::node::unavailable;
use crate::printing::{print, print_line};
use crate::roles::up::os_random;
use crate::secrets::{left_of, read, replace, session_path};
use anyhow::Context;
use database::{Database, Keys, Retirement};
use mail::{Clock, Timestamp};
use registry::Access;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

const KINDS: [KeyKind; 2] = [KeyKind::Master, KeyKind::Session];
/// Beyond the time that tokens and kept answers are good for: nodes are restarted one after the other.
const RESTARTS: Duration = Duration::from_secs(3600);

/// The key files of one installation.
struct Place {
    config: Config,
    now: Timestamp,
    /// The options that led here, for commands that are told to be next.
    options: String,
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
        let said = |name: &str, value: &Option<PathBuf>| {
            value.as_ref().map_or_else(String::new, |value| format!(" --{name} {}", value.display()))
        };
        let options = said("data", &options.data) + &said("config", &options.config);
        Ok(Place { config, now: SystemClock::new().timestamp(), options })
    }

    fn path(&self, kind: KeyKind) -> PathBuf {
        match kind {
            KeyKind::Master => self.config.master_key(),
            KeyKind::Session => session_path(&self.config),
        }
    }

    fn read(&self, kind: KeyKind) -> anyhow::Result<Option<KeyFile>> {
        Ok(read(kind, &self.path(kind)).map_err(|error| Failure::Input(format!("{error:#}")))?)
    }

    /// The keys, and what keeps others from changing them until it is dropped.
    fn open(&self, kind: KeyKind) -> anyhow::Result<(KeyFile, File)> {
        let path = self.path(kind);
        let missing = || {
            Failure::Input(format!(
                "there is no {} key in {}: a node makes it when it first starts, that of sessions where it has the role \
                 api. --data DIR or --config FILE says where another node's keys are",
                kind.as_str(),
                path.display()
            ))
        };
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = File::open(directory).map_err(|_| missing())?;
        flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", directory.display()))?;
        Ok((self.read(kind)?.ok_or_else(missing)?, lock))
    }

    fn write(&self, kind: KeyKind, file: &KeyFile) -> anyhow::Result<()> {
        let path = self.path(kind);
        replace(&path, file).map_err(|error| {
            let text = format!("cannot write {}: {error}", path.display());
            Failure::CannotCreate(text).into()
        })
    }
}

fn show(options: &KeysPlace) -> anyhow::Result<()> {
    let place = Place::of(options)?;
    let mut keys = Vec::new();
    let mut text = String::from("key      version  in force from             state\n");
    for kind in KINDS {
        let (word, Some(file)) = (kind.as_str(), place.read(kind)?) else {
            writeln!(text, "{:<8} none in {}", kind.as_str(), place.path(kind).display())?;
            continue;
        };
        for key in file.keys() {
            let state = file.state(key, place.now);
            let from = match key.from {
                Timestamp::UNIX_EPOCH => "the first start".to_owned(),
                from => from.to_string(),
            };
            let version = key.version;
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
    let (mut file, _lock) = place.open(kind)?;
    let old = file.version_in_force(place.now);
    let material = match kind {
        KeyKind::Master => Zeroizing::new(os_random()?.bytes::<32>().to_vec()),
        KeyKind::Session => Zeroizing::new(api::TokenKeys::generate().context("cannot make a key")?),
    };
    let version = file.rotate(material, from);
    place.write(kind, &file)?;
    let (word, path) = (kind.as_str(), place.path(kind));
    if options.place.json {
        let (file, from) = (path.display().to_string(), from.to_string());
        return print_line(format_args!(
            "{}",
            json!({"kind": word, "version": version, "from": from, "file": file})
        ));
    }
    let (path, more) = (path.display(), &place.options);
    let copying = match options.from {
        Some(_) => "Back the file up, copy it to every other node (owner and mode 0600 as there)",
        None => {
            "Back the file up. (In force at once is for one node: with several, a node that does not know the key yet \
             refuses\n   what another made with it. Say `--from` a time by which all are restarted.)"
        }
    };
    let then = match kind {
        KeyKind::Master => "From then on the nodes seal anew what an earlier key sealed",
        KeyKind::Session => "Nobody is logged out",
    };
    print(format_args!(
        "Version {version} of the {word} key is in {path}, in force from {from}.\n\n\
         1. {copying}\n\
         2. Restart every node{}. {then}.\n\
         3. {}, end the old one: posthouse keys retire {word} {old}{more}\n",
        if from > place.now { " before that time" } else { "" },
        match kind {
            KeyKind::Master => "Some minutes later".to_owned(),
            KeyKind::Session => format!("After {} hours", needed_for(&place.config).as_secs() / 3600),
        }
    ))
}

fn retire(options: &KeysRetire) -> anyhow::Result<()> {
    let (place, kind, version) = (Place::of(&options.place)?, options.kind, options.version);
    let (mut file, _lock) = place.open(kind)?;
    let before = file.successor(version).map(|key| key.from);
    let left: Option<Left> = match kind {
        KeyKind::Master => Some(left_of),
        KeyKind::Session => None,
    };
    file.retire(version, place.now, left).map_err(|why| refused(kind, version, why))?;
    match kind {
        KeyKind::Master => end_in_database(&place, options, file.version_in_force(place.now))?,
        KeyKind::Session if options.at_once => {}
        KeyKind::Session => expect_over(&place, version, before)?,
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
        "Version {version} of the {} key is retired in {}. {rest}\n\n\
         1. Copy the file to every other node, and restart every node.\n\
         2. Backups of the file still hold the old key. Backups of the database from before it was replaced need it.\n",
        kind.as_str(),
        path.display()
    ))
}

fn refused(kind: KeyKind, version: u32, why: NoChange) -> Failure {
    let word = kind.as_str();
    Failure::Input(match why {
        NoChange::NoSuchVersion => {
            format!("there is no version {version} of the {word} key; `posthouse keys show` lists them")
        }
        NoChange::Needed => format!(
            "version {version} of the {word} key is in force, or will be; `posthouse keys rotate {word}` makes the next \
             one first"
        ),
        NoChange::Already => format!("version {version} of the {word} key is retired already"),
        NoChange::Damaged => {
            format!("version {version} of the {word} key is damaged; restore the file from your backup")
        }
    })
}

/// How long tokens and kept answers of a session key may be asked for after it.
fn needed_for(config: &Config) -> Duration {
    let answers = u64::from(config.housekeeping.idempotency_hours) * 3600;
    RESTARTS + Duration::from_secs(answers.max(config.api.token_seconds))
}

fn expect_over(place: &Place, version: u32, succeeded_at: Option<Timestamp>) -> anyhow::Result<()> {
    let until = succeeded_at.map(|from| from.saturating_add(needed_for(&place.config)));
    match until.filter(|until| *until > place.now) {
        None => Ok(()),
        Some(until) => Err(Failure::Input(format!(
            "version {version} of the session key is needed until {until}: for tokens, and for answers kept for an \
             Idempotency-Key. --at-once ends both now: programs get a new token, people go on by their cookie, and a call \
             that is repeated is told that its answer is gone"
        ))
        .into()),
    }
}

/// What a master key sealed cannot be opened without it.
fn end_in_database(place: &Place, options: &KeysRetire, successor: u32) -> anyhow::Result<()> {
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
    let (version, random) = (options.version, os_random()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let retirement = runtime.block_on(async {
        let database = Database::connect(&config, Keys::none(), Arc::new(SystemClock::new()), random)
            .await
            .map_err(|error| unavailable("cannot use the database", error))?;
        let access = Access::house("posthouse keys retire");
        let retired = database.master_key_retire(&access, version, successor).await;
        retired.map_err(|fault| unavailable("cannot look for what is sealed", fault))
    })?;
    let refusal = match retirement {
        Retirement::Done => return Ok(()),
        Retirement::Needed(count) => format!(
            "{count} secrets are still sealed with version {version}; each node seals them anew within a minute of its \
             restart with the new key, and again each hour. Its log names those that cannot be opened: make new ones"
        ),
        Retirement::NothingOfItsSuccessor => format!(
            "nothing in this database is sealed with version {successor}: it is another one, or no node was restarted with \
             the new key yet"
        ),
    };
    Err(Failure::Input(refusal).into())
}

/// That of a `posthouse up` which runs on this data directory.
fn running_database(place: &Place) -> Option<String> {
    let text = std::fs::read_to_string(place.config.node.data.join("ready.json")).ok()?;
    let ready: Value = serde_json::from_str(&text).ok()?;
    ready.get("database")?.as_str().map(str::to_owned)
}
