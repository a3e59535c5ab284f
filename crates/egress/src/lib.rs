//! The way out: dispatch, resolve, connect, deliver, judge the outcome.
//!
//! Follows the journal, puts recipients into the queue, asks shaping for leave, speaks SMTP through `smtp::client`,
//! and writes what came of it back into the journal. It never sees the database: what it needs to know of tenants,
//! pools and sources is in the registry's snapshot. Start reading in `dispatch.rs`, then `trouble.rs`.

pub mod config;
pub mod resolve;
#[doc(hidden)]
pub mod stepped;

mod cancel;
mod cause;
mod connect;
mod dispatch;
mod error;
mod gate;
mod handle;
mod landing;
mod link;
mod loading;
mod look_ups;
mod measured;
mod record;
mod recovery;
mod run;
mod seldom;
mod session;
mod sessions;
mod sites;
mod source;
mod targets;
mod tenants;
mod tls;
mod trouble;
mod view;

#[cfg(test)]
mod simulation;

pub use config::Config;
pub use error::Fault;
pub use handle::EgressHandle;
pub use resolve::{Exchanger, Resolver, Route, Unresolved};
pub use run::{EgressParts, start};
pub use shaping::{Hold, PathView};
