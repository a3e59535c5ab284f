//! What each cause leads to, as tables.
#![allow(clippy::unwrap_used)]

use super::*;
use mail::EnhancedStatus;
use std::sync::LazyLock;
use std::time::Duration;

static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::shipped);

fn reply(line: &str) -> Reply {
    let (code, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match EnhancedStatus::parse(first) {
        Some(enhanced) => Reply::new(code.parse().unwrap(), Some(enhanced), text),
        None => Reply::new(code.parse().unwrap(), None, rest),
    }
}

fn refusal(stage: Stage, line: &str, provider: &str) -> Judged {
    let at = Circumstances { provider: Some(provider.into()), ..Circumstances::default() };
    judge(&Cause::Failed(Failure::Refused { stage, reply: reply(line) }), &at, &PROFILES)
}

fn breaking(stage: Stage, kind: BreakKind, warm: bool) -> Judged {
    let at = Circumstances { warm, ..Circumstances::default() };
    let cause =
        Cause::Failed(Failure::Broken(Break { stage, kind, maybe_delivered: stage.maybe_delivered() }));
    judge(&cause, &at, &Profiles::shipped())
}

const BOUNCED: Next = Next::Settle(Settlement::Bounced);
const FAILED: Next = Next::Settle(Settlement::Failed);
const AGAIN: Next = Next::Retry(None);
const GREYLISTED: Next = Next::Retry(Some(RetryHint::After(Duration::from_secs(300))));

#[test]
fn replies_at_each_stage_lead_where_the_table_says() {
    let table = [
        (Stage::Rcpt, "550 5.1.1 no such user", BOUNCED, "recipient.unknown"),
        (Stage::Rcpt, "450 4.2.1 mailbox busy", AGAIN, ""),
        (Stage::Rcpt, "451 4.7.1 Greylisting in action, please come back later", GREYLISTED, "greylist"),
        (Stage::Rcpt, "452 4.2.2 mailbox full", AGAIN, "recipient.full"),
        (Stage::Rcpt, "552 5.2.2 mailbox full", BOUNCED, "recipient.full"),
        (Stage::Rcpt, "550 go away", BOUNCED, "unknown"),
        // Said of the sender, or of the message, wherever it is said.
        (Stage::Mail, "553 5.1.8 Domain of sender address does not exist", FAILED, "sender.invalid"),
        (Stage::Mail, "550 5.1.7 invalid sender", FAILED, "sender.invalid"),
        (Stage::Rcpt, "550 5.1.8 Sender address rejected: Domain not found", FAILED, "sender.invalid"),
        (Stage::Mail, "550 5.1.0 Address rejected", FAILED, ""),
        (Stage::Final, "554 Transaction failed: Duplicate header", FAILED, ""),
        (Stage::Final, "554 5.4.0 Too many hops", FAILED, ""),
        (Stage::Final, "421 4.3.2 going down", AGAIN, ""),
        (Stage::Mail, "451 4.3.0 try again", AGAIN, ""),
        (Stage::Data, "451 4.3.0 try again", AGAIN, ""),
        (Stage::Greeting, "554 5.7.1 no service for you", AGAIN, ""),
        (Stage::Hello, "550 5.7.1 bad name", AGAIN, ""),
    ];
    for (stage, line, next, class) in table {
        let judged = refusal(stage, line, "other");
        assert_eq!(judged.next, next, "{line} at {stage:?}: {:?}", judged.outcome);
        if !class.is_empty() {
            assert_eq!(judged.outcome.class.as_str(), class, "{line}");
        }
    }
}

#[test]
fn a_5yz_that_means_slower_is_tried_again() {
    let line = "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents delivery ReceivingRatePerm";
    let judged = refusal(Stage::Rcpt, line, "google");
    assert_eq!(judged.next, Next::Retry(Some(RetryHint::Slow)));
    assert_eq!(judged.outcome.verdict, Verdict::Deferred);
}

#[test]
fn a_refusal_of_the_message_is_a_failure_and_not_a_bounce() {
    let judged = refusal(
        Stage::Final,
        "550 5.7.1 Our system has detected that this message is likely unsolicited mail",
        "google",
    );
    assert_eq!(judged.next, FAILED, "{:?}", judged.outcome);
    assert_eq!(judged.signal, GOOD);
}

#[test]
fn a_refusal_at_the_greeting_counts_as_nobody_home() {
    let judged = refusal(Stage::Greeting, "421 4.3.2 too busy", "other");
    assert_eq!((judged.next, judged.outcome.scope), (AGAIN, Scope::Session));
    assert_ne!(judged.signal, GOOD);
}

/// One recipient's trouble must not slow down a path, and a path's trouble must not pass for one recipient's.
#[test]
fn what_a_reply_says_about_the_path() {
    let slower = Signal::Feedback(Feedback::Slower);
    let table = [
        (Stage::Rcpt, "450 4.2.1 mailbox busy", "other", GOOD),
        (Stage::Rcpt, "452 4.2.2 mailbox full", "other", GOOD),
        (Stage::Rcpt, "451 4.7.1 Greylisting in action, please come back later", "other", GOOD),
        (Stage::Rcpt, "550 5.1.1 no such user", "other", GOOD),
        (Stage::Rcpt, "451 4.3.0 temporary lookup failure", "other", slower.clone()),
        (Stage::Mail, "421 4.2.1 going down", "other", slower.clone()),
        (Stage::Mail, "421 4.3.2 going down", "other", slower),
        (Stage::Mail, "421 4.7.0 too many connections", "other", Signal::FewerConnections),
        (Stage::Greeting, "421 4.7.0 too many connections", "other", Signal::FewerConnections),
    ];
    for (stage, line, provider, signal) in table {
        let judged = refusal(stage, line, provider);
        assert_eq!(judged.signal, signal, "{line} at {stage:?}: {:?}", judged.outcome);
        assert_eq!(judged.tenant_pause, None, "{line}");
    }
    let words = "421 4.7.0 [TSS04] Messages from 192.0.2.7 temporarily deferred";
    let judged = refusal(Stage::Mail, words, "yahoo");
    assert!(matches!(judged.signal, Signal::Pause { .. }) && judged.tenant_pause.is_none(), "{judged:?}");
    // About one tenant: the path goes on for the others.
    let words = "421 4.1.0 192.0.2.7 Throttled - try again later. RL000010";
    let judged = refusal(Stage::Mail, words, "comcast");
    assert_eq!(judged.tenant_pause, Some(Duration::from_secs(300)));
    assert!(!matches!(judged.signal, Signal::Pause { .. }), "{judged:?}");
}

#[test]
fn a_reply_that_asks_for_a_pause_gets_one() {
    let judged = refusal(
        Stage::Mail,
        "421 4.7.0 [TSS04] Messages from 192.0.2.7 temporarily deferred due to unexpected volume or user complaints",
        "yahoo",
    );
    assert_eq!(judged.next, AGAIN);
    assert!(
        matches!(judged.signal, Signal::Pause { time, .. } if time >= Duration::from_secs(3600)),
        "{judged:?}"
    );
}

#[test]
fn breaks_are_tried_again_and_silence_counts_as_nobody_home() {
    for stage in
        [Stage::Greeting, Stage::Hello, Stage::StartTls, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final]
    {
        for kind in [BreakKind::Timeout, BreakKind::Eof, BreakKind::Protocol, BreakKind::Io] {
            let judged = breaking(stage, kind, false);
            assert_eq!(judged.next, AGAIN, "{stage:?} {kind:?}");
            assert!(judged.outcome.trouble.is_some() && judged.outcome.reply.is_none());
            let gone = stage <= Stage::Auth || kind == BreakKind::Timeout;
            assert_eq!(judged.signal == Signal::Feedback(Feedback::Gone), gone, "{stage:?} {kind:?}");
        }
    }
    assert!(breaking(Stage::Final, BreakKind::Eof, false).outcome.trouble.unwrap().contains("may have it"));
    assert_eq!(breaking(Stage::StartTls, BreakKind::TlsFailed, false).outcome.class.as_str(), "tls.failed");
}

#[test]
fn a_kept_session_that_is_found_closed_is_no_attempt() {
    assert_eq!(breaking(Stage::Mail, BreakKind::Eof, true).next, Next::GiveBack);
    assert_eq!(breaking(Stage::Mail, BreakKind::Eof, false).next, AGAIN);
    assert_eq!(breaking(Stage::Final, BreakKind::Eof, true).next, AGAIN);
    assert_eq!(breaking(Stage::Mail, BreakKind::Timeout, true).next, AGAIN);
}

/// The site did nothing wrong and nothing was asked of it: no attempt, no lesson.
#[test]
fn what_we_hold_back_ourselves_is_no_attempt() {
    for stage in [Stage::Data, Stage::Body] {
        for warm in [true, false] {
            let judged = breaking(stage, BreakKind::Withheld, warm);
            assert_eq!((judged.next, judged.signal), (Next::GiveBack, NEUTRAL), "{stage:?}");
            // A site that goes away meanwhile is called less.
            let judged = breaking(stage, BreakKind::Impatient, warm);
            let slower = Signal::Feedback(Feedback::Slower);
            assert_eq!((judged.next, judged.signal), (Next::GiveBack, slower), "{stage:?}");
        }
    }
}

/// Whatever is ours says nothing about the path. What passes by itself is no attempt; what may be the message's doing is.
#[test]
fn our_own_trouble_is_nobody_elses() {
    let profiles = Profiles::shipped();
    for (cause, next) in [
        (Cause::Shortage, Next::GiveBack),
        (Cause::Crowded, Next::GiveBack),
        (Cause::Unreadable, AGAIN),
        (Cause::Bug, AGAIN),
    ] {
        let judged = judge(&cause, &Circumstances::default(), &profiles);
        assert_eq!((judged.next, judged.signal), (next, NEUTRAL), "{cause:?}");
        assert_eq!((judged.outcome.verdict, judged.tenant_pause), (Verdict::Deferred, None), "{cause:?}");
    }
}

#[test]
fn only_a_definite_answer_of_the_dns_ends_a_message() {
    let profiles = Profiles::shipped();
    let judge = |why| judge(&Cause::Unresolved(why), &Circumstances::default(), &profiles);
    for (why, code) in [
        (Unresolved::NoSuchDomain, "5.1.2"),
        (Unresolved::NullMx, "5.1.10"),
        (Unresolved::NoAddress, "5.4.4"),
        (Unresolved::Loop, "5.4.6"),
    ] {
        let judged = judge(why);
        assert_eq!(judged.next, BOUNCED);
        assert_eq!((judged.outcome.stage, judged.outcome.verdict), ("resolve", Verdict::Failed));
        assert_eq!(code_of(&judged), code);
    }
    let judged = judge(Unresolved::Temporary("SERVFAIL".to_owned()));
    assert_eq!(code_of(&judged), "4.4.3");
    assert_eq!((judged.next, judged.signal), (AGAIN, NEUTRAL));
}

#[test]
fn what_the_site_lacks_is_final_except_tls_that_may_come_back() {
    let profiles = Profiles::shipped();
    let judge =
        |what| judge(&Cause::Failed(Failure::Missing(what)), &Circumstances::default(), &profiles).next;
    for what in
        [Missing::SmtpUtf8, Missing::EightBitMime, Missing::RequireTls, Missing::Size, Missing::CleanLines]
    {
        assert_eq!(judge(what), FAILED, "{what:?}");
    }
    assert_eq!(judge(Missing::StartTls), AGAIN);
}

#[test]
fn mail_that_requires_tls_and_cannot_be_sure_of_the_host_is_refused_with_its_code() {
    let judged = judge(&Cause::Unvouched, &Circumstances::default(), &PROFILES);
    assert_eq!(code_of(&judged), "5.7.30");
    assert_eq!((judged.next, judged.signal), (FAILED, NEUTRAL));
}

/// Whoever counts by codes must not read our prose, and whoever reads our prose must not meet a code.
#[test]
fn whatever_we_decide_ourselves_has_its_code_beside_the_words() {
    let profiles = Profiles::shipped();
    let missing = |what| Cause::Failed(Failure::Missing(what));
    let broken = |stage, kind| Cause::Failed(Failure::Broken(Break { stage, kind, maybe_delivered: false }));
    for (cause, code) in [
        (Cause::NoConnection("nobody answers".to_owned()), "4.4.1"),
        (Cause::NoCommonFamily, "4.4.4"),
        (Cause::Unreadable, "4.3.0"),
        (Cause::Bug, "4.3.0"),
        (Cause::Expired, "4.4.7"),
        (broken(Stage::Rcpt, BreakKind::Timeout), "4.4.2"),
        (broken(Stage::StartTls, BreakKind::TlsFailed), "4.7.5"),
        (missing(Missing::StartTls), "4.7.0"),
        (missing(Missing::SmtpUtf8), "5.6.7"),
        (missing(Missing::EightBitMime), "5.6.3"),
        (missing(Missing::RequireTls), "5.7.30"),
        (missing(Missing::Size), "5.3.4"),
        (missing(Missing::CleanLines), "5.6.0"),
    ] {
        let judged = judge(&cause, &Circumstances::default(), &profiles);
        assert_eq!(code_of(&judged), code, "{cause:?}");
        assert!(!judged.outcome.trouble.unwrap().contains(code), "{cause:?}");
    }
    // A site that gives no code of its own is not given one of ours.
    assert_eq!(refusal(Stage::Rcpt, "550 no", "other").outcome.enhanced(), None);
}

fn code_of(judged: &Judged) -> String {
    judged.outcome.enhanced().map(|status| status.to_string()).unwrap_or_default()
}

#[test]
fn every_class_that_we_name_is_in_the_table() {
    let profiles = Profiles::shipped();
    for name in [
        "remote.down",
        "tls.failed",
        "tls.required",
        "domain.bad",
        "loop",
        "content.format",
        "content.size",
        "unknown",
        "relay.denied",
    ] {
        assert!(profiles.class(name).is_some(), "{name}");
    }
}

/// N3: every reply at every stage. Before there is mail a refusal is about us; after, 4yz waits and 5yz ends.
#[test]
fn every_reply_at_every_stage_leads_where_the_table_says() {
    let again: [&str; 12] = [
        "421 4.3.2 going down",
        "421 4.4.2 timeout",
        "450 4.2.1 mailbox busy",
        "450 4.1.1 unknown for now",
        "451 4.3.0 try again",
        "451 4.4.3 directory lookup failed",
        "452 4.2.2 over quota",
        "452 4.3.1 out of space",
        "454 4.7.0 TLS not available",
        "455 4.5.4 parameter",
        "450 no enhanced code",
        "421",
    ];
    let ends = [
        ("550 5.1.1 no such user", BOUNCED),
        ("550 5.1.10 null MX", BOUNCED),
        ("550 5.2.1 disabled", BOUNCED),
        ("552 5.2.2 over quota", BOUNCED),
        ("552 5.3.4 too large", FAILED),
        ("550 5.4.6 routing loop", BOUNCED),
        ("553 5.1.3 bad syntax", BOUNCED),
        ("554 5.6.0 bad content", FAILED),
        ("550 5.7.1 message refused as spam", FAILED),
        ("550 5.7.26 unauthenticated", FAILED),
        ("500 5.5.1 unknown command", FAILED),
        ("503 5.5.1 bad sequence", FAILED),
        ("530 5.7.0 authentication required", BOUNCED),
        ("550 no enhanced code", BOUNCED),
        ("554 no", BOUNCED),
    ];
    let stages = [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Body, Stage::Final];
    let mut wrong = Vec::new();
    for stage in
        [Stage::Greeting, Stage::Hello, Stage::StartTls, Stage::Auth, Stage::Reset].iter().chain(&stages)
    {
        let about_us = !stages.contains(stage);
        let table = again.iter().map(|line| (*line, AGAIN)).chain(ends);
        for (line, next) in table {
            let judged = refusal(*stage, line, "other");
            // Words that say nothing about a recipient are the recipient's at RCPT alone.
            let of_nobody = ["550 5.4.6 routing loop", "550 no enhanced code", "554 no"].contains(&line);
            let expected = match (about_us, *stage == Stage::Rcpt) {
                (true, _) => AGAIN,
                (false, false) if of_nobody => FAILED,
                (false, _) => next,
            };
            let same = match (judged.next, expected) {
                (Next::Retry(_), Next::Retry(_)) => true,
                (found, expected) => found == expected,
            };
            if !same {
                wrong.push(format!(
                    "{line} at {stage:?}: {:?} {}",
                    judged.next,
                    judged.outcome.class.as_str()
                ));
            }
            // Nothing that a site says before there is mail is good news about it.
            assert!(!about_us || judged.signal != GOOD, "{line} at {stage:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
