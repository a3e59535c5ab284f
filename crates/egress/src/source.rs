//! Which address a delivery may leave from: the active members of its pool, in a random order by weight. Pure.
//!
//! Drawn anew for each attempt: a recipient that was deferred because of one address may go out by another.

use mail::{PoolId, Random, StreamId};
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

/// Whether the pool has a source, whatever its state.
pub(crate) fn has_any(snapshot: &Snapshot, pool: PoolId) -> bool {
    let members = snapshot.pool(pool).map_or(&[][..], |pool| &pool.members);
    members.iter().any(|member| snapshot.source(member.source).is_some())
}

/// The pool that mail of a stream leaves from: its own, or the one that stands in while its own has no active source.
pub(crate) fn pool_in_use(snapshot: &Snapshot, stream: StreamId, own: PoolId) -> PoolId {
    let is_active = |pool: &PoolId| {
        let members = snapshot.pool(*pool).map_or(&[][..], |pool| &pool.members);
        let mut sources = members.iter().filter_map(|member| snapshot.source(member.source));
        sources.any(|source| source.state == SourceState::Active)
    };
    if is_active(&own) {
        return own;
    }
    let overflow = snapshot.stream(stream).and_then(|stream| stream.overflow_pool);
    overflow.filter(is_active).unwrap_or(own)
}

/// Whether two registries have the same sources in the same pools.
pub(crate) fn are_same(one: &Snapshot, other: &Snapshot) -> bool {
    let sources = one.sources().count() == other.sources().count()
        && one.sources().all(|source| other.source(source.id) == Some(source));
    let members = |id| other.pool(id).map(|pool| &pool.members);
    let pools = one.pools().count() == other.pools().count()
        && one.pools().all(|pool| members(pool.id) == Some(&pool.members));
    sources && pools
}

/// Whether a connection from `source` to `target` can exist at all.
pub(crate) fn same_family(source: IpAddr, target: IpAddr) -> bool {
    source.is_ipv4() == target.is_ipv4()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mail::{Domain, SourceId, SourceName, Timestamp};
    use registry::{EgressPool, Generation, PoolMember, SecretKey, Slug, SnapshotBuilder};

    fn snapshot(members: &[(u32, SourceState)], random: &mut Random) -> (Snapshot, PoolId) {
        let now = Timestamp::from_millis(1_795_425_249_120);
        let pool = PoolId::mint(now, random);
        let mut builder = SnapshotBuilder::new(Generation(1), now, Arc::new(SecretKey::new(&[7; 32])));
        let mut list = Vec::new();
        for (number, (weight, state)) in members.iter().enumerate() {
            let id = SourceId::mint(now, random);
            list.push(PoolMember { source: id, weight: *weight });
            builder = builder.source(EgressSource {
                id,
                name: SourceName::new(format!("out-{number}")),
                address: IpAddr::from([192, 0, 2, number as u8]),
                ehlo: Domain::parse("out.house.example").unwrap(),
                state: *state,
            });
        }
        let name = Slug::parse("main").unwrap();
        let snapshot =
            builder.pool(EgressPool { id: pool, name, tenant: None, members: list, platform: None }).build();
        (snapshot, pool)
    }

    #[test]
    fn held_and_draining_sources_are_never_chosen() {
        let mut random = Random::from_number(1);
        let states = [(9, SourceState::Held), (9, SourceState::Draining), (1, SourceState::Active)];
        let (snapshot, pool) = snapshot(&states, &mut random);
        for _ in 0..100 {
            let names: Vec<_> =
                choose(&snapshot, pool, &mut random).iter().map(|source| source.name.clone()).collect();
            assert_eq!(names, [SourceName::new("out-2")]);
        }
        let other = PoolId::mint(Timestamp::from_millis(1), &mut random);
        assert!(choose(&snapshot, other, &mut random).is_empty());
    }

    #[test]
    fn the_first_choice_follows_the_weights_and_all_are_in_the_list() {
        let mut random = Random::from_number(2);
        let (snapshot, pool) = snapshot(&[(1, SourceState::Active), (3, SourceState::Active)], &mut random);
        let mut first = 0;
        for _ in 0..10_000 {
            let order = choose(&snapshot, pool, &mut random);
            assert_eq!(order.len(), 2);
            first += u32::from(order[0].name == SourceName::new("out-1"));
        }
        assert!((7_300..=7_700).contains(&first), "{first}");
    }
}
