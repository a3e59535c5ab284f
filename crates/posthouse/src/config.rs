//! The configuration of a node: sections that the crates own, composed; one file, overridable by environment.
//!
//! Text becomes a `Config` in one step that reports every mistake at once, with file, line and the nearest right
//! name. `POSTHOUSE__SECTION__KEY=value` overrides a key; the value is read as TOML where it is valid TOML, else as a
//! string. What tenants may do is never here: it is in the registry.

use crate::{config_text, memory, together};
use mail::Domain;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tracing_subscriber::EnvFilter;

const ENVIRONMENT_PREFIX: &str = "POSTHOUSE__";
/// Wrong variables that are listed.
const VARIABLES_TOLD_MAX: usize = 20;

/// Every section. `config/posthouse.toml` shows all keys at their defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// What it says about its work.
    pub log: Log,
    /// Where it can be reached.
    pub listen: Listen,
    /// How it proves who it is.
    pub tls: Tls,
    /// What everything secret is sealed with.
    pub keys: Keys,
    /// Where PostgreSQL is, and how it is used.
    pub database: database::Config,
    /// Who is asked for names.
    pub dns: Dns,
    /// The journal.
    pub spool: spool::Config,
    /// The doors of SMTP.
    pub ingress: ingress::Config,
    /// The way out.
    pub egress: egress::Config,
    /// What is told afterwards.
    pub events: events::Config,
    /// The doors of HTTP.
    pub api: api::Config,
    /// What is kept for how long.
    pub housekeeping: Housekeeping,
}

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Name in greetings, Received fields and message ids. Must resolve to this host in production.
    pub hostname: Domain,
    /// Where the node keeps what is its own: `spool/`, `keys/`, `tls/`; with `posthouse up` also `postgres/`.
    pub data: PathBuf,
    /// Memory that this process may use; 0 asks the machine and its control groups. Where it is little, the bounds of
    /// messages in memory are lowered to fit, and with them the largest message.
    pub memory_octets: u64,
    /// Whether a crash may leave a core file. It would hold private keys, and mail that is in memory.
    pub core_files: bool,
    /// Host that the return-path CNAMEs of tenants' domains point to: the MX of returned mail.
    pub return_path_host: Domain,
    /// Domain of the platform's own signature: the second one on every message. A pool may have another.
    pub platform_domain: Domain,
}

/// Addresses of the listeners; port 0 takes any free port, which the ready file tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// API, console, metrics, health.
    pub http: String,
    /// Submission with STARTTLS (RFC 6409).
    pub submission: String,
    /// Submission with implicit TLS (RFC 8314 §3.3).
    pub submissions: String,
    /// Returned mail.
    pub inbound: String,
}

/// Certificate of the listeners. Both files empty: `posthouse up` makes its own authority; `serve` refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM, the server's certificate first. Read again when the file changes.
    pub chain: PathBuf,
    /// PEM, PKCS#8.
    pub key: PathBuf,
}

/// The secret of the installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// The installation's master key; the same file on every node. Empty: `keys/master.key` below `node.data`.
    pub master: PathBuf,
}

/// What is kept for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Housekeeping {
    /// Seconds between two passes.
    pub every_seconds: u64,
    /// Days that a message and its attempts can be searched after it was accepted.
    pub message_days: u32,
    /// Days that an event and the webhook calls it caused can be listed.
    pub event_days: u32,
    /// Days that counts by the day are kept: what was used and what became of it.
    pub usage_days: u32,
    /// Days that a DKIM key is kept after it stopped signing; its record must stay published for as long.
    pub retired_key_days: u32,
    /// Hours that the answer to a call with an `Idempotency-Key` is kept.
    pub idempotency_hours: u32,
}

/// A message may be sent 30 days after it was accepted, and be tried for 14 days from then on.
const MESSAGE_DAYS_MIN: u32 = 45;

impl Housekeeping {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.message_days < MESSAGE_DAYS_MIN {
            mistakes.push(format!(
                "housekeeping.message_days = {} must be at least {MESSAGE_DAYS_MIN}: a message may wait for 30 days and be \
                 tried for 14, and what became of one that is forgotten is told to nobody",
                self.message_days
            ));
        }
        if self.idempotency_hours == 0 {
            mistakes.push(
                "housekeeping.idempotency_hours must be at least 1: a repeated call would be done twice"
                    .to_owned(),
            );
        }
        mistakes
    }
}

