//! The server side: a submission service (RFC 6409) or the door for returned mail, by `Role`.
//!
//! A shell does five things: it reads bytes and hands them to `handle_bytes`, performs what `poll_action` gives until
//! it gives nothing, arms one timer for `poll_timeout`, stops reading while `wants_input` is false, and repeats.
//! `Action`s that are questions (all but `Send` and `Close`) must be answered by `handle_answer`; until then the
//! machine takes no further command, so pipelined commands are handled in their order.
//!
//! What may surprise: replies are collected, and a question may be asked before the replies to earlier commands are
//! sent (RFC 2920 §3.2 wants them in one segment). Nothing about a message is said before `Accept` is answered.

mod auth;
mod channel;
mod claim;
mod data;
mod greet;
mod mail;
mod peer;
mod rcpt;
mod session;
mod starttls;
mod state;

pub use session::Session;

use crate::extension::Extensions;
use crate::limits::Limits;
use crate::sasl::Password;
use ::mail::{Domain, Envelope, ForwardPath, Refusal, Reply, ReversePath};
use bytes::Bytes;

/// Whom the listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Mail from our users: nothing before AUTH.
    Submission,
    /// Mail from other sites: no AUTH, a bare `postmaster` is known (RFC 5321 §4.5.1).
    Inbound,
}

/// Where TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// By STARTTLS (RFC 3207).
    Offered,
    /// Before the greeting (RFC 8314 §3.3): the shell has done the handshake.
    Implicit,
    /// Never. A submission session without TLS cannot get past AUTH.
    None,
}

/// What a listener gives every session.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The name in the greeting and in the answer to EHLO.
    pub hostname: Domain,
    /// A submission service, or the door for returned mail.
    pub role: Role,
    /// Every number a session goes by.
    pub limits: Limits,
    /// Whether STARTTLS is offered, required or done already.
    pub tls: TlsMode,
    /// Extensions that are not to be offered although we know them.
    pub withheld: Extensions,
}

impl ServerConfig {
    /// Offers every extension that the role allows.
    pub fn new(hostname: Domain, role: Role, tls: TlsMode, limits: Limits) -> ServerConfig {
        ServerConfig { hostname, role, limits, tls, withheld: Extensions::NONE }
    }
}

/// What the shell has to do. All but `Send` and `Close` are questions that wait for `handle_answer`.
pub enum Action {
    /// Write these octets, in order.
    Send(Bytes),
    /// Everything sent so far must be on its way; then shake hands and answer `TlsDone` or `TlsFailed`. Octets that were
    /// read but not yet given to the machine must be thrown away (RFC 3207 §4.2).
    StartTls,
    /// Answer `CredentialOk` or `Refused`. The shell may delay the answer to slow down guessing.
    CheckCredential {
        /// As the client gave it, untrusted.
        username: String,
        /// Wiped when dropped.
        password: Password,
    },
    /// Answer `ReversePathOk` or `Refused`.
    CheckReversePath {
        /// Null for returned mail.
        path: ReversePath,
        /// As the client declared it (RFC 1870), within the limits of the session.
        size: Option<u64>,
    },
    /// Answer `RecipientOk` or `Refused`.
    CheckRecipient(ForwardPath),
    /// Answer `RoomOk` if so much of a message may come now, its octets that are here already among them, or `Refused` for
    /// a reason that passes.
    CheckRoom {
        /// Of the message, as declared or as far as it is here.
        octets: usize,
    },
    /// The whole message. Answer `Accepted` only when it is durable, else `Refused`.
    Accept(Transaction),
    /// Nothing more will come; close the connection once everything is sent.
    Close,
}

/// What the shell found out.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The handshake is done.
    TlsDone {
        /// For the Received field and the log: `TLSv1_3`.
        version: String,
        /// For the Received field and the log: `TLS13_AES_256_GCM_SHA384`.
        cipher: String,
    },
    /// The handshake failed: the connection is closed.
    TlsFailed,
    /// To `CheckCredential`: it is theirs.
    CredentialOk,
    /// To `CheckReversePath`: it may be used.
    ReversePathOk,
    /// To `CheckRecipient`: it is taken.
    RecipientOk,
    /// To `CheckRoom`: it may come.
    RoomOk,
    /// With the reply for the client: `250 2.0.0 queued as msg_…`.
    Accepted {
        /// Positive, with the id of the message.
        reply: Reply,
    },
    /// To any question but StartTls.
    Refused(Refusal),
}

/// A message at its final dot.
#[derive(Clone)]
pub struct Transaction {
    /// `body` says EightBitMime also if the client said nothing and sent octets above 127.
    pub envelope: Envelope,
    /// Header section and body: only CRLF ends a line, no NUL, every line within limits, ends in CRLF.
    pub raw: Bytes,
    /// It came by BDAT (RFC 3030) and not by DATA.
    pub via_bdat: bool,
    /// The argument of EHLO: letters, digits and `.-_:[]` only.
    pub client_name: String,
    /// For the Received field (RFC 3848, RFC 6531 §4.3): `ESMTPSA` and its like.
    pub protocol: &'static str,
    /// Version and cipher of TLS as the shell gave them; `None` in clear and with implicit TLS.
    pub tls: Option<(String, String)>,
}
