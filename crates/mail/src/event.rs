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
            /// Every kind, in the order of this file.
            pub const ALL: &[EventKind] = &[$(EventKind::$name),*];

            /// The word in JSON, in filters and in webhooks: `message.delivered`.
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $text),* }
            }

            /// The kind with this word; none if there is none such.
            pub fn parse(text: &str) -> Option<EventKind> {
                match text { $($text => Some(EventKind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// It is durable, and ours.
    MessageAccepted "message.accepted";
    /// A site took it for one recipient.
    MessageDelivered "message.delivered";
    /// It was tried for one recipient and will be tried again.
    MessageDeferred "message.deferred";
    /// A site refused one recipient for good.
    MessageBounced "message.bounced";
    /// It cannot be sent to one recipient, or was not in time, or was taken back.
    MessageFailed "message.failed";
    /// The recipient is on a suppression list.
    MessageSuppressed "message.suppressed";
    /// A recipient called it spam. May be asked for; nothing tells it yet.
    MessageComplained "message.complained";
    /// A recipient wants no more of it. May be asked for; nothing tells it yet.
    MessageUnsubscribed "message.unsubscribed";
    /// A check found everything that is required.
    DomainVerified "domain.verified";
    /// A check misses something that was there before.
    DomainDegraded "domain.degraded";
    /// A check gave it up.
    DomainFailed "domain.failed";
    /// Other keys sign from now on.
    DkimRotated "dkim.rotated";
    /// An address came onto the list. May be asked for; nothing tells it yet.
    SuppressionCreated "suppression.created";
    /// An address left the list. May be asked for; nothing tells it yet.
    SuppressionDeleted "suppression.deleted";
    /// Much of the day's recipients is used up.
    TenantQuotaWarning "tenant.quota_warning";
    /// Its doors were opened or shut.
    TenantStatusChanged "tenant.status_changed";
    /// Something about it is looked into. May be asked for; nothing tells it yet.
    TenantFindingOpened "tenant.finding_opened";
    /// That is over. May be asked for; nothing tells it yet.
    TenantFindingClosed "tenant.finding_closed";
    /// It is used as if it were stolen. May be asked for; nothing tells it yet.
    CredentialSuspicious "credential.suspicious";
    /// It lets nobody in any more.
    CredentialRevoked "credential.revoked";
    /// Somebody complained in a report. May be asked for; nothing tells it yet.
    AbuseReport "abuse.report";
    /// We call the endpoint no more.
    WebhookDisabled "webhook.disabled";
    /// Sent by `POST …/webhooks/{w}/test` only.
    WebhookTest "webhook.test";
}

/// One event of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Made from the journal record it tells of, so that telling it twice gives one event.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened, which may be long before it is told.
    pub timestamp: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What else is known, by kind; `events/src/shape.rs` makes it.
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
