//! The answer of a change, kept in the same transaction: both are there after a crash, or neither.
//!
//! A call with an idempotency key hands in how its answer is made from what the change has made (`Keeping`). Whoever
//! repeats the call then finds that answer, secrets included, or does the change for the first time. A change whose key
//! somebody else has taken or finished meanwhile is taken back. What may surprise: the row of a key belongs to whoever calls,
//! also where the change is held to one tenant, so its scope is his own; and a change without a key costs nothing more.

use crate::connect::Database;
use crate::error::Fault;
use crate::idempotency::Holder;
use crate::scope::Scoped;
use crate::webhook::Replayed;
use crate::{ApiKeyRow, CredentialRow, DkimKeyRow, DomainRow, EndpointRow, Onboarded, PoolRow, UserRow};
use mail::EventId;
use registry::{Access, EgressSource, Stream, Tenant};
use std::sync::Arc;

/// What a change has made. The texts are the secrets that are shown this once.
#[derive(Clone, Copy)]
pub enum Made<'a> {
    /// A tenant with everything that sending needs.
    Onboarded(&'a Onboarded),
    /// A tenant, new or changed.
    Tenant(&'a Tenant),
    /// A stream, new or changed.
    Stream(&'a Stream),
    /// A domain, new or changed.
    Domain(&'a DomainRow),
    /// All keys of a domain after a rotation.
    DkimKeys(&'a [DkimKeyRow]),
    /// With its password.
    Credential(&'a CredentialRow, &'a str),
    /// With its text.
    ApiKey(&'a ApiKeyRow, &'a str),
    /// With its secret.
    Endpoint(&'a EndpointRow, &'a str),
    /// The test event of a webhook.
    Event(EventId),
    /// Calls of a webhook that are due again.
    Replayed(Replayed),
    /// A pool, new or changed.
    Pool(&'a PoolRow),
    /// A source, new or changed.
    Source(&'a EgressSource),
    /// A person, new or changed.
    User(&'a UserRow),
}

/// An answer as `Database::idempotency_finish` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What follows the header, in the clear: it is sealed before it is kept.
    pub body: Vec<u8>,
}

/// How the answer to a call is kept with what the call changes. For one change.
#[derive(Clone)]
pub struct Keeping {
    /// Whoever took the key.
    pub access: Access,
    /// The header field `Idempotency-Key`, of this caller.
    pub key: String,
    /// The taking that the call goes on with.
    pub holder: Holder,
    /// None: it cannot be sealed, and the change is not made.
    pub answer: Arc<dyn Fn(Made<'_>) -> Option<Answer> + Send + Sync>,
}

impl Database {
    /// The same tables; the next change keeps its answer. It errs besides with `TakenOver` if the idempotency
    /// key is not the caller's any more, and with `Sealing` if there is no answer to keep; nothing is changed
    /// then.
    pub fn keeping(&self, keeping: Keeping) -> Database {
        let mut database = self.clone();
        database.keeping = Some(keeping);
        database
    }
}

impl Scoped<'_> {
    /// The end of a change that made something. Without effect if the key is not the caller's any more.
    pub(crate) async fn commit_made(self, made: Made<'_>) -> Result<(), Fault> {
        if let Some(keeping) = self.keeping.clone() {
            let answer = (keeping.answer)(made).ok_or(Fault::Sealing { what: "keep an answer" })?;
            self.keep(&keeping, &answer).await?;
        }
        self.commit().await
    }

    async fn keep(&self, keeping: &Keeping, answer: &Answer) -> Result<(), Fault> {
        if keeping.access.tenant() != self.access.tenant() {
            self.go_on_as(&keeping.access).await?;
        }
        let Keeping { access, key, holder, .. } = keeping;
        let status = i16::try_from(answer.status).unwrap_or(500);
        let sql = "UPDATE idempotency_keys SET status = $4, body = $5
                   WHERE actor = $1 AND key = $2 AND holder = $3 AND status IS NULL";
        let kept =
            self.execute(sql, &[&access.actor().to_string(), key, &holder.0, &status, &answer.body]).await?;
        if kept == 0 {
            return Err(Fault::TakenOver);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeping({})", self.access.actor())
    }
}
