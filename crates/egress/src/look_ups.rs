//! Whose domain is looked up next: tenants take turns, and none takes all places. Pure.
//!
//! A look-up that nobody answers keeps its place for seconds. A tenant with ten thousand domains whose servers are dead
//! would fill all places and the line before them, and everybody's mail for a new domain would stand behind it.

use mail::{Domain, TenantId};
use registry::{Crowded, Party, Shares};
use std::collections::{HashMap, VecDeque};

pub(crate) struct LookUps {
    places: Shares,
    waiting: HashMap<TenantId, VecDeque<Domain>>,
    /// Tenants with something waiting, the one whose turn it is at the front.
    turns: VecDeque<TenantId>,
    running: HashMap<Domain, TenantId>,
}

impl LookUps {
    /// So many at a time.
    pub fn new(limit: usize) -> LookUps {
        let places = Shares::new(limit.max(1) as u64);
        LookUps { places, waiting: HashMap::new(), turns: VecDeque::new(), running: HashMap::new() }
    }

    /// Mail of `tenant` waits for `domain`, which nobody has asked for.
    pub fn want(&mut self, tenant: TenantId, domain: Domain) {
        let line = self.waiting.entry(tenant).or_default();
        if line.is_empty() {
            self.turns.push_back(tenant);
        }
        line.push_back(domain);
    }

    /// The next one to start, if there is a place for it.
    pub fn start(&mut self) -> Option<Domain> {
        for _ in 0..self.turns.len() {
            let tenant = *self.turns.front()?;
            match self.places.take(Party::Tenant(tenant), 1) {
                Ok(()) => return self.start_of(tenant),
                Err(Crowded::OwnShare) => self.turns.rotate_left(1),
                Err(Crowded::Everything) => return None,
            }
        }
        None
    }

    pub fn ended(&mut self, domain: &Domain) {
        if let Some(tenant) = self.running.remove(domain) {
            self.places.give_back(Party::Tenant(tenant), 1);
        }
    }

    fn start_of(&mut self, tenant: TenantId) -> Option<Domain> {
        self.turns.pop_front();
        let line = self.waiting.get_mut(&tenant)?;
        let domain = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.running.insert(domain.clone(), tenant);
        Some(domain)
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
            look_ups.want(greedy, domain("dead", number));
        }
        let mut running: Vec<Domain> = std::iter::from_fn(|| look_ups.start()).collect();
        assert_eq!(running.len(), 10);
        look_ups.want(quiet, domain("quiet", 0));
        assert_eq!(look_ups.start(), Some(domain("quiet", 0)));
        look_ups.want(third, domain("third", 0));
        look_ups.want(quiet, domain("quiet", 1));
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
}
