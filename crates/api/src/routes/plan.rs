//! What a tenant may do: its plan as it is shown, and as it is changed.

use crate::body::given;
use registry::Plan;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limits of a tenant; what is left out has its default, null is no limit.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Plan)]
pub struct PlanShape {
    /// Recipients accepted in a second.
    #[schema(minimum = 1)]
    pub per_second: Option<u32>,
    /// Recipients accepted in a day (UTC).
    #[schema(minimum = 1)]
    pub per_day: Option<u64>,
    /// Share at a mailbox provider when tenants compete.
    #[schema(minimum = 1, maximum = 100)]
    pub weight: u32,
    /// Octets of one message.
    #[schema(minimum = 1024, maximum = 1073741824)]
    pub message_octets_max: u64,
    /// Recipients of one message.
    #[schema(minimum = 1, maximum = 100000)]
    pub recipients_max: u32,
    /// SMTP connections at a time over all its credentials.
    #[schema(minimum = 1, maximum = 4294967295u32)]
    pub connections_max: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanChange {
    /// Recipients accepted in a second.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    per_second: Option<Option<u32>>,
    /// Recipients accepted in a day (UTC).
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    per_day: Option<Option<u64>>,
    /// Share at a mailbox provider when tenants compete.
    #[schema(minimum = 1, maximum = 100)]
    weight: Option<u32>,
    /// Octets of one message.
    #[schema(minimum = 1024, maximum = 1073741824)]
    message_octets_max: Option<u64>,
    /// Recipients of one message.
    #[schema(minimum = 1, maximum = 100000)]
    recipients_max: Option<u32>,
    /// SMTP connections at a time over all its credentials.
    #[schema(minimum = 1, maximum = 4294967295u32)]
    connections_max: Option<u32>,
}

impl PlanChange {
    /// The plan after the change.
    pub fn of(&self, plan: &Plan) -> Plan {
        let &PlanChange { per_second, per_day, weight, message_octets_max, recipients_max, connections_max } =
            self;
        Plan {
            per_second: per_second.unwrap_or(plan.per_second),
            per_day: per_day.unwrap_or(plan.per_day),
            weight: weight.unwrap_or(plan.weight),
            message_octets_max: message_octets_max.unwrap_or(plan.message_octets_max),
            recipients_max: recipients_max.unwrap_or(plan.recipients_max),
            connections_max: connections_max.unwrap_or(plan.connections_max),
        }
    }
}

impl From<Plan> for PlanShape {
    fn from(plan: Plan) -> PlanShape {
        let Plan { per_second, per_day, weight, message_octets_max, recipients_max, connections_max } = plan;
        PlanShape { per_second, per_day, weight, message_octets_max, recipients_max, connections_max }
    }
}

impl From<PlanShape> for Plan {
    fn from(plan: PlanShape) -> Plan {
        let PlanShape { per_second, per_day, weight, message_octets_max, recipients_max, connections_max } =
            plan;
        Plan { per_second, per_day, weight, message_octets_max, recipients_max, connections_max }
    }
}

impl Default for PlanShape {
    fn default() -> PlanShape {
        Plan::default().into()
    }
}
