//! What a domain must publish in DNS, and the judgement of what was found there.
//!
//! `expected_records` lists the records, `judge` compares one with an answer and says in a sentence what to do,
//! `next_state` draws the conclusion for the domain. Pure: asking the DNS is the API's and the checker's work. A
//! name server that does not answer is an error and never a missing record: nobody's domain is degraded because of
//! a timeout. Comparison is by meaning, not by octets: DNS hosts fold, split and re-quote what was typed.

use crate::domain::{DomainState, KeyState};
use mail::Domain;
use mail::dkim::KeyAlgorithm;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a domain stays degraded, and sends, before it counts as failed.
pub const DEGRADED_MAX: Duration = Duration::from_secs(72 * 3600);

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Proves that the domain is the tenant's: a TXT record with a token of ours.
    Ownership,
    /// The RSA key.
    Dkim1,
    /// The Ed25519 key.
    Dkim2,
    /// Leads returned mail to us: a CNAME.
    ReturnPath,
    /// Says what receivers do with mail that fails (RFC 7489): wanted, but the tenant's own matter.
    Dmarc,
    /// Leads to where links are followed.
    Tracking,
}

/// The types that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordKind {
    /// Text, its strings joined.
    #[serde(rename = "TXT")]
    Txt,
    /// An alias.
    #[serde(rename = "CNAME")]
    Cname,
}

/// What was found of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// The DNS says that there is none.
    Missing,
    /// It means what it should.
    Ok,
    /// There is one, and it means something else.
    Mismatch,
    /// The DNS did not answer.
    Error,
    /// Nobody has asked yet.
    Unchecked,
}

/// A record that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRecord {
    /// Decides how it is compared.
    pub purpose: Purpose,
    /// What to ask the DNS for.
    pub kind: RecordKind,
    /// The whole name, without a dot at its end.
    pub host: String,
    /// What to publish, as one types it.
    pub value: String,
    /// Whether the domain can be verified without it.
    pub required: bool,
}

/// What the DNS said. A TXT record is one string here, its parts joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Empty: the name or the type does not exist.
    Records(Vec<String>),
    /// A timeout, SERVFAIL or the like.
    Trouble,
}

/// A record as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Decides how it is compared.
    pub purpose: Purpose,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: RecordKind,
    /// The whole name, without a dot at its end.
    pub host: String,
    /// What to publish, as one types it.
    pub value: String,
    /// Without it the domain is not verified.
    pub required: bool,
    /// What was found last.
    pub state: RecordState,
    /// The values that are there, as they are.
    pub found: Vec<String>,
    /// What to do, in a sentence for the tenant; empty if nothing is to be done.
    pub hint: String,
}

/// A key as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// Where it is to stand.
    pub selector: String,
    /// As `k=` says it.
    pub algorithm: KeyAlgorithm,
    /// Retiring ones are still to be published.
    pub state: KeyState,
    /// `v=DKIM1; k=…; p=…`
    pub record: String,
}

/// What the records of a domain follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFacts<'a> {
    /// The domain itself.
    pub name: &'a Domain,
    /// What its TXT record must hold.
    pub ownership_token: &'a str,
    /// The name whose CNAME leads to us.
    pub return_path: &'a Domain,
    /// Where the CNAME of the return path points: our inbound host.
    pub return_path_target: &'a Domain,
    /// What must stand below their selectors.
    pub keys: &'a [PublishedKey],
    /// Where a CNAME for opens and clicks points, if tracking is on.
    pub tracking: Option<(&'a Domain, &'a Domain)>,
}

/// The records to publish, in the order in which a person should enter them. A retiring key stays published but is
/// not asked for.
pub fn expected_records(facts: &DomainFacts<'_>) -> Vec<ExpectedRecord> {
    let txt = |purpose, host, value, required| ExpectedRecord {
        purpose,
        kind: RecordKind::Txt,
        host,
        value,
        required,
    };
    let cname = |purpose, host: &Domain, target: &Domain, required| ExpectedRecord {
        purpose,
        kind: RecordKind::Cname,
        host: host.to_string(),
        value: target.to_string(),
        required,
    };
    let ownership = format!("posthouse-verify={}", facts.ownership_token);
    let mut records = vec![txt(Purpose::Ownership, facts.name.host_below("_posthouse"), ownership, true)];
    for (algorithm, purpose) in [(KeyAlgorithm::Rsa, Purpose::Dkim1), (KeyAlgorithm::Ed25519, Purpose::Dkim2)]
    {
        for key in
            facts.keys.iter().filter(|key| key.algorithm == algorithm && key.state != KeyState::Retiring)
        {
            let host = facts.name.host_below(&format!("{}._domainkey", key.selector));
            // Every verifier knows RSA; Ed25519 (RFC 8463) is a bonus. A key to come is not yet needed.
            let required = algorithm == KeyAlgorithm::Rsa && key.state == KeyState::Active;
            records.push(txt(purpose, host, key.record.clone(), required));
        }
    }
    records.push(cname(Purpose::ReturnPath, facts.return_path, facts.return_path_target, true));
    let dmarc = facts.name.host_below("_dmarc");
    records.push(txt(Purpose::Dmarc, dmarc, "v=DMARC1; p=none".to_owned(), false));
    if let Some((host, target)) = facts.tracking {
        records.push(cname(Purpose::Tracking, host, target, false));
    }
    records
}

