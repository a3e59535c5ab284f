//! What the dispatcher keeps of each tenant: how much is in flight, and whether its mail is held, all of it or what is
//! from one of its domains. Pure.
//!
//! Two things hold a tenant's mail: the registry says so (paused, quarantined), or it has as much in flight as one
//! tenant may. A tenant that is closing still gets out what is queued; one that the registry does not know (yet) is
//! treated as active, because its mail was accepted.
//!
//! A domain that an operator suspended holds what is from it and nothing else. That its records are gone (degraded,
//! failed) stops new mail at the door only: what was accepted was signed while they were there.

use crate::dispatch::Dispatcher;
use crate::source;
use mail::{DomainId, TenantId};
use registry::{DomainState, Snapshot, TenantStatus};
use std::collections::hash_map::Entry;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct TenantState {
    pub in_flight: usize,
    pub paused: bool,
    pub held: bool,
}

impl Dispatcher {
    /// The registry changed: weights, pauses, suspended domains, pools, sources.
    pub fn handle_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let earlier = std::mem::replace(&mut self.ways.snapshot, snapshot);
        let tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        for tenant in tenants {
            self.look_at_tenant(tenant);
        }
        self.look_at_domains();
        let snapshot = &self.ways.snapshot;
        self.queue.assign_pools(|flow| source::pool_in_use(snapshot, flow.stream, flow.pool));
        // What waits for an address, or before one that is suspended, may have another one now.
        if !source::are_same(&earlier, snapshot) {
            self.queue.reopen_all();
        }
    }

    /// Mail from this domain is about to come into the queue.
    pub(crate) fn know_domain(&mut self, domain: DomainId) {
        if is_suspended(&self.ways.snapshot, domain) {
            self.queue.hold_domain(domain);
        }
    }

    /// Takes over what the registry says now.
    fn look_at_domains(&mut self) {
        let snapshot = &self.ways.snapshot;
        for domain in self.queue.domains_held() {
            if !is_suspended(snapshot, domain) {
                self.queue.resume_domain(domain);
            }
        }
        for domain in self.queue.sending_domains() {
            if is_suspended(snapshot, domain) {
                self.queue.hold_domain(domain);
            }
        }
    }

    pub(crate) fn know_tenant(&mut self, tenant: TenantId) {
        if let Entry::Vacant(entry) = self.tenants.entry(tenant) {
            entry.insert(TenantState::default());
            self.look_at_tenant(tenant);
        }
    }

    /// Takes over what the registry says now.
    pub(crate) fn look_at_tenant(&mut self, tenant: TenantId) {
        let known = self.ways.snapshot.tenant(tenant);
        let weight = known.map_or(1, |known| known.plan.weight);
        let paused = known.is_some_and(|known| match known.status {
            TenantStatus::Paused | TenantStatus::Quarantined => true,
            TenantStatus::Active | TenantStatus::Closing => false,
        });
        self.queue.set_weight(tenant, weight);
        self.tenants.entry(tenant).or_default().paused = paused;
        self.hold_or_resume(tenant);
    }

    /// One more delivery of this tenant is in flight.
    pub(crate) fn took_off(&mut self, tenant: TenantId) {
        self.tenants.entry(tenant).or_default().in_flight += 1;
        self.hold_or_resume(tenant);
    }

    pub(crate) fn came_back(&mut self, tenant: TenantId) {
        let state = self.tenants.entry(tenant).or_default();
        state.in_flight = state.in_flight.saturating_sub(1);
        self.hold_or_resume(tenant);
    }

    fn hold_or_resume(&mut self, tenant: TenantId) {
        let limit = self.ways.config.deliveries_per_tenant_max;
        let state = self.tenants.entry(tenant).or_default();
        let hold = state.paused || state.in_flight >= limit;
        if hold == state.held {
            return;
        }
        state.held = hold;
        match hold {
            true => self.queue.hold_tenant(tenant),
            false => self.queue.resume_tenant(tenant),
        }
    }
}

fn is_suspended(snapshot: &Snapshot, domain: DomainId) -> bool {
    snapshot.domain(domain).is_some_and(|known| known.state == DomainState::Suspended)
}
