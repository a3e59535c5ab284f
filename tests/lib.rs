//! Tests of the whole house: `tidy` holds the code to docs/STYLE.md and docs/ARCHITECTURE.md, `whole` runs the binary.
//!
//! `faults` breaks things around it. What they need is here: a house under test, a lab and a PostgreSQL that outlive it,
//! clients, and the ledger that judges what became of their mail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "test support")]

pub mod arrivals;
pub mod cgroup;
pub mod client;
pub mod crowd;
pub mod exchanger;
pub mod house;
pub mod lab;
#[allow(
    missing_docs,
    reason = "its fields say what was offered and answered; the sentences stand at the types"
)]
pub mod ledger;
pub mod load;
pub mod postgres;
mod serve;
pub mod strace;
pub mod volume;
