//! Who may send what, as whom, from where: tenants and all that is theirs, the `Snapshot`, and admission.
//!
//! Plain values and decisions: no SQL, no socket, no clock, no randomness that was not handed in. `database` fills
//! these types from tables, `api` from JSON, and both doors ask `Snapshot::admit` before a message is taken.
//! Read `admission.rs` first: the registry check, one pure function.

mod access;
mod admission;
mod credential;
mod domain;
mod domain_records;
mod endpoint;
mod name;
mod nearest;
mod network;
mod pool;
mod ring;
#[cfg(feature = "testkit")]
pub mod sample;
mod secret;
mod share;
mod snapshot;
mod stream;
mod tally;
mod tenant;
mod throttle;
mod usage;
mod user;

pub use access::{Access, Actor, Reach, Right, Rights, Role};
pub use admission::{Admitted, Offer, Sender, SenderKey, Steering};
pub use credential::{ApiKey, Credential, CredentialRef, Limits, PreviousSecret};
pub use domain::{DomainKey, DomainState, KeyState, SendingDomain};
pub use domain_records::{
    DomainFacts, DomainRecord, ExpectedRecord, Found, PublishedKey, Purpose, RecordKind, RecordState,
    expected_records, judge, next_state,
};
pub use endpoint::{Endpoint, EndpointState};
pub use mail::dkim::KeyAlgorithm;
pub use name::{DisplayName, NameError, Slug};
pub use nearest::nearest;
pub use network::{Neighbour, Network};
pub use pool::{EgressPool, EgressSource, PlatformSigner, PoolMember, SourceState};
pub use ring::{Line, Ring, Turn};
pub use secret::{API_KEY_PREFIX, Macs, MintedSecret, SecretKey, parse_api_key};
pub use share::{Crowded, Party, Shares};
pub use snapshot::{Generation, Snapshot, SnapshotBuilder};
pub use stream::{Stream, StreamKind};
pub use tally::Tally;
pub use tenant::{Plan, Tenant, TenantStatus};
pub use throttle::{Guess, Setback, Throttle, ThrottleConfig};
pub use usage::{DayCount, Usage, Used};
pub use user::User;
