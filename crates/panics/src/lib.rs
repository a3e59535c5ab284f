//! What a bug of ours costs when it panics: one task, and for a moment only.
//!
//! `keep` begins a task anew that would otherwise be missing until the next start: readers of the journal, housekeeping,
//! whatever runs in a loop of its own and can go on from what is durable. `caught` makes a panic an answer. `place` names
//! a spot where a test makes the process panic, to see that this holds; without the feature `places` it is nothing. Tasks
//! that hold what is nowhere else (the dispatcher, the journal's threads) are not kept: their end is the end of the
//! process, and the journal knows everything. A panic itself is logged and counted by the hook in
//! `posthouse/src/telemetry.rs`.

mod keep;
mod place;

pub use keep::{caught, keep};
pub use place::place;
