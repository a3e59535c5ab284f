//! What this crate knows of the house, for its own commands and for the rules of tests/tidy.rs.

pub mod shape;
