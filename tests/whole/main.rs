//! The whole house: the real binary, real sockets, real PostgreSQL, other people's clients and verifiers.
//!
//! One module per scenario, named as a sentence would be. Each test runs a house of its own in its own directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod attempts;
mod backscatter;
mod canaries;
mod commands;
mod fairness;
mod international;
mod keys;
mod mistakes;
mod nouns;
mod rates;
mod refusals;
mod rights;
mod running;
mod serving;
mod shell;
mod story;
mod street;
mod suspended;
mod telling;
mod tour;
mod verbs;
mod wire;

use posthouse_tests::house;
