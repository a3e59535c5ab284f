//! What the API asks of the way out: what waits, how the paths stand, and to hold or resume one.
//!
//! Made by the binary out of the handle of egress; a node without delivery has `Delivery::none`. Each question is
//! answered by this node alone, for the mail in its journal. None means that there is no delivery here, or that it has
//! stopped.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use mail::{EgressPath, Timestamp};
use queue::control::{QueueTotals, QueueView};
use std::sync::Arc;

/// One egress path as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRow {
    /// Source and site.
    pub path: EgressPath,
    /// Connections that are open.
    pub open: u32,
    /// Connections that may be open.
    pub window: u32,
    /// What is left of the rule's rate after trouble.
    pub rate_percent: u32,
    /// Set while it is suspended.
    pub hold: Option<PathHold>,
    /// Set while the site cannot be reached.
    pub dead_until: Option<Timestamp>,
}

/// Why a path is suspended, and until when; without a time until somebody resumes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathHold {
    /// Why, in words for tenants and operators.
    pub reason: String,
    /// When it ends by itself; none: when somebody resumes it.
    pub until: Option<Timestamp>,
}

type Answer<T> = BoxFuture<'static, Option<T>>;

/// Totals, and the fullest queues.
pub type QueueRows = (QueueTotals, Vec<QueueView>);

/// The questions, one function each.
#[derive(Clone)]
pub struct Delivery {
    /// At most so many of the queues.
    pub queues: Arc<dyn Fn(usize) -> Answer<QueueRows> + Send + Sync>,
    /// Every path that is remembered.
    pub paths: Arc<dyn Fn() -> Answer<Vec<PathRow>> + Send + Sync>,
    /// Suspends a path.
    pub hold: Arc<dyn Fn(EgressPath, PathHold) -> Answer<()> + Send + Sync>,
    /// Ends that.
    pub resume: Arc<dyn Fn(EgressPath) -> Answer<()> + Send + Sync>,
}

impl Delivery {
    /// Of a node that delivers nothing: every answer is that nobody knows.
    pub fn none() -> Delivery {
        Delivery {
            queues: Arc::new(|_| async { None }.boxed()),
            paths: Arc::new(|| async { None }.boxed()),
            hold: Arc::new(|_, _| async { None }.boxed()),
            resume: Arc::new(|_| async { None }.boxed()),
        }
    }
}
