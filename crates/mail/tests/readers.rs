//! One message, one reading: what we accept is read the same by three programs of other people.
//!
//! Python's email (policy SMTP and the old one), mail-parser and Perl's MailTools are asked for the fields, for the author,
//! for the addresses of To and Cc and for the octet where the body begins; of what we compose, for its parts. Nothing of ours
//! reads MIME, so what we accept has no boundary but that one. Cases are written by hand and drawn from a grammar with a seed, or were collected by others. Whatever we accept and
//! somebody reads in another way is a failure: our reader is then not strict enough. Without `python3` or MailTools the
//! tests say so, and fail where everything is asked for (`cargo xtask test`).

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "reader/cases.rs"]
mod cases;
#[path = "reader/corpora.rs"]
mod corpora;
#[path = "reader/grammar.rs"]
mod grammar;
#[path = "reader/injection.rs"]
mod injection;
#[path = "reader/others.rs"]
mod others;
#[path = "reader/ours.rs"]
mod ours;
#[path = "reader/recipients.rs"]
mod recipients;

use mail::Random;
use others::{Compared, Reading, readers};
use testkit::held::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages drawn from the grammar.
const DRAWN: usize = 12_000;

/// The sentences of all disagreements about messages that we accept.
fn disagreements(messages: &[Vec<u8>]) -> Vec<String> {
    let accepted: Vec<(&Vec<u8>, Reading)> =
        messages.iter().filter_map(|raw| ours::read(raw).ok().map(|reading| (raw, reading))).collect();
    let raws: Vec<&[u8]> = accepted.iter().map(|(raw, _)| raw.as_slice()).collect();
    let mut found = Vec::new();
    for (name, read) in readers() {
        let Some(theirs) = read(&raws) else { continue };
        assert_eq!(theirs.len(), accepted.len(), "{name} has read another number of messages");
        let unread = theirs.iter().filter(|reading| reading.is_none()).count();
        println!("{name}: {} messages, {unread} of them it cannot read", theirs.len());
        assert!(unread * 10 <= theirs.len(), "{name} reads nothing");
        let mut compared = Compared::default();
        for ((raw, ours), theirs) in accepted.iter().zip(theirs) {
            let Some(theirs) = theirs else { continue };
            let how = ours.differs(&theirs, &mut compared);
            found.extend(how.map(|how| format!("{name}: {how}\n    {}", raw.escape_ascii())));
        }
        println!("{name}: {compared:?}");
    }
    found
}

#[test]
fn hand_written_cases_have_one_reading_or_are_refused() {
    let mut mistakes = Vec::new();
    let mut accepted = Vec::new();
    for (name, raw, verdict) in cases::all() {
        match (ours::read(&raw), verdict) {
            (Ok(_), cases::Verdict::Read) => accepted.push(raw),
            // A refusal is a sentence for whoever sent it.
            (Err(sentence), cases::Verdict::Refused) => assert!(sentence.len() > 15, "{name}: {sentence}"),
            (Ok(reading), cases::Verdict::Refused) => mistakes.push(format!("{name} was read: {reading:?}")),
            (Err(sentence), cases::Verdict::Read) => mistakes.push(format!("{name} was refused: {sentence}")),
        }
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    println!("{} cases are read, {} refused", accepted.len(), cases::all().len() - accepted.len());
    let found = disagreements(&accepted);
    assert!(found.is_empty(), "{} two readings:\n{}", found.len(), found.join("\n"));
}

#[test]
fn drawn_messages_have_one_reading_or_are_refused() {
    let mut random = Random::from_number(5322);
    let messages: Vec<Vec<u8>> = (0..DRAWN).map(|_| grammar::message(&mut random)).collect();
    let accepted = messages.iter().filter(|raw| ours::read(raw).is_ok()).count();
    println!("{DRAWN} messages drawn, {accepted} accepted");
    assert!(
        accepted * 10 > DRAWN && accepted * 10 < DRAWN * 9,
        "{accepted} of {DRAWN} accepted: nothing is tried"
    );
    let is_list =
        |reading: Reading| [reading.to, reading.cc].into_iter().flatten().any(|list| list.len() > 1);
    let lists = messages.iter().filter(|raw| ours::read(raw).is_ok_and(is_list)).count();
    println!("{lists} of them have a To or Cc of several that we read");
    assert!(lists * 20 > accepted, "{lists} of {accepted}: no lists are tried");
    let found = disagreements(&messages);
    let shown: Vec<&str> = found.iter().take(12).map(String::as_str).collect();
    assert!(found.is_empty(), "{} have two readings:\n{}", found.len(), shown.join("\n"));
}
