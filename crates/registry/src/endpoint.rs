//! A webhook endpoint: where a tenant wants to be told, about what, and the secrets that sign the calls.
//!
//! The secrets are in the clear here because every call is signed with them; they are sealed in the database and
//! never shown in Debug output. Delivery, retries and the network checks are `events`' work.

use mail::{EndpointId, EventKind, TenantId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    Active,
    /// By the tenant; events wait for a replay.
    Paused,
    /// By us, after a 410 or after every retry of many calls failed.
    Disabled,
}

#[derive(Clone)]
pub struct Endpoint {
    pub id: EndpointId,
    pub tenant: TenantId,
    pub url: Arc<str>,
    /// Empty means every kind.
    pub kinds: Vec<EventKind>,
    /// `whsec_…`, newest first: during a rotation a call carries one signature for each.
    pub secrets: Vec<Arc<str>>,
    pub state: EndpointState,
}

impl Endpoint {
    pub fn wants(&self, kind: EventKind) -> bool {
        self.state == EndpointState::Active && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

impl EndpointState {
    pub const fn as_str(self) -> &'static str {
        match self {
            EndpointState::Active => "active",
            EndpointState::Paused => "paused",
            EndpointState::Disabled => "disabled",
        }
    }

    pub fn parse(text: &str) -> Option<EndpointState> {
        match text {
            "active" => Some(EndpointState::Active),
            "paused" => Some(EndpointState::Paused),
            "disabled" => Some(EndpointState::Disabled),
            _ => None,
        }
    }
}

/// A URL may carry a tenant's token, and the secrets are secrets.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}, {})", self.id, self.state.as_str())
    }
}
