//! What a site allows, as numbers: the limits of a provider profile, or the defaults of this node.
//!
//! Text such as `100/min` was parsed where the profile was loaded; here are only values that make sense. A missing
//! rate means no rate; connections are always limited.

use crate::pace::Rate;
use std::time::Duration;

/// How a window behaves; see `window.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRule {
    /// Connections to begin with.
    pub initial: u32,
    /// Connections at most.
    pub limit: u32,
    /// So many failures to reach the site in a row mean that the path is dead, however large the window is.
    pub failures_max: u32,
    /// How long a dead path is left alone the first time.
    pub pause_first: Duration,
    /// How long at most.
    pub pause_max: Duration,
}

/// A family of sites that counts connections together, such as all sites of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The caller's number of the family.
    pub number: u32,
    /// Connections of one source to all its sites.
    pub connections: u32,
}

/// Everything that bounds one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time: where it begins and where it ends.
    pub window: WindowRule,
    /// Connections from all sources together to the site.
    pub connections_per_site: Option<u32>,
    /// Connections of the source to all sites of the family.
    pub family: Option<Family>,
    /// New connections of the path.
    pub connection_rate: Option<Rate>,
    /// Messages of the path, tried ones included, because sites count those too.
    pub message_rate: Option<Rate>,
    /// Messages over one connection; then it is closed.
    pub messages_per_connection: u32,
}

impl Default for WindowRule {
    fn default() -> WindowRule {
        WindowRule {
            initial: 5,
            limit: 10,
            failures_max: 100,
            pause_first: Duration::from_secs(60),
            pause_max: Duration::from_secs(15 * 60),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window: WindowRule::default(),
            connections_per_site: None,
            family: None,
            connection_rate: Rate::new(100, Duration::from_secs(60)),
            message_rate: Rate::new(100, Duration::from_secs(1)),
            messages_per_connection: 100,
        }
    }
}
