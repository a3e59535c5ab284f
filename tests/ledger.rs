//! The judge of every crash and fault suite: what the client was promised against what came.
//!
//! The ledger is the client's own list and lives in the test's process; the arrivals are the lab's. The law: every
//! acknowledged (message, recipient) is at the lab at least once with the right content; a message that was not
//! acknowledged is there for all of its recipients or for none; and every extra copy is explained by a cut, at most one
//! copy for each recipient and cut. It is judged when nothing waits any more, so "still in the queue" cannot hide a loss.

use crate::arrivals::{Arrivals, Copy};
use crate::house::{House, now_ms, wait_for, wait_or};
use crate::lab::Lab;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Clocks of two processes on one machine, and octets that were under way when a process died.
const SLACK_MS: u64 = 250;

/// What clients offered and what they were told.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
    answers: Mutex<Vec<Told>>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub recipients: Vec<String>,
    /// Of the body.
    pub hash: u64,
    /// The house's name for it, from the 250 or 202.
    pub acknowledged: Option<String>,
    pub at_ms: u64,
}

/// One answer at a door.
#[derive(Debug, Clone)]
pub struct Told {
    pub at_ms: u64,
    pub took_ms: u64,
    /// SMTP code or HTTP status; 0 if the connection broke or could not be made.
    pub code: u16,
    pub retry_after: bool,
    pub door: &'static str,
}

/// A death of the house: from the kill until the next process was begun.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub from_ms: u64,
    pub to_ms: u64,
}

/// What was found; there were no breaches.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub messages: usize,
    pub recipients: usize,
    /// Messages that arrived although nobody was told that they would.
    pub unacknowledged: usize,
    /// Extra copies by cut.
    pub extra: BTreeMap<usize, usize>,
    /// The longest time between a copy and the cut that made it come twice.
    pub window_ms: u64,
}

impl Ledger {
    /// Before the first octet is sent. Returns the number that `acknowledge` wants.
    pub fn offer(&self, recipients: Vec<String>, hash: u64) -> usize {
        let mut entries = self.entries();
        entries.push(Entry { recipients, hash, acknowledged: None, at_ms: 0 });
        entries.len() - 1
    }

    pub fn acknowledge(&self, number: usize, message: String) {
        let entry = &mut self.entries()[number];
        entry.acknowledged = Some(message);
        entry.at_ms = now_ms();
    }

    pub fn told(&self, told: Told) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    pub fn answers(&self) -> Vec<Told> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each door said what, for the words of a failure.
    pub fn codes(&self) -> BTreeMap<(&'static str, u16), usize> {
        let mut codes = BTreeMap::new();
        self.answers().iter().for_each(|told| *codes.entry((told.door, told.code)).or_default() += 1);
        codes
    }

    pub fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn acknowledged(&self) -> usize {
        self.entries().iter().filter(|entry| entry.acknowledged.is_some()).count()
    }

    /// Acknowledged recipients of whom nothing came yet.
    pub fn missing(&self, arrivals: &Arrivals) -> Vec<String> {
        let entries = self.entries();
        let acknowledged = entries.iter().filter(|entry| entry.acknowledged.is_some());
        let recipients = acknowledged.flat_map(|entry| &entry.recipients);
        recipients.filter(|recipient| !arrivals.copies.contains_key(*recipient)).cloned().collect()
    }

    /// Holds what came against what was offered and acknowledged.
    ///
    /// # Errors
    /// Every breach of the law is a sentence: an acknowledged recipient whom nothing came to, half a message,
    /// another content than was sent, a text that the lab forgot, an extra copy that no cut explains, a
    /// recipient whom nobody offered.
    pub fn judge(&self, arrivals: &Arrivals, cuts: &[Cut]) -> Result<Verdict, Vec<String>> {
        let mut breaches: Vec<String> = self
            .missing(arrivals)
            .into_iter()
            .map(|recipient| format!("{recipient}: acknowledged, lost"))
            .collect();
        let mut verdict = Verdict::default();
        let mut known = HashSet::new();
        for entry in self.entries().iter() {
            known.extend(entry.recipients.iter().cloned());
            let arrived = entry.recipients.iter().filter(|one| arrivals.copies.contains_key(*one)).count();
            match entry.acknowledged {
                Some(_) => {
                    verdict.messages += 1;
                    verdict.recipients += entry.recipients.len();
                }
                None if arrived == 0 => {}
                None if arrived == entry.recipients.len() => verdict.unacknowledged += 1,
                None => breaches.push(format!("{}: half a message came", entry.recipients[0])),
            }
            for recipient in &entry.recipients {
                let copies = arrivals.copies.get(recipient).map(Vec::as_slice).unwrap_or_default();
                if copies.iter().any(|copy| copy.hash.is_none()) {
                    breaches.push(format!("{recipient}: the lab forgot its text before it was looked at"));
                } else if copies.iter().any(|copy| copy.hash != Some(entry.hash)) {
                    breaches.push(format!("{recipient}: another content than was sent"));
                }
                explain(recipient, copies, cuts, &mut verdict, &mut breaches);
            }
        }
        let strange = arrivals.copies.keys().filter(|recipient| !known.contains(*recipient));
        breaches.extend(strange.map(|recipient| format!("{recipient}: nobody offered it")));
        if breaches.is_empty() { Ok(verdict) } else { Err(breaches) }
    }

