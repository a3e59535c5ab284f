//! What can go wrong between us and PostgreSQL, sorted by who must act.
//!
//! `Conflict`, `Missing`, `MissingEntry`, `InUse`, `Invalid`, `TakenOver` and `NotFound` are the caller's (4xx at the
//! API); `Unavailable` passes by itself (503); the rest is the operator's. Which constraint means which field of the API
//! is the table at the end. A fault never carries a value of a row: it may be logged.

use tokio_postgres::error::{DbError, SqlState};

#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each case says it")]
pub enum Fault {
    /// PostgreSQL is down, restarting, full or too slow. Try again later.
    #[error("PostgreSQL is not available: cannot {trying}{}", said(&**source))]
    Unavailable {
        trying: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not there, or not this access's: the two are one answer.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Another row has this value already.
    #[error("{field} is taken")]
    Conflict { field: &'static str },
    /// The value names something that does not exist.
    #[error("{field} names something that does not exist")]
    Missing { field: &'static str },
    /// As `Missing`, in an entry of a list: which one from 0, and its part.
    #[error("{field}/{index}/{part} names something that does not exist")]
    MissingEntry { field: &'static str, index: usize, part: &'static str },
    /// It is not any more what the caller has seen.
    #[error("{what} changed meanwhile")]
    Changed { what: &'static str },
    /// Another call has taken the idempotency key of this one over; nothing was changed.
    #[error("another call goes on with this idempotency key")]
    TakenOver,
    /// Something still refers to what should be deleted.
    #[error("{what} is still in use")]
    InUse { what: &'static str },
    /// The last of its kind, of which there has to be one.
    #[error("the {what} has to stay")]
    Last { what: &'static str },
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    /// The access reaches the thing but may not do this to it.
    #[error("this access may not do that")]
    Forbidden,
    #[error("the database needs {missing}")]
    Privilege { missing: String },
    /// Numbers of migrations, from 1; `found` is 0 if there was none.
    #[error("the schema is at version {found}, this program needs {needed}; run `posthouse migrate`")]
    NotMigrated { found: i64, needed: i64 },
    #[error("cannot migrate the schema")]
    Migration(#[source] Box<refinery::Error>),
    #[error("cannot {trying}: the stored {what} cannot be read")]
    Corrupt { trying: &'static str, what: &'static str },
    #[error("cannot {what}")]
    Sealing { what: &'static str },
    #[error("configuration of the database: {0}")]
    Config(String),
    /// What is between us and PostgreSQL gives the session of one to another, and keeps our settings from it.
    #[error(
        "the settings of our connections do not reach PostgreSQL: a pooler such as PgBouncer is in between; \
         database.url must name PostgreSQL itself"
    )]
    Pooler,
    /// A statement PostgreSQL does not accept: our mistake.
    #[error("cannot {trying}")]
    Statement {
        trying: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
}

/// The server's own words, which tell a failover from a full disk. Of what passes they name no row.
fn said(source: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let error = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error);
    error.map_or_else(String::new, |error| format!(" ({})", error.message()))
}

impl Fault {
    /// Sorts what PostgreSQL said.
    pub(crate) fn from_postgres(trying: &'static str, error: tokio_postgres::Error) -> Fault {
        let Some(db) = error.as_db_error() else {
            return Fault::Unavailable { trying, source: Box::new(error) };
        };
        let constraint = db.constraint().unwrap_or_default();
        match db.code() {
            code if *code == SqlState::UNIQUE_VIOLATION => Fault::Conflict { field: field_of(constraint) },
            code if *code == SqlState::FOREIGN_KEY_VIOLATION && constraint.ends_with("tenant_id_fkey") => {
                Fault::NotFound("tenant")
            }
            code if *code == SqlState::FOREIGN_KEY_VIOLATION => {
                Fault::Missing { field: field_of(constraint) }
            }
            code if *code == SqlState::CHECK_VIOLATION => {
                Fault::Invalid { field: field_of(constraint), reason: "the value is not allowed".to_owned() }
            }
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => Fault::Forbidden,
            _ if is_of_pooler(db) => Fault::Pooler,
            code if is_passing(code) || is_of_old_plan(db) => {
                Fault::Unavailable { trying, source: Box::new(error) }
            }
            _ => Fault::Statement { trying, source: error },
        }
    }

    /// Of somebody who sets up the database: what is missing, in place of a right that an access lacks.
    pub(crate) fn or_privilege(self, missing: impl FnOnce() -> String) -> Fault {
        if matches!(self, Fault::Forbidden) { Fault::Privilege { missing: missing() } } else { self }
    }

    /// Whoever is not let in comes again, whatever PostgreSQL said; a pooler will never let us in.
    pub(crate) fn from_connecting(error: tokio_postgres::Error) -> Fault {
        if error.as_db_error().is_some_and(is_of_pooler) {
            return Fault::Pooler;
        }
        Fault::Unavailable { trying: "connect", source: Box::new(error) }
    }

    /// For a delete a violated reference means that somebody still points at the row.
    pub(crate) fn in_use(self, what: &'static str) -> Fault {
        match self {
            Fault::Missing { .. } => Fault::InUse { what },
            other => other,
        }
    }

    /// Whether a statement ran into its time limit: the same work in smaller parts may not.
    pub fn is_too_slow(&self) -> bool {
        let Fault::Unavailable { source, .. } = self else { return false };
        let error = source.downcast_ref::<tokio_postgres::Error>();
        error.and_then(tokio_postgres::Error::code) == Some(&SqlState::QUERY_CANCELED)
    }

    /// Whether a statement was prepared before its tables were changed.
    pub(crate) fn is_of_old_plan(&self) -> bool {
        let Fault::Unavailable { source, .. } = self else { return false };
        let error = source.downcast_ref::<tokio_postgres::Error>();
        error.and_then(tokio_postgres::Error::as_db_error).is_some_and(is_of_old_plan)
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Fault::Unavailable { .. })
    }
}

/// PgBouncer says so of what our connections ask for; PostgreSQL itself knows it.
fn is_of_pooler(error: &DbError) -> bool {
    *error.code() == SqlState::PROTOCOL_VIOLATION && error.message().contains("startup parameter")
}

/// A migration has changed a table under a statement that was prepared before. Prepared anew it is good.
fn is_of_old_plan(error: &DbError) -> bool {
    *error.code() == SqlState::FEATURE_NOT_SUPPORTED && error.message().contains("cached plan")
}

/// Connection trouble (08), lost races (40), resources (53), timeouts and shutdown (57), a disk that fails (58); a server that
/// may only be read, as one is after a failover or when its disk is full; a lock that was not to be had.
fn is_passing(code: &SqlState) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.code().starts_with(class))
        || [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}

fn field_of(constraint: &str) -> &'static str {
    match constraint {
        "tenants_pkey" => "id",
        "sources_name" | "pools_name" | "streams_name" | "domains_name" => "name",
        "domains_owner" => "domain",
        "sources_address" => "address",
        "pool_members_source" => "members",
        "streams_pool" => "pool",
        "streams_overflow_pool" => "overflow_pool",
        "dkim_keys_selector" => "selector",
        "credentials_username" => "username",
        "credentials_stream" | "api_keys_stream" => "stream",
        "users_email" => "email",
        _ => "value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_the_statement_is_to_blame_for() {
        for code in ["08006", "40001", "53300", "57P01", "58030", "25006", "55P03"] {
            assert!(is_passing(&SqlState::from_code(code)), "{code}");
        }
        for code in ["22003", "23505", "42501", "42601", "25P02", "55000"] {
            assert!(!is_passing(&SqlState::from_code(code)), "{code}");
        }
    }
}
