//! The API as a client sees it: real PostgreSQL, real journal, real door; one file per resource.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]
#![allow(clippy::print_stdout, reason = "tests print what they counted and measured")]

mod auth;
mod authors;
mod begun_again;
mod crowd;
mod dns;
mod document;
mod domains;
mod expected;
mod fields;
mod forgeries;
mod harness;
mod idempotency;
mod isolation;
mod kept;
mod keys;
mod levels;
mod matrix;
mod messages;
mod nodes;
mod operators;
mod reference;
mod search;
mod server;
mod streams;
mod targets;
mod tenants;
mod webhooks;
mod wire;
mod world;
