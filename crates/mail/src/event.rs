//! What is told afterwards: the events of the contract, as values.
//!
//! Made from journal records (`message.*`) or by the registry (`domain.*`, `tenant.*`, …); read by tenants through
//! webhooks and the event API. The JSON shape is public: a field may be added, never renamed.

use crate::ids::{EventId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $text:literal;)*) => {
        /// Every event type there is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $name),* }

        impl EventKind {
            pub const ALL: &[EventKind] = &[$(EventKind::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $text),* }
            }

            pub fn parse(text: &str) -> Option<EventKind> {
                match text { $($text => Some(EventKind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    MessageAccepted "message.accepted";
    MessageDelivered "message.delivered";
    MessageDeferred "message.deferred";
    MessageBounced "message.bounced";
    MessageFailed "message.failed";
    MessageSuppressed "message.suppressed";
    MessageComplained "message.complained";
    MessageUnsubscribed "message.unsubscribed";
    DomainVerified "domain.verified";
    DomainDegraded "domain.degraded";
    DomainFailed "domain.failed";
    DkimRotated "dkim.rotated";
    SuppressionCreated "suppression.created";
    SuppressionDeleted "suppression.deleted";
    TenantQuotaWarning "tenant.quota_warning";
    TenantStatusChanged "tenant.status_changed";
    TenantFindingOpened "tenant.finding_opened";
    TenantFindingClosed "tenant.finding_closed";
    CredentialSuspicious "credential.suspicious";
    CredentialRevoked "credential.revoked";
    AbuseReport "abuse.report";
    WebhookDisabled "webhook.disabled";
    /// Sent by `POST …/webhooks/{w}/test` only.
    WebhookTest "webhook.test";
}

/// One event of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub timestamp: Timestamp,
    pub tenant: TenantId,
    pub data: serde_json::Value,
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventKind, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventKind::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text} is not an event type")))
    }
}
