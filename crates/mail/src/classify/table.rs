//! The files as they are written, and how they become `Profiles`: every name, pattern and number is checked here.

use super::meaning::{Blame, Meaning, Rate, RetryHint, Step, Suppress, WordError, parse_duration};
use super::{OTHER_PROVIDER, Profile, Profiles, Rule, RuleSet};
use crate::{Class, ClassKind, Scope};
use regex::bytes::RegexSetBuilder;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What is wrong with a table, and where.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum LoadError {
    #[error("cannot read the table of classes")]
    Classes(#[source] toml::de::Error),
    /// `number` is the place in the list of files that was given, from 0.
    #[error("cannot read profile file number {number}")]
    Profile { number: usize, source: toml::de::Error },
    #[error("in {place}: {error}")]
    Word { place: String, error: WordError },
    #[error("{place} names the class {class}, which the table does not have")]
    UnknownClass { place: String, class: String },
    #[error("the patterns of {place} do not compile")]
    Pattern { place: String, source: regex::Error },
    #[error("{0} is there twice")]
    Twice(String),
    #[error("{place} takes its rules from {from}, which is no profile")]
    UnknownProfile { place: String, from: String },
    #[error("an MX suffix starts with a dot, has none at its end and is lower case; {0} does not")]
    Suffix(String),
    #[error("there must be one file with [default], [[generic]] and [enhanced]")]
    NoDefault,
    #[error("the key {0} of [enhanced] is not subject.detail")]
    EnhancedKey(String),
}

/// A named family of sites with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Name of its file without `.toml`; events and rules name it.
    pub id: Arc<str>,
    /// For people, such as `Yahoo and AOL`.
    pub label: String,
    /// What this family of sites is known to take.
    pub limits: ProviderLimits,
    /// What is asked of TLS there.
    pub tls: TlsMode,
    /// MX suffixes for which DANE is wanted whatever the mode says.
    pub dane_for_suffix: Vec<String>,
    mx_suffixes: Vec<String>,
    mx_hosts: Vec<String>,
    domains: Vec<String>,
}

/// Limits of a provider; what its file leaves open is taken from the default profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProviderLimits {
    /// Connections per source, over all sites of the provider.
    pub connections: Option<u32>,
    /// Connections per source to one set of MX hosts.
    pub connections_per_site: Option<u32>,
    /// New connections of one path.
    pub connection_rate: Option<Rate>,
    /// Transactions before a connection is closed by us.
    pub messages_per_connection: Option<u32>,
    /// Messages of one path, over all its connections.
    pub message_rate: Option<Rate>,
    /// How long a connection may be kept without work.
    pub idle: Option<Duration>,
    /// For the answer to DATA.
    pub data_timeout: Option<Duration>,
    /// For the answer to the final dot.
    pub data_dot_timeout: Option<Duration>,
    /// So many failures to reach a site in a row, and the path is left alone for a while.
    pub connection_failures_before_delay: Option<u32>,
    /// How long a site whose STARTTLS fails is spoken to in plain text.
    pub remember_broken_tls: Option<Duration>,
}

