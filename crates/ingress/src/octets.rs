//! Octets of messages that have arrived and are not answered yet: how many the house holds, and who holds them.
//!
//! Both doors count here, SMTP by what a client declares or else as octets arrive and HTTP by the length of the body, so
//! that the memory for mail in flight has one bound. What is declared is kept for the one who declared it: of many large
//! messages at once some come to their end, and none is turned away in its middle. Tenants share it (`registry::Shares`): whoever sends many large messages at once is told to
//! come back, the others are not. What may surprise: a session of which nobody knows whose it is counts as a stranger,
//! and strangers share one part.

use mail::{Refusal, RefusalKind};
use registry::{Crowded, Party, Shares};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a client is told to wait; whatever is in flight now is stored or gone by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// All of them.
#[derive(Debug)]
pub struct Octets(Mutex<Shares>);

/// What one session or request holds of them; gives it back when dropped.
#[derive(Debug)]
pub struct Held {
    octets: Arc<Octets>,
    party: Party,
    own: usize,
}

impl Octets {
    pub fn new(max: usize) -> Arc<Octets> {
        Arc::new(Octets(Mutex::new(Shares::new(max as u64))))
    }

    /// Nothing yet, for `party`.
    pub fn hold(self: &Arc<Octets>, party: Party) -> Held {
        Held { octets: Arc::clone(self), party, own: 0 }
    }

    /// How many are held in all.
    pub fn held(&self) -> u64 {
        self.lock().used()
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// So much will come: before it does, whoever is too much is told so, and whoever is not is sure of its room.
    pub fn reserve(&mut self, octets: usize) -> Result<(), Refusal> {
        self.change_to(octets, RefusalKind::StorageFull)
    }

    /// So much is held now, or refused if that is too much for this party or for the house; then nothing is held.
    pub fn set(&mut self, now: usize) -> Result<(), Refusal> {
        self.change_to(now, RefusalKind::LocalTrouble)
    }

    /// No more than so much is held any longer. Never refused.
    pub fn lower(&mut self, most: usize) {
        if most < self.own {
            self.octets.lock().give_back(self.party, (self.own - most) as u64);
            self.own = most;
        }
    }

    fn change_to(&mut self, now: usize, kind: RefusalKind) -> Result<(), Refusal> {
        if now <= self.own {
            self.lower(now);
            return Ok(());
        }
        let taken = self.octets.lock().take(self.party, (now - self.own) as u64);
        match taken {
            Ok(()) => {
                self.own = now;
                Ok(())
            }
            Err(crowded) => {
                self.clear();
                Err(Refusal::new(
                    kind,
                    match crowded {
                        Crowded::OwnShare => "too much mail of your account is arriving at once",
                        Crowded::Everything => "too much mail is arriving at once; please try again later",
                    },
                )
                .with_retry_after(RETRY_AFTER))
            }
        }
    }

    /// It is known now whose they are.
    pub fn belongs_to(&mut self, party: Party) {
        self.clear();
        self.party = party;
    }

    /// Gives back all that is held.
    pub fn clear(&mut self) {
        self.octets.lock().give_back(self.party, std::mem::take(&mut self.own) as u64);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, TenantId, Timestamp};

    #[test]
    fn octets_are_refused_over_the_share_and_given_back() {
        let octets = Octets::new(100);
        let tenant = Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut Random::from_number(1)));
        let (mut a, mut b) = (octets.hold(tenant), octets.hold(Party::Strangers));
        a.set(50).unwrap();
        let refusal = a.set(60).unwrap_err();
        assert_eq!((refusal.kind, refusal.retry_after_seconds()), (RefusalKind::LocalTrouble, Some(5)));
        assert!(refusal.public().contains("your account"));
        assert_eq!(octets.held(), 0, "a message that is refused is not kept");
        a.set(50).unwrap();
        assert_eq!(a.reserve(60).unwrap_err().kind, RefusalKind::StorageFull);
        a.set(50).unwrap();
        b.set(50).unwrap();
        a.set(30).unwrap();
        drop((a, b));
        assert_eq!(octets.held(), 0);
    }

    #[test]
    fn what_a_stranger_held_is_forgotten_when_it_says_who_it_is() {
        let octets = Octets::new(100);
        let tenant = Party::Tenant(TenantId::mint(Timestamp::from_millis(1), &mut Random::from_number(1)));
        let mut held = octets.hold(Party::Strangers);
        held.set(10).unwrap();
        held.belongs_to(tenant);
        assert_eq!(octets.held(), 0);
        held.set(40).unwrap();
        drop(held);
        assert_eq!(octets.held(), 0);
    }
}
