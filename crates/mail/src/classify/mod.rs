//! What a site's reply means: provider profiles and reply rules, applied as a table (`config/providers`,
//! `config/classes.toml`).
//!
//! The first rule of the provider that matches wins, then the first generic rule, then the enhanced code, then the
//! code, then `unknown`. The tables are data, compiled in: loading checks every name, pattern and number in
//! them, so that classifying cannot fail. Internal errors never pass through here; their causes are typed.
//!
//! Called by egress for every reply that is not a success. What may surprise: a 4yz reply is never `hard`, and a
//! class says nothing about retrying by itself; `Classified::verdict` does.

mod meaning;
mod table;

pub use meaning::{Blame, Meaning, Rate, RetryHint, Step, Suppress};
pub use table::{LoadError, Provider, ProviderLimits, TlsMode};

use crate::{Class, ClassKind, Domain, Reply, Scope, Verdict};
use regex::bytes::RegexSet;
use std::collections::HashMap;
use std::sync::Arc;

/// The id of the profile for sites of no known provider.
pub const OTHER_PROVIDER: &str = "other";

/// All profiles and rules, checked and compiled. Immutable; shared as an `Arc`.
#[derive(Debug)]
pub struct Profiles {
    classes: HashMap<Class, Meaning>,
    providers: Vec<Profile>,
    by_id: HashMap<Arc<str>, usize>,
    generic: RuleSet,
    enhanced: HashMap<(u16, u16), Class>,
    unknown: Class,
}

/// What a reply was found to mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// The first class whose rule or code matched.
    pub class: Class,
    /// Of the class; `Soft` instead of `Hard` for a 4yz reply.
    pub kind: ClassKind,
    /// How far the answer reaches, as the table has it for the class.
    pub scope: Scope,
    /// The rule that decided; none when a code did.
    pub rule: Option<Arc<str>>,
    /// When to try again, if the rule knows better than the schedule.
    pub retry: Option<RetryHint>,
    /// What shaping does, as the rule has it, or else the class.
    pub step: Step,
    /// As the table has it for the class.
    pub suppress: Suppress,
    transient: bool,
}

/// A provider with its compiled rules.
#[derive(Debug)]
struct Profile {
    provider: Provider,
    rules: RuleSet,
}

/// Patterns compiled together: one pass over the reply tells all that match, the first in order counts.
#[derive(Debug)]
struct RuleSet {
    patterns: RegexSet,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    class: Class,
    retry: Option<RetryHint>,
    step: Option<Step>,
}

impl Profiles {
    /// Loads profile files (`config/providers/*.toml`, the generic one among them) and the class table.
    ///
    /// # Errors
    /// The first mistake, with its place: `Classes` or `Profile` if a text is not TOML of the expected keys,
    /// `NoDefault` without the generic file, `Twice` for an id or `[default]` that is there again, otherwise
    /// the name, word, suffix or pattern that means nothing.
    pub fn load(providers: &[&str], classes: &str) -> Result<Profiles, LoadError> {
        table::load(providers, classes)
    }

    /// The tables that come with the program.
    pub fn shipped() -> Profiles {
        // A test loads them; a damaged table does not get as far as a release.
        Profiles::load(&SHIPPED_PROVIDERS, SHIPPED_CLASSES)
            .unwrap_or_else(|error| unreachable!("the shipped tables are wrong: {error}"))
    }

    /// The profile for a domain with these MX hosts: by the domain itself where a profile names it, else only if all
    /// hosts are of one provider. Mixed set-ups are nobody's.
    pub fn provider_for(&self, domain: &Domain, mx_hosts: &[&str]) -> &Provider {
        let named = self.providers.iter().find(|profile| profile.provider.names_domain(domain.as_str()));
        named.map_or_else(|| self.provider_of(mx_hosts), |profile| &profile.provider)
    }

    /// The profile for a set of MX hosts. Host names may have upper case and a final dot.
    pub fn provider_of(&self, mx_hosts: &[&str]) -> &Provider {
        let hosts: Vec<String> =
            mx_hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
        let matching = self
            .providers
            .iter()
            .find(|profile| !hosts.is_empty() && hosts.iter().all(|host| profile.provider.has_mx_host(host)));
        matching.map_or_else(|| self.other(), |profile| &profile.provider)
    }