    /// Waits until every acknowledged recipient came and nothing waits, then judges. As long as more comes, it waits.
    pub fn settle(&self, house: &House, lab: &Lab, arrivals: &mut Arrivals, cuts: &[Cut]) -> Verdict {
        loop {
            let before = arrivals.copies.len();
            let seen = Cell::new((0, 0.0));
            let ask = || {
                // In this order: what left the queue before has come, also what nobody was told of.
                // What nobody was told of may still be looked for in the journal, where the queue does not know of it.
                let loaded = !house.is_loading();
                let waiting = house
                    .metric("posthouse_queue_recipients")
                    .max(house.metric("posthouse_spool_waiting_messages"));
                arrivals.collect(lab);
                let missing = self.missing(arrivals).len();
                seen.set((missing, waiting));
                let done = loaded && missing == 0 && waiting == 0.0;
                (done || arrivals.copies.len() > before).then_some(done)
            };
            let explain = || {
                let (missing, waiting) = seen.get();
                let rows = |path: &str| house.get(path, &house.operator());
                format!(
                    "({missing} acknowledged recipients missing, {waiting} in the queue; {}; {})",
                    rows("/v1/queues"),
                    rows("/v1/paths")
                )
            };
            if wait_or("the next arrival or the end", ask, explain) {
                break;
            }
        }
        self.judge(arrivals, cuts).unwrap_or_else(|breaches| {
            panic!("{} breaches, such as:\n{}", breaches.len(), breaches[..breaches.len().min(20)].join("\n"))
        })
    }

    /// Every acknowledged message is told of once, with each of its recipients delivered, and the counters of usage hold
    /// exactly what came: nothing is billed twice. For a tenant whose mail is all in this ledger.
    pub fn is_told(&self, house: &House, key: &str, arrivals: &Arrivals) {
        wait_for("every acknowledged message to be told as delivered", || {
            let told = messages(house, key);
            let entries = self.entries();
            let mut acknowledged =
                entries.iter().filter_map(|entry| Some((entry.acknowledged.as_ref()?, entry)));
            acknowledged
                .all(|(message, entry)| {
                    told.get(message).is_some_and(|count| *count == entry.recipients.len())
                })
                .then_some(())
        });
        let came = arrivals.copies.len();
        wait_for(&format!("usage to be {came} recipients accepted and delivered"), || {
            let usage = house.get("/v1/tenants/self/usage", key);
            let count = |what: &str| usage["totals"][what].as_u64().unwrap_or(0) as usize;
            assert!(
                count("accepted") <= came && count("delivered") <= came,
                "{came} came: {}",
                usage["totals"]
            );
            (count("accepted") == came && count("delivered") == came).then_some(())
        });
    }
}

fn explain(
    recipient: &str,
    copies: &[Copy],
    cuts: &[Cut],
    verdict: &mut Verdict,
    breaches: &mut Vec<String>,
) {
    let mut next_cut = 0;
    for pair in copies.windows(2) {
        let fits =
            |cut: &&Cut| pair[0].at_ms <= cut.to_ms + SLACK_MS && pair[1].at_ms + SLACK_MS >= cut.from_ms;
        // Each cut explains one copy only.
        let found = cuts.iter().enumerate().skip(next_cut).find(|(_, cut)| fits(cut));
        match found {
            None => breaches.push(format!(
                "{recipient}: an extra copy that no cut explains, at {} and {}",
                pair[0].at_ms, pair[1].at_ms
            )),
            Some((number, cut)) => {
                next_cut = number + 1;
                *verdict.extra.entry(number).or_default() += 1;
                verdict.window_ms = verdict.window_ms.max(cut.from_ms.saturating_sub(pair[0].at_ms));
            }
        }
    }
}

