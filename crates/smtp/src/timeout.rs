//! How long a client waits at each stage (RFC 5321 §4.5.3.2), as a table.
//!
//! The times of the standard are the defaults and are long on purpose: a site that is slow to answer the final dot has
//! often taken the message, and a client that gives up too early sends it twice (RFC 1047).

use crate::client::Stage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In seconds, each from the command to its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For the 220 after the connection is open (§4.5.3.2.1: 5 minutes).
    pub greeting_seconds: u64,
    /// For the answer to EHLO and HELO (the standard has none; Postfix: 5 minutes).
    pub hello_seconds: u64,
    /// For the answer to STARTTLS, and for the handshake after it.
    pub starttls_seconds: u64,
    /// For each answer to AUTH.
    pub auth_seconds: u64,
    /// §4.5.3.2.2: 5 minutes.
    pub mail_seconds: u64,
    /// §4.5.3.2.3: 5 minutes.
    pub rcpt_seconds: u64,
    /// For the 354 (§4.5.3.2.4: 2 minutes).
    pub data_seconds: u64,
    /// Between two blocks written (§4.5.3.2.5: 3 minutes).
    pub block_seconds: u64,
    /// For all blocks of a message together: so many seconds, and one more for as many octets as come next. A site that
    /// takes a block now and then keeps neither its connection nor the memory of its message for longer.
    pub body_seconds: u64,
    /// 8 KiB a second: the largest message, over a line from the days of modems.
    pub body_octets_per_second_min: u64,
    /// How long the end of a message may be held back. The site waits for us meanwhile: by the standard 3 minutes for
    /// a block and 5 for a command (§4.5.3.2.5, §4.5.3.2.7), in practice less.
    pub hold_seconds: u64,
    /// For the answer to the final dot (§4.5.3.2.6: 10 minutes).
    pub final_seconds: u64,
    /// For the answer to RSET, which has nothing to do.
    pub reset_seconds: u64,
    /// For the answer to QUIT. Nothing depends on it.
    pub quit_seconds: u64,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            greeting_seconds: 300,
            hello_seconds: 300,
            starttls_seconds: 120,
            auth_seconds: 120,
            mail_seconds: 300,
            rcpt_seconds: 300,
            data_seconds: 120,
            block_seconds: 180,
            body_seconds: 600,
            body_octets_per_second_min: 8 * 1024,
            hold_seconds: 30,
            final_seconds: 600,
            reset_seconds: 20,
            quit_seconds: 5,
        }
    }
}

impl Timeouts {
    /// How long the end of a message may be held back before the site has waited long enough.
    pub fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_seconds)
    }

    /// For a whole message of so many octets.
    pub fn whole_body(&self, octets: usize) -> Duration {
        Duration::from_secs(
            self.body_seconds.saturating_add(octets as u64 / self.body_octets_per_second_min.max(1)),
        )
    }

    /// How long an answer is waited for at this stage.
    pub fn at(&self, stage: Stage) -> Duration {
        Duration::from_secs(match stage {
            Stage::Greeting => self.greeting_seconds,
            Stage::Hello => self.hello_seconds,
            Stage::StartTls => self.starttls_seconds,
            Stage::Auth => self.auth_seconds,
            Stage::Mail => self.mail_seconds,
            Stage::Rcpt => self.rcpt_seconds,
            Stage::Data => self.data_seconds,
            Stage::Body => self.block_seconds,
            Stage::Final => self.final_seconds,
            Stage::Reset => self.reset_seconds,
            Stage::Quit => self.quit_seconds,
        })
    }
}
