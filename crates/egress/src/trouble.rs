//! What came of an attempt, and what it means: for the recipient, for its path, for the next attempt. Pure.
//!
//! One function, `judge`, turns a `Cause` into an outcome, a next step and a signal for shaping. A reply is read by
//! the table of `mail::classify`; a silence, a broken session or a missing extension has a class of its own here and
//! never passes through the reply rules. What may surprise:
//!
//! - A 5yz greeting is not the end of a recipient. It is about the address that we come from; one blocked address
//!   must not burn a list.
//! - A connection that was kept open and is found closed is not an attempt: sites close idle sessions as they like.
//!   Nor is a message that we held back ourselves, or for which we had no connection or memory.
//! - A break after the final dot is tried again, though the site may have it: twice is better than never (RFC 1047).

pub use crate::cause::{Cause, Circumstances};

use crate::resolve::Unresolved;
use mail::classify::{Blame, Classified, Profiles, RetryHint, Step};
use mail::{Class, ClassKind, EnhancedStatus, Outcome, Reply, Scope, Verdict};
use queue::TlsNeed;
use shaping::{Feedback, Signal};
use smtp::client::{Break, BreakKind, Failure, Missing, Stage};
use spool::Settlement;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, PartialEq)]
pub(crate) struct Judged {
    pub outcome: Outcome,
    pub next: Next,
    pub signal: Signal,
    /// Mail of this tenant on this path rests for so long.
    pub tenant_pause: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Settle(Settlement),
    Retry(Option<RetryHint>),
    /// It was no attempt.
    GiveBack,
}

pub(crate) fn judge(cause: &Cause, at: &Circumstances, profiles: &Profiles) -> Judged {
    let mut judged = judge_cause(cause, at, profiles);
    // What one message demands of TLS says nothing about the path of those that demand less.
    if at.tls_need == TlsNeed::RequireTls && is_about_tls(cause) {
        judged.signal = NEUTRAL;
    }
    judged
}

fn is_about_tls(cause: &Cause) -> bool {
    match cause {
        Cause::Failed(Failure::Refused { stage, .. } | Failure::Broken(Break { stage, .. })) => {
            *stage == Stage::StartTls
        }
        Cause::Failed(Failure::Missing(missing)) => {
            matches!(missing, Missing::StartTls | Missing::RequireTls)
        }
        Cause::Delivered(_)
        | Cause::NoConnection(_)
        | Cause::Shortage
        | Cause::Crowded
        | Cause::Unresolved(_)
        | Cause::NoCommonFamily
        | Cause::Unvouched
        | Cause::Unreadable
        | Cause::Bug
        | Cause::Expired => false,
    }
}

fn judge_cause(cause: &Cause, at: &Circumstances, profiles: &Profiles) -> Judged {
    match cause {
        Cause::Delivered(reply) => delivered(reply, at),
        Cause::Failed(Failure::Refused { stage, reply }) => refused(*stage, reply, at, profiles),
        Cause::Failed(Failure::Broken(broken)) => self::broken(broken, at, profiles),
        Cause::Failed(Failure::Missing(missing)) => self::missing(*missing, at, profiles),
        Cause::NoConnection(words) => {
            let found = Found::soft("remote.down", (4, 4, 1), "connect", words.clone());
            found.judged(at, profiles, Signal::Feedback(Feedback::Gone))
        }
        Cause::Unresolved(why) => unresolved(why, at, profiles),
        Cause::NoCommonFamily => {
            let words = "the site has no address of a kind (IPv4, IPv6) that our addresses can reach";
            Found::soft("remote.down", (4, 4, 4), "connect", words.to_owned()).judged(at, profiles, NEUTRAL)
        }
        Cause::Shortage => {
            let words = "there is no connection to spare here just now; it is tried again";
            let judged =
                Found::soft("unknown", (4, 3, 2), "connect", words.to_owned()).judged(at, profiles, NEUTRAL);
            Judged { next: Next::GiveBack, ..judged }
        }
        Cause::Crowded => {
            let words = "there is no memory to spare for the message here just now; it is tried again";
            let judged =
                Found::soft("unknown", (4, 3, 0), "queue", words.to_owned()).judged(at, profiles, NEUTRAL);
            Judged { next: Next::GiveBack, ..judged }
        }
        Cause::Unvouched => {
            let words = "the message requires TLS, and no DNSSEC, MTA-STS or name of its own vouches for the domain's \
                         mail exchangers";
            Found::hard("tls.required", (5, 7, 30), words).judged(at, profiles, NEUTRAL)
        }
        Cause::Unreadable => {
            let words = "the stored message could not be read; it is tried again";
            Found::soft("unknown", (4, 3, 0), "queue", words.to_owned()).judged(at, profiles, NEUTRAL)
        }
        Cause::Bug => {
            let words = "something went wrong here with this delivery; it is tried again";
            Found::soft("unknown", (4, 3, 0), "queue", words.to_owned()).judged(at, profiles, NEUTRAL)
        }
        Cause::Expired => {
            let words = "it could not be delivered in time";
            let mut judged = Found::soft("remote.down", (4, 4, 7), "queue", words.to_owned())
                .judged(at, profiles, NEUTRAL);
            judged.outcome.verdict = Verdict::Failed;
            judged.next = Next::Settle(Settlement::Expired);
            judged
        }
    }
}

