//! The doors, from outside: real sockets on loopback, a real spool in a temporary directory, a snapshot built by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acceptance;
mod attacks;
mod attacks_on_tls;
mod connections;
mod disk;
mod drain;
mod http;
#[path = "../../../smtp/tests/attack/nine.rs"]
mod nine;
mod python;
mod refusals;
mod returned;
mod support;
mod tls;
