//! The journal: one append-only log on the local disk, through which every message goes.
//!
//! Whatever receives mail appends here, and an `Intake::append` that returned is the only ground for a 250 or a 202:
//! the record and its body were written and a sync of the file returned success. Dispatch and the projection
//! of events follow the same log and see committed records only. It decides nothing about mail: no routing, no retries,
//! no SQL.
//! Start reading in `record.rs`, then `commit.rs`.

mod body;
mod commit;
mod config;
mod disk;
mod error;
mod follow;
mod forward;
pub mod inspect;
mod intake;
mod journal;
mod ledger;
mod loaded;
mod loading;
#[cfg(any(test, feature = "testkit"))]
pub mod lying;
mod owed;
mod patience;
mod pick;
mod position;
#[cfg(any(test, feature = "testkit"))]
pub mod probe;
mod quarantine;
mod queue;
mod reading;
mod recent;
mod recipients;
mod record;
mod recover;
mod rewrite;
mod segment;
mod seldom;
mod shared;
mod shortage;
mod stall;
mod stepped;
mod trim;
mod wire;

#[cfg(test)]
mod tests;

pub use body::{Bodies, Stored};
pub use config::Config;
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::Fault;
pub use follow::Follower;
pub use intake::{Committed, Completion, Intake, Outcomes, Waiting};
pub use journal::{Spool, Status};
pub use loading::Progress;
pub use owed::Owed;
pub use position::{Position, Span};
pub use quarantine::Quarantined;
pub use record::{Accepted, Attempted, OutcomeRecord, RecipientRecord, Record, Settled, Settlement};
pub use recover::{RecipientState, Recovery, Torn, Unsettled, UnsettledMessages};
pub use stepped::Steps;
pub use trim::ReaderMark;