const NEUTRAL: Signal = Signal::Feedback(Feedback::Neutral);
const GOOD: Signal = Signal::Feedback(Feedback::Good);

fn delivered(reply: &Reply, at: &Circumstances) -> Judged {
    let found =
        Found { class: "delivered", stage: "final-dot", status: None, words: None, fate: Fate::Final };
    let mut outcome = found.outcome(at, ClassKind::Soft, Scope::Recipient, Class::stored("delivered"));
    outcome.verdict = Verdict::Delivered;
    outcome.reply = Some(reply.clone());
    Judged { outcome, next: Next::Settle(Settlement::Delivered), signal: GOOD, tenant_pause: None }
}

fn refused(stage: Stage, reply: &Reply, at: &Circumstances, profiles: &Profiles) -> Judged {
    let provider = at.provider.as_deref().unwrap_or(mail::classify::OTHER_PROVIDER);
    let stage_word = stage_word(stage);
    let classified = profiles.classify(provider, reply, stage_word);
    let about_us =
        matches!(stage, Stage::Greeting | Stage::Hello | Stage::StartTls | Stage::Auth | Stage::Reset);
    let verdict = if about_us { Verdict::Deferred } else { classified.verdict() };
    let signal = signal_of(&classified, reply, about_us, at.carried);
    let outcome = Outcome {
        verdict,
        class: classified.class,
        kind: classified.kind,
        scope: classified.scope,
        stage: stage_word,
        reply: Some(reply.clone()),
        trouble: None,
        status: None,
        rule: classified.rule,
        mx: at.mx.clone(),
        egress: at.egress,
        tls: at.tls.clone(),
        provider: provider_of(at),
    };
    let next = match verdict {
        Verdict::Failed => Next::Settle(refused_settlement(&outcome, stage, profiles)),
        // It was the connection's turn to end: the next one takes the message.
        Verdict::Deferred if matches!(signal, Signal::MessagesPerConnection(_)) => Next::GiveBack,
        Verdict::Deferred | Verdict::Delivered => Next::Retry(classified.retry),
    };
    let tenant_pause = match classified.step {
        Step::PauseTenant(time) => Some(time),
        Step::None | Step::Multiply(_) | Step::Pause(_) | Step::ConnectionLess | Step::LearnPerConnection => {
            None
        }
    };
    Judged { outcome, next, signal, tenant_pause }
}

/// What a refusal says about its path. A single reply may stop a path only if the table says so. A site that refuses
/// before there is mail is not there for us, however kind its words are.
fn signal_of(classified: &Classified, reply: &Reply, about_us: bool, carried: u32) -> Signal {
    let feedback = if about_us { Feedback::Gone } else { Feedback::Slower };
    match classified.step {
        Step::Pause(time) => Signal::Pause { time, reason: reply.to_line() },
        Step::ConnectionLess => Signal::FewerConnections,
        // Mild steps are what a window does by itself; only strong ones touch the rate.
        Step::Multiply(factor) if factor <= 0.5 => {
            Signal::LowerRate { percent: (factor * 100.0) as u32, feedback }
        }
        Step::LearnPerConnection if carried > 0 => Signal::MessagesPerConnection(carried),
        // "450 4.2.1 mailbox busy" sounds like an overload, and its code says that it is one mailbox's (RFC 3463 §3.3).
        Step::Multiply(_) if !about_us && classified.scope == Scope::Recipient && is_of_mailbox(reply) => {
            GOOD
        }
        Step::Multiply(_) | Step::LearnPerConnection => Signal::Feedback(feedback),
        Step::None | Step::PauseTenant(_) if about_us => Signal::Feedback(Feedback::Gone),
        Step::None | Step::PauseTenant(_) => match classified.scope {
            Scope::Recipient | Scope::Message => GOOD,
            Scope::Session | Scope::Path | Scope::Site => Signal::Feedback(Feedback::Slower),
        },
    }
}

