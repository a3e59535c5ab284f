//! The mail protocol, both sides, as state machines without any input or output (RFC 5321 and its extensions).
//!
//! Bytes, answers and time go in (`handle_bytes`, `handle_answer`, `handle_timeout`), actions come out (`poll_action`,
//! `poll_timeout`). A machine looks nothing up: whether a credential is right, a path may be used, a message is safely
//! stored are questions to the shell around it. It reads no clock, opens no socket and awaits nothing.
//!
//! Start reading in `server/state.rs`, with one conversation of `tests/transcripts` beside it.

pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod limits;
mod line;
pub mod parameter;
pub mod reply;
pub mod sasl;
pub mod server;
mod text;
pub mod timeout;

pub use extension::{Extension, Extensions};
pub use limits::Limits;
pub use sasl::Password;
pub use timeout::Timeouts;