impl Default for Housekeeping {
    fn default() -> Housekeeping {
        Housekeeping {
            every_seconds: 60,
            message_days: 45,
            event_days: 45,
            usage_days: 400,
            retired_key_days: 14,
            idempotency_hours: 24,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Which lines are written: a level, or `target=level` pairs as `tracing` knows them.
    pub filter: String,
    /// How a line is written.
    pub format: LogFormat,
    /// Lines that may wait for standard error; what comes while it takes none is dropped and counted.
    pub lines_waiting_max: usize,
}

/// The two kinds of log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object in each line, for whoever collects them.
    Json,
}

impl Default for Log {
    fn default() -> Log {
        Log { filter: "info".to_owned(), format: LogFormat::Text, lines_waiting_max: 8_192 }
    }
}

impl Log {
    /// What is wrong with it, in sentences that begin with the key.
    fn mistakes(&self) -> Vec<String> {
        let read = EnvFilter::try_new(&self.filter).err();
        read.map(|error| format!("filter = \"{}\" cannot be used: {error}", self.filter))
            .into_iter()
            .collect()
    }
}

/// How names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// `address:port` of name servers. Empty: those of /etc/resolv.conf.
    pub servers: Vec<std::net::SocketAddr>,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            hostname: domain("mx.posthouse.test"),
            data: PathBuf::from(".posthouse"),
            memory_octets: 0,
            core_files: false,
            return_path_host: domain("return.posthouse.test"),
            platform_domain: domain("posthouse.test"),
        }
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap_or_else(|error| unreachable!("a default is not a domain: {error}"))
}

impl Listen {
    /// Keys and values.
    pub(crate) fn doors(&self) -> [(&'static str, &String); 4] {
        [
            ("http", &self.http),
            ("submission", &self.submission),
            ("submissions", &self.submissions),
            ("inbound", &self.inbound),
        ]
    }
}

impl Default for Listen {
    fn default() -> Listen {
        let local = |port: u16| format!("127.0.0.1:{port}");
        Listen { http: local(8025), submission: local(2587), submissions: local(2465), inbound: local(2525) }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// The file of the master keys.
    pub fn master_key(&self) -> PathBuf {
        match self.keys.master.as_os_str().is_empty() {
            true => self.node.data.join("keys/master.key"),
            false => self.keys.master.clone(),
        }
    }

    /// The file, or nothing but defaults, with the environment on top.
    ///
    /// # Errors
    /// If the file cannot be read, with that alone; else as [`Config::read`].
    pub fn load(file: Option<&Path>) -> Result<Config, Mistakes> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Mistakes(vec![format!("cannot read {}: {error}", path.display())]))?,
            None => String::new(),
        };
        let name = file.map_or("configuration".to_owned(), |path| path.display().to_string());
        Config::read(&name, &text, environment())
    }

    /// The text of a file of this name, with variables (their names and values) on top.
    ///
    /// # Errors
    /// With every mistake, each on one line: what cannot be read, and what can and cannot work. A text of which nothing is
    /// left hides what cannot work, and so does a variable that names no key or cannot be read.
    pub fn read(name: &str, text: &str, variables: Vec<(String, String)>) -> Result<Config, Mistakes> {
        Config::read_all(name, text, variables)
            .map_err(|Mistakes(all)| Mistakes(all.iter().map(|mistake| on_one_line(mistake)).collect()))
    }

    fn read_all(name: &str, text: &str, variables: Vec<(String, String)>) -> Result<Config, Mistakes> {
        let read = config_text::read(name, text);
        // A file with mistakes is looked through to its end: what could be read of it may not work either.
        let mut mistakes = read.mistakes;
        let Some(config) = read.config else { return Err(Mistakes(mistakes)) };
        let config = match override_by_environment(config, variables.clone()) {
            Ok(config) => config,
            Err(Mistakes(more)) => return Err(Mistakes([mistakes, more].concat())),
        };
        mistakes.extend(config.mistakes().into_iter().map(|sentence| {
            let from_environment = variable_of(&sentence, &variables);
            let place = from_environment.map(str::to_owned);
            // Where a key has its default no line is to blame.
            let line = || config_text::line_of(text, &sentence).map(|line| format!("{name}:{line}"));
            place.or_else(line).map_or_else(|| sentence.clone(), |place| format!("{place}: {sentence}"))
        }));
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// What is of the right kind and cannot work all the same, in sentences that begin with `section.key`.
    fn mistakes(&self) -> Vec<String> {
        let addresses = self.listen.doors();
        let wrong = |text: &String| !text.is_empty() && text.parse::<std::net::SocketAddr>().is_err();
        let mut mistakes: Vec<String> = addresses
            .iter()
            .filter(|(_, text)| wrong(text))
            .map(|(key, text)| {
                format!("listen.{key} = \"{text}\" is not an address and a port, such as 127.0.0.1:8025")
            })
            .collect();
        mistakes.extend(self.log.mistakes().iter().map(|sentence| format!("log.{sentence}")));
        mistakes.extend(self.database.mistakes().iter().map(|sentence| format!("database.{sentence}")));
        mistakes.extend(self.spool.mistakes().iter().map(|sentence| format!("spool.{sentence}")));
        mistakes.extend(self.ingress.mistakes().iter().map(|sentence| format!("ingress.{sentence}")));
        mistakes.extend(self.events.mistakes().iter().map(|sentence| format!("events.{sentence}")));
        mistakes.extend(self.egress.check().err().map(str::to_owned));
        mistakes.extend(self.api.mistakes().iter().map(|sentence| format!("api.{sentence}")));
        mistakes.extend(self.housekeeping.mistakes());
        mistakes.extend(memory::check(self).err());
        mistakes.extend(together::mistakes(self));
        mistakes
    }
}

