//! A hold: a path that is suspended, until when and why, in words that an operator and a tenant may read. Some are
//! about one tenant's mail on the path only: the site complained about that mail, and the others go on.

use mail::{EgressPath, Instant, SiteName, TenantId};
use std::collections::HashMap;

/// Tenants that are held on a path at a time; one more goes on, and the site will say so again.
const TENANT_HOLDS_MAX: usize = 100_000;

/// Ends by itself, or when somebody resumes the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// None: until somebody resumes it.
    pub until: Option<Instant>,
    /// In words that a tenant may read too.
    pub reason: String,
}

impl Hold {
    /// Its time is over; one without a time never is.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// The stricter of two holds.
    pub(crate) fn is_longer_than(&self, other: &Hold) -> bool {
        match (self.until, other.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(mine), Some(theirs)) => mine > theirs,
        }
    }
}

/// Holds of one tenant on one path.
#[derive(Default)]
pub(crate) struct TenantHolds {
    rows: HashMap<TenantId, HashMap<EgressPath, Hold>>,
    count: usize,
}

impl TenantHolds {
    pub fn suspend(&mut self, path: &EgressPath, tenant: TenantId, hold: Hold, now: Instant) {
        if self.count >= TENANT_HOLDS_MAX {
            self.sweep(now);
        }
        let full = self.count >= TENANT_HOLDS_MAX;
        let rows = self.rows.entry(tenant).or_default();
        match rows.get_mut(path) {
            Some(known) if known.is_over(now) || hold.is_longer_than(known) => *known = hold,
            Some(_) => {}
            None if full => {}
            None => {
                self.count += 1;
                rows.insert(path.clone(), hold);
            }
        }
    }

    pub fn on(&self, path: &EgressPath, tenant: TenantId, now: Instant) -> Option<&Hold> {
        self.rows.get(&tenant)?.get(path).filter(|hold| !hold.is_over(now))
    }

    /// The hold of `tenant` on any path to `site` that ends first.
    pub fn at_site(&self, site: &SiteName, tenant: TenantId, now: Instant) -> Option<&Hold> {
        let rows =
            self.rows.get(&tenant)?.iter().filter(|(path, hold)| path.site == *site && !hold.is_over(now));
        rows.map(|(_, hold)| hold).min_by_key(|hold| hold.until)
    }

    /// Ends all holds on `path`.
    pub fn resume(&mut self, path: &EgressPath) {
        self.retain(|known, _| known != path);
    }

    pub fn sweep(&mut self, now: Instant) {
        self.retain(|_, hold| !hold.is_over(now));
    }

    fn retain(&mut self, keep: impl Fn(&EgressPath, &Hold) -> bool) {
        self.rows.retain(|_, rows| {
            rows.retain(|path, hold| keep(path, hold));
            !rows.is_empty()
        });
        self.count = self.rows.values().map(HashMap::len).sum();
    }
}
