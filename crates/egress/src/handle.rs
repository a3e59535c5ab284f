//! What others may ask a running egress: views, cancelling, holds. Questions go through a bounded channel.

use crate::error::Fault;
use mail::{EgressPath, MessageId, TenantId};
use queue::control::{QueueTotals, QueueView, WaitingView};
use shaping::{Hold, PathView};
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait.
pub(crate) const REQUESTS_MAX: usize = 64;

/// Cheap to clone.
///
/// # Errors
/// Every call: `Stopped` once egress has ended; if it ends while the call waits, nobody knows whether it was
/// done.
#[derive(Clone)]
pub struct EgressHandle {
    pub(crate) requests: mpsc::Sender<Request>,
}

pub(crate) enum Request {
    Why(MessageId, oneshot::Sender<Option<Vec<WaitingView>>>),
    Queues(usize, oneshot::Sender<Vec<QueueView>>),
    Totals(oneshot::Sender<QueueTotals>),
    Paths(oneshot::Sender<Vec<PathView>>),
    Holds(TenantId, oneshot::Sender<bool>),
    Cancel(MessageId, oneshot::Sender<Result<usize, Fault>>),
    Hold(EgressPath, Hold, oneshot::Sender<()>),
    Resume(EgressPath, oneshot::Sender<()>),
}

impl EgressHandle {
    /// Where every open recipient of a message stands, each with the one reason; none if nothing is open.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn why(&self, message: MessageId) -> Result<Option<Vec<WaitingView>>, Fault> {
        self.ask(|answer| Request::Why(message, answer)).await
    }

    /// What is ready by tenant, pool and site, at most `limit` rows, the fullest first.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn queues(&self, limit: usize) -> Result<Vec<QueueView>, Fault> {
        self.ask(|answer| Request::Queues(limit, answer)).await
    }

    /// Counts over all lanes.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn totals(&self) -> Result<QueueTotals, Fault> {
        self.ask(Request::Totals).await
    }

    /// Every path that is remembered.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn paths(&self) -> Result<Vec<PathView>, Fault> {
        self.ask(Request::Paths).await
    }

    /// Whether anything of a tenant waits here or is being sent.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn holds(&self, tenant: TenantId) -> Result<bool, Fault> {
        self.ask(|answer| Request::Holds(tenant, answer)).await
    }

    /// Takes a message back. Says how many recipients this call took back, as far as it is known: a message that the
    /// journal has not given yet is settled when it comes. One that is being sent is not counted and may still arrive.
    ///
    /// # Errors
    /// `CancelsFull` if the message has still to come and too many others that were taken back have, too: ask
    /// again later; else as [every call](EgressHandle#errors).
    pub async fn cancel(&self, message: MessageId) -> Result<usize, Fault> {
        self.ask(|answer| Request::Cancel(message, answer)).await?
    }

    /// Suspends a path.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn hold(&self, path: EgressPath, hold: Hold) -> Result<(), Fault> {
        self.ask(|answer| Request::Hold(path, hold, answer)).await
    }

    /// Ends a hold, and probes a dead path at once.
    ///
    /// # Errors
    /// As [every call](EgressHandle#errors).
    pub async fn resume(&self, path: EgressPath) -> Result<(), Fault> {
        self.ask(|answer| Request::Resume(path, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| Fault::Stopped)?;
        answered.await.map_err(|_| Fault::Stopped)
    }
}
