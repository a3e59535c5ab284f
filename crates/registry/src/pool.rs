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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    Active,
    /// Nothing leaves from it until an operator resumes it.
    Held,
    /// Finishes what it carries, takes nothing new.
    Draining,
}

/// One address that we send from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSource {
    pub id: SourceId,
    pub name: SourceName,
    pub address: IpAddr,
    /// The name said in EHLO; its A or AAAA record and the PTR of `address` must agree.
    pub ehlo: Domain,
    pub state: SourceState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolMember {
    pub source: SourceId,
    /// Share of the pool's mail; never 0.
    pub weight: u32,
}

/// The second signature of every message that leaves from a pool.
#[derive(Clone)]
pub struct PlatformSigner {
    pub domain: Domain,
    pub selector: Arc<str>,
    pub signer: Arc<SigningKey>,
}

#[derive(Debug, Clone)]
pub struct EgressPool {
    pub id: PoolId,
    pub name: Slug,
    /// Set for a dedicated pool.
    pub tenant: Option<TenantId>,
    pub members: Vec<PoolMember>,
    pub platform: Option<PlatformSigner>,
}

impl EgressPool {
    /// Whether a tenant may be given this pool at all.
    pub fn is_open_to(&self, tenant: TenantId) -> bool {
        self.tenant.is_none_or(|owner| owner == tenant)
    }
}

impl SourceState {
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceState::Active => "active",
            SourceState::Held => "held",
            SourceState::Draining => "draining",
        }
    }

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
