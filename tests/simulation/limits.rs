//! What sites are promised: so many connections on a path, so many messages in a time, and no permit that leaks.
//!
//! Counted here from the actions of the Dispatcher, by another method than its own: every event of the last second or
//! minute is kept.

use crate::world::World;
use mail::{EgressPath, Instant};
use shaping::Limits;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// When something was begun on a path in this life of the house.
#[derive(Default)]
pub struct Counted {
    connections: BTreeMap<(String, String), VecDeque<Instant>>,
    messages: BTreeMap<(String, String), VecDeque<Instant>>,
    pub life: u64,
}

fn name(path: &EgressPath) -> (String, String) {
    (path.source.as_str().to_owned(), path.site.as_str().to_owned())
}

/// One more in a list of those within `span`; how many there are now.
fn count(list: &mut VecDeque<Instant>, now: Instant, span: Duration) -> u32 {
    while list.front().is_some_and(|at| now.saturating_since(*at) >= span) {
        list.pop_front();
    }
    list.push_back(now);
    list.len() as u32
}

impl World {
    pub fn count_connection(&mut self, path: &EgressPath, limits: &Limits) {
        self.forget_earlier_life();
        let list = self.counted.connections.entry(name(path)).or_default();
        let in_a_minute = count(list, self.now, MINUTE);
        if let Some(rate) = limits.connection_rate {
            let most = rate.within(MINUTE) + limits.window.initial.max(1);
            assert!(in_a_minute <= most, "{in_a_minute} connections in a minute on {path:?}, at most {most}");
        }
    }

    pub fn count_message(&mut self, path: &EgressPath, limits: &Limits) {
        self.forget_earlier_life();
        let list = self.counted.messages.entry(name(path)).or_default();
        let in_a_second = count(list, self.now, SECOND);
        if let Some(rate) = limits.message_rate {
            // The burst is what goes in a second.
            let most = 2 * rate.within(SECOND).max(1);
            assert!(in_a_second <= most, "{in_a_second} messages in a second on {path:?}, at most {most}");
        }
    }

    /// A new process begins with full buckets.
    fn forget_earlier_life(&mut self) {
        if self.counted.life != self.lives {
            self.counted = crate::limits::Counted { life: self.lives, ..Default::default() };
        }
    }

    /// After the Dispatcher had these sessions connected: no path has more than its window allows, none more than it
    /// knows of.
    pub fn check_windows(&mut self, connected: &[u64]) {
        let now = self.both_clocks();
        let Some(house) = &self.house else { return };
        assert!(house.sessions.len() <= self.plan.egress.connections_max, "too many connections");
        if connected.is_empty() {
            return;
        }
        let views = house.dispatcher.paths(now);
        for session in connected.iter().filter_map(|number| house.sessions.get(number)) {
            let open = house.sessions.values().filter(|other| other.path == session.path).count() as u32;
            let view = views.iter().find(|view| view.path == session.path).expect("the path is known");
            assert_eq!(view.open, open, "permits and connections differ on {:?}", session.path);
            assert!(open <= view.window, "{open} connections on {:?}, window {}", session.path, view.window);
            let limit = self.plan.egress.limits.connections.unwrap_or(u32::MAX);
            assert!(open <= limit, "{open} connections on {:?}, at most {limit}", session.path);
        }
    }
}
