//! Attacks on the protocol, by tables and at random: smuggling in and out, chunks that lie, commands in any order.
//!
//! The machines are attacked without sockets, so that every split point of every attack is tried. The doors with real
//! TCP and TLS are attacked by `crates/ingress/tests/smtp/attacks.rs`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "attack/arguments.rs"]
mod arguments;
#[path = "attack/chunks.rs"]
mod chunks;
#[path = "attack/door.rs"]
mod door;
#[path = "attack/injection.rs"]
mod injection;
#[path = "attack/model.rs"]
mod model;
#[path = "attack/nine.rs"]
mod nine;
#[path = "attack/smuggling_in.rs"]
mod smuggling_in;
#[path = "attack/smuggling_out.rs"]
mod smuggling_out;
#[path = "attack/walks.rs"]
mod walks;
