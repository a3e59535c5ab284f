//! What the follower leaves out of its snapshot, because its sealed part does not open.
//!
//! One such row must not keep every other change from every tenant. Each is told once, with its id, and their number is
//! a gauge for the operator's alarm. Rows that cannot be read for another reason still stop the follower: then the
//! schema is not what this program thinks it is, and the last snapshot is better than one without them.

use crate::error::Fault;
use mail::TenantId;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// With the tenant whose it is; none for what is the house's.
    known: HashMap<Uuid, Option<TenantId>>,
    /// Those of the reading that is under way.
    seen: HashSet<Uuid>,
}

impl LeftOut {
    /// The value, or none after a line in the log if this row is new here.
    pub fn keep<T>(
        &mut self,
        (kind, row, tenant): (&'static str, Uuid, Option<TenantId>),
        opened: Result<T, Fault>,
    ) -> Option<T> {
        let fault = match opened {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        self.seen.insert(row);
        if self.known.insert(row, tenant).is_none() {
            let error = &fault as &dyn std::error::Error;
            let tenant = tenant.map(|tenant| tenant.to_string());
            tracing::error!(kind, %row, tenant.id = tenant, error, "a row is left out of the registry");
        }
        None
    }

    /// Ends a reading of these tenants, or of all, and of what is the house's. Returns how many rows are left out.
    pub fn settle(&mut self, read: Option<&HashSet<TenantId>>) -> usize {
        let was_read = |tenant: &Option<TenantId>| match (read, tenant) {
            (Some(tenants), Some(tenant)) => tenants.contains(tenant),
            (None, _) | (_, None) => true,
        };
        let seen = std::mem::take(&mut self.seen);
        self.known.retain(|row, tenant| seen.contains(row) || !was_read(tenant));
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_again_or_is_gone_is_not_counted_any_more() {
        let (one, two) = (TenantId::from_uuid(Uuid::from_u128(1)), TenantId::from_uuid(Uuid::from_u128(2)));
        let broken = || Err::<(), _>(Fault::Sealing { what: "open a secret" });
        let mut left_out = LeftOut::default();
        assert!(left_out.keep(("endpoint", Uuid::from_u128(10), Some(one)), broken()).is_none());
        assert!(left_out.keep(("endpoint", Uuid::from_u128(20), Some(two)), broken()).is_none());
        assert!(left_out.keep(("pool", Uuid::from_u128(30), None), broken()).is_none());
        assert_eq!(left_out.settle(None), 3);
        // Another tenant was read: what is the house's is always read and has been mended.
        let read = HashSet::from([two]);
        assert!(left_out.keep(("endpoint", Uuid::from_u128(20), Some(two)), broken()).is_none());
        assert!(left_out.keep(("pool", Uuid::from_u128(30), None), Ok(())).is_some());
        assert_eq!(left_out.settle(Some(&read)), 2);
        assert_eq!(left_out.settle(None), 0);
    }
}
