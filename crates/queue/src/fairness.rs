//! Whose turn it is at an outlet: deficit round-robin (Shreedhar and Varghese, 1996), by weight.
//!
//! What a delivery costs is 1 for the transaction, 1 for its recipient and 1 for each 64 KiB: what scarce connections are
//! busy with is mostly round trips, so somebody who sends newsletters of 30 KiB gets nearly as many turns as somebody
//! who sends 3 KiB, and somebody who sends 10 MB does not. Counted in octets, a unit being 65,536 of them.
//!
//! Lanes stand in a ring. A lane at the front sends while it has credit; then it goes to the back and gets a quantum
//! times its weight when it comes to the front again. We charge after the fact, so credit may fall below zero and a
//! large message is paid for in later rounds, instead of making everybody wait until somebody saved enough for it.
//! Hence the bound: over any time in which two lanes always have something ready, what they sent differs, per unit
//! of weight, by at most one quantum and one largest cost each. A lane that empties forgets credit and debt.
//!
//! Costs are bounded, so that a lane passes the front at most nine times without sending: picking is O(1).

use std::collections::VecDeque;

const UNIT: u32 = 64 * 1024;
/// A transaction and its recipient.
const TRANSACTION: u32 = 2 * UNIT;
/// Above this size nothing more is charged: such messages take so long that connections, not turns, are scarce.
const OCTETS_CHARGED_MAX: u32 = 16 * UNIT;
/// What a lane of weight 1 may spend in one round: one message of usual size, so that rounds are short.
pub(crate) const QUANTUM: i32 = TRANSACTION as i32;
/// Largest weight of a tenant.
pub(crate) const WEIGHT_MAX: u32 = 100;

pub(crate) type Ring = VecDeque<u32>;

/// What the delivery of a message of so many octets to one recipient costs.
pub const fn cost_of_turn(octets: u32) -> u32 {
    TRANSACTION + if octets < OCTETS_CHARGED_MAX { octets } else { OCTETS_CHARGED_MAX }
}

/// What a lane gets when it comes to the front.
pub(crate) fn grant(weight: u32) -> i32 {
    QUANTUM * weight.clamp(1, WEIGHT_MAX) as i32
}