/// What was written may hold line ends and what moves a cursor; a mistake that repeats it stays a line all the same.
fn on_one_line(mistake: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    mistake.chars().map(shown).collect()
}

/// The variable that has set the key with which this sentence begins.
fn variable_of<'a>(sentence: &str, variables: &'a [(String, String)]) -> Option<&'a str> {
    let (path, _) = sentence.split_once(' ')?;
    let wanted = format!("{ENVIRONMENT_PREFIX}{}", path.replace('.', "__").to_ascii_uppercase());
    variables.iter().map(|(name, _)| name.as_str()).find(|name| name.eq_ignore_ascii_case(&wanted))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads configuration from the environment")]
fn environment() -> Vec<(String, String)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = names.filter(|name| name.starts_with(ENVIRONMENT_PREFIX));
    let mut pairs: Vec<_> =
        ours.filter_map(|name| std::env::var(&name).ok().map(|value| (name, value))).collect();
    pairs.sort();
    pairs
}

fn override_by_environment(config: Config, variables: Vec<(String, String)>) -> Result<Config, Mistakes> {
    if variables.is_empty() {
        return Ok(config);
    }
    let mut table =
        toml::Table::try_from(&config).map_err(|error| Mistakes(vec![format!("environment: {error}")]))?;
    let (mut config, mut mistakes) = (config, Vec::new());
    // One after the other, or nobody could say whose mistake it is.
    for (name, value) in &variables {
        let path = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        let mut with = table.clone();
        if !set(&mut with, &keys, read_value(value)) {
            mistakes
                .push(format!("environment: {name} names no key; write {ENVIRONMENT_PREFIX}SECTION__KEY"));
            continue;
        }
        match with.clone().try_into::<Config>() {
            Ok(read) => (table, config) = (with, read),
            Err(error) => {
                let said = config_text::of_key(&keys.join("."), error.message());
                mistakes.push(format!("environment: {name}: {said}"));
            }
        }
    }
    mistakes.truncate(VARIABLES_TOLD_MAX);
    if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
}