impl Verdict {
    pub fn extra_copies(&self) -> usize {
        self.extra.values().sum()
    }

    pub fn extra_per_cut_max(&self) -> usize {
        self.extra.values().copied().max().unwrap_or(0)
    }
}

/// Every message that the API tells of, with its delivered recipients. One that is told twice fails the test.
fn messages(house: &House, key: &str) -> HashMap<String, usize> {
    let mut told = HashMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/tenants/self/messages?limit=200{cursor}");
        let page = house.get(&path, key);
        for message in page["data"].as_array().unwrap() {
            let recipients = message["recipients"].as_array().unwrap();
            let delivered = recipients.iter().filter(|recipient| recipient["state"] == "delivered").count();
            let id = message["id"].as_str().unwrap().to_owned();
            assert!(told.insert(id.clone(), delivered).is_none(), "{id} is told twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u64 = 7;

    fn arrivals(copies: &[(&str, &[u64])]) -> Arrivals {
        let copy = |at_ms: &u64| Copy {
            at_ms: *at_ms,
            sha256: String::new(),
            message_id: String::new(),
            hash: Some(HASH),
        };
        let copies = copies.iter().map(|(to, at)| ((*to).to_owned(), at.iter().map(copy).collect()));
        let mut arrivals = Arrivals::new();
        arrivals.copies = copies.collect();
        arrivals
    }

    fn ledger(entries: &[(&[&str], bool)]) -> Ledger {
        let ledger = Ledger::default();
        for (recipients, acknowledged) in entries {
            let number = ledger.offer(recipients.iter().map(|one| (*one).to_owned()).collect(), HASH);
            if *acknowledged {
                ledger.acknowledge(number, format!("msg_{number}"));
            }
        }
        ledger
    }

    fn breaches(ledger: &Ledger, arrivals: &Arrivals, cuts: &[Cut]) -> String {
        ledger.judge(arrivals, cuts).unwrap_err().join("\n")
    }

    const CUT: Cut = Cut { from_ms: 5_000, to_ms: 5_100 };

    #[test]
    fn what_was_acknowledged_and_did_not_come_is_lost() {
        let ledger = ledger(&[(&["a", "b"], true)]);
        assert!(breaches(&ledger, &arrivals(&[("a", &[1])]), &[]).contains("b: acknowledged, lost"));
    }

    #[test]
    fn half_a_message_another_content_and_an_invented_one_are_breaches() {
        let half = ledger(&[(&["a", "b"], false)]);
        assert!(breaches(&half, &arrivals(&[("a", &[1])]), &[]).contains("half"));
        let mut changed = arrivals(&[("a", &[1]), ("b", &[1])]);
        changed.copies.get_mut("b").unwrap()[0].hash = Some(8);
        assert!(breaches(&half, &changed, &[]).contains("b: another content"));
        let invented = arrivals(&[("a", &[1]), ("b", &[1]), ("c", &[1])]);
        assert!(breaches(&half, &invented, &[]).contains("c: nobody offered it"));
    }

    #[test]
    fn an_extra_copy_needs_a_cut_of_its_own() {
        let ledger = ledger(&[(&["a"], true)]);
        assert!(breaches(&ledger, &arrivals(&[("a", &[4_990, 6_000])]), &[]).contains("no cut"));
        assert!(breaches(&ledger, &arrivals(&[("a", &[6_000, 7_000])]), &[CUT]).contains("no cut"));
        assert!(breaches(&ledger, &arrivals(&[("a", &[4_990, 6_000, 6_100])]), &[CUT]).contains("no cut"));
        let verdict = ledger.judge(&arrivals(&[("a", &[4_990, 6_000])]), &[CUT]).unwrap();
        assert_eq!((verdict.extra_copies(), verdict.window_ms), (1, 10));
    }

    #[test]
    fn a_message_that_nobody_was_told_of_may_come_whole() {
        let ledger = ledger(&[(&["a", "b"], false), (&["c"], false), (&["d"], true)]);
        let verdict = ledger.judge(&arrivals(&[("a", &[1]), ("b", &[2]), ("d", &[3])]), &[]).unwrap();
        assert_eq!((verdict.unacknowledged, verdict.messages, verdict.recipients), (1, 1, 1));
    }
}
