//! The lab's DNS: authoritative for the whole world, because in the lab there is no other.
//!
//! `zones.rs` decides what the answer is and knows no wire format; `server.rs` moves the bytes. Providers and example
//! domains are built in (`provider/catalogue.rs`), tenants' records are published through the control. Every answer
//! lives one second, negative ones too, so that a record published now is seen now.

mod record;
mod server;
mod zones;

pub(crate) use record::host_name;
pub use record::{Data, Kind, Publication, PublicationError};
pub(crate) use server::DnsServer;
pub use zones::{Answer, Deception, Zones};
