//! Crashes and faults: the real binary on a real disk, beside a real PostgreSQL, killed, starved and lied to.
//!
//! One module for each family of docs/RELIABILITY.md; the name of a test begins with its row there. `cargo xtask crash`
//! runs the long forms. What a host cannot do (no root, no loop device, no strace) is skipped with a notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod damage;
mod database;
mod disk;
mod ends;
mod kills;
mod log;
mod memory;
mod oracle;
mod panics;
mod process;
mod replies;
mod restart;
mod site;
mod slow;
mod space;
mod stall;
mod windows;
