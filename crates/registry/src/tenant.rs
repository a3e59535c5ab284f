//! A tenant and its plan: who is answerable for mail, and how much of it we take.
//!
//! The status decides whether the doors open at all; the plan holds limits that admission and the dispatcher read
//! from the snapshot. Refuses nothing itself: names were parsed before, numbers are checked by `Plan::check`.

use crate::name::DisplayName;
use mail::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// What a tenant may do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// Everything its plan allows.
    Active,
    /// Stopped by the tenant itself or by an operator for a while: mail is refused with 450, queued mail waits.
    Paused,
    /// Stopped by us because of what its mail did: as paused, but only an operator lifts it.
    Quarantined,
    /// Leaving: mail is refused for good, what is queued still goes out, then everything is erased.
    Closing,
}

/// Limits of a tenant. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Recipients accepted in a second, with a burst of one second.
    pub per_second: Option<u32>,
    /// Recipients accepted in a day (UTC).
    pub per_day: Option<u64>,
    /// Share at a site when tenants compete; 1 is the ordinary share.
    pub weight: u32,
    /// Octets of one message.
    pub message_octets_max: u64,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// SMTP connections at a time over all its credentials.
    pub connections_max: u32,
}

/// A tenant, as every part of the house sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// Never used again.
    pub id: TenantId,
    /// For people; need not be unique.
    pub name: DisplayName,
    /// Whether its doors are open and whether its mail leaves.
    pub status: TenantStatus,
    /// Why it is not active, in words for the tenant.
    pub status_reason: Option<String>,
    /// How much of it is taken.
    pub plan: Plan,
    /// For lists.
    pub created_at: Timestamp,
    /// Of the row, by whomever.
    pub updated_at: Timestamp,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            per_second: None,
            per_day: None,
            weight: 1,
            message_octets_max: 50 * 1024 * 1024,
            recipients_max: 1000,
            connections_max: 100,
        }
    }
}

impl Plan {
    /// The weight above which one tenant could starve all others.
    pub const WEIGHT_MAX: u32 = 100;

    /// Whether its numbers can work.
    ///
    /// # Errors
    /// The first number that is out of its bounds, as the field's name and a public sentence that says the
    /// bounds.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.weight == 0 || self.weight > Plan::WEIGHT_MAX {
            return Err(("weight", "must be from 1 to 100"));
        }
        if self.per_second == Some(0) {
            return Err(("per_second", "must be at least 1; pause the tenant to stop its mail"));
        }
        if self.per_day == Some(0) {
            return Err(("per_day", "must be at least 1; pause the tenant to stop its mail"));
        }
        if self.per_day.is_some_and(|limit| i64::try_from(limit).is_err()) {
            return Err(("per_day", "must be at most 9223372036854775807; leave it out for no limit"));
        }
        if self.message_octets_max < 1024 || self.message_octets_max > 1024 * 1024 * 1024 {
            return Err(("message_octets_max", "must be from 1 KiB to 1 GiB"));
        }
        if self.recipients_max == 0 || self.recipients_max > 100_000 {
            return Err(("recipients_max", "must be from 1 to 100000"));
        }
        if self.connections_max == 0 {
            return Err(("connections_max", "must be at least 1"));
        }
        Ok(())
    }
}

impl TenantStatus {
    /// In JSON and in the tables: `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            TenantStatus::Active => "active",
            TenantStatus::Paused => "paused",
            TenantStatus::Quarantined => "quarantined",
            TenantStatus::Closing => "closing",
        }
    }

    /// The status with this word; none if there is none such.
    pub fn parse(text: &str) -> Option<TenantStatus> {
        match text {
            "active" => Some(TenantStatus::Active),
            "paused" => Some(TenantStatus::Paused),
            "quarantined" => Some(TenantStatus::Quarantined),
            "closing" => Some(TenantStatus::Closing),
            _ => None,
        }
    }

    /// Whether queued mail may leave. A closing tenant's still does: we said 250 for it.
    pub const fn may_deliver(self) -> bool {
        match self {
            TenantStatus::Active | TenantStatus::Closing => true,
            TenantStatus::Paused | TenantStatus::Quarantined => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_with_a_number_that_cannot_work_is_refused_by_field() {
        assert_eq!(Plan::default().check(), Ok(()));
        assert_eq!(Plan { weight: 0, ..Plan::default() }.check().map_err(|e| e.0), Err("weight"));
        assert_eq!(Plan { weight: 101, ..Plan::default() }.check().map_err(|e| e.0), Err("weight"));
        assert_eq!(Plan { per_day: Some(0), ..Plan::default() }.check().map_err(|e| e.0), Err("per_day"));
        assert_eq!(
            Plan { recipients_max: 0, ..Plan::default() }.check().map_err(|e| e.0),
            Err("recipients_max")
        );
    }

    #[test]
    fn a_status_has_one_name() {
        for status in
            [TenantStatus::Active, TenantStatus::Paused, TenantStatus::Quarantined, TenantStatus::Closing]
        {
            assert_eq!(TenantStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(TenantStatus::parse("Active"), None);
    }
}