/// Compares a record with what was found, and says what to do about it.
pub fn judge(expected: &ExpectedRecord, found: &Found) -> (RecordState, String) {
    let (host, kind) = (&expected.host, expected.kind.as_str());
    let records = match found {
        Found::Trouble => {
            let hint = format!("The DNS did not answer for {host}; we will ask again.");
            return (RecordState::Error, hint);
        }
        Found::Records(records) => records,
    };
    match expected.purpose {
        Purpose::Ownership => judge_ownership(expected, records),
        Purpose::Dkim1 | Purpose::Dkim2 => judge_dkim(expected, records),
        Purpose::Dmarc => judge_dmarc(expected, records),
        Purpose::ReturnPath | Purpose::Tracking => match records.as_slice() {
            [] => (
                RecordState::Missing,
                format!("Publish a {kind} record at {host} that points to {}.", expected.value),
            ),
            [one] if same_name(one, &expected.value) => ok(),
            _ => (
                RecordState::Mismatch,
                format!("{host} points somewhere else; change the {kind} record to {}.", expected.value),
            ),
        },
    }
}

/// The state that follows from freshly checked records. `degraded_for` is how long it has been degraded.
pub fn next_state(current: DomainState, degraded_for: Duration, records: &[DomainRecord]) -> DomainState {
    let required = || records.iter().filter(|record| record.required);
    let wrong = required().any(|r| matches!(r.state, RecordState::Missing | RecordState::Mismatch));
    let unsure = required().any(|r| matches!(r.state, RecordState::Error | RecordState::Unchecked));
    match current {
        DomainState::Suspended => DomainState::Suspended,
        // Nothing that was asked for proves nothing.
        _ if required().next().is_none() || (!wrong && unsure) => current,
        _ if !wrong => DomainState::Verified,
        DomainState::Pending => DomainState::Pending,
        DomainState::Failed => DomainState::Failed,
        DomainState::Verified => DomainState::Degraded,
        DomainState::Degraded if degraded_for >= DEGRADED_MAX => DomainState::Failed,
        DomainState::Degraded => DomainState::Degraded,
    }
}

impl DomainRecord {
    /// As it is shown before anybody asked the DNS.
    pub fn unchecked(expected: ExpectedRecord) -> DomainRecord {
        let hint = match expected.kind {
            RecordKind::Txt => format!("Publish this TXT record at {}.", expected.host),
            RecordKind::Cname => format!("Publish this CNAME record at {}.", expected.host),
        };
        DomainRecord::of(expected, RecordState::Unchecked, Vec::new(), hint)
    }

    /// What was found, put beside what was expected.
    pub fn judged(expected: ExpectedRecord, found: Found) -> DomainRecord {
        let (state, hint) = judge(&expected, &found);
        let found = match found {
            Found::Records(records) => records,
            Found::Trouble => Vec::new(),
        };
        DomainRecord::of(expected, state, found, hint)
    }

    /// The half that does not depend on what was found.
    pub fn expected(&self) -> ExpectedRecord {
        ExpectedRecord {
            purpose: self.purpose,
            kind: self.kind,
            host: self.host.clone(),
            value: self.value.clone(),
            required: self.required,
        }
    }

    fn of(expected: ExpectedRecord, state: RecordState, found: Vec<String>, hint: String) -> DomainRecord {
        let ExpectedRecord { purpose, kind, host, value, required } = expected;
        DomainRecord { purpose, kind, host, value, required, state, found, hint }
    }
}

fn ok() -> (RecordState, String) {
    (RecordState::Ok, String::new())
}

