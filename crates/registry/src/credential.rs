//! What a client shows to be let in: SMTP credentials and API keys.
//!
//! Only keyed hashes are here (`secret.rs`). A credential can be narrowed to a stream, to domains, to networks and
//! to a time; an API key to rights. Revoked ones stay in the tables for the audit and leave the snapshot.

use crate::access::{Rights, Role};
use crate::secret::Macs;
use ipnet::IpNet;
use mail::{ApiKeyId, CredentialId, Domain, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Limits of one credential, beside those of its tenant. `None` is no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Recipients a second; a burst of as many is let pass.
    pub per_second: Option<u32>,
    /// Recipients a day, in UTC.
    pub per_day: Option<u64>,
    /// SMTP sessions at a time, on one node.
    pub connections: Option<u32>,
}

/// An SMTP credential.
#[derive(Clone)]
pub struct Credential {
    /// Never used again.
    pub id: CredentialId,
    /// Whose mail it brings.
    pub tenant: TenantId,
    /// What AUTH is given as user name: the id as text, unless it was imported.
    pub username: Arc<str>,
    /// What is kept of the password (`secret.rs`).
    pub secret_mac: [u8; 32],
    /// Mail without a stream of its own goes into this one, and no other may be named.
    pub stream: Option<StreamId>,
    /// From and MAIL FROM only of these; empty means every verified domain of the tenant.
    pub domains: Vec<Domain>,
    /// Empty means from anywhere.
    pub networks: Vec<IpNet>,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
    /// Not let in any more; kept for the audit.
    pub revoked_at: Option<Timestamp>,
    /// Read PowerMTA's X- headers too.
    pub compat_pmta: bool,
    /// Refuse a suppressed recipient at RCPT instead of accepting and reporting it. No version acts on it yet.
    pub reject_suppressed: bool,
    /// Beside those of the tenant.
    pub limits: Limits,
}

/// A credential that `Snapshot::authenticate` let in, or that the snapshot holds.
pub type CredentialRef = Arc<Credential>;

/// A key for the HTTP API.
#[derive(Clone)]
pub struct ApiKey {
    /// Never used again.
    pub id: ApiKeyId,
    /// None for a key of the operator.
    pub tenant: Option<TenantId>,
    /// What is kept of the key's secret half (`secret.rs`).
    pub secret_mac: [u8; 32],
    /// Of the secret before, as long as that is good too.
    pub previous: Option<PreviousSecret>,
    /// What an operator's key may do; a tenant's key is bound by `rights`.
    pub role: Role,
    /// What a tenant's key may do.
    pub rights: Rights,
    /// Set: it can send into this stream only.
    pub stream: Option<StreamId>,
    /// Empty means from anywhere.
    pub networks: Vec<IpNet>,
    /// Not let in from then on.
    pub expires_at: Option<Timestamp>,
    /// Not let in any more; kept for the audit.
    pub revoked_at: Option<Timestamp>,
}

/// The secret of a key that has rotated itself: whoever did not get the answer can ask for it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSecret {
    /// As `ApiKey::secret_mac`.
    pub mac: [u8; 32],
    /// Not let in by it from then on.
    pub until: Timestamp,
}

impl Credential {
    /// Neither revoked nor expired, and the peer is in one of its networks.
    pub fn is_usable(&self, peer: IpAddr, now: Timestamp) -> bool {
        is_usable(self.revoked_at, self.expires_at, &self.networks, peer, now)
    }

    /// Whether From and MAIL FROM may be of this domain, as far as the credential goes: the tenant must own it
    /// besides.
    pub fn may_use(&self, domain: &Domain) -> bool {
        self.domains.is_empty() || self.domains.contains(domain)
    }
}

impl ApiKey {
    /// Whether a secret with these hashes is the key's. Takes the same time for every one that is not.
    pub fn has_secret(&self, shown: &Macs, now: Timestamp) -> bool {
        let previous = self.previous.as_ref().filter(|previous| now < previous.until);
        shown.matches(Some(&self.secret_mac)) | shown.matches(previous.map(|previous| &previous.mac))
    }

    /// Neither revoked nor expired, and the peer is in one of its networks.
    pub fn is_usable(&self, peer: IpAddr, now: Timestamp) -> bool {
        is_usable(self.revoked_at, self.expires_at, &self.networks, peer, now)
    }
}

fn is_usable(
    revoked: Option<Timestamp>,
    expires: Option<Timestamp>,
    networks: &[IpNet],
    peer: IpAddr,
    now: Timestamp,
) -> bool {
    // A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d; networks are written as IPv4.
    let peer = peer.to_canonical();
    revoked.is_none()
        && expires.is_none_or(|end| now < end)
        && (networks.is_empty() || networks.iter().any(|network| network.contains(&peer)))
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}
