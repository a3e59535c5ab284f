//! What operators and tenants may see of the queue: counts, and the one reason why a recipient waits.
//!
//! Plain values that the API can print; the way to them goes through whoever owns the queue. There is exactly one
//! reason at a time, the one that has to go away next, and the time when it is looked at again, if that is known.

use mail::{MessageId, PoolId, StreamId, TenantId, Timestamp};
use std::time::Duration;

/// Why a recipient is not being sent right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Being sent at this moment.
    InFlight,
    /// Asked for later by the originator.
    NotBefore,
    /// The last attempt was deferred; the retry time has not come.
    Retry,
    /// Its turn comes as soon as others before it are sent.
    Turn,
    /// The names of the site are being looked up.
    Resolving,
    /// The tenant is paused, quarantined, or has as much in flight as it may.
    TenantHeld,
    /// The sending domain is suspended.
    DomainSuspended,
    /// The pool has no address, or is not there.
    NoSource,
    /// The pool has addresses, and all are held or draining.
    SourcesHeld,
    /// The path is suspended; the words say why.
    Held(String),
    /// Connections, rate or window of the site are used up.
    Limit(String),
}

/// One waiting recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingView {
    /// Where it is part of.
    pub message: MessageId,
    /// Number of the recipient in its message, from 0.
    pub recipient: u32,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which kind of the tenant's mail.
    pub stream: StreamId,
    /// What it leaves from at present.
    pub pool: PoolId,
    /// As it stands in the address.
    pub domain: String,
    /// Where its domain was found to lead.
    pub site: String,
    /// Attempts made so far.
    pub attempt: u32,
    /// What must go away next.
    pub reason: Reason,
    /// When the reason is looked at again; none if something else must happen first.
    pub until: Option<Timestamp>,
    /// Settled as expired from then on.
    pub expires_at: Timestamp,
}

/// One tenant's mail in one pool at one site, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Whose lane it is.
    pub tenant: TenantId,
    /// What it leaves from at present.
    pub pool: PoolId,
    /// Where it leads.
    pub site: String,
    /// Recipients that are due.
    pub ready: u64,
    /// None while it is being sent as fast as its turn comes.
    pub reason: Option<Reason>,
    /// When the reason is looked at again; none if something else must happen first.
    pub until: Option<Timestamp>,
}

/// All of it in numbers: recipients, each counted for itself, and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueTotals {
    /// Recipients that are not due yet.
    pub waiting: u64,
    /// Recipients that are due and not being sent yet.
    pub ready: u64,
    /// Recipients that were handed out and whose outcome is not known.
    pub in_flight: u64,
    /// Lanes with recipients that are due; one that was emptied otherwise than by sending counts until its
    /// turn.
    pub lanes: u64,
}

impl Reason {
    /// A stable word for the API.
    pub const fn code(&self) -> &'static str {
        match self {
            Reason::InFlight => "in_flight",
            Reason::NotBefore => "not_before",
            Reason::Retry => "retry",
            Reason::Turn => "turn",
            Reason::Resolving => "resolving",
            Reason::TenantHeld => "tenant_held",
            Reason::DomainSuspended => "domain_suspended",
            Reason::NoSource | Reason::SourcesHeld => "no_source",
            Reason::Held(_) => "held",
            Reason::Limit(_) => "limit",
        }
    }

    /// A sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Reason::InFlight => "it is being sent right now".to_owned(),
            Reason::NotBefore => "it was asked to be sent later".to_owned(),
            Reason::Retry => "the last attempt was deferred and the next one is scheduled".to_owned(),
            Reason::Turn => "it is due and waits for its turn".to_owned(),
            Reason::Resolving => "the mail exchangers of the domain are being looked up".to_owned(),
            Reason::TenantHeld => "mail of this tenant is held".to_owned(),
            Reason::DomainSuspended => "its domain is suspended by the operator".to_owned(),
            Reason::NoSource => "the pool has no address".to_owned(),
            Reason::SourcesHeld => "every address of the pool is held or disabled by the operator".to_owned(),
            Reason::Held(why) => format!("the path is suspended: {why}"),
            Reason::Limit(what) => format!("a limit of the site is reached: {what}"),
        }
    }
}

/// `until` as a wall time, given the same moment on both clocks.
pub fn wall_time(until: mail::Instant, instant: mail::Instant, timestamp: Timestamp) -> Timestamp {
    match until.as_micros().checked_sub(instant.as_micros()) {
        Some(ahead) => timestamp.saturating_add(Duration::from_micros(ahead)),
        None => timestamp,
    }
}
