//! What a site's answer, or its silence, means: class × scope, and what follows for the recipient.
//!
//! An outcome is data, not an error. `Class` names are stable and public: they appear in events, accounting and
//! configuration. Their meaning (kind, blame, first reaction) is the table in `config/classes.toml`, read by
//! `classify/mod.rs`.

use crate::status::{EnhancedStatus, Reply};
use std::fmt;
use std::sync::Arc;

/// A stable name such as `recipient.unknown`; only names of `config/classes.toml` exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub(crate) Arc<str>);

/// What a class means for the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassKind {
    /// Final for this recipient.
    Hard,
    /// Try again later.
    Soft,
    /// The sending side was refused, not the recipient.
    Block,
    /// Too much or too fast.
    Throttle,
    /// The operator's surroundings are wrong.
    Infra,
}

/// How far the trouble reaches, from narrow to wide; the dispatcher holds back exactly this much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This recipient only.
    Recipient,
    /// This message, whoever it is for.
    Message,
    /// This connection; the next one may do.
    Session,
    /// This source at this site.
    Path,
    /// This site, whatever the source.
    Site,
}

/// What happened to one recipient in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The site said 2yz to the end of the message.
    Delivered,
    /// It may work later.
    Deferred,
    /// It never will.
    Failed,
}

/// The outcome of one attempt for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Settled or not.
    pub verdict: Verdict,
    /// What it means, in a word for events and accounting.
    pub class: Class,
    /// Hard, soft, block and so on: the coarse half of the class.
    pub kind: ClassKind,
    /// Which other mail it says something about.
    pub scope: Scope,
    /// Stage of the session where it was decided: `connect`, `greeting`, `ehlo`, `starttls`, `mail`, `rcpt`, `data`,
    /// `final-dot`, `resolve`, `queue`.
    pub stage: &'static str,
    /// The site's reply, or none when there was no answer to read.
    pub reply: Option<Reply>,
    /// What went wrong when there was no reply, in words for the tenant; never our internals.
    pub trouble: Option<String>,
    /// What `trouble` is in the registry of enhanced codes (RFC 3463, RFC 7505, RFC 8689). None in old records, which may have
    /// it in their words.
    pub status: Option<EnhancedStatus>,
    /// The rule of the provider profile that decided, if one did.
    pub rule: Option<Arc<str>>,
    /// MX host that answered or was tried.
    pub mx: Option<String>,
    /// Local address the attempt left from.
    pub egress: Option<std::net::IpAddr>,
    /// Protocol version negotiated, `TLSv1.3`; none for plain text.
    pub tls: Option<String>,
    /// Provider profile that applied, `other` if none did.
    pub provider: Arc<str>,
}

impl Outcome {
    /// The site's enhanced code; where there was no reply, ours.
    pub fn enhanced(&self) -> Option<EnhancedStatus> {
        self.reply.as_ref().map_or(self.status, |reply| reply.enhanced)
    }

    /// The site's words; where there was no reply, ours.
    pub fn words(&self) -> Option<String> {
        self.reply.as_ref().map(Reply::to_line).or_else(|| self.trouble.clone())
    }
}

impl Class {
    /// As in `config/classes.toml`: `recipient.unknown`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For names that come from our own journal or database; new names come only from the table.
    pub fn stored(name: &str) -> Class {
        Class(name.into())
    }
}

/// Stages are names in the program; one that a newer program wrote down has no name here.
pub fn stage_named(text: &str) -> &'static str {
    const STAGES: [&str; 13] = [
        "connect",
        "greeting",
        "ehlo",
        "starttls",
        "auth",
        "mail",
        "rcpt",
        "data",
        "final-dot",
        "resolve",
        "queue",
        "rset",
        "quit",
    ];
    STAGES.into_iter().find(|known| *known == text).unwrap_or("unknown")
}

impl Verdict {
    /// As in rows: `deferred`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Delivered => "delivered",
            Verdict::Deferred => "deferred",
            Verdict::Failed => "failed",
        }
    }

    /// The verdict with this word.
    pub fn parse(text: &str) -> Option<Verdict> {
        [Verdict::Delivered, Verdict::Deferred, Verdict::Failed].into_iter().find(|it| it.as_str() == text)
    }
}

impl Scope {
    /// The scope with this word.
    pub fn parse(text: &str) -> Option<Scope> {
        const ALL: [Scope; 5] = [Scope::Recipient, Scope::Message, Scope::Session, Scope::Path, Scope::Site];
        ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// As in events and rows: `path`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Recipient => "recipient",
            Scope::Message => "message",
            Scope::Session => "session",
            Scope::Path => "path",
            Scope::Site => "site",
        }
    }
}

impl ClassKind {
    /// The kind with this word.
    pub fn parse(text: &str) -> Option<ClassKind> {
        const ALL: [ClassKind; 5] =
            [ClassKind::Hard, ClassKind::Soft, ClassKind::Block, ClassKind::Throttle, ClassKind::Infra];
        ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// As in events and rows: `soft`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ClassKind::Hard => "hard",
            ClassKind::Soft => "soft",
            ClassKind::Block => "block",
            ClassKind::Throttle => "throttle",
            ClassKind::Infra => "infra",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