fn is_of_mailbox(reply: &Reply) -> bool {
    reply.enhanced.is_some_and(|code| code.subject() == 2)
}

fn broken(broken: &Break, at: &Circumstances, profiles: &Profiles) -> Judged {
    let stage = stage_word(broken.stage);
    let early = broken.stage <= Stage::Auth;
    let what = match broken.kind {
        BreakKind::Timeout => "the site did not answer in time",
        BreakKind::Eof => "the site closed the connection",
        BreakKind::Protocol => "the site's answer was no SMTP reply",
        BreakKind::TlsFailed => "the TLS handshake failed",
        BreakKind::Io => "the connection broke",
        BreakKind::Withheld => "our journal did not keep up, so the message was not ended",
        BreakKind::Impatient => "the site went away while our journal kept it waiting",
    };
    let (class, status) = match broken.kind {
        BreakKind::TlsFailed => ("tls.failed", (4, 7, 5)),
        BreakKind::Protocol => ("remote.down", (4, 5, 0)),
        BreakKind::Timeout | BreakKind::Eof | BreakKind::Io | BreakKind::Withheld | BreakKind::Impatient => {
            ("remote.down", (4, 4, 2))
        }
    };
    let words = match broken.maybe_delivered {
        true => format!("{what} after the whole message was sent; the site may have it"),
        false => format!("{what} (stage {stage})"),
    };
    let signal = match broken.kind {
        _ if early => Signal::Feedback(Feedback::Gone),
        BreakKind::Timeout => Signal::Feedback(Feedback::Gone),
        BreakKind::Eof | BreakKind::Protocol | BreakKind::TlsFailed | BreakKind::Io => {
            Signal::Feedback(Feedback::Slower)
        }
        BreakKind::Withheld => NEUTRAL,
        // Not to blame, but a site that does not wait is better off with fewer connections that begin anew.
        BreakKind::Impatient => Signal::Feedback(Feedback::Slower),
    };
    if matches!(broken.kind, BreakKind::Withheld | BreakKind::Impatient) {
        let judged = Found::soft(class, status, stage, words).judged(at, profiles, signal);
        return Judged { next: Next::GiveBack, ..judged };
    }
    let closed_while_idle = at.warm
        && matches!(broken.kind, BreakKind::Eof | BreakKind::Io)
        && matches!(broken.stage, Stage::Reset | Stage::Mail);
    if closed_while_idle {
        let mut judged = Found::soft(class, status, stage, words).judged(at, profiles, NEUTRAL);
        judged.next = Next::GiveBack;
        return judged;
    }
    Found::soft(class, status, stage, words).judged(at, profiles, signal)
}

fn missing(missing: Missing, at: &Circumstances, profiles: &Profiles) -> Judged {
    let found = match missing {
        Missing::StartTls => Found::soft(
            "tls.failed",
            (4, 7, 0),
            "starttls",
            "the site does not offer TLS, which is required".into(),
        ),
        Missing::Auth => Found::soft(
            "relay.denied",
            (4, 7, 0),
            "ehlo",
            "the site does not offer the login that is configured".into(),
        ),
        Missing::SmtpUtf8 => {
            Found::hard("content.format", (5, 6, 7), "the site does not take internationalized addresses")
        }
        Missing::EightBitMime => {
            Found::hard("content.format", (5, 6, 3), "the site does not take 8-bit messages")
        }
        Missing::RequireTls => Found::hard(
            "tls.required",
            (5, 7, 30),
            "the message requires TLS on its whole way, which the site does not offer",
        ),
        Missing::Size => Found::hard("content.size", (5, 3, 4), "the message is larger than the site takes"),
        Missing::CleanLines => {
            Found::hard("content.format", (5, 6, 0), "the message has characters that SMTP cannot carry")
        }
    };
    found.judged(at, profiles, GOOD)
}