/// What is asked of TLS before a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// When offered, without checking the certificate (RFC 3207, RFC 7435).
    Opportunistic,
    /// Never in plain text, certificate checked.
    Required,
    /// Never in plain text, certificate not checked.
    RequiredUnverified,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassFile {
    class: BTreeMap<String, ClassRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRow {
    kind: ClassKind,
    blame: Blame,
    suppress: String,
    scope: Scope,
    step: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultFile {
    default: DefaultRow,
    generic: Vec<RuleRow>,
    enhanced: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultRow {
    #[serde(rename = "evidence")]
    _evidence: Vec<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
    limits: LimitsRow,
    tls: TlsRow,
    /// Read by the adaptive controller, which has its own type for it.
    #[serde(rename = "adaptive")]
    _adaptive: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile {
    id: String,
    label: String,
    #[serde(rename = "evidence")]
    _evidence: Vec<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(rename = "match")]
    matching: MatchRow,
    rules_from: Option<String>,
    limits: Option<LimitsRow>,
    tls: Option<TlsRow>,
    #[serde(default)]
    rule: Vec<RuleRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchRow {
    #[serde(default)]
    mx_suffix: Vec<String>,
    #[serde(default)]
    mx_host: Vec<String>,
    #[serde(default)]
    rcpt_domain: Vec<String>,
    /// Domains whose MX a watcher compares with the suffixes.
    #[serde(rename = "probe")]
    _probe: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LimitsRow {
    connections: Option<u32>,
    connections_per_site: Option<u32>,
    connection_rate: Option<String>,
    messages_per_connection: Option<u32>,
    message_rate: Option<String>,
    idle: Option<String>,
    data_timeout: Option<String>,
    data_dot_timeout: Option<String>,
    connection_failures_before_delay: Option<u32>,
    remember_broken_tls: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsRow {
    mode: Option<TlsMode>,
    #[serde(default)]
    dane_for_suffix: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    id: String,
    #[serde(rename = "match")]
    pattern: String,
    #[serde(rename = "means")]
    _means: String,
    class: String,
    #[serde(rename = "do")]
    reaction: Option<ReactionRow>,
    #[serde(rename = "peer")]
    _peer: Option<toml::Table>,
    /// For the tests: a reply that this rule must find.
    #[serde(rename = "example")]
    _example: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReactionRow {
    retry: Option<String>,
    step: Option<String>,
}

/// Everything in one pass; the first mistake ends it.
pub(super) fn load(files: &[&str], classes: &str) -> Result<Profiles, LoadError> {
    let classes = load_classes(classes)?;
    let mut default = None;
    let mut providers = Vec::new();
    for (number, text) in files.iter().enumerate() {
        let wrong = |source| LoadError::Profile { number, source };
        let table: toml::Table = text.parse().map_err(wrong)?;
        if table.contains_key("default") {
            let file: DefaultFile = table.try_into().map_err(wrong)?;
            if default.replace(file).is_some() {
                return Err(LoadError::Twice("[default]".to_string()));
            }
        } else {
            providers.push(table.try_into::<ProviderFile>().map_err(wrong)?);
        }
    }
    let default = default.ok_or(LoadError::NoDefault)?;
    let enhanced = load_enhanced(&default.enhanced, &classes)?;
    let generic = rule_set("[[generic]]", &default.generic, &classes)?;
    let other = other_profile(&default, &classes)?;
    let defaults = other.provider.limits.clone();
    let mut profiles = vec![other];
    for file in &providers {
        profiles.push(load_profile(file, &providers, &defaults, &classes)?);
    }
    let mut by_id = HashMap::new();
    for (index, profile) in profiles.iter().enumerate() {
        if by_id.insert(profile.provider.id.clone(), index).is_some() {
            return Err(LoadError::Twice(profile.provider.id.to_string()));
        }
    }
    let unknown = known_class("unknown", "the program", &classes)?;
    Ok(Profiles { classes, providers: profiles, by_id, generic, enhanced, unknown })
}

fn load_classes(text: &str) -> Result<HashMap<Class, Meaning>, LoadError> {
    let file: ClassFile = toml::from_str(text).map_err(LoadError::Classes)?;
    let mut classes = HashMap::new();
    for (name, row) in file.class {
        let wrong = |error| LoadError::Word { place: name.clone(), error };
        let suppress: Suppress = row.suppress.parse().map_err(wrong)?;
        let step: Step = row.step.parse().map_err(wrong)?;
        let meaning = Meaning { kind: row.kind, blame: row.blame, suppress, scope: row.scope, step };
        classes.insert(Class(name.as_str().into()), meaning);
    }
    Ok(classes)
}

fn load_enhanced(
    rows: &BTreeMap<String, String>,
    classes: &HashMap<Class, Meaning>,
) -> Result<HashMap<(u16, u16), Class>, LoadError> {
    let mut enhanced = HashMap::new();
    for (key, class) in rows {
        let numbers = key
            .split_once('.')
            .and_then(|(subject, detail)| Some((subject.parse().ok()?, detail.parse().ok()?)));
        let numbers = numbers.ok_or_else(|| LoadError::EnhancedKey(key.clone()))?;
        enhanced.insert(numbers, known_class(class, "[enhanced]", classes)?);
    }
    Ok(enhanced)
}

fn load_profile(
    file: &ProviderFile,
    all: &[ProviderFile],
    defaults: &ProviderLimits,
    classes: &HashMap<Class, Meaning>,
) -> Result<Profile, LoadError> {
    let rules = match &file.rules_from {
        None => &file.rule,
        Some(from) => {
            let unknown = || LoadError::UnknownProfile { place: file.id.clone(), from: from.clone() };
            &all.iter().find(|other| other.id == *from).ok_or_else(unknown)?.rule
        }
    };
    for suffix in &file.matching.mx_suffix {
        if !suffix.starts_with('.') || suffix.ends_with('.') || *suffix != suffix.to_ascii_lowercase() {
            return Err(LoadError::Suffix(suffix.clone()));
        }
    }
    let limits =
        file.limits.as_ref().map_or_else(|| Ok(ProviderLimits::default()), |row| limits(&file.id, row))?;
    let provider = Provider {
        id: file.id.as_str().into(),
        label: file.label.clone(),
        limits: limits.or(defaults),
        tls: file.tls.as_ref().and_then(|tls| tls.mode).unwrap_or(TlsMode::Opportunistic),
        dane_for_suffix: file.tls.as_ref().map(|tls| tls.dane_for_suffix.clone()).unwrap_or_default(),
        mx_suffixes: file.matching.mx_suffix.clone(),
        mx_hosts: file.matching.mx_host.clone(),
        domains: file.matching.rcpt_domain.clone(),
    };
    Ok(Profile { provider, rules: rule_set(&file.id, rules, classes)? })
}

fn other_profile(file: &DefaultFile, classes: &HashMap<Class, Meaning>) -> Result<Profile, LoadError> {
    let provider = Provider {
        id: OTHER_PROVIDER.into(),
        label: "Everybody else".to_string(),
        limits: limits("[default]", &file.default.limits)?,
        tls: file.default.tls.mode.unwrap_or(TlsMode::Opportunistic),
        dane_for_suffix: file.default.tls.dane_for_suffix.clone(),
        mx_suffixes: Vec::new(),
        mx_hosts: Vec::new(),
        domains: Vec::new(),
    };
    Ok(Profile { provider, rules: rule_set("[default]", &[], classes)? })
}

fn rule_set(place: &str, rows: &[RuleRow], classes: &HashMap<Class, Meaning>) -> Result<RuleSet, LoadError> {
    let patterns = RegexSetBuilder::new(rows.iter().map(|row| &row.pattern))
        .case_insensitive(true)
        // Replies are ASCII, and tables for all letters of Unicode in both cases take megabytes.
        .unicode(false)
        .build()
        .map_err(|source| LoadError::Pattern { place: place.to_string(), source })?;
    let rule = |row: &RuleRow| {
        let wrong = |error| LoadError::Word { place: row.id.clone(), error };
        let retry = row.reaction.as_ref().and_then(|reaction| reaction.retry.as_deref());
        let step = row.reaction.as_ref().and_then(|reaction| reaction.step.as_deref());
        Ok(Rule {
            id: row.id.as_str().into(),
            class: known_class(&row.class, &row.id, classes)?,
            retry: retry.map(str::parse::<RetryHint>).transpose().map_err(wrong)?,
            step: step.map(str::parse::<Step>).transpose().map_err(wrong)?,
        })
    };
    Ok(RuleSet { patterns, rules: rows.iter().map(rule).collect::<Result<_, LoadError>>()? })
}

fn limits(place: &str, row: &LimitsRow) -> Result<ProviderLimits, LoadError> {
    let wrong = |error| LoadError::Word { place: place.to_string(), error };
    let rate = |text: &Option<String>| text.as_deref().map(str::parse::<Rate>).transpose().map_err(wrong);
    let time = |text: &Option<String>| text.as_deref().map(parse_duration).transpose().map_err(wrong);
    Ok(ProviderLimits {
        connections: row.connections,
        connections_per_site: row.connections_per_site,
        connection_rate: rate(&row.connection_rate)?,
        messages_per_connection: row.messages_per_connection,
        message_rate: rate(&row.message_rate)?,
        idle: time(&row.idle)?,
        data_timeout: time(&row.data_timeout)?,
        data_dot_timeout: time(&row.data_dot_timeout)?,
        connection_failures_before_delay: row.connection_failures_before_delay,
        remember_broken_tls: time(&row.remember_broken_tls)?,
    })
}

fn known_class(name: &str, place: &str, classes: &HashMap<Class, Meaning>) -> Result<Class, LoadError> {
    let found = classes.get_key_value(&Class::stored(name)).map(|(class, _)| class.clone());
    found.ok_or_else(|| LoadError::UnknownClass { place: place.to_string(), class: name.to_string() })
}

impl ProviderLimits {
    fn or(self, other: &ProviderLimits) -> ProviderLimits {
        ProviderLimits {
            connections: self.connections.or(other.connections),
            connections_per_site: self.connections_per_site.or(other.connections_per_site),
            connection_rate: self.connection_rate.or(other.connection_rate),
            messages_per_connection: self.messages_per_connection.or(other.messages_per_connection),
            message_rate: self.message_rate.or(other.message_rate),
            idle: self.idle.or(other.idle),
            data_timeout: self.data_timeout.or(other.data_timeout),
            data_dot_timeout: self.data_dot_timeout.or(other.data_dot_timeout),
            connection_failures_before_delay: self
                .connection_failures_before_delay
                .or(other.connection_failures_before_delay),
            remember_broken_tls: self.remember_broken_tls.or(other.remember_broken_tls),
        }
    }
}

impl Provider {
    /// `host` is in lower case without its final dot.
    pub(super) fn has_mx_host(&self, host: &str) -> bool {
        self.mx_suffixes.iter().any(|suffix| host.ends_with(suffix.as_str()))
            || self.mx_hosts.iter().any(|own| own == host)
    }

    pub(super) fn names_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|own| own == domain)
    }
}
