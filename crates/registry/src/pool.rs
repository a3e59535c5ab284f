//! Egress sources and pools: the addresses that mail leaves from, and weighted sets of them.
//!
//! A pool carries the platform's own signing domain, so that a reputation follows the addresses and not only the
//! tenant. A dedicated pool belongs to one tenant and is refused to every other.

use crate::name::Slug;
use mail::dkim::SigningKey;
use mail::{Domain, PoolId, SourceId, SourceName, TenantId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Whether mail leaves from a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Mail leaves from it.
    Active,
    /// Nothing leaves from it until an operator resumes it.
    Held,
    /// Finishes what it carries, takes nothing new.
    Draining,
}

/// One address that we send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSource {
    /// Never used again.
    pub id: SourceId,
    /// What paths, events and logs call it.
    pub name: SourceName,
    /// Must be an address of the node; the connection is made from it.
    pub address: IpAddr,
    /// The name said in EHLO; its A or AAAA record and the PTR of `address` must agree.
    pub ehlo: Domain,
    /// A source that is not active gets no new connections.
    pub state: SourceState,
}

/// A source's share in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolMember {
    /// Several pools may have it.
    pub source: SourceId,
    /// Share of the pool's mail; never 0.
    pub weight: u32,
}

/// The second signature of every message that leaves from a pool.
#[derive(Clone)]
pub struct PlatformSigner {
    /// The `d=` of the signature: the operator's domain.
    pub domain: Domain,
    /// Its `s=`.
    pub selector: Arc<str>,
    /// Shared by all signing threads.
    pub signer: Arc<SigningKey>,
}

/// Addresses that mail leaves from, and how much from each.
#[derive(Debug, Clone)]
pub struct EgressPool {
    /// Never used again.
    pub id: PoolId,
    /// What streams and `X-Posthouse-Pool` name it by.
    pub name: Slug,
    /// Set for a dedicated pool.
    pub tenant: Option<TenantId>,
    /// In the order of their sources; weights are relative to each other.
    pub members: Vec<PoolMember>,
    /// Signs beside the tenant, if the operator has set it.
    pub platform: Option<PlatformSigner>,
}

impl EgressPool {
    /// Whether a tenant may be given this pool at all.
    pub fn is_open_to(&self, tenant: TenantId) -> bool {
        self.tenant.is_none_or(|owner| owner == tenant)
    }
}

impl SourceState {
    /// In JSON and in the tables: `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceState::Active => "active",
            SourceState::Held => "held",
            SourceState::Draining => "draining",
        }
    }

    /// The state with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<SourceState> {
        match text {
            "active" => Some(SourceState::Active),
            "held" => Some(SourceState::Held),
            "draining" => Some(SourceState::Draining),
            _ => None,
        }
    }
}

impl std::fmt::Debug for PlatformSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlatformSigner({}._domainkey.{})", self.selector, self.domain)
    }
}
