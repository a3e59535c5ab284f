//! How an `Access` becomes the scope of a transaction. Every statement of this crate runs in one of these.
//!
//! A transaction steps down to the runtime role and says whose rows it may see, both only until it ends (`SET
//! LOCAL`), so neither a pool nor a proxy in between can carry a scope over to somebody else. A tenant's scope is
//! enforced by row level security and once more by the WHERE of each statement: the first for safety, the second for
//! the index. An access that does not reach a tenant gets NotFound, as if the tenant did not exist.

use crate::connect::{Database, within};
use crate::error::Fault;
use crate::migrate::RUNTIME_ROLE;
use crate::places::Pooled;
use deadpool_postgres::Transaction;
use mail::TenantId;
use registry::{Access, Right};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{IsolationLevel, Row};

pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Whose rows the follower reads: these tenants', or everybody's.
pub(crate) type Whose<'a> = Option<&'a [uuid::Uuid]>;

/// What a transaction is for; decides the right that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// `Right::Read`, read only, one snapshot for all statements.
    Read,
    /// `Right::Manage`, and an entry in the audit (`audit.rs`).
    Change,
    /// Bookkeeping of ours on behalf of the access: no right of its own, no audit.
    Note,
}

/// A transaction within its scope.
pub(crate) struct Scoped<'a> {
    transaction: Transaction<'a>,
    pub(crate) access: Access,
    trying: &'static str,
    patience: Patience,
}

/// How long answers are waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// One of them.
    most: Duration,
    /// All of them.
    deadline: Option<Instant>,
}

/// PostgreSQL gives up a little before we do: its error says more, and its connection can be used again.
const EARLIER: Duration = Duration::from_millis(200);

impl Patience {
    /// The limit of a statement, where it is not that of the connection.
    fn of_postgresql(self) -> String {
        let Some(_) = self.deadline else { return String::new() };
        let left = within(self.most, self.deadline).saturating_sub(EARLIER);
        // 0 would be no limit.
        format!(", set_config('statement_timeout', '{}', true)", left.as_millis().max(1))
    }
}

impl Database {
    /// Opens a transaction for `access`, held to `tenant` if one is named. `trying` is what a fault will say.
    pub(crate) async fn scope<'c>(
        &self,
        client: &'c mut Pooled,
        access: &Access,
        tenant: Option<TenantId>,
        intent: Intent,
        trying: &'static str,
    ) -> Result<Scoped<'c>, Fault> {
        let access = match tenant {
            None => access.clone(),
            Some(tenant) => access.within(tenant).ok_or(Fault::NotFound("tenant"))?,
        };
        let allowed = match intent {
            Intent::Read => access.may(Right::Read),
            Intent::Change => access.may(Right::Manage),
            Intent::Note => true,
        };
        if !allowed {
            return Err(Fault::Forbidden);
        }
        let patience = Patience { most: self.patience(), deadline: client.deadline };
        let builder = client.build_transaction();
        let builder = match intent {
            Intent::Read => builder.read_only(true).isolation_level(IsolationLevel::RepeatableRead),
            Intent::Change | Intent::Note => builder,
        };
        let transaction = bounded(patience, trying, builder.start()).await?;
        // A UUID has no character that could end the literal.
        let (scope, tenant) = match access.tenant() {
            None => ("house", String::new()),
            Some(tenant) => ("tenant", tenant.uuid().to_string()),
        };
        let statement = format!(
            "SET LOCAL ROLE {RUNTIME_ROLE};
             SELECT set_config('posthouse.scope', '{scope}', true), set_config('posthouse.tenant', '{tenant}', true)
             {}",
            patience.of_postgresql()
        );
        bounded(patience, trying, transaction.batch_execute(&statement)).await?;
        Ok(Scoped { transaction, access, trying, patience })
    }
}

impl Scoped<'_> {
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        let statement = self.bounded(self.transaction.prepare_cached(sql)).await?;
        self.bounded(self.transaction.query(&statement, parameters)).await
    }

    pub(crate) async fn optional(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Fault> {
        let statement = self.bounded(self.transaction.prepare_cached(sql)).await?;
        self.bounded(self.transaction.query_opt(&statement, parameters)).await
    }

    /// Exactly one row; none means that `what` does not exist within the scope.
    pub(crate) async fn one(
        &self,
        what: &'static str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Row, Fault> {
        self.optional(sql, parameters).await?.ok_or(Fault::NotFound(what))
    }

    pub(crate) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Fault> {
        let statement = self.bounded(self.transaction.prepare_cached(sql)).await?;
        self.bounded(self.transaction.execute(&statement, parameters)).await
    }

    /// Settings for this transaction alone: statements without parameters and rows.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.bounded(self.transaction.batch_execute(sql)).await
    }

    pub(crate) async fn commit(self) -> Result<(), Fault> {
        bounded(self.patience, self.trying, self.transaction.commit()).await
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        bounded(self.patience, self.trying, work).await
    }
}

/// PostgreSQL's own limit of a statement is no help when PostgreSQL itself stands still or the network swallows it.
async fn bounded<T>(
    patience: Patience,
    trying: &'static str,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(within(patience.most, patience.deadline), work).await {
        Ok(outcome) => outcome.map_err(|error| Fault::from_postgres(trying, error)),
        Err(elapsed) => Err(Fault::Unavailable { trying, source: Box::new(elapsed) }),
    }
}

/// A column of a row, as the type it is stored as.
pub(crate) fn column<'r, T: FromSql<'r>>(row: &'r Row, name: &'static str) -> Result<T, Fault> {
    row.try_get(name).map_err(|_| corrupt(name))
}

/// A column that is text in the table and a type of ours here.
pub(crate) fn parsed<T>(
    row: &Row,
    name: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    parse(column(row, name)?).ok_or_else(|| corrupt(name))
}

pub(crate) fn corrupt(what: &'static str) -> Fault {
    Fault::Corrupt { trying: "read a row", what }
}
