//! What a server session allows a client, in one place: every state asks here, none has a number of its own.
//!
//! Read from configuration by the shells. The defaults are those of a submission service; beside each stands where it
//! comes from. A thing beyond its limit is refused before it is stored.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Units and origin stand beside each; all are above zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A command line or AUTH response, with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, its extensions add up to
    /// some 1,500; Postfix takes 2,048.
    pub command_octets_max: usize,
    /// A line of the message without its CRLF (RFC 5322 §2.1.1). Longer ones would have to be broken on the way out.
    pub text_line_octets_max: usize,
    /// A message as it is stored: after dot transparency is undone. Offered as SIZE.
    pub message_octets_max: usize,
    /// The header section. Postfix and Haraka allow 100 KB.
    pub header_octets_max: usize,
    /// Recipients of one transaction. RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients_max: usize,
    /// Transactions of one connection; then 421, and the client comes back.
    pub transactions_max: u32,
    /// Commands that were refused before the connection is closed. Every accepted message allows one more.
    pub errors_max: u32,
    /// NOOP, RSET, VRFY, HELP and EHLO since the last accepted message (Postfix: 100 junk commands).
    pub idle_commands_max: u32,
    /// Wrong secrets before the connection is closed.
    pub credential_failures_max: u32,
    /// What may wait in the machine while a question is open. A shell that heeds `wants_input` stays far below.
    pub waiting_octets_max: usize,
    /// For a whole command line, however slowly it comes (RFC 5321 §4.5.3.2.7: 5 minutes).
    pub command_seconds_max: u64,
    /// A message that was announced by its SIZE and does not begin keeps its room for so long; then it asks again.
    pub claim_seconds_max: u64,
    /// The room that a message of undeclared size claims when it begins.
    pub undeclared_octets: usize,
    /// Between two blocks of a message.
    pub data_seconds_max: u64,
    /// Octets a second a message must come with, once `data_grace_seconds` are over.
    pub data_rate_min: u64,
    /// From the first octet of a message on.
    pub data_grace_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command_octets_max: 2048,
            text_line_octets_max: 998,
            message_octets_max: 50 * 1024 * 1024,
            header_octets_max: 128 * 1024,
            recipients_max: 1000,
            transactions_max: 10_000,
            errors_max: 20,
            idle_commands_max: 100,
            credential_failures_max: 3,
            waiting_octets_max: 1024 * 1024,
            command_seconds_max: 300,
            claim_seconds_max: 30,
            undeclared_octets: 16 * 1024,
            data_seconds_max: 180,
            data_rate_min: 512,
            data_grace_seconds: 180,
        }
    }
}

impl Limits {
    pub(crate) fn command_time(&self) -> Duration {
        Duration::from_secs(self.command_seconds_max)
    }

    pub(crate) fn claim_time(&self) -> Duration {
        Duration::from_secs(self.claim_seconds_max)
    }

    pub(crate) fn data_time(&self) -> Duration {
        Duration::from_secs(self.data_seconds_max)
    }

    /// How long `octets` of a message may take altogether.
    pub(crate) fn time_for(&self, octets: u64) -> Duration {
        Duration::from_secs(self.data_grace_seconds.saturating_add(octets / self.data_rate_min.max(1)))
    }
}
