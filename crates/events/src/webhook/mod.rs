//! Webhooks by the rules of Standard Webhooks (standardwebhooks.com, specification 1.0): signed, retried, bounded.
//!
//! The queue is a table: it survives everything, and any number of nodes may work on it. `guard.rs` keeps calls out
//! of private networks, `sign.rs` signs, `retry.rs` is the schedule, `call.rs` makes one call, `turns.rs`
//! decides whose is next, `deliver.rs` works the queue.

pub(crate) mod call;
pub(crate) mod deliver;
pub mod guard;
pub(crate) mod looks;
mod names;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod refused_targets;
pub(crate) mod retry;
pub mod sign;
pub(crate) mod turns;

pub use guard::{Guard, GuardError};
pub use sign::{SecretError, Signature};
