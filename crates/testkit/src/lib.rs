//! What tests of several crates need and nothing ships: a fresh PostgreSQL database, a clock set by hand, an allocator
//! that counts, and the list of what was not tested.
//!
//! Used from tests only, so it panics where the house would return a fault: a test that cannot be set up has failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "test support")]

#[cfg(feature = "postgres")]
pub mod bouncer;
pub mod clock;
#[cfg(feature = "postgres")]
pub mod cluster;
pub mod held;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod skipped;

#[cfg(feature = "postgres")]
pub use bouncer::PgBouncer;
pub use clock::ManualClock;
#[cfg(feature = "postgres")]
pub use cluster::Cluster;
#[cfg(feature = "postgres")]
pub use postgres::{TestDatabase, test_keys};
pub use skipped::{lacking, skipped};
