//! Requests at the same time: how many there may be, and whose they are.
//!
//! Tenants share them (`registry::Shares`), so that one that asks faster than we answer is told to come back and delays
//! nobody else; operators are one party more. A request counts from when its caller is known until its answer is
//! ready. Called by `auth.rs` for every request and by `idempotency.rs` for calls that may outlive their connection.

use crate::problem::{Kind, Problem};
use registry::{Access, Crowded, Party, Shares};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a client is told to wait. Most requests take milliseconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All requests, or all calls. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Mutex<Shares>>);

/// One of them; gone when dropped.
#[derive(Debug)]
pub struct Turn {
    shares: InFlight,
    party: Party,
}

impl InFlight {
    pub fn new(max: usize) -> InFlight {
        InFlight(Arc::new(Mutex::new(Shares::new(max as u64))))
    }

    /// Room for one more, if there is any. Nobody waits for it: a client that is told can come back.
    pub fn turn(&self, access: &Access) -> Result<Turn, Problem> {
        let party = party_of(access);
        match self.lock().take(party, 1) {
            Ok(()) => Ok(Turn { shares: self.clone(), party }),
            Err(Crowded::OwnShare) => {
                let detail =
                    "too many requests of this account at the same time; wait for answers before asking more";
                Err(Problem::new(Kind::TooManyRequests, detail).with_retry_after(RETRY_AFTER))
            }
            Err(Crowded::Everything) => Err(Problem::unavailable()),
        }
    }

    pub fn count(&self) -> u64 {
        self.lock().used()
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shares.lock().give_back(self.party, 1);
    }
}

/// Operators are whoever is no tenant.
pub fn party_of(access: &Access) -> Party {
    access.tenant().map_or(Party::Strangers, Party::Tenant)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Random, TenantId, Timestamp, UserId};
    use registry::Role;

    fn tenant(number: u64) -> Access {
        let tenant = TenantId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(number));
        Access::of_user(UserId::from_uuid(tenant.uuid()), Role::Viewer, Some(tenant)).unwrap()
    }

    #[test]
    fn who_asks_for_too_much_is_told_so_and_the_next_is_served() {
        let requests = InFlight::new(8);
        let held: Vec<Turn> = std::iter::from_fn(|| requests.turn(&tenant(1)).ok()).collect();
        let problem = requests.turn(&tenant(1)).unwrap_err();
        assert_eq!((held.len(), problem.code()), (4, "too_many_requests"));
        assert!(problem.detail().contains("this account"), "{}", problem.detail());
        let other: Vec<Turn> = std::iter::from_fn(|| requests.turn(&tenant(2)).ok()).collect();
        assert_eq!(other.len(), 2);
        let operator = requests.turn(&Access::house("test")).unwrap();
        drop((held, other, operator));
        assert_eq!(requests.count(), 0);
    }
}
