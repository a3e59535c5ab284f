//! The client side: opens a session with a site, then delivers one transaction after the other.
//!
//! `Session::new` waits for the greeting; `Action::Ready` or `Action::OpeningFailed` ends the opening. After `Ready`
//! the shell calls `deliver` and gets exactly one `Action::Report` for it, whatever happens; while the report says
//! `session_usable` it may deliver again, or `quit`. Pipelining, CHUNKING, dot transparency and RSET are the machine's
//! business, not the shell's.
//!
//! Between `hold_end` and `resume_end` a transaction goes as far as it can without the site taking the message: MAIL,
//! RCPT, DATA and the text, but not the final dot; where CHUNKING is offered, MAIL and RCPT, but not the chunk.
//!
//! A result says only what the site said and where it broke. What follows from it, for whom and for how long, is
//! decided elsewhere. A site that answers what it has not been asked is out of step, and nothing that it says is taken for
//! an answer any more. What may surprise: after the final dot a broken session means "maybe delivered" (RFC 1047).

mod auth;
mod data;
mod greet;
mod mail;
mod rcpt;
mod session;
mod site;
mod starttls;
mod state;

pub use session::Session;

use crate::sasl::Password;
use crate::timeout::Timeouts;
use ::mail::{Envelope, Reply};
use bytes::Bytes;

/// What a session needs to know before it connects.
#[derive(Clone)]
pub struct ClientConfig {
    /// The argument of EHLO: the name of the address we send from.
    pub ehlo_name: String,
    /// How long each answer is waited for.
    pub timeouts: Timeouts,
    /// Whether and how TLS is asked for.
    pub tls: ClientTls,
    /// Given: AUTH PLAIN before `Ready`, and only over TLS.
    pub login: Option<Login>,
    /// A line of a reply, with its CRLF. RFC 5321 §4.5.3.1.5 allows 512; some sites write more.
    pub reply_line_octets_max: usize,
    /// Lines of one reply, the last one included.
    pub reply_lines_max: usize,
    /// The text of all lines of a reply.
    pub reply_octets_max: usize,
}

/// What AUTH PLAIN is told, to a site that wants to know us (RFC 4616).
#[derive(Clone)]
pub struct Login {
    /// The authorization identity stays empty.
    pub username: String,
    /// Sent only over TLS.
    pub password: Password,
}

/// Whether STARTTLS is used (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTls {
    /// In plain text, whatever is offered.
    Never,
    /// STARTTLS when it is offered; in clear when it is not or is refused.
    Opportunistic,
    /// STARTTLS or nothing.
    Required,
    /// The shell has done the handshake before the greeting.
    Implicit,
}

impl ClientConfig {
    /// With the limits that the house uses everywhere.
    pub fn new(ehlo_name: impl Into<String>, tls: ClientTls) -> ClientConfig {
        ClientConfig {
            ehlo_name: ehlo_name.into(),
            timeouts: Timeouts::default(),
            tls,
            login: None,
            reply_line_octets_max: 4096,
            reply_lines_max: 100,
            reply_octets_max: 32 * 1024,
        }
    }
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Action {
    /// Write these octets, in order. While a long message is written, `handle_written` keeps the timer from running out.
    Send(Bytes),
    /// The 220 to STARTTLS came: shake hands, then answer. Octets that were read but not yet given to the machine must
    /// be thrown away.
    StartTls,
    /// The session is open: `deliver` may be called.
    Ready,
    /// It never became ready. `Close` follows.
    OpeningFailed(Failure),
    /// What became of the transaction.
    Report(DeliveryReport),
    /// Close the connection.
    Close,
}

/// What the shell found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The handshake is done; EHLO is said anew.
    TlsDone,
    /// The handshake failed; what follows depends on `ClientTls`.
    TlsFailed,
}

/// One message for one or more recipients of the site.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Whom it is for, and what the site must be able to do.
    pub envelope: Envelope,
    /// Header section and body with CRLF line ends, no dots doubled.
    pub raw: Bytes,
}

/// Where in the session something happened, in the order in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The site's first words.
    Greeting,
    /// EHLO, or HELO after it was refused.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH and what follows it.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO, each recipient by itself.
    Rcpt,
    /// DATA, until its 354.
    Data,
    /// While the message is being written.
    Body,
    /// After the final dot or the last chunk.
    Final,
    /// RSET between two transactions.
    Reset,
    /// QUIT: nothing is lost any more.
    Quit,
}

/// The result of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The site said 4yz or 5yz.
    Refused {
        /// The command that it answered.
        stage: Stage,
        /// As it came, cleaned for logs.
        reply: Reply,
    },
    /// No answer that could be understood came.
    Broken(Break),
    /// The message needs something this session does not offer.
    Missing(Missing),
}

/// Where and how a session ended before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// What was waited for.
    pub stage: Stage,
    /// What happened to it.
    pub kind: BreakKind,
    /// The whole message was handed over and its answer is unknown.
    pub maybe_delivered: bool,
}

/// How a session ended before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakKind {
    /// The time of the stage is over (RFC 5321 §4.5.3.2).
    Timeout,
    /// The site closed the connection.
    Eof,
    /// What came is no reply, or is longer than our limits.
    Protocol,
    /// The handshake failed, and plain text is not allowed.
    TlsFailed,
    /// The shell could not read or write.
    Io,
    /// We held the end of the message back for longer than the site is asked to wait. Nothing is the site's fault.
    Withheld,
    /// It waited no longer for the end of the message, which we held back. Nor is that its fault.
    Impatient,
}

/// What is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// STARTTLS, when it is required.
    StartTls,
    /// AUTH PLAIN over TLS, when a login is given.
    Auth,
    /// SMTPUTF8, for an address or a field outside ASCII (RFC 6531 §3).
    SmtpUtf8,
    /// 8BITMIME, for octets above 127 (RFC 6152).
    EightBitMime,
    /// REQUIRETLS (RFC 8689 §4.2.1).
    RequireTls,
    /// The message is longer than the SIZE that was offered.
    Size,
    /// A fault of ours, not of the site: the message has a bare CR or LF or a NUL and must not be sent.
    CleanLines,
}

/// What became of one `Transaction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// In the order of `envelope.recipients`. The reply is the positive answer to the final dot.
    pub results: Vec<Result<Reply, Failure>>,
    /// Another transaction may follow.
    pub session_usable: bool,
}

impl Stage {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Greeting => "greeting",
            Stage::Hello => "hello",
            Stage::StartTls => "starttls",
            Stage::Auth => "auth",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Body => "body",
            Stage::Final => "final",
            Stage::Reset => "reset",
            Stage::Quit => "quit",
        }
    }

    /// Whether a break here leaves open if the message was taken (RFC 1047).
    pub const fn maybe_delivered(self) -> bool {
        matches!(self, Stage::Final)
    }
}
