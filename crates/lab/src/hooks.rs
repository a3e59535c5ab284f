//! Webhook sinks: addresses that record every call and answer as they are told.
//!
//! Bounded: the number of sinks, the calls each keeps (the oldest go first), the octets of a body (by the server).

use mail::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};

const STATUS: u16 = 200;

/// How a sink answers. What is absent stays as it is.
#[derive(Debug, Clone, Copy, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manner {
    pub status: Option<u16>,
    pub delay_ms: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    pub at: Timestamp,
    pub method: String,
    pub path: String,
    /// Names in lower case; several values joined by a comma.
    pub headers: BTreeMap<String, String>,
    /// As text, with replacement characters where it is none.
    pub body: String,
    pub body_base64: String,
    /// What was answered.
    pub status: u16,
}

#[derive(Debug)]
pub(crate) struct Hook {
    pub status: u16,
    pub delay_ms: u64,
    pub calls: VecDeque<Call>,
    /// All since it was made, also those that were forgotten.
    pub total: u64,
}

#[derive(Debug)]
pub(crate) struct Hooks {
    hooks: HashMap<String, Hook>,
    hooks_max: usize,
    calls_max: usize,
}

impl Hook {
    pub fn apply(&mut self, manner: Manner) {
        self.status = manner.status.unwrap_or(self.status);
        self.delay_ms = manner.delay_ms.unwrap_or(self.delay_ms);
    }
}

impl Hooks {
    pub fn new(hooks_max: usize, calls_max: usize) -> Hooks {
        Hooks { hooks: HashMap::new(), hooks_max, calls_max }
    }

    /// `false` if there are as many as allowed.
    pub fn open(&mut self, id: &str, manner: Manner) -> bool {
        let room = self.hooks.len() < self.hooks_max;
        if room {
            let mut hook = Hook { status: STATUS, delay_ms: 0, calls: VecDeque::new(), total: 0 };
            hook.apply(manner);
            self.hooks.insert(id.to_owned(), hook);
        }
        room
    }

    pub fn find(&mut self, id: &str) -> Option<&mut Hook> {
        self.hooks.get_mut(id)
    }

    /// Records a call; gives the answer and how long to wait with it.
    pub fn record(&mut self, id: &str, mut call: Call) -> Option<(u16, u64)> {
        let hook = self.hooks.get_mut(id)?;
        call.status = hook.status;
        hook.calls.push_back(call);
        hook.total += 1;
        if hook.calls.len() > self.calls_max {
            hook.calls.pop_front();
        }
        Some((hook.status, hook.delay_ms))
    }

    pub fn close(&mut self, id: &str) -> bool {
        self.hooks.remove(id).is_some()
    }

    pub fn len(&self) -> usize {
        self.hooks.len()
    }

    pub fn reset(&mut self) {
        self.hooks.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn call(body: &str) -> Call {
        Call {
            at: Timestamp::UNIX_EPOCH,
            method: "POST".into(),
            path: String::new(),
            headers: BTreeMap::new(),
            body: body.into(),
            body_base64: String::new(),
            status: 0,
        }
    }

    #[test]
    fn sinks_and_their_calls_are_limited_and_answers_can_be_set() {
        let mut hooks = Hooks::new(1, 2);
        assert!(hooks.open("a", Manner::default()) && !hooks.open("b", Manner::default()));
        assert_eq!(hooks.record("b", call("1")), None);
        assert_eq!(hooks.record("a", call("1")), Some((200, 0)));
        hooks.find("a").unwrap().apply(Manner { status: Some(503), delay_ms: Some(7) });
        assert_eq!(hooks.record("a", call("2")), Some((503, 7)));
        hooks.record("a", call("3"));
        let hook = hooks.find("a").unwrap();
        assert_eq!(hook.total, 3);
        assert_eq!(hook.calls.iter().map(|call| call.body.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        assert!(hooks.close("a") && !hooks.close("a"));
    }
}
