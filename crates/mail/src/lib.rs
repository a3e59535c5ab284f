//! The nouns of the house: addresses, envelopes, headers, signatures, replies, outcomes, events, ids, time.
//!
//! Everything else depends on this crate and it depends on nothing of ours. It holds values and the rules that
//! make them valid; it opens no socket and no file, reads no clock and draws no randomness that it was not given.
//! Start reading in `address.rs`.

pub mod address;
pub mod classify;
pub mod dkim;
pub mod envelope;
pub mod event;
pub mod ids;
pub mod message;
pub mod network;
pub mod outcome;
pub mod path;
pub mod random;
pub mod refusal;
pub mod rows;
pub mod site;
pub mod status;
pub mod succession;
pub mod time;
pub mod token;

pub use address::{AddressError, Domain, LocalPart, Mailbox};
pub use envelope::{BodyKind, DsnReturn, Envelope, Notify, Recipient};
pub use event::{Event, EventKind};
pub use ids::{
    ApiKeyId, AuditId, CredentialId, DkimKeyId, DomainId, EndpointId, EventId, FindingId, IdError, MessageId,
    PoolId, ReportId, RequestId, SessionId, SourceId, StreamId, TenantId, UserId,
};
pub use outcome::{Class, ClassKind, Outcome, Scope, Verdict, stage_named};
pub use path::{ForwardPath, ReversePath};
pub use random::Random;
pub use refusal::{Refusal, RefusalKind, echo};
pub use site::{EgressPath, SiteName, SourceName};
pub use status::{EnhancedStatus, Reply, ReplyCode};
pub use succession::Succession;
pub use time::{Clock, Instant, Timestamp};