fn read_value(text: &str) -> toml::Value {
    let wrapped = format!("value = {text}");
    let parsed = toml::from_str::<toml::Table>(&wrapped).ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn set(table: &mut toml::Table, keys: &[&str], value: toml::Value) -> bool {
    match keys {
        [] | [""] => false,
        [key] => {
            table.insert((*key).to_owned(), value);
            true
        }
        [section, rest @ ..] => match table.entry(*section).or_insert_with(|| toml::Table::new().into()) {
            toml::Value::Table(inner) => set(inner, rest, value),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_with_its_line_beside_what_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("posthouse.toml");
        let text = "[listen]\nhttp = \"nowhere\"\nsubmission = 7\n[spool]\nsegment_octets_max = 1\n\
                    group_wait_ms_max = 99\n[log]\nfilter = \"zzz==\"\n[database]\nurl = \"zzz\"\n";
        std::fs::write(&file, text).unwrap();
        let Mistakes(mistakes) = Config::load(Some(&file)).unwrap_err();
        let lines = [3, 2, 8, 10, 5, 6];
        assert_eq!(mistakes.len(), lines.len(), "{mistakes:#?}");
        for (mistake, line) in mistakes.iter().zip(lines) {
            assert!(mistake.contains(&format!("posthouse.toml:{line}: ")), "{line}: {mistake}");
        }
    }

    #[test]
    fn what_is_kept_for_less_than_mail_may_wait_is_refused() {
        let text = "[housekeeping]\nmessage_days = 7\nidempotency_hours = 0\n";
        let Mistakes(mistakes) = Config::read("f", text, Vec::new()).unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].starts_with("f:2: ") && mistakes[0].contains("at least 45"), "{mistakes:?}");
        assert!(mistakes[1].starts_with("f:3: ") && mistakes[1].contains("at least 1"), "{mistakes:?}");
    }

    #[test]
    fn a_mistake_that_repeats_a_value_is_one_line() {
        let variables = vec![("POSTHOUSE__LISTEN__HTTP".to_owned(), "127.\r\n.0\u{1b}[2J".to_owned())];
        let Mistakes(mistakes) = Config::read("f", "", variables).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].contains(r"127.\r\n.0\u{1b}[2J") && !mistakes[0].contains('\n'), "{mistakes:?}");
    }

    #[test]
    fn what_the_environment_has_set_is_not_blamed_on_a_line() {
        let variables = [("POSTHOUSE__LISTEN__HTTP".to_owned(), "nowhere".to_owned())];
        let found = variable_of("listen.http = \"nowhere\" is not an address", &variables);
        assert_eq!(found, Some("POSTHOUSE__LISTEN__HTTP"));
        assert_eq!(variable_of("listen.submission = \"x\" is not an address", &variables), None);
    }

    #[test]
    fn the_environment_overrides_and_is_checked() {
        let set = |name: &str, value: &str| {
            override_by_environment(Config::default(), vec![(name.to_owned(), value.to_owned())])
        };
        assert_eq!(set("POSTHOUSE__LISTEN__HTTP", "127.0.0.1:0").unwrap().listen.http, "127.0.0.1:0");
        assert_eq!(set("POSTHOUSE__DATABASE__CONNECTIONS_MAX", "3").unwrap().database.connections_max, 3);
        let error = set("POSTHOUSE__LISTEN__HTPP", "x").unwrap_err().to_string();
        assert!(error.contains("`http`") && error.contains("POSTHOUSE__LISTEN__HTPP"), "{error}");
        assert!(set("POSTHOUSE__", "x").is_err());
        let error = set("POSTHOUSE__LISTEN", "1").unwrap_err().to_string();
        assert!(error.contains("POSTHOUSE__LISTEN: listen: ") && error.contains("listen.http = "), "{error}");
    }

    #[test]
    fn each_wrong_variable_is_told_by_its_name() {
        let variables = [("LISTEN", "1"), ("NODE__HOSTNAME", "bad host"), ("NODE__DATA", "there")];
        let variables = variables.map(|(name, value)| (format!("POSTHOUSE__{name}"), value.to_owned()));
        let Mistakes(mistakes) = override_by_environment(Config::default(), variables.to_vec()).unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(
            mistakes[1].contains("POSTHOUSE__NODE__HOSTNAME: node.hostname: the domain has"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn the_shipped_configuration_shows_every_key_at_its_default() {
        let shown = toml::to_string_pretty(&Config::default()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/posthouse.toml");
        let header = "# Every key of a node at its default; written by `cargo xtask config`. docs/OPERATING.md explains them.\n\n";
        if std::env::var_os("POSTHOUSE_REWRITE").is_some() {
            std::fs::write(path, format!("{header}{shown}")).unwrap();
        }
        let shipped = std::fs::read_to_string(path).unwrap();
        assert_eq!(config_text::read(path, &shipped).config, Some(Config::default()));
        assert_eq!(shipped, format!("{header}{shown}"), "run `cargo xtask config`");
    }
}
