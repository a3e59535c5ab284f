//! One file per resource. A handler has its path above it, what it needs in its signature, and one thing to do.

pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod credentials;
pub mod domains;
pub mod events;
pub mod messages;
pub mod meta;
pub mod paths;
pub mod plan;
pub mod pools;
pub mod quotas;
pub mod sources;
pub mod streams;
pub mod tenants;
pub mod users;
pub mod webhooks;
