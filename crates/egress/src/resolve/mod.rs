//! Where the mail of a domain goes: its mail exchangers with their addresses, or why there are none.
//!
//! `Resolver` is a port: DNS in the binary (`dns.rs`), a table in tests (`table.rs`). What the answers mean, which is
//! RFC 5321 §5.1 and RFC 7505, is decided in `mx.rs` without any of them. Only a definite answer may end a message;
//! everything else is temporary and the mail waits.

mod dns;
mod mx;
mod table;

pub use dns::DnsResolver;
pub use mx::{Plan, Record, plan, site_name};
pub use table::TableResolver;

use mail::{Domain, SiteName};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// A host that takes mail for the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// In lower case, without a dot at its end.
    pub host: String,
    /// Lower is tried first.
    pub preference: u16,
    /// IPv4 and IPv6, in the order in which they are tried.
    pub addresses: Vec<IpAddr>,
}

/// Where to go: at least one exchanger with an address, the preferred ones first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The same for every domain with the same set of exchangers.
    pub site: SiteName,
    /// Best first, at least one.
    pub exchangers: Vec<Exchanger>,
    /// How long the records are good for.
    pub lifetime: Duration,
}

/// Why there is nowhere to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The DNS says so: permanent.
    NoSuchDomain,
    /// The domain says that it takes no mail (RFC 7505).
    NullMx,
    /// No exchanger has an address.
    NoAddress,
    /// The best exchanger is ourselves (RFC 5321 §5.1).
    Loop,
    /// No definite answer; ask again later. The words are for people.
    Temporary(String),
}

/// `Box`ed so that the two implementations can stand behind one pointer.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Route, Unresolved>> + Send + 'a>>;

/// From a domain to where its mail goes (RFC 5321 §5). The second implementation is a table, for tests.
pub trait Resolver: Send + Sync {
    /// Asks where the mail of a domain goes; gives up within `resolve_seconds_max`.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NullMx`, `NoAddress` and `Loop` are definite, and the mail fails; `Temporary` is
    /// everything else, such as no answer in time, and the mail waits.
    fn resolve<'a>(&'a self, domain: &'a Domain) -> Resolving<'a>;
}
