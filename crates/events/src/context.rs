//! What outcomes need to know of their message, remembered for as long as its recipients are open.
//!
//! A record of an attempt names its message by id only. Most outcomes come soon after acceptance, so their message
//! is still here; the rest is fetched from the database. Bounded by recipients, oldest message out first.

use mail::{DomainId, MessageId, StreamId, TenantId};
use spool::Accepted;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub message: MessageId,
    pub tenant: TenantId,
    pub stream: StreamId,
    pub domain: DomainId,
    pub message_id_header: String,
    pub tags: Vec<String>,
    pub metadata: Vec<(String, String)>,
    pub recipients: Vec<String>,
}

impl Context {
    pub fn of(accepted: &Accepted) -> Context {
        Context {
            message: accepted.message,
            tenant: accepted.tenant,
            stream: accepted.stream,
            domain: accepted.domain,
            message_id_header: storable(&accepted.message_id_header),
            tags: accepted.tags.iter().map(|tag| storable(tag)).collect(),
            metadata: accepted.metadata.iter().map(|(key, value)| (storable(key), storable(value))).collect(),
            recipients: accepted.recipients.iter().map(|r| r.forward_path.to_string()).collect(),
        }
    }

    /// Empty for a number that the message does not have, which only a damaged journal can hold.
    pub fn recipient(&self, number: u32) -> &str {
        self.recipients.get(number as usize).map_or("", String::as_str)
    }
}

/// PostgreSQL keeps no NUL, neither in text nor in JSON; one of them must not cost a tenant its events.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// The bounded memory.
pub(crate) struct Contexts {
    known: HashMap<MessageId, Known>,
    /// Oldest first; may name messages that are gone already.
    order: VecDeque<MessageId>,
    recipients: usize,
    recipients_max: usize,
}

struct Known {
    context: Arc<Context>,
    open: usize,
}

impl Contexts {
    pub fn new(recipients_max: usize) -> Contexts {
        Contexts { known: HashMap::new(), order: VecDeque::new(), recipients: 0, recipients_max }
    }

    pub fn insert(&mut self, context: Arc<Context>) {
        let (message, count) = (context.message, context.recipients.len());
        self.forget(message);
        self.recipients += count;
        self.known.insert(message, Known { context, open: count });
        self.order.push_back(message);
        // The last one stays whatever its size: the outcome that asked for it is next.
        while self.recipients > self.recipients_max && self.known.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
        // Settled messages leave their name in the order; it is swept before it outgrows what is known.
        if self.order.len() > 2 * self.known.len() + 64 {
            let known = &self.known;
            self.order.retain(|message| known.contains_key(message));
        }
    }

    pub fn get(&self, message: MessageId) -> Option<&Arc<Context>> {
        self.known.get(&message).map(|known| &known.context)
    }

    /// One recipient has its final event; after the last one nothing more is asked about the message.
    pub fn settle(&mut self, message: MessageId) {
        let Some(known) = self.known.get_mut(&message) else { return };
        known.open = known.open.saturating_sub(1);
        if known.open == 0 {
            self.forget(message);
        }
    }

    fn forget(&mut self, message: MessageId) {
        if let Some(known) = self.known.remove(&message) {
            self.recipients -= known.context.recipients.len();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    fn context(random: &mut Random, recipients: usize) -> Arc<Context> {
        let now = Timestamp::UNIX_EPOCH;
        Arc::new(Context {
            message: MessageId::mint(now, random),
            tenant: TenantId::mint(now, random),
            stream: StreamId::mint(now, random),
            domain: DomainId::mint(now, random),
            message_id_header: String::new(),
            tags: Vec::new(),
            metadata: Vec::new(),
            recipients: vec!["a@b.example".to_string(); recipients],
        })
    }

    #[test]
    fn the_oldest_goes_when_memory_is_full_and_one_always_stays() {
        let (mut contexts, mut random) = (Contexts::new(10), Random::from_number(1));
        let list: Vec<_> = [4, 4, 4, 50].map(|count| context(&mut random, count)).to_vec();
        list.iter().take(3).for_each(|context| contexts.insert(context.clone()));
        assert_eq!(contexts.get(list[0].message), None);
        assert!(contexts.get(list[1].message).is_some() && contexts.get(list[2].message).is_some());
        contexts.insert(list[3].clone());
        assert_eq!((contexts.known.len(), contexts.recipients), (1, 50));
        assert_eq!(list[3].recipient(50), "");
    }

    #[test]
    fn a_settled_message_is_forgotten_and_leaves_nothing() {
        let (mut contexts, mut random) = (Contexts::new(10), Random::from_number(1));
        for _ in 0..1000 {
            let context = context(&mut random, 2);
            contexts.insert(context.clone());
            contexts.insert(context.clone());
            contexts.settle(context.message);
            assert!(contexts.get(context.message).is_some());
            contexts.settle(context.message);
            contexts.settle(context.message);
            assert!(contexts.get(context.message).is_none());
        }
        assert!(contexts.recipients == 0 && contexts.order.len() < 70, "{}", contexts.order.len());
    }
}
