//! Runs every conversation of `tests/transcripts`: what is said, asked and answered, line by line.
//!
//! The first lines say what it shows (`#`) and how the session is set up (`@`). Then, in the order of events:
//!
//! ```text
//! C: MAIL FROM:<a@client.example>   the client says it (with CRLF)      for a server: input; for a client: output
//! S: 250 2.1.0 ok                   the server says it                  for a server: output; for a client: input
//! C~ half a li                      without CRLF; \r \n \0 \\ \xHH are understood
//! C* 1000 abc                       the text a thousand times
//! > reverse-path a@client.example   the machine asks or does something
//! A: ok                             the shell's answer
//! T: 300                            seconds pass
//! EOF                               the other side closes
//! ```
//!
//! `@ greeted` and `@ signed_in` begin a server conversation behind EHLO and behind AUTH over implicit TLS; `@ asks_room`
//! shows where it asks for room, which all others are given in silence.
//! A server conversation is run a second time with all input cut into single octets: the output must be the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod transcript;

use transcript::{Pieces, client, run_all, server};

#[test]
fn every_server_transcript_holds() {
    run_all("server", |transcript| {
        server::run(transcript, Pieces::Lines)?;
        server::run(transcript, Pieces::Octets).map_err(|error| format!("cut into octets: {error}"))
    });
}

#[test]
fn every_client_transcript_holds() {
    run_all("client", client::run);
}
