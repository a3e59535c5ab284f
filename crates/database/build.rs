//! Builds the crate again when a migration changes: they are embedded by a macro that cargo cannot see through.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
