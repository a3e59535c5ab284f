//! What a server session knows of its client, and what it has to tell it: the context every transition is given.
//!
//! Holds the facts that outlive a transaction (name, TLS, credential), the counters behind the limits, the replies not
//! yet sent and the one question that may be open. It decides nothing about order; `state.rs` does.

use super::channel::Channel;
use super::{Action, Role, ServerConfig};
use crate::extension::Extension;
use crate::reply;
use ::mail::{Instant, Refusal, Reply};
use bytes::BytesMut;

pub(super) struct Peer {
    pub config: ServerConfig,
    pub now: Instant,
    pub out: BytesMut,
    pub question: Option<Action>,
    pub channel: Channel,
    pub authenticated: bool,
    pub client_name: String,
    /// EHLO and not HELO.
    pub extended: bool,
    /// When the message that is coming began.
    pub data_began: Instant,
    pub transactions: u32,
    /// To be said at the next place where nothing gets lost.
    pub leave: Option<Refusal>,
    /// The last reply ends the session.
    pub closing: bool,
    errors: u32,
    /// Those that were accepted, of all transactions.
    recipients: u32,
    idle_commands: u32,
    credential_failures: u32,
}

impl Peer {
    pub fn new(config: ServerConfig, now: Instant) -> Peer {
        let mut peer = Peer {
            channel: Channel::opened(config.tls),
            config,
            now,
            out: BytesMut::with_capacity(512),
            question: None,
            authenticated: false,
            client_name: String::new(),
            extended: false,
            data_began: now,
            transactions: 0,
            leave: None,
            closing: false,
            errors: 0,
            recipients: 0,
            idle_commands: 0,
            credential_failures: 0,
        };
        let greeting = format!("{} ESMTP", peer.config.hostname);
        peer.say(220, &greeting);
        peer
    }

    /// Whether mail may be offered: a submission service takes none from strangers.
    pub fn may_send(&self) -> bool {
        self.config.role == Role::Inbound || self.authenticated
    }

    pub fn offers(&self, extension: Extension) -> bool {
        self.extended && self.channel.offer(&self.config).contains(extension)
    }

    /// A reply of one line; `text` begins with the enhanced status where one belongs.
    pub fn say(&mut self, code: u16, text: &str) {
        reply::write_line(&mut self.out, code, b' ', text);
    }

    pub fn say_more(&mut self, code: u16, text: &str) {
        reply::write_line(&mut self.out, code, b'-', text);
    }

    pub fn reply(&mut self, reply: &Reply) {
        reply::write_reply(&mut self.out, reply);
        // RFC 5321 §3.8: 421 is the last thing a server says.
        self.closing |= reply.code.as_u16() == 421;
    }

    pub fn ask(&mut self, question: Action) {
        self.question = Some(question);
    }

    /// A refusal that counts against the client.
    pub fn complain(&mut self, code: u16, text: &str) {
        self.say(code, text);
        self.count_error();
    }

    pub fn complain_with(&mut self, reply: &Reply) {
        self.reply(reply);
        self.count_error();
    }

    pub fn close_with(&mut self, text: &str) {
        if !self.closing {
            self.say(421, text);
            self.closing = true;
        }
    }

    /// NOOP and its like are free, but not for ever.
    pub fn count_idle_command(&mut self) {
        self.idle_commands += 1;
        if self.idle_commands > self.config.limits.idle_commands_max {
            self.close_with("4.7.0 too many commands without a message");
        }
    }

    pub fn count_accepted(&mut self) {
        self.transactions += 1;
        self.idle_commands = 0;
    }

    pub fn count_wrong_secret(&mut self) {
        self.credential_failures += 1;
        if self.credential_failures >= self.config.limits.credential_failures_max {
            self.close_with("4.7.0 too many failed logins");
        }
    }

    pub fn count_recipient(&mut self) {
        self.recipients = self.recipients.saturating_add(1);
    }

    /// The limit grows with the recipients that were good: a long list with some wrong addresses is no attack.
    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors > self.config.limits.errors_max.saturating_add(self.recipients) {
            self.close_with("4.7.0 too many errors");
        }
    }

    /// RFC 3207 §4.2: nothing that was said in clear is known any more.
    pub fn forget(&mut self) {
        self.client_name.clear();
        self.extended = false;
        self.authenticated = false;
    }
}