fn unresolved(why: &Unresolved, at: &Circumstances, profiles: &Profiles) -> Judged {
    let found = match why {
        Unresolved::NoSuchDomain => {
            Found::hard("domain.bad", (5, 1, 2), "the domain does not exist or has no mail host")
        }
        Unresolved::NullMx => Found::hard("domain.bad", (5, 1, 10), "the domain does not take mail: null MX"),
        Unresolved::NoAddress => {
            Found::hard("domain.bad", (5, 4, 4), "no mail exchanger of the domain has an address")
        }
        Unresolved::Loop => {
            Found::hard("loop", (5, 4, 6), "the mail exchanger of the domain is this system itself")
        }
        Unresolved::Temporary(words) => Found::soft(
            "remote.down",
            (4, 4, 3),
            "resolve",
            format!("the DNS gave no definite answer: {words}"),
        ),
    };
    Found { stage: "resolve", ..found }.judged(at, profiles, NEUTRAL)
}

/// A finding of our own, before the table adds kind and scope.
struct Found {
    class: &'static str,
    stage: &'static str,
    status: Option<EnhancedStatus>,
    words: Option<String>,
    fate: Fate,
}

/// Class, subject and detail.
type Code = (u8, u16, u16);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Final,
    Again,
}

impl Found {
    fn soft(class: &'static str, code: Code, stage: &'static str, words: String) -> Found {
        Found { class, stage, status: Some(status(code)), words: Some(words), fate: Fate::Again }
    }

    fn hard(class: &'static str, code: Code, words: &'static str) -> Found {
        let words = Some(words.to_owned());
        Found { class, stage: "mail", status: Some(status(code)), words, fate: Fate::Final }
    }

    fn judged(self, at: &Circumstances, profiles: &Profiles, signal: Signal) -> Judged {
        let class = Class::stored(self.class);
        let described = profiles.describe_cause(&class);
        // What the table calls hard is hard if we say so; `describe_cause` takes every cause of ours for passing.
        let meaning = profiles.meaning(&class).map(|meaning| meaning.kind);
        let kind = if self.fate == Fate::Final { meaning.unwrap_or(described.kind) } else { described.kind };
        let fate = self.fate;
        let mut outcome = self.outcome(at, kind, described.scope, class);
        let next = match fate {
            Fate::Final => {
                outcome.verdict = Verdict::Failed;
                Next::Settle(final_settlement(kind))
            }
            Fate::Again => Next::Retry(None),
        };
        Judged { outcome, next, signal, tenant_pause: None }
    }

    fn outcome(self, at: &Circumstances, kind: ClassKind, scope: Scope, class: Class) -> Outcome {
        Outcome {
            verdict: Verdict::Deferred,
            class,
            kind,
            scope,
            stage: self.stage,
            reply: None,
            trouble: self.words,
            status: self.status,
            rule: None,
            mx: at.mx.clone(),
            egress: at.egress,
            tls: at.tls.clone(),
            provider: provider_of(at),
        }
    }
}

const fn status((class, subject, detail): Code) -> EnhancedStatus {
    EnhancedStatus::new(class, subject, detail)
}

/// A reply that refuses for good: what says something about the recipient is a bounce. What is said of the sender or the
/// message, in whatever words, is none: a tenant takes addresses that bounce off its list.
fn refused_settlement(outcome: &Outcome, stage: Stage, profiles: &Profiles) -> Settlement {
    let blame = profiles.meaning(&outcome.class).map(|meaning| meaning.blame);
    match (final_settlement(outcome.kind), blame) {
        (Settlement::Bounced, Some(Blame::Recipient)) => Settlement::Bounced,
        // Words that nobody knows, or of a site in trouble: it is the recipient's if it was said to RCPT.
        (Settlement::Bounced, Some(Blame::Remote) | None) if stage == Stage::Rcpt => Settlement::Bounced,
        (_, _) => Settlement::Failed,
    }
}

/// What we found for good: the recipient's doing is a bounce, everybody else's a failure.
fn final_settlement(kind: ClassKind) -> Settlement {
    match kind {
        ClassKind::Hard | ClassKind::Soft => Settlement::Bounced,
        ClassKind::Block | ClassKind::Throttle | ClassKind::Infra => Settlement::Failed,
    }
}

fn provider_of(at: &Circumstances) -> Arc<str> {
    at.provider.clone().unwrap_or_else(|| mail::classify::OTHER_PROVIDER.into())
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "greeting",
        Stage::Hello => "ehlo",
        Stage::StartTls => "starttls",
        Stage::Auth => "auth",
        Stage::Mail | Stage::Reset | Stage::Quit => "mail",
        Stage::Rcpt => "rcpt",
        Stage::Data | Stage::Body => "data",
        Stage::Final => "final-dot",
    }
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