fn judge_ownership(expected: &ExpectedRecord, found: &[String]) -> (RecordState, String) {
    // Others may publish beside us at this name: one match is enough.
    if found.iter().any(|text| text.trim() == expected.value) {
        return ok();
    }
    let host = &expected.host;
    if found.is_empty() {
        return (
            RecordState::Missing,
            format!("Publish this TXT record at {host} to show that the domain is yours."),
        );
    }
    (
        RecordState::Mismatch,
        format!("{host} has a TXT record with another value; it must be {}.", expected.value),
    )
}

fn judge_dkim(expected: &ExpectedRecord, found: &[String]) -> (RecordState, String) {
    let host = &expected.host;
    let key_of = |text: &str| tag(text, "p").map(|p| p.split_whitespace().collect::<String>());
    match found {
        [] => (RecordState::Missing, format!("Publish the public key as a TXT record at {host}.")),
        // RFC 6376 §3.6.2.2: several key records at one name have no defined meaning.
        [_, _, ..] => {
            (RecordState::Mismatch, format!("{host} has several TXT records; leave only this one."))
        }
        [one] => match key_of(one) {
            Some(key) if Some(&key) == key_of(&expected.value).as_ref() => match dkim_fault(expected, one) {
                None => ok(),
                Some(fault) => (
                    RecordState::Mismatch,
                    format!("The record at {host} has the right key, but {fault}; replace it with this one."),
                ),
            },
            Some(key) if key.is_empty() => {
                (RecordState::Mismatch, format!("The key at {host} is revoked (empty p=); publish this one."))
            }
            Some(key) if key_of(&expected.value).is_some_and(|whole| whole.starts_with(&key)) => (
                RecordState::Mismatch,
                format!(
                    "The key at {host} is cut off; long values go into one record as several quoted strings."
                ),
            ),
            Some(_) => (RecordState::Mismatch, format!("{host} has another key; replace it with this one.")),
            None => {
                (RecordState::Mismatch, format!("The TXT record at {host} is not a DKIM key; replace it."))
            }
        },
    }
}

/// What keeps a record with the right key from being used (RFC 6376 §3.6.1).
fn dkim_fault(expected: &ExpectedRecord, found: &str) -> Option<&'static str> {
    let kind = |text: &str| tag(text, "k").unwrap_or("rsa").to_ascii_lowercase();
    let names = |list: Option<&str>, wanted: &[&str]| {
        list.is_none_or(|list| list.split(':').any(|one| wanted.contains(&one.trim())))
    };
    if tag(found, "v").is_some() && (first_tag(found) != Some(("v", "DKIM1"))) {
        return Some("its v= is not the first tag, or not DKIM1");
    }
    if kind(found) != kind(&expected.value) {
        return Some("its k= names another algorithm");
    }
    if !names(tag(found, "h"), &["sha256"]) {
        return Some("its h= does not allow sha256");
    }
    if !names(tag(found, "s"), &["*", "email"]) {
        return Some("its s= is not for mail");
    }
    None
}

fn judge_dmarc(expected: &ExpectedRecord, found: &[String]) -> (RecordState, String) {
    let host = &expected.host;
    // RFC 7489 §6.6.3: other TXT records at the name are ignored; two policies are none.
    let policies: Vec<&String> =
        found.iter().filter(|text| first_tag(text) == Some(("v", "DMARC1"))).collect();
    match policies.as_slice() {
        [] => (
            RecordState::Missing,
            format!(
                "Large mailbox providers ask for a DMARC record; {} at {host} is a beginning.",
                expected.value
            ),
        ),
        // §6.4: in any case.
        [one]
            if tag(one, "p").is_some_and(|policy| {
                ["none", "quarantine", "reject"].iter().any(|known| known.eq_ignore_ascii_case(policy))
            }) =>
        {
            ok()
        }
        [_] => (RecordState::Mismatch, format!("The DMARC record at {host} has no valid p= tag.")),
        _ => (
            RecordState::Mismatch,
            format!("{host} has several DMARC records, which counts as none; leave one."),
        ),
    }
}

/// The tag that stands first, with its value.
fn first_tag(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split(';').next()?.split_once('=')?;
    Some((key.trim(), value.trim()))
}

/// The value of a tag in a `tag=value; …` list (RFC 6376 §3.2), blanks around it dropped.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn same_name(a: &str, b: &str) -> bool {
    a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'))
}

impl RecordKind {
    /// As zone files have it: `CNAME`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordKind::Txt => "TXT",
            RecordKind::Cname => "CNAME",
        }
    }
}
