//! An internet on loopback: DNS, mailbox providers that behave like the real ones, a sink and a load generator.
//!
//! For demonstrations and tests. It is the outside world, so it shares nothing with the house but the nouns of
//! `mail`: it has its own small SMTP server and client, and a mistake in the house's protocol code is not repeated
//! here. It binds loopback addresses only and refuses anything else. Used by `posthouse up --lab`, `posthouse lab …`
//! and tests; every domain, provider and address pattern is listed in this crate's README.md. Start reading in
//! `world.rs`, then `provider/model.rs`.

pub mod arrivals;
mod bounces;
mod client;
mod complaints;
pub mod config;
mod control;
pub mod dns;
pub mod error;
mod hooks;
mod listener;
pub mod load;
pub mod provider;
mod returns;
mod session;
pub mod sink;
mod tls;
mod wire;
mod world;

pub use config::LabConfig;
pub use error::Fault;
pub use load::{LoadFigures, LoadOptions};
pub use sink::{SinkFigures, SinkOptions, SinkTls};
pub use world::{Lab, LabHandle, LabParts};
