//! The configuration of a node, apart from the program: whatever else reads one reads it as the program does.
//!
//! That is `crates/properties`, for fuzzing; nobody may build upon it. The program (`main.rs`) takes its modules from here.

pub mod config;
mod config_example;
pub mod config_text;
pub mod memory;
mod together;
