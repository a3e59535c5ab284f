//! A stream: one kind of a tenant's mail, with its own pool and patience.
//!
//! Transactional and marketing mail of one tenant must not wait in one line: a campaign would delay a password
//! reset, and complaints about the one would hurt the other.

use crate::name::Slug;
use mail::{PoolId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether somebody waits for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Mail that one person caused and waits for.
    Transactional,
    /// Mail to many; gets List-Unsubscribe.
    Marketing,
}

/// One kind of a tenant's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Never used again.
    pub id: StreamId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Unique within the tenant; headers and requests name it.
    pub name: Slug,
    /// Whether it may be kept waiting by the tenant's other mail.
    pub kind: StreamKind,
    /// What its mail leaves from.
    pub pool: PoolId,
    /// Where to go when every source of `pool` is held.
    pub overflow_pool: Option<PoolId>,
    /// After this long without success a recipient is settled as expired.
    pub expires_after: Duration,
    /// For lists.
    pub created_at: Timestamp,
}

impl StreamKind {
    /// In JSON and in the tables: `marketing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            StreamKind::Transactional => "transactional",
            StreamKind::Marketing => "marketing",
        }
    }

    /// The kind with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<StreamKind> {
        match text {
            "transactional" => Some(StreamKind::Transactional),
            "marketing" => Some(StreamKind::Marketing),
            _ => None,
        }
    }

    /// RFC 5321 §4.5.4.1 wants four to five days for mail in general. A code for a login is worthless after a day.
    pub const fn expires_after_default(self) -> Duration {
        match self {
            StreamKind::Transactional => Duration::from_secs(24 * 3600),
            StreamKind::Marketing => Duration::from_secs(72 * 3600),
        }
    }
}
