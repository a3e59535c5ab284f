//! All SQL of the house: the registry's tables, the projection of the journal, migrations, and the follower.
//!
//! PostgreSQL is never on the path of a message: the follower turns the tables into a `registry::Snapshot`, and what
//! became of the mail is written here afterwards. Every method takes an `Access`, which becomes a row-level-security
//! scope (`scope.rs`). Start reading in `tenant.rs`: every table is done like that one.

mod audit;
mod config;
mod connect;
mod error;
mod migrate;
mod page;
mod scope;
mod seal;
mod tenant;

pub use audit::{AuditEntry, AuditVerdict};
pub use config::Config;
pub use connect::Database;
pub use error::Fault;
pub use migrate::{RUNTIME_ROLE, migrate};
pub use page::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Page, PageRequest};
pub use seal::{Keys, SealingKeys};
pub use tenant::{TenantChange, TenantNew};
