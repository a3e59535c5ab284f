//! The HTTP API: every operation of tenants and operators, one file per resource.
//!
//! A request is identified (`auth.rs`), its body is checked against the published schema (`body.rs`, `schema.rs`), a
//! handler in `routes/` asks the database or the door for messages, and what goes wrong becomes a problem document
//! (`problem.rs`). No SQL is here, no mail is delivered here, and there is no operation that is not in
//! `/openapi.json`. Start reading in `router.rs`; the house's example of an operation is `routes/tenants.rs`.

mod auth;
mod body;
mod calls;
mod claim;
mod config;
mod delivery;
mod dns;
mod docs;
mod draft;
mod error;
mod expected;
mod fault;
mod flood;
mod header_fields;
mod held;
mod idempotency;
mod in_flight;
mod in_force;
mod json;
mod kept;
mod limit;
mod once;
mod openapi;
mod page;
mod problem;
mod request;
mod router;
mod routes;
mod schema;
mod seats;
mod send_body;
mod send_size;
mod sending;
mod server;
mod state;
mod steering;
mod token;
mod unread;
mod variables;
mod waiting;
mod watch;
mod watched;

pub use config::Config;
pub use delivery::{Delivery, PathHold, PathRow};
pub use dns::DnsChecker;
pub use error::Fault;
pub use router::{document, router};
pub use server::{serve, serve_vitals};
pub use state::{AppState, Cancel, Journal, Readiness, Reason, Told, Vitals, Why};
pub use token::TokenKeys;
pub use waiting::wait;
pub use watch::DomainWatch;
