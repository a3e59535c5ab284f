//! Whose turn it is at an outlet: deficit round-robin (Shreedhar and Varghese, 1996), in octets, by weight.
//!
//! Lanes stand in a ring. A lane at the front sends while it has credit; then it goes to the back and gets a quantum
//! times its weight when it comes to the front again. We charge after the fact, so credit may fall below zero and a
//! large message is paid for in later rounds, instead of making everybody wait until somebody saved enough for it.
//! Hence the bound: over any time in which two lanes always have something ready, what they sent differs, per unit
//! of weight, by at most one quantum and one largest cost each. A lane that empties forgets credit and debt.
//!
//! Costs are bounded, so that a lane passes the front at most `COST_MAX / QUANTUM` times without sending: picking is
//! O(1) for mail of usual size.

use std::collections::VecDeque;

/// Octets a lane of weight 1 may send in one round: one or two messages of usual size, so that rounds are short.
pub(crate) const QUANTUM: i32 = 8 * 1024;
/// Below this size a message costs as much as one of this size: each needs a transaction.
pub(crate) const COST_MIN: u32 = 2 * 1024;
/// Above this size nothing more is charged: such messages take so long that connections, not turns, are scarce.
pub(crate) const COST_MAX: u32 = 1024 * 1024;
/// Largest weight of a tenant.
pub(crate) const WEIGHT_MAX: u32 = 100;

pub(crate) type Ring = VecDeque<u32>;

/// What is really charged for an entry.
pub(crate) fn charge(cost: u32) -> i32 {
    cost.clamp(COST_MIN, COST_MAX) as i32
}

/// What a lane gets when it comes to the front.
pub(crate) fn grant(weight: u32) -> i32 {
    QUANTUM * weight.clamp(1, WEIGHT_MAX) as i32
}
