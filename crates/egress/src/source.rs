//! Which address a delivery may leave from: the active members of its pool, in a random order by weight. Pure.
//!
//! Drawn anew for each attempt: a recipient that was deferred because of one address may go out by another.

use mail::{PoolId, Random};
use registry::{EgressSource, Snapshot, SourceState};
use std::net::IpAddr;
use std::sync::Arc;

/// The active sources of a pool, the one to try first at the front.
pub(crate) fn choose(snapshot: &Snapshot, pool: PoolId, random: &mut Random) -> Vec<Arc<EgressSource>> {
    let Some(pool) = snapshot.pool(pool) else { return Vec::new() };
    let mut members: Vec<(Arc<EgressSource>, u64)> = pool
        .members
        .iter()
        .filter_map(|member| Some((snapshot.source(member.source)?, u64::from(member.weight.max(1)))))
        .filter(|(source, _)| source.state == SourceState::Active)
        .map(|(source, weight)| (Arc::clone(source), weight))
        .collect();
    if let [(only, _)] = members.as_slice() {
        return vec![Arc::clone(only)];
    }
    let mut order = Vec::with_capacity(members.len());
    while !members.is_empty() {
        let total: u64 = members.iter().map(|(_, weight)| weight).sum();
        let mut drawn = random.below(total);
        let index = members.iter().position(|(_, weight)| match drawn.checked_sub(*weight) {
            Some(rest) => {
                drawn = rest;
                false
            }
            None => true,
        });
        order.push(members.swap_remove(index.unwrap_or(0)).0);
    }
    order
}

/// Whether a connection from `source` to `target` can exist at all.
pub(crate) fn same_family(source: IpAddr, target: IpAddr) -> bool {
    source.is_ipv4() == target.is_ipv4()
}
