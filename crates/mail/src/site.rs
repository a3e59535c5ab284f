//! Where mail goes and where it leaves from: sites, egress sources, and a path from one to the other.
//!
//! A site is the set of domains that share one set of MX hosts; limits are a property of the site, because that is
//! the machinery that gets annoyed. A path is source × site: the unit of windows, pace and holds.

use std::fmt;
use std::sync::Arc;

/// The canonical text of an MX set (or of a domain that is not resolved yet). Bounded by whoever makes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName(Arc<str>);

/// The operator's name of an address that we send from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(Arc<str>);

/// One source's way to one site: what windows, pace and holds are kept for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EgressPath {
    /// The address that mail leaves from.
    pub source: SourceName,
    /// The machinery that it goes to.
    pub site: SiteName,
}

impl SiteName {
    /// What the resolver has found the domains of a set of exchangers to share.
    pub fn new(text: impl Into<Arc<str>>) -> SiteName {
        SiteName(text.into())
    }

    /// As in logs, events and the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SourceName {
    /// A source by the name that an operator gave it.
    pub fn new(text: impl Into<Arc<str>>) -> SourceName {
        SourceName(text.into())
    }

    /// As in logs, events and the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EgressPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.source, self.site)
    }
}
