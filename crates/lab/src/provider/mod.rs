//! Mailbox providers: who they are, how they behave, what they say.
//!
//! `catalogue.rs` lists them, `behaviour.rs` is what can be set, `model.rs` decides, `voice.rs` and its files speak.
//! A `Provider` is the running one: its hosts with their addresses, its model behind a lock, its counters.

mod behaviour;
mod catalogue;
mod gmail;
mod microsoft;
mod model;
mod plain;
mod regional;
mod voice;
mod yahoo;

pub use behaviour::{Behaviour, Change, Outage, TlsMode};
pub(crate) use catalogue::{DEAD_HOSTS, DEFAULT_PROVIDER, EXTRA_EXCHANGES};
pub use catalogue::{PROVIDERS, Site, Spec, Temper};
pub use model::{Afterwards, Decision, Fate, Model, Verdict, Welcome};
pub use voice::{Features, Speech, Voice, Why};

use crate::tls::Identity;
use serde::Serialize;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A running provider.
pub(crate) struct Provider {
    pub spec: &'static Spec,
    pub hosts: Vec<Host>,
    pub model: Mutex<Model>,
    pub counters: Counters,
}

/// One MX host of a provider.
pub(crate) struct Host {
    pub name: &'static str,
    pub address: Ipv4Addr,
    pub identity: Identity,
}

/// What a provider has seen since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections: AtomicU64,
    pub connections_refused: AtomicU64,
    pub tls_sessions: AtomicU64,
    pub tls_failures: AtomicU64,
    pub messages: AtomicU64,
    pub recipients: AtomicU64,
    pub deferred: AtomicU64,
    pub refused: AtomicU64,
    pub octets: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Counts {
    pub connections: u64,
    pub connections_refused: u64,
    pub tls_sessions: u64,
    pub tls_failures: u64,
    pub messages: u64,
    pub recipients: u64,
    pub deferred: u64,
    pub refused: u64,
    pub octets: u64,
}

impl Provider {
    /// Whether `name` means this one: its name, the house's profile for it, a domain or an MX host of it.
    pub fn answers_to(&self, name: &str) -> bool {
        let spec = self.spec;
        let by_profile = spec.profile == name && spec.profile != "other";
        let domain = || spec.sites.iter().flat_map(|site| site.domains).any(|domain| *domain == name);
        spec.name == name || by_profile || domain() || self.hosts.iter().any(|host| host.name == name)
    }
}

/// Examples answer for each other; a known provider's mail at another provider's door is a mistake of the sender.
pub(crate) fn is_misrouted(spec: &Spec, domain: &str) -> bool {
    let owns = |spec: &Spec| spec.sites.iter().flat_map(|site| site.domains).any(|own| *own == domain);
    !domain.ends_with(".example") && !owns(spec) && PROVIDERS.iter().any(owns)
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: read(&self.connections),
            connections_refused: read(&self.connections_refused),
            tls_sessions: read(&self.tls_sessions),
            tls_failures: read(&self.tls_failures),
            messages: read(&self.messages),
            recipients: read(&self.recipients),
            deferred: read(&self.deferred),
            refused: read(&self.refused),
            octets: read(&self.octets),
        }
    }

    pub fn reset(&self) {
        for counter in [
            &self.connections,
            &self.connections_refused,
            &self.tls_sessions,
            &self.tls_failures,
            &self.messages,
            &self.recipients,
            &self.deferred,
            &self.refused,
            &self.octets,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
