//! Sending domains: names a tenant has proved to own, with the keys that sign in their name.
//!
//! Only the exact domain counts: `client.example` does not allow `news.client.example`, because a label below may be
//! somebody else's. A degraded domain still sends: a record that vanished an hour ago is more often a mistake at the
//! DNS host than a change of owner. What to publish and how to judge it is in `domain_records.rs`.

use mail::dkim::{KeyAlgorithm, SigningKey};
use mail::{DkimKeyId, Domain, DomainId, TenantId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How far a tenant has proved that the domain is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    /// Claimed, not proved.
    Pending,
    /// Every record that is required was found.
    Verified,
    /// Was verified; a required record is missing or wrong. Still sends.
    Degraded,
    /// Degraded for too long. Does not send.
    Failed,
    /// Stopped by an operator.
    Suspended,
}

/// Rotation: a key is published as `next`, signs as `active`, and stays published as `retiring` while signed mail
/// may still be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Published for the next rotation; signs nothing.
    Next,
    /// Signs.
    Active,
    /// Signs nothing any more; stays published while mail with its signatures is on the way.
    Retiring,
}

/// A key of the domain, opened and ready to sign.
#[derive(Clone)]
pub struct DomainKey {
    /// Never used again.
    pub id: DkimKeyId,
    /// The `s=` of signatures: the record stands at `<selector>._domainkey.<domain>`.
    pub selector: Arc<str>,
    /// As `k=` says it.
    pub algorithm: KeyAlgorithm,
    /// Whether it signs.
    pub state: KeyState,
    /// Shared by all signing threads.
    pub signer: Arc<SigningKey>,
}

/// A domain that mail can be from.
#[derive(Debug, Clone)]
pub struct SendingDomain {
    /// Never used again.
    pub id: DomainId,
    /// Whose it is, and nobody else's.
    pub tenant: TenantId,
    /// What stands behind the @ of From.
    pub name: Domain,
    /// Whether it may send.
    pub state: DomainState,
    /// The domain of the reverse-paths we make: `rp.<name>`, a CNAME to our inbound listener.
    pub return_path: Domain,
    /// Of every state that is still published.
    pub keys: Vec<DomainKey>,
}

impl SendingDomain {
    /// Verified or degraded.
    pub const fn may_send(&self) -> bool {
        self.state.may_send()
    }

    /// The keys to sign with now, RSA first: a verifier that knows one algorithm only knows that one.
    pub fn signing_keys(&self) -> impl Iterator<Item = &DomainKey> {
        let of = |algorithm| {
            self.keys.iter().filter(move |k| k.state == KeyState::Active && k.algorithm == algorithm)
        };
        of(KeyAlgorithm::Rsa).chain(of(KeyAlgorithm::Ed25519))
    }
}

impl DomainState {
    /// Verified or degraded: a record that vanished stops nobody at once.
    pub const fn may_send(self) -> bool {
        match self {
            DomainState::Verified | DomainState::Degraded => true,
            DomainState::Pending | DomainState::Failed | DomainState::Suspended => false,
        }
    }

    /// In JSON and in the tables: `verified`.
    pub const fn as_str(self) -> &'static str {
        match self {
            DomainState::Pending => "pending",
            DomainState::Verified => "verified",
            DomainState::Degraded => "degraded",
            DomainState::Failed => "failed",
            DomainState::Suspended => "suspended",
        }
    }

    /// The state with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<DomainState> {
        match text {
            "pending" => Some(DomainState::Pending),
            "verified" => Some(DomainState::Verified),
            "degraded" => Some(DomainState::Degraded),
            "failed" => Some(DomainState::Failed),
            "suspended" => Some(DomainState::Suspended),
            _ => None,
        }
    }
}

impl KeyState {
    /// In JSON and in the tables: `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Next => "next",
            KeyState::Active => "active",
            KeyState::Retiring => "retiring",
        }
    }

    /// The state with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<KeyState> {
        match text {
            "next" => Some(KeyState::Next),
            "active" => Some(KeyState::Active),
            "retiring" => Some(KeyState::Retiring),
            _ => None,
        }
    }
}

impl std::fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DomainKey({}, {:?}, {})", self.selector, self.algorithm, self.state.as_str())
    }
}
