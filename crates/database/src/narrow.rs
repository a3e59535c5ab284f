//! What somebody who acts with an API key may give away: no key and no credential that is less bound than the key.
//!
//! Rights are compared by `api_key.rs`; here are the stream, the networks and the end. Asked within the transaction
//! that makes or rotates, so that the key is compared as it is now. People, and the operator's keys within a tenant,
//! are not bound: they may make people and tenants, whose keys are their own.

use crate::api_key::api_key_from;
use crate::error::Fault;
use crate::scope::Scoped;
use ipnet::IpNet;
use mail::{StreamId, Timestamp};
use registry::Actor;

/// How a key or a credential is bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub stream: Option<StreamId>,
    /// Empty means from anywhere.
    pub networks: &'a [IpNet],
    pub expires_at: Option<Timestamp>,
}

impl Bounds<'_> {
    fn is_within(&self, own: &Bounds<'_>) -> bool {
        let stream = own.stream.is_none() || self.stream == own.stream;
        let inside = |network: &IpNet| own.networks.iter().any(|own| own.contains(network));
        let networks =
            own.networks.is_empty() || (!self.networks.is_empty() && self.networks.iter().all(inside));
        let end = own.expires_at.is_none_or(|own| self.expires_at.is_some_and(|end| end <= own));
        stream && networks && end
    }
}

impl Scoped<'_> {
    /// Refuses to give away more than the acting key has itself.
    pub(crate) async fn expect_within_own(&self, given: Bounds<'_>) -> Result<(), Fault> {
        let Actor::ApiKey(own) = self.access.actor() else { return Ok(()) };
        let sql = "SELECT * FROM api_keys WHERE id = $1 FOR SHARE";
        // A key of the operator is not seen from within a tenant.
        let Some(row) = self.optional(sql, &[&own.uuid()]).await? else { return Ok(()) };
        let own = api_key_from(&row)?;
        let own = Bounds { stream: own.stream, networks: &own.networks, expires_at: own.expires_at };
        if given.is_within(&own) { Ok(()) } else { Err(Fault::Forbidden) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::Random;

    #[test]
    fn whatever_the_own_key_is_bound_to_must_hold_for_the_other() {
        let stream = |seed| Some(StreamId::mint(Timestamp::UNIX_EPOCH, &mut Random::from_number(seed)));
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let (office, desk, other, all) = (
            nets(&["192.0.2.0/24"]),
            nets(&["192.0.2.7/32"]),
            nets(&["192.0.2.7/32", "10.0.0.0/8"]),
            nets(&[]),
        );
        let end = |millis| Some(Timestamp::from_millis(millis));
        let bounds = |stream, networks, expires_at| Bounds { stream, networks, expires_at };
        let free = bounds(None, &all, None);
        for own in
            [bounds(stream(1), &all, None), bounds(None, &office, None), bounds(None, &all, end(5)), free]
        {
            assert!(own.is_within(&own) && own.is_within(&free));
        }
        let own = bounds(stream(1), &office, end(5));
        assert!(bounds(stream(1), &desk, end(4)).is_within(&own));
        for given in [
            free,
            bounds(stream(2), &desk, end(4)),
            bounds(None, &desk, end(4)),
            bounds(stream(1), &other, end(4)),
            bounds(stream(1), &all, end(4)),
            bounds(stream(1), &desk, end(6)),
            bounds(stream(1), &desk, None),
        ] {
            assert!(!given.is_within(&own), "{given:?}");
        }
    }
}
