//! All SQL of the house: the registry's tables, the projection of the journal, migrations, and the follower.
//!
//! PostgreSQL is never on the path of a message: the follower turns the tables into a `registry::Snapshot`, and what
//! became of the mail is written here afterwards. Every method takes an `Access`, which becomes a row-level-security
//! scope (`scope.rs`). Start reading in `tenant.rs`: every table is done like that one.

mod api_key;
mod audit;
mod config;
mod connect;
mod create;
mod credential;
mod dkim_key;
mod domain;
mod domain_due;
mod domain_state;
mod endpoint;
mod erase;
mod error;
mod event;
mod examine;
mod follower;
mod idempotency;
mod kept;
mod last_words;
mod left_out;
mod message;
mod message_search;
mod migrate;
mod narrow;
mod onboard;
mod page;
mod places;
mod pool;
mod projection;
mod projection_rows;
mod quota;
mod reseal;
mod scope;
mod seal;
mod session;
mod source;
mod stream;
mod tenant;
mod user;
mod webhook;

pub use api_key::{ApiKeyNew, ApiKeyRow};
pub use audit::{AuditEntry, AuditVerdict};
pub use config::Config;
pub use connect::Database;
pub use create::ensure_database;
pub use credential::{CredentialNew, CredentialRow};
pub use dkim_key::DkimKeyRow;
pub use domain::{DomainNew, DomainRow};
pub use endpoint::{ENDPOINT_URL_OCTETS_MAX, EndpointChange, EndpointNew, EndpointRow};
pub use error::Fault;
pub use event::EventRow;
pub use examine::{Clocks, Examination, examine};
pub use follower::{Follower, SnapshotHandle};
pub use idempotency::{Begun, Held, Holder, Taken};
pub use kept::{Answer, Keeping, Made};
pub use last_words::Tried;
pub use message::{AttemptRow, CounterRow, MessageRow, RecipientRow};
pub use message_search::MessageFilter;
pub use migrate::{RUNTIME_ROLE, migrate, schema_fingerprint};
pub use onboard::{Onboarded, Onboarding, OnboardingDefaults};
pub use page::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Page, PageRequest};
pub use pool::{PlatformRow, PoolChange, PoolNew, PoolRow};
pub use projection::{AttemptNew, Batch, MessageNew, RecipientState, SettlementNew};
pub use reseal::{Resealed, Retirement};
pub use seal::{Keys, MasterKey, SealingKeys};
pub use session::{Lifetimes, Refreshed, Session};
pub use source::{SourceChange, SourceNew};
pub use stream::{StreamChange, StreamNew};
pub use tenant::{TenantChange, TenantNew};
pub use user::{PASSWORD_CHARS_MIN, PASSWORD_OCTETS_MAX, UserNew, UserRow};
pub use webhook::{Replayed, WebhookDeliveryRow, WebhookDue, WebhookEnd, WebhookResult, WebhookWanted};
