//! What is told afterwards: the journal becomes rows and events in the database, events become webhook calls.
//!
//! Two tasks. The projector follows the journal and writes batches with its cursor in one transaction, so that
//! every record is told exactly once and everything can stop for as long as the database does. The deliverer takes
//! due webhook calls from the database. Neither is on the path of a message. Start reading in `project.rs`.

mod config;
mod context;
mod cursor;
mod error;
mod last_words;
mod news;
mod parts;
mod project;
mod rows;
mod shape;
mod start;
mod usage;
pub mod webhook;

pub use config::Config;
pub use error::Fault;
pub use start::{EventsHandle, EventsParts, SnapshotSource, start};
pub use usage::{UsageRest, UsageToday, told_up_to, usage_today};
