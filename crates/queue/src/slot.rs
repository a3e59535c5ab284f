//! One waiting recipient in 72 octets, and what the caller says about it.
//!
//! A million of them wait in memory, so a slot holds numbers instead of names and is linked into its lane and to the
//! other recipients of its message without any allocation of its own. What is needed to send it is in the journal.

use mail::{DomainId, Instant, MessageId, PoolId, StreamId, TenantId};

pub(crate) const NONE: u32 = u32::MAX;

/// One recipient of one message, as the caller gives it and gets it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// In the journal, where everything else about it is.
    pub message: MessageId,
    /// Where the journal keeps the message; the caller's business.
    pub position: u64,
    /// Number of the recipient in its message, from 0.
    pub recipient: u32,
    /// Attempts made so far.
    pub attempt: u32,
    /// From here on it is only good for saying that it expired.
    pub expires: Instant,
    /// Octets of the message; what a turn costs is made of it (`fairness.rs`).
    pub octets: u32,
}

/// Whose mail it is, of which kind, and which addresses it is to leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Whose lane and whose turns.
    pub tenant: TenantId,
    /// Which of the tenant's kinds of mail.
    pub stream: StreamId,
    /// The domain that it is from; where it leads is said with each entry.
    pub sending_domain: DomainId,
    /// The pool of its stream; another one may stand in for it.
    pub pool: PoolId,
    /// Which of the two halves of its tenant's lane.
    pub urgency: Urgency,
    /// What its connection must be able to do.
    pub tls: TlsNeed,
}

/// What the message itself asks of the connection that carries it. Mail with another need stands in another outlet,
/// so that neither waits behind a gate that is closed for the other only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsNeed {
    /// Nothing: what is known of the site decides.
    #[default]
    AsSite,
    /// REQUIRETLS (RFC 8689): TLS with a certificate that was checked, at a server that passes the demand on.
    RequireTls,
}

/// Inside one tenant's lane the two kinds alternate: a password reset waits behind one newsletter, never behind all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// Somebody waits for it: transactional mail.
    Prompt,
    /// Nobody does: marketing mail.
    Bulk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not due yet; its time in `Due` is when it becomes due or expires.
    Waiting,
    /// Due, in a lane; its time in `Due` is when it expires.
    Ready,
    /// Due, and apart from the lanes because its sending domain is held; its time in `Due` is when it expires.
    Parked,
    /// Handed out; nobody's timer.
    InFlight,
    /// Handed out, and cancelled meanwhile: whatever comes of this attempt, there will be no other.
    InFlightCancelled,
}

/// The entry lies in it in the order that leaves no gaps.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub message: MessageId,
    pub position: u64,
    pub expires: Instant,
    pub recipient: u32,
    pub octets: u32,
    pub flow: u32,
    pub domain: u32,
    pub lane: u32,
    pub previous: u32,
    pub next: u32,
    /// Another recipient of the same message.
    pub sibling: u32,
    /// When it was or is due, in milliseconds; wraps after 49 days, which nothing waits.
    pub due_ms: u32,
    /// Attempts made so far; what comes after 65,535 of them, a month and a half at one a minute, is not counted.
    pub attempt: u16,
    pub state: State,
}

impl Slot {
    pub fn new(entry: Entry, flow: u32, domain: u32, sibling: u32, due: Instant) -> Slot {
        Slot {
            message: entry.message,
            position: entry.position,
            expires: entry.expires,
            recipient: entry.recipient,
            octets: entry.octets,
            flow,
            domain,
            lane: NONE,
            previous: NONE,
            next: NONE,
            sibling,
            due_ms: low_ms(due),
            attempt: u16::try_from(entry.attempt).unwrap_or(u16::MAX),
            state: State::Waiting,
        }
    }

    pub fn entry(&self) -> Entry {
        Entry {
            message: self.message,
            position: self.position,
            recipient: self.recipient,
            attempt: u32::from(self.attempt),
            expires: self.expires,
            octets: self.octets,
        }
    }
}

/// The low half of a time in milliseconds: enough to measure a wait.
pub(crate) fn low_ms(at: Instant) -> u32 {
    (at.as_micros() / 1000) as u32
}

impl Urgency {
    pub(crate) const fn index(self) -> usize {
        match self {
            Urgency::Prompt => 0,
            Urgency::Bulk => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slot_stays_small() {
        let octets = size_of::<Option<super::Slot>>();
        assert!(octets <= 72, "{octets}");
    }
}
