//! What came of an attempt, as the session tells it: the site's word, or what was in the way. What it means is decided in
//! `trouble.rs`. Pure.

use crate::resolve::Unresolved;
use mail::Reply;
use queue::TlsNeed;
use smtp::client::Failure;
use std::net::IpAddr;
use std::sync::Arc;

/// What came of one attempt for one recipient.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The site's positive answer to the end of the message.
    Delivered(Reply),
    /// What the session tells: refused, broken off, or something is missing.
    Failed(Failure),
    /// Nothing connected, at no exchanger.
    NoConnection(String),
    /// We have no descriptor or memory for a connection: the site has nothing to do with it.
    Shortage,
    /// Too much mail is on its way already for us to hold this message in memory: nobody was spoken to.
    Crowded,
    /// There is nowhere to go.
    Unresolved(Unresolved),
    /// The site has no address that the pool's addresses can reach.
    NoCommonFamily,
    /// The message requires TLS, and nothing proves that the domain's exchangers are the domain's.
    Unvouched,
    /// Our journal could not give the message.
    Unreadable,
    /// We panicked over it: that may be the message's doing or a path of the code that this site leads to.
    Bug,
    /// The recipient's time was over.
    Expired,
}

impl Cause {
    /// The message could not be had, so nobody was called for it. A shortage is also that of a connection, and then some
    /// host was.
    pub fn came_before_connecting(&self, at: &Circumstances) -> bool {
        let is_of_message = matches!(self, Cause::Unreadable | Cause::Crowded | Cause::Shortage);
        is_of_message && at.mx.is_none() && at.carried == 0
    }

    /// The site has the message, and whoever forgets that sends it again. No further message may be ended over the same
    /// connection before the record of this one is durable.
    pub fn needs_proof(&self) -> bool {
        matches!(self, Cause::Delivered(_))
    }
}

/// Where it was tried and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Circumstances {
    /// Name of the exchanger that was spoken to.
    pub mx: Option<String>,
    /// The address that we spoke from.
    pub egress: Option<IpAddr>,
    /// TLS version; none in plain text.
    pub tls: Option<String>,
    /// Profile of the site; none before the site is known.
    pub provider: Option<Arc<str>>,
    /// The session had carried a message before this one.
    pub warm: bool,
    /// How many messages before this one.
    pub carried: u32,
    /// What the message asked of the connection.
    pub tls_need: TlsNeed,
}
