//! The API as a client sees it: real PostgreSQL, real journal, real door; one file per resource.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod auth;
mod begun_again;
mod crowd;
mod dns;
mod domains;
mod harness;
mod idempotency;
mod isolation;
mod kept;
mod keys;
mod messages;
mod operators;
mod reference;
mod search;
mod server;
mod tenants;
mod webhooks;
