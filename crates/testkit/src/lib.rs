//! What tests of several crates need and nothing ships: a fresh PostgreSQL database, and a clock set by hand.
//!
//! Used from tests only, so it panics where the house would return a fault: a test that cannot be set up has failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "test support")]

pub mod bouncer;
pub mod clock;
pub mod cluster;
pub mod postgres;

pub use bouncer::PgBouncer;
pub use clock::ManualClock;
pub use cluster::Cluster;
pub use postgres::{TestDatabase, test_keys};
