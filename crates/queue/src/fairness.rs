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
//! A lane that waits for its turn so lets each lane that was there, or came meanwhile, send one grant and one largest
//! cost in each round that it needs to pay what it owes: `bound` is that in octets, and what was really sent meanwhile is
//! counted beside it, so that the promise can be watched on a node at work.
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

/// What other lanes sent at its outlet while one waited for its turn, and what they may have sent at most.
/// Both are octets as [`cost_of_turn`] charges them, not as they go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnWait {
    /// Octets charged to others while it waited.
    pub octets: u64,
    /// Octets that may be charged to others at most, by their weights: more is a bug.
    pub bound: u64,
}

/// What is known of an outlet's turns so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turns {
    /// Octets charged.
    sent: u64,
    /// Lanes that came into the ring; wraps.
    joined: u32,
    largest_charge: i32,
    largest_grant: i32,
}

/// When a lane began to wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Since {
    sent: u64,
    /// Wraps: only how many came meanwhile matters.
    joined: u32,
    lanes: u32,
    rounds: u32,
}

impl Turns {
    pub(crate) fn join(&mut self) {
        self.joined = self.joined.wrapping_add(1);
    }

    pub(crate) fn granted(&mut self, grant: i32) {
        self.largest_grant = self.largest_grant.max(grant);
    }

    pub(crate) fn charged(&mut self, charge: i32) {
        self.sent += u64::from(charge.unsigned_abs());
        self.largest_charge = self.largest_charge.max(charge);
    }

    /// A lane with this credit begins to wait, one of so many in the ring.
    pub(crate) fn since(&self, lanes: usize, credit: i32, grant: i32) -> Since {
        let owed = credit.min(0).unsigned_abs();
        let rounds = owed / grant.unsigned_abs() + 1;
        Since { sent: self.sent, joined: self.joined, lanes: lanes as u32, rounds }
    }

    /// Its turn has come.
    pub(crate) fn waited(&self, since: Since) -> TurnWait {
        let lanes = u64::from(since.lanes) + u64::from(self.joined.wrapping_sub(since.joined));
        let each =
            u64::from(self.largest_grant.unsigned_abs()) + u64::from(self.largest_charge.unsigned_abs());
        TurnWait { octets: self.sent - since.sent, bound: u64::from(since.rounds) * lanes * each }
    }
}

/// What the delivery of a message of so many octets to one recipient costs, in octets: 128 KiB for the
/// transaction and its recipient, and those of the message up to 1 MiB.
pub const fn cost_of_turn(octets: u32) -> u32 {
    TRANSACTION + if octets < OCTETS_CHARGED_MAX { octets } else { OCTETS_CHARGED_MAX }
}

/// What a lane gets when it comes to the front.
pub(crate) fn grant(weight: u32) -> i32 {
    QUANTUM * weight.clamp(1, WEIGHT_MAX) as i32
}
