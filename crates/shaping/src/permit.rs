//! Leave to have one connection open on a path, and the answer when there is none to give.

use crate::pace::Counted;
use mail::{EgressPath, Instant};

/// One connection of the window. Only the shaper makes one and it wants it back: `Shaper::release`, or
/// `Shaper::give_back` if it was not used.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not released shrinks the window for good"]
pub struct Permit {
    pub(crate) path: EgressPath,
    /// The family whose connections it counts among.
    pub(crate) family: Option<u32>,
    pub(crate) messages: u32,
    /// Of the rates of connections and of messages, where there is one.
    pub(crate) counted: [Option<Counted>; 2],
}

impl Permit {
    /// The connection's.
    pub fn path(&self) -> &EgressPath {
        &self.path
    }

    /// Messages that the connection may carry.
    pub fn messages(&self) -> u32 {
        self.messages
    }
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barrier {
    /// The window of the path is full: wait for a release.
    Window,
    /// All connections that the site allows are taken: wait for a release.
    Site,
    /// All connections that the provider allows this source are taken: wait for a release at any of its sites.
    Family,
    /// Too many new connections for the time: its end is known.
    ConnectionRate,
    /// Too many messages for the time: its end is known.
    MessageRate,
    /// The path is dead and not due for a probe yet.
    Dead,
    /// Somebody, or the site's own words, suspended it: the reason.
    Held(String),
}

/// Not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBefore {
    /// What stands in the way: the first of several.
    pub barrier: Barrier,
    /// When to ask again; none: after a release or a resume.
    pub at: Option<Instant>,
}

impl Barrier {
    /// What it is, in words for people.
    pub fn sentence(&self) -> String {
        match self {
            Barrier::Window => "all connections that this address may have there now are in use".to_owned(),
            Barrier::Site => "all connections that the site allows are in use".to_owned(),
            Barrier::Family => "all connections that the provider allows this address are in use".to_owned(),
            Barrier::ConnectionRate => "the rate of new connections is used up".to_owned(),
            Barrier::MessageRate => "the rate of messages is used up".to_owned(),
            Barrier::Dead => "the site did not answer or took nothing; it will be probed again".to_owned(),
            Barrier::Held(why) => why.clone(),
        }
    }
}
