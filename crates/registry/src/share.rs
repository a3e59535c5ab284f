//! A resource that all tenants share, such as octets in flight: who may take more of it while it is scarce.
//!
//! Half of it is for whoever comes. The other half is for parties that hold less than their fair share: the whole
//! divided by those who hold any, and one more for whoever comes next. So a party that takes all it can get leaves
//! room for the next one, however long it has been alone, and the next one leaves room for the third. Nobody who
//! holds nothing is refused because of one greedy neighbour; refused is the neighbour.
//!
//! Called by the doors (`ingress`, `api`) and by `events`, each with a `Shares` of its own behind a mutex. What may
//! surprise: a party alone gets half and never all, in exchange for nothing ever having to be taken away again.

use mail::TenantId;
use std::collections::HashMap;

/// Who holds a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// Everybody of whom we do not know (yet) whose they are: one party, so that strangers cannot outnumber tenants.
    Strangers,
    /// One tenant, with everything it has.
    Tenant(TenantId),
}

/// Why there is nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// The party holds its fair share, and what is left is kept for others.
    OwnShare,
    /// All of it is held.
    Everything,
}

/// The resource, in whatever unit.
#[derive(Debug)]
pub struct Shares {
    total: u64,
    used: u64,
    /// No entry is zero.
    held: HashMap<Party, u64>,
}

impl Shares {
    /// Of so many units; nobody holds any.
    pub fn new(total: u64) -> Shares {
        Shares { total, used: 0, held: HashMap::new() }
    }

    /// Takes `amount` units for `party`, or nothing.
    ///
    /// # Errors
    /// `OwnShare` if more than half of all would be held and the party would have more than its fair share of
    /// it; `Everything` if so much is not left and the party holds no more than its share. An amount above
    /// the total is never given.
    pub fn take(&mut self, party: Party, amount: u64) -> Result<(), Crowded> {
        let after = self.used.saturating_add(amount);
        if after > self.total {
            return Err(self.whose_fault(party));
        }
        if after > self.total / 2 && !self.is_modest(party, amount) {
            return Err(Crowded::OwnShare);
        }
        if amount > 0 {
            *self.held.entry(party).or_default() += amount;
            self.used = after;
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give_back(&mut self, party: Party, amount: u64) {
        let Some(held) = self.held.get_mut(&party) else { return };
        let amount = amount.min(*held);
        *held -= amount;
        if *held == 0 {
            self.held.remove(&party);
        }
        self.used -= amount;
    }

    /// Units that are held, by all parties together.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether the party would hold no more than its fair share. One that holds nothing may be served once, whatever
    /// the amount: a large message is no greed.
    fn is_modest(&self, party: Party, amount: u64) -> bool {
        match self.held.get(&party) {
            None => true,
            Some(held) => held.saturating_add(amount) <= self.total / (self.held.len() as u64 + 1),
        }
    }

    fn whose_fault(&self, party: Party) -> Crowded {
        let held = self.held.get(&party).copied().unwrap_or_default();
        let parties = self.held.len().max(1) as u64;
        if held > self.total / parties { Crowded::OwnShare } else { Crowded::Everything }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Random, Timestamp};

    fn parties(count: usize) -> Vec<Party> {
        let mut random = Random::from_number(5);
        (0..count).map(|_| Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut random))).collect()
    }

    fn greedy(shares: &mut Shares, party: Party) -> u64 {
        (0..).take_while(|_| shares.take(party, 1).is_ok()).count() as u64
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_room_for_the_next_and_that_one_for_the_third() {
        let mut shares = Shares::new(1_200);
        let parties = parties(4);
        let got: Vec<u64> = parties.iter().map(|party| greedy(&mut shares, *party)).collect();
        assert_eq!(got, [600, 400, 200, 0]);
        assert_eq!(shares.take(parties[0], 1), Err(Crowded::OwnShare));
        assert_eq!(shares.take(parties[3], 1), Err(Crowded::Everything));
    }

    #[test]
    fn what_is_given_back_goes_to_those_who_have_less() {
        let mut shares = Shares::new(100);
        let parties = parties(2);
        assert_eq!(greedy(&mut shares, parties[0]), 50);
        assert_eq!(greedy(&mut shares, parties[1]), 33);
        shares.give_back(parties[0], 20);
        assert_eq!(shares.used(), 63);
        assert_eq!(greedy(&mut shares, parties[0]), 3, "up to a third of the whole");
        assert_eq!(greedy(&mut shares, parties[1]), 0);
    }

    #[test]
    fn one_large_piece_is_served_to_whoever_holds_nothing() {
        let mut shares = Shares::new(100);
        let parties = parties(2);
        assert!(shares.take(parties[0], 50).is_ok());
        assert!(shares.take(parties[1], 50).is_ok());
        assert_eq!(shares.take(parties[1], 1), Err(Crowded::Everything));
        assert!(Shares::new(100).take(parties[0], 101).is_err());
    }

    #[test]
    fn strangers_are_one_party_however_many() {
        let mut shares = Shares::new(100);
        assert_eq!(greedy(&mut shares, Party::Strangers), 50);
        assert_eq!(greedy(&mut shares, parties(1)[0]), 33);
    }

    #[test]
    fn nothing_is_left_after_a_long_random_life() {
        let (mut shares, mut random) = (Shares::new(1_000), Random::from_number(6));
        let parties = parties(20);
        let mut taken: Vec<(Party, u64)> = Vec::new();
        for _ in 0..20_000 {
            if random.below(2) == 0 && !taken.is_empty() {
                let (party, amount) = taken.swap_remove(random.below(taken.len() as u64) as usize);
                shares.give_back(party, amount);
            } else {
                let (party, amount) = (parties[random.below(20) as usize], random.below(60));
                if shares.take(party, amount).is_ok() {
                    taken.push((party, amount));
                }
            }
            assert!(shares.used() <= 1_000);
        }
        for (party, amount) in taken {
            shares.give_back(party, amount);
        }
        assert_eq!((shares.used(), shares.held.len()), (0, 0));
    }
}
