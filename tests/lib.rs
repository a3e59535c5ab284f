//! Tests of the whole house: `tidy` holds the code to docs/STYLE.md and docs/ARCHITECTURE.md, `whole` runs the binary.
//!
//! What several of them need is here: a house under test, and a lab that outlives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "test support")]

pub mod house;
pub mod lab;
