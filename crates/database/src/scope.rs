//! How an `Access` becomes the scope of a transaction. Every statement of this crate runs in one of these.
//!
//! A transaction steps down to the runtime role and says whose rows it may see, both only until it ends (`SET
//! LOCAL`), so neither a pool nor a proxy in between can carry a scope over to somebody else. A tenant's scope is
//! enforced by row level security and once more by the WHERE of each statement: the first for safety, the second for
//! the index. An access that does not reach a tenant gets NotFound, as if the tenant did not exist.

use crate::connect::{Database, within};
use crate::error::Fault;
use crate::kept::Keeping;
use crate::migrate::RUNTIME_ROLE;
use crate::page::{List, Page, PageRequest, id_cursor};
use crate::places::Pooled;
use deadpool_postgres::Transaction;
use mail::TenantId;
use registry::{Access, Right};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{IsolationLevel, Row, Statement};
use uuid::Uuid;

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
    pub(crate) keeping: Option<Keeping>,
    /// When PostgreSQL was last told how long a statement may take.
    limited_at: Mutex<Instant>,
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
/// A limit that is older than this lets a statement outlast us.
const LIMIT_AGE_MAX: Duration = Duration::from_millis(100);

impl Patience {
    /// The limit of a statement that begins now, where it is not that of the connection. PostgreSQL counts anew for each
    /// statement, and before version 17 it knows no limit of a transaction.
    fn of_postgresql(self, now: Instant) -> Option<String> {
        let left = self.deadline?.saturating_duration_since(now).min(self.most).saturating_sub(EARLIER);
        // 0 would be no limit.
        Some(format!("set_config('statement_timeout', '{}', true)", left.as_millis().max(1)))
    }

    /// What has to be said before another statement, if the limit that was set at `limited_at` leaves it too much.
    fn again(self, limited_at: Instant, now: Instant) -> Option<String> {
        if now.saturating_duration_since(limited_at) <= LIMIT_AGE_MAX {
            return None;
        }
        Some(format!("SELECT {}", self.of_postgresql(now)?))
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
        let now = Instant::now();
        let statement = format!(
            "SET LOCAL ROLE {RUNTIME_ROLE};
             SELECT {}{}",
            scope_of(&access),
            patience.of_postgresql(now).map_or_else(String::new, |limit| format!(", {limit}"))
        );
        let limited_at = Mutex::new(now);
        bounded(patience, trying, transaction.batch_execute(&statement)).await?;
        let keeping = self.keeping.clone();
        Ok(Scoped { transaction, access, trying, patience, keeping, limited_at })
    }
}

impl Scoped<'_> {
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        let statement = self.prepared(sql).await?;
        self.bounded(self.transaction.query(&statement, parameters)).await
    }

    pub(crate) async fn optional(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Fault> {
        let statement = self.prepared(sql).await?;
        self.bounded(self.transaction.query_opt(&statement, parameters)).await
    }

    /// A page of the tenant's rows of `table`, newest first.
    pub(crate) async fn newest<T>(
        &self,
        (list, table): (List, &'static str),
        tenant: TenantId,
        page: &PageRequest,
        from: impl Fn(&Row) -> Result<T, Fault>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<Page<T>, Fault> {
        let sql = format!("SELECT * FROM {table} WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let rows = self.rows(&sql, &[&tenant.uuid(), &page.before_id(list)?, &page.fetch()]).await?;
        page.finish(rows, from, |row| id_cursor(list, id(row)))
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
        let statement = self.prepared(sql).await?;
        self.bounded(self.transaction.execute(&statement, parameters)).await
    }

    /// Settings for this transaction alone: statements without parameters and rows.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.limit().await?;
        self.bounded(self.transaction.batch_execute(sql)).await
    }

    /// The rest of the transaction sees what `access` may see.
    pub(crate) async fn go_on_as(&self, access: &Access) -> Result<(), Fault> {
        self.batch(&format!("SELECT {}", scope_of(access))).await
    }

    pub(crate) async fn commit(self) -> Result<(), Fault> {
        bounded(self.patience, self.trying, self.transaction.commit()).await
    }

    /// A statement that has what is left of the caller's time.
    async fn prepared(&self, sql: &str) -> Result<Statement, Fault> {
        let statement = self.bounded(self.transaction.prepare_cached(sql)).await?;
        self.limit().await?;
        Ok(statement)
    }

    /// Costs a round trip, and only where the statements before took long.
    async fn limit(&self) -> Result<(), Fault> {
        let now = Instant::now();
        let limited_at = *self.limited_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sql) = self.patience.again(limited_at, now) else { return Ok(()) };
        self.bounded(self.transaction.batch_execute(&sql)).await?;
        *self.limited_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        let outcome = bounded(self.patience, self.trying, work).await;
        if outcome.as_ref().is_err_and(Fault::is_of_old_plan) {
            // The next transaction of this connection prepares its statements anew.
            self.transaction.statement_cache.clear();
        }
        outcome
    }
}

/// Whose rows the statements that follow see.
fn scope_of(access: &Access) -> String {
    // A UUID has no character that could end the literal.
    let (scope, tenant) = match access.tenant() {
        None => ("house", String::new()),
        Some(tenant) => ("tenant", tenant.uuid().to_string()),
    };
    format!(
        "set_config('posthouse.scope', '{scope}', true), set_config('posthouse.tenant', '{tenant}', true)"
    )
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_what_is_left_and_fast_ones_cost_no_round_trip() {
        let (began, most) = (Instant::now(), Duration::from_secs(11));
        let after = |millis| began + Duration::from_millis(millis);
        let patience = Patience { most, deadline: Some(after(4_000)) };
        assert!(patience.of_postgresql(began).unwrap().contains("'3800'"));
        assert_eq!(patience.again(began, after(100)), None);
        let limit = patience.again(began, after(2_000)).unwrap();
        assert_eq!(limit, "SELECT set_config('statement_timeout', '1800', true)");
        assert!(patience.again(began, after(9_000)).unwrap().contains("'1'"), "0 would be no limit");
        let own = Patience { most, deadline: None };
        assert_eq!(own.again(began, after(9_000)), None, "our own work has the limit of the connection");
    }
}
