//! The journal, the database and receivers of webhooks, all real: what is told, once, and in spite of what.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod house;
mod projection;
mod usage;
mod webhooks;
