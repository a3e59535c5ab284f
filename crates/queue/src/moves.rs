//! What changes for entries while they wait: where their domain belongs, which pool they leave from, whether a closed
//! outlet may be open again.
//!
//! Called when the dispatcher learned something, never in the course of a turn. Entries that leave a site together with everybody else there move when their turn
//! comes; those that leave others behind are taken out at once, because the others may stand before a closed gate.

use crate::queue::Queue;
use crate::slot::{Flow, NONE, Slot, Urgency};
use crate::turn::End;
use mail::{Domain, PoolId, SiteName};
use std::collections::HashSet;

impl Queue {
    /// From now on entries of `domain` go to `site`, those that wait for the old site too. Nothing happens for a
    /// domain that nobody waits for.
    pub fn assign_site(&mut self, domain: &Domain, site: &SiteName) {
        let Some(domain) = self.domains.find(domain) else { return };
        let new = self.sites.acquire(site, Vec::new);
        let old = std::mem::replace(self.domains.value_mut(domain), new);
        if old != new {
            let outlets = self.sites.value(old).clone();
            for outlet in &outlets {
                self.open(*outlet);
            }
            // A hold at the old site says nothing about the new one.
            self.step_back_at(&outlets);
            // Its users are its outlets, this domain, and the other domains there.
            if self.sites.users(old) as usize > outlets.len() + 1 {
                self.take_out(&outlets, |slot| slot.domain == domain);
            }
        }
        self.sites.release(old);
    }

    /// From now on what waits leaves from the pool that `pool_of` says for its flow.
    pub fn assign_pools(&mut self, pool_of: impl Fn(&Flow) -> PoolId) {
        let assigned = |(number, flow)| (number, pool_of(flow));
        let changes: Vec<(u32, PoolId)> = self.flows.keys().map(assigned).collect();
        let (mut moving, mut old) = (HashSet::new(), HashSet::new());
        for (flow, pool) in changes {
            let course = self.flows.value_mut(flow);
            if course.pool != pool {
                old.insert(std::mem::replace(&mut course.pool, pool));
                moving.insert(flow);
            }
        }
        if moving.is_empty() {
            return;
        }
        let outlets = self.outlets.keys().filter(|(_, (pool, ..))| old.contains(pool));
        let outlets: Vec<u32> = outlets.map(|(outlet, _)| outlet).collect();
        for outlet in &outlets {
            self.open(*outlet);
        }
        self.take_out(&outlets, |slot| moving.contains(&slot.flow));
    }

    /// Ask the gate again about everything that waits for `site`.
    pub fn reopen_site(&mut self, site: &SiteName) {
        let Some(site) = self.sites.find(site) else { return };
        for index in 0..self.sites.value(site).len() {
            self.open(self.sites.value(site)[index]);
        }
    }

    /// Tenants that step aside at `site` are asked about again too. Takes time by how many do anywhere.
    pub fn wake_site(&mut self, site: &SiteName) {
        let Some(number) = self.sites.find(site) else { return };
        let outlets = self.sites.value(number).clone();
        self.step_back_at(&outlets);
        self.reopen_site(site);
    }

    fn step_back_at(&mut self, outlets: &[u32]) {
        let is_there = |lane: &u32| outlets.contains(&self.lanes.value(*lane).outlet);
        let lanes: Vec<u32> = self.resting.slots().filter(is_there).collect();
        for lane in lanes {
            self.step_back(lane);
        }
    }

    /// Ask the gate again about everything.
    pub fn reopen_all(&mut self) {
        let outlets: Vec<u32> = self.outlets.keys().map(|(outlet, _)| outlet).collect();
        self.step_back_at(&outlets);
        for outlet in outlets {
            self.open(outlet);
        }
    }

    /// Moves what `leaves` from the lanes of `outlets` to where it belongs now, in its order. Takes time by what
    /// stands in these lanes, so it is for what happens seldom.
    fn take_out(&mut self, outlets: &[u32], leaves: impl Fn(&Slot) -> bool) {
        let mut lanes: Vec<u32> = Vec::new();
        for outlet in outlets {
            lanes.extend(&self.outlets.value(*outlet).ring);
        }
        let parked = self.tenants.iter().flat_map(|tenant| &tenant.parked);
        let of_these: HashSet<u32> = outlets.iter().copied().collect();
        let aside = parked.copied().chain(self.resting.slots());
        lanes.extend(aside.filter(|lane| of_these.contains(&self.lanes.value(*lane).outlet)));
        for lane in lanes {
            let mut leaving = Vec::new();
            for kind in [Urgency::Prompt, Urgency::Bulk] {
                let mut slot = self.lanes.value(lane).first(kind);
                while slot != NONE {
                    let row = &self.slots[slot];
                    if leaves(row) {
                        leaving.push(slot);
                    }
                    slot = row.next;
                }
            }
            for slot in leaving {
                self.unlink(slot);
                self.make_ready(slot, End::Back);
            }
        }
    }
}
