//! Whose domain is looked up next: tenants take turns, and none takes all places. Pure.
//!
//! A look-up that nobody answers keeps its place for seconds. A tenant with ten thousand domains whose servers are dead
//! would fill all places and the line before them, and everybody's mail for a new domain would stand behind it.
//!
//! The tenant's own mail would too. So the domains for which there was no answer the last time stand in a second line,
//! which never has more than half of the places that a tenant may have; and of those that were never asked for the
//! oldest and the newest go in turn, for in a great many the oldest are those that nobody answers for.

use mail::{Domain, TenantId};
use registry::{Crowded, Line, Party, Ring, Shares, Tally, Turn};
use std::collections::{HashMap, VecDeque};

pub(crate) struct LookUps {
    places: Shares,
    waiting: Ring<TenantId, Lines>,
    running: HashMap<Domain, (TenantId, Past)>,
    /// Running look-ups of domains without an answer the last time, and how many a tenant may have.
    again: Tally<TenantId>,
    again_max: usize,
}

/// What came of the last look-up of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// There was none, or it had an answer.
    Clear,
    NoAnswer,
}

/// What waits of one tenant.
#[derive(Default)]
struct Lines {
    clear: VecDeque<Domain>,
    no_answer: VecDeque<Domain>,
    /// Of the first line, so far: the odd ones are the oldest.
    begun: u64,
    /// The first line had the last turn.
    clear_had_turn: bool,
}

impl Line for Lines {
    fn is_empty(&self) -> bool {
        self.clear.is_empty() && self.no_answer.is_empty()
    }
}

impl Lines {
    fn next(&self, again_open: bool) -> Option<Past> {
        match (self.clear.is_empty(), self.no_answer.is_empty() || !again_open) {
            (true, true) => None,
            (false, true) => Some(Past::Clear),
            (true, false) => Some(Past::NoAnswer),
            (false, false) if self.clear_had_turn => Some(Past::NoAnswer),
            (false, false) => Some(Past::Clear),
        }
    }

    fn take(&mut self, past: Past) -> Option<Domain> {
        self.clear_had_turn = past == Past::Clear;
        match past {
            Past::Clear => {
                self.begun += 1;
                if self.begun.is_multiple_of(2) { self.clear.pop_back() } else { self.clear.pop_front() }
            }
            Past::NoAnswer => self.no_answer.pop_front(),
        }
    }
}

impl LookUps {
    /// So many at a time.
    pub fn new(limit: usize) -> LookUps {
        let limit = limit.max(1);
        LookUps {
            places: Shares::new(limit as u64),
            waiting: Ring::default(),
            running: HashMap::new(),
            again: Tally::default(),
            // Half of the half that one tenant may have.
            again_max: (limit / 4).max(1),
        }
    }

    /// Mail of `tenant` waits for `domain`, which nobody has asked for.
    pub fn want(&mut self, tenant: TenantId, domain: Domain, past: Past) {
        let lines = self.waiting.line(tenant);
        match past {
            Past::Clear => lines.clear.push_back(domain),
            Past::NoAnswer => lines.no_answer.push_back(domain),
        }
    }

    /// The next one to start, if there is a place for it.
    pub fn start(&mut self) -> Option<Domain> {
        let LookUps { places, waiting, running, again, again_max } = self;
        waiting.next(|tenant, lines| {
            let Some(past) = lines.next(again.of(&tenant) < *again_max) else { return Turn::Passed };
            match places.take(Party::Tenant(tenant), 1) {
                Ok(()) => {}
                Err(Crowded::OwnShare) => return Turn::Passed,
                Err(Crowded::Everything) => return Turn::Closed,
            }
            let Some(domain) = lines.take(past) else { return Turn::Passed };
            if past == Past::NoAnswer {
                again.add(tenant);
            }
            running.insert(domain.clone(), (tenant, past));
            Turn::Had(domain)
        })
    }

    pub fn ended(&mut self, domain: &Domain) {
        let Some((tenant, past)) = self.running.remove(domain) else { return };
        self.places.give_back(Party::Tenant(tenant), 1);
        if past == Past::NoAnswer {
            self.again.remove(&tenant);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    fn domain(name: &str, number: u32) -> Domain {
        Domain::parse(&format!("{name}{number}.example")).unwrap()
    }

    #[test]
    fn one_tenant_takes_half_of_the_places_and_the_others_take_turns() {
        let (mut look_ups, mut random) = (LookUps::new(20), Random::from_number(1));
        let [greedy, quiet, third] =
            [1, 2, 3].map(|at| TenantId::mint(Timestamp::from_millis(at), &mut random));
        for number in 0..100 {
            look_ups.want(greedy, domain("dead", number), Past::Clear);
        }
        let mut running: Vec<Domain> = std::iter::from_fn(|| look_ups.start()).collect();
        assert_eq!(running.len(), 10);
        look_ups.want(quiet, domain("quiet", 0), Past::Clear);
        assert_eq!(look_ups.start(), Some(domain("quiet", 0)));
        look_ups.want(third, domain("third", 0), Past::Clear);
        look_ups.want(quiet, domain("quiet", 1), Past::Clear);
        assert_eq!(
            [look_ups.start(), look_ups.start()],
            [Some(domain("third", 0)), Some(domain("quiet", 1))]
        );
        assert_eq!(look_ups.start(), None);
        // A place that is free again is used again, until nothing is left.
        let mut all = running.len();
        while let Some(done) = running.pop() {
            look_ups.ended(&done);
            running.extend(std::iter::from_fn(|| look_ups.start()).inspect(|_| all += 1));
        }
        assert_eq!(all, 100);
    }

    #[test]
    fn domains_without_an_answer_have_half_of_the_places_of_their_tenant_and_every_second_turn() {
        let (mut look_ups, mut random) = (LookUps::new(20), Random::from_number(2));
        let tenant = TenantId::mint(Timestamp::from_millis(1), &mut random);
        for number in 0..100 {
            look_ups.want(tenant, domain("dead", number), Past::NoAnswer);
        }
        let mut running: Vec<Domain> = std::iter::from_fn(|| look_ups.start()).collect();
        assert_eq!(running.len(), 5, "a quarter of all places");
        for number in 0..100 {
            look_ups.want(tenant, domain("new", number), Past::Clear);
        }
        let first: Vec<Domain> = std::iter::from_fn(|| look_ups.start()).collect();
        // The oldest and the newest in turn.
        let expected = [0, 99, 1, 98, 2].map(|number| domain("new", number));
        assert_eq!(first, expected);
        // Two places are free, and the lines take turns.
        look_ups.ended(&running.remove(0));
        look_ups.ended(&running.remove(0));
        assert_eq!(
            [look_ups.start(), look_ups.start(), look_ups.start()],
            [Some(domain("dead", 5)), Some(domain("new", 97)), None]
        );
        // Nothing is left behind.
        let mut running: VecDeque<Domain> = look_ups.running.keys().cloned().collect();
        let mut all = running.len() + 2;
        while let Some(done) = running.pop_front() {
            look_ups.ended(&done);
            running.extend(std::iter::from_fn(|| look_ups.start()).inspect(|_| all += 1));
        }
        assert_eq!(all, 200);
        assert!(look_ups.waiting.is_empty() && look_ups.again.is_empty());
    }
}