    /// The profile with this id, such as `google`; the one for everybody else is [`OTHER_PROVIDER`].
    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.by_id.get(id).map(|index| &self.providers[*index].provider)
    }

    /// The profile that applies where no other does.
    pub fn other(&self) -> &Provider {
        // `load` puts it first.
        &self.providers[0].provider
    }

    /// Every profile, `other` first.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter().map(|profile| &profile.provider)
    }

    /// The row of a class in `config/classes.toml`.
    pub fn meaning(&self, class: &Class) -> Option<&Meaning> {
        self.classes.get(class)
    }

    /// The class of that name, if the table has it. For causes of our own, such as `remote.down`.
    pub fn class(&self, name: &str) -> Option<Class> {
        self.classes.get_key_value(&Class::stored(name)).map(|(class, _)| class.clone())
    }

    /// What a reply of a site with this provider means, said at this stage of the session (`Outcome::stage`).
    pub fn classify(&self, provider_id: &str, reply: &Reply, stage: &str) -> Classified {
        let line = reply.to_line();
        let own =
            self.by_id.get(provider_id).and_then(|index| self.providers[*index].rules.first_match(&line));
        // RFC 3207 §4: whatever else its words sound like, it says that there is no TLS just now.
        let refuses_tls = stage == "starttls" && reply.code.as_u16() != 421;
        let generic = || if refuses_tls { None } else { self.generic.first_match(&line) };
        let rule = own.or_else(generic);
        let class = match rule {
            Some(rule) => rule.class.clone(),
            None if refuses_tls => self.class("tls.failed").unwrap_or_else(|| self.unknown.clone()),
            None => self.by_code(reply),
        };
        let mut found = self.describe(class, reply.code.is_transient());
        found.rule = rule.map(|rule| rule.id.clone());
        found.retry = rule.and_then(|rule| rule.retry);
        found.step = rule.and_then(|rule| rule.step).unwrap_or(found.step);
        found.scope = found.scope.max(scope_of_stage(reply, stage));
        found
    }

    /// A class without a reply, for causes that we saw ourselves: `tls.failed`, `remote.down`. These may pass.
    pub fn describe_cause(&self, class: &Class) -> Classified {
        self.describe(class.clone(), true)
    }

    fn describe(&self, class: Class, transient: bool) -> Classified {
        let meaning = self.classes.get(&class).unwrap_or_else(|| &self.classes[&self.unknown]);
        Classified {
            kind: match meaning.kind {
                ClassKind::Hard if transient => ClassKind::Soft,
                kind => kind,
            },
            scope: meaning.scope,
            rule: None,
            retry: None,
            step: meaning.step,
            suppress: if transient { Suppress::Never } else { meaning.suppress },
            class,
            transient,
        }
    }

    /// By the enhanced code, then by the basic code where that alone says something (550 alone does not).
    fn by_code(&self, reply: &Reply) -> Class {
        let enhanced =
            reply.enhanced.and_then(|status| self.enhanced.get(&(status.subject(), status.detail())));
        if let Some(class) = enhanced {
            return class.clone();
        }
        let name = match reply.code.as_u16() {
            421 | 451 | 452 => "remote.overload",
            500..=504 | 555 => "protocol",
            521 | 556 => "domain.bad",
            530 => "relay.denied",
            _ => return self.unknown.clone(),
        };
        self.class(name).unwrap_or_else(|| self.unknown.clone())
    }
}

impl Classified {
    /// Whether the recipient is tried again. A 5yz reply is final (RFC 5321 §4.2.1) unless the table knows that this
    /// site says 5yz when it means "slower".
    pub fn verdict(&self) -> Verdict {
        let throttled = matches!(self.kind, ClassKind::Throttle) || self.retry.is_some();
        if self.transient || throttled { Verdict::Deferred } else { Verdict::Failed }
    }
}

impl RuleSet {
    fn first_match(&self, line: &str) -> Option<&Rule> {
        self.patterns.matches(line.as_bytes()).iter().next().map(|index| &self.rules[index])
    }
}

/// 421 ends the session (RFC 5321 §3.8). A refusal before MAIL is about whoever connects, not about a recipient.
fn scope_of_stage(reply: &Reply, stage: &str) -> Scope {
    match stage {
        "connect" | "greeting" | "ehlo" if reply.code.is_permanent() => Scope::Path,
        "connect" | "greeting" | "ehlo" | "starttls" => Scope::Session,
        _ if reply.code.as_u16() == 421 => Scope::Session,
        _ => Scope::Recipient,
    }
}

macro_rules! shipped {
    ($($name:literal)*) => {
        [$(include_str!(concat!("../../../../config/providers/", $name, ".toml"))),*]
    };
}

/// In the order in which they are asked.
const SHIPPED_PROVIDERS: [&str; 26] = shipped![
    "generic" "google" "yahoo" "yahoo-jp" "microsoft-consumer" "microsoft-365" "apple" "comcast" "spectrum" "cox" "att"
    "orange-fr" "laposte" "gmx-webde" "mail-com" "t-online" "mail-ru" "yandex" "tencent-qq" "netease" "mimecast"
    "proofpoint" "barracuda" "netvigator" "kpn" "mailgun-relay"
];
const SHIPPED_CLASSES: &str = include_str!("../../../../config/classes.toml");

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
