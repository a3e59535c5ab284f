//! Who tried to send as somebody else: counted here, for the audit.
//!
//! Both doors note a refusal of a sender (`sender_not_allowed`): at MAIL, and of a whole message. Somebody else takes the
//! counts and writes them down, outside of the path of mail. A plain value that is told the time, with limits: whoever tries
//! a million times makes one row in ten minutes. What may surprise: what is noted while the table is full, and what nobody
//! could write, is lost; the refusals themselves are counted in the metrics.

use mail::Timestamp;
use registry::Sender;
use std::collections::HashMap;
use std::time::Duration;

/// Of one sender nothing is told again so soon.
const TOLD_EVERY: Duration = Duration::from_secs(600);
/// Senders that are remembered.
const SENDERS_MAX: usize = 1_000;
/// Of one tenant, which may have any number of keys; what the others try is counted with one of these.
const OF_TENANT_MAX: usize = 20;
/// Sentences of one sender; the rest is a number.
const SENTENCES_MAX: usize = 10;

/// What one sender was refused since it was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Who tried.
    pub sender: Sender,
    /// What it was told, which names the domain, and how often.
    pub sentences: Vec<(String, u64)>,
    /// How often it was told anything else.
    pub others: u64,
}

/// Counts of all senders.
#[derive(Debug, Default)]
pub(crate) struct Denials(HashMap<Sender, Row>);

#[derive(Debug, Default)]
struct Row {
    told_at: Option<Timestamp>,
    sentences: Vec<(String, u64)>,
    others: u64,
}

impl Row {
    fn is_quiet(&self) -> bool {
        self.sentences.is_empty() && self.others == 0
    }
}

impl Denials {
    /// One more refusal, in the words that the client was told.
    pub fn note(&mut self, sender: Sender, sentence: &str) {
        if !self.0.contains_key(&sender) && !self.has_room_for(sender) {
            return;
        }
        let row = self.0.entry(sender).or_default();
        let has_room = row.sentences.len() < SENTENCES_MAX;
        match row.sentences.iter_mut().find(|(known, _)| known == sentence) {
            Some((_, count)) => *count += 1,
            None if has_room => row.sentences.push((sentence.to_owned(), 1)),
            None => row.others += 1,
        }
    }

    /// Counts it with another key of its tenant if that has enough of them.
    fn has_room_for(&mut self, sender: Sender) -> bool {
        let is_of_tenant = |other: &Sender| other.tenant() == sender.tenant();
        if self.0.keys().filter(|other| is_of_tenant(other)).count() >= OF_TENANT_MAX {
            let other = self.0.iter_mut().find(|(other, _)| is_of_tenant(other));
            other.into_iter().for_each(|(_, row)| row.others += 1);
            return false;
        }
        if self.0.len() >= SENDERS_MAX {
            // Those that would only be told too early again.
            self.0.retain(|_, row| !row.is_quiet());
        }
        self.0.len() < SENDERS_MAX
    }

    /// What was not told yet, whenever its sender was told of last.
    pub fn take_all(&mut self) -> Vec<Denied> {
        let rows = self.0.drain().filter(|(_, row)| !row.is_quiet());
        rows.map(|(sender, Row { sentences, others, .. })| Denied { sender, sentences, others }).collect()
    }

    /// What is to be told now. Senders that were quiet since they were told are forgotten.
    pub fn take(&mut self, now: Timestamp) -> Vec<Denied> {
        // A clock that was set back: who was told of later than now is told of again, and not silent until then.
        let is_due =
            |row: &Row| row.told_at.is_none_or(|at| at > now || now.saturating_since(at) >= TOLD_EVERY);
        self.0.retain(|_, row| !row.is_quiet() || !is_due(row));
        let due = self.0.iter_mut().filter(|(_, row)| !row.is_quiet() && is_due(row));
        due.map(|(sender, row)| {
            let Row { sentences, others, .. } =
                std::mem::replace(row, Row { told_at: Some(now), ..Row::default() });
            Denied { sender: *sender, sentences, others }
        })
        .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, TenantId, UserId};
    use registry::{Access, Role};

    fn sender(number: u64) -> Sender {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(number));
        let user = UserId::from_uuid(tenant.uuid());
        Sender::of_access(&Access::of_user(user, Role::Admin, Some(tenant)).unwrap(), tenant).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_sender_is_told_at_once_and_then_once_in_ten_minutes_with_its_counts() {
        let mut denials = Denials::default();
        denials.note(sender(1), "x");
        assert_eq!(
            denials.take(at(0)),
            [Denied { sender: sender(1), sentences: vec![("x".into(), 1)], others: 0 }]
        );
        for n in 0..1_000_000 {
            denials.note(sender(1), if n % 2 == 0 { "x" } else { "y" });
        }
        assert_eq!(denials.take(at(599)), []);
        let told = denials.take(at(600));
        assert_eq!(told[0].sentences, [("x".to_owned(), 500_000), ("y".to_owned(), 500_000)]);
        assert_eq!(denials.take(at(1199)), []);
        assert_eq!(denials.0.len(), 1, "it may be told again too early if it is forgotten");
        assert_eq!(denials.take(at(1200)), []);
        assert!(denials.0.is_empty());
    }

    #[test]
    fn one_tenant_with_many_keys_leaves_room_for_the_others_and_nothing_is_kept_back_at_a_stop() {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(7));
        let key = |number: u64| {
            let user = UserId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(number));
            let access = Access::of_user(user, Role::Admin, Some(tenant)).unwrap();
            Sender::of_access(&access, tenant).unwrap()
        };
        let mut denials = Denials::default();
        (0..5_000).for_each(|number| denials.note(key(number), "x"));
        denials.note(sender(1), "y");
        let told = denials.take(at(0));
        assert_eq!(told.len(), OF_TENANT_MAX + 1);
        let count = |told: &[Denied]| -> u64 {
            told.iter()
                .map(|one| one.others + one.sentences.iter().map(|(_, count)| count).sum::<u64>())
                .sum()
        };
        assert_eq!(count(&told), 5_001);
        // Told a moment ago: not before its time, but there is none after a stop.
        denials.note(sender(1), "y");
        assert_eq!(denials.take(at(1)), []);
        assert_eq!(count(&denials.take_all()), 1);
        assert!(denials.0.is_empty());
    }

    #[test]
    fn senders_that_are_quiet_make_room() {
        let mut denials = Denials::default();
        (0..1_000).for_each(|number| denials.note(sender(number), "x"));
        denials.note(sender(1_000), "x");
        assert_eq!(denials.take(at(0)).len(), SENDERS_MAX);
        denials.note(sender(1_000), "x");
        assert_eq!(denials.take(at(1)).len(), 1);
    }

    #[test]
    fn neither_many_senders_nor_many_domains_take_more_than_their_room() {
        let mut denials = Denials::default();
        for n in 0..2_000 {
            denials.note(sender(n), "x");
            denials.note(sender(0), &format!("{n}.example"));
        }
        let told = denials.take(at(0));
        assert_eq!(told.len(), SENDERS_MAX);
        let first = told.iter().find(|denied| denied.sender == sender(0)).unwrap();
        assert_eq!((first.sentences.len(), first.others), (SENTENCES_MAX, 2_000 - 9));
    }
}
