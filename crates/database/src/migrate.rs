//! The schema: brought up to date by its owner, checked by everybody else.
//!
//! The migrations are embedded; an advisory lock keeps two nodes that start together apart, because refinery takes
//! none. The owner is whoever the URL names; it must be able to make the role `posthouse_runtime` (or find it made)
//! and to step down to it. That role owns nothing, cannot log in, and is under row level security without exception.

use crate::config::Config;
use crate::connect::{Target, expect_direct};
use crate::error::Fault;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// The role that every transaction runs as.
pub const RUNTIME_ROLE: &str = "posthouse_runtime";
/// Key of the advisory lock: "posthous" as a number, so that it can be recognised in pg_locks.
const LOCK: i64 = 0x706f_7374_686f_7573;

/// Brings the schema up to date. Returns how many migrations were applied; each one is a transaction. Waits
/// while another process does the same.
///
/// # Errors
/// `Config` for a URL or a CA file that cannot be used; `Unavailable` if the server is not there; `Statement`
/// if it does not let the user in; `Pooler` if something stands in between; `Privilege` if the runtime role
/// is missing and cannot be made, sees too much, or does not have this user as a member and cannot be given
/// one; `Migration` if one fails: those before it stay.
pub async fn migrate(config: &Config) -> Result<usize, Fault> {
    let mut single = Target::new(config).await?.open().await?;
    let fault = |error| Fault::from_postgres("migrate the schema", error);
    // The lock belongs to a session.
    expect_direct(&single.client, config).await?;
    // A migration may take longer than a statement of ours should.
    single.client.batch_execute("SET statement_timeout = 0").await.map_err(fault)?;
    single.client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(fault)?;
    ensure_role(&single.client).await?;
    if is_newer(&versions(&single.client).await?) {
        // A program that was put back after its successor migrated starts all the same; refinery would refuse.
        return Ok(0);
    }
    let report = embedded::migrations::runner()
        .run_async(&mut single.client)
        .await
        .map_err(|error| Fault::Migration(Box::new(error)))?;
    single.client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.map_err(fault)?;
    Ok(report.applied_migrations().len())
}

/// A number that changes with any migration: names a template database that can be cloned.
pub fn schema_fingerprint() -> u64 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().fold(0, |sum: u64, migration| sum.rotate_left(7) ^ migration.checksum())
}

/// What was applied to this schema, by whichever program.
async fn versions(client: &Client) -> Result<Vec<i64>, Fault> {
    let fault = |error| Fault::from_postgres("check the schema", error);
    let exists = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL AS there", &[])
        .await
        .map_err(fault)?;
    if !exists.get::<_, bool>("there") {
        return Ok(Vec::new());
    }
    let rows = client.query("SELECT version::bigint AS version FROM refinery_schema_history", &[]).await;
    Ok(rows.map_err(fault)?.iter().map(|row| row.get("version")).collect())
}

/// All that this program has, in order.
fn known() -> Vec<i64> {
    let runner = embedded::migrations::runner();
    let mut known: Vec<i64> = runner.get_migrations().iter().map(|one| i64::from(one.version())).collect();
    known.sort_unstable();
    known
}

/// Whether a later program has been here, and nothing of ours is missing. A gap is refinery's to refuse.
fn is_newer(applied: &[i64]) -> bool {
    let known = known();
    applied.iter().max() > known.last() && known.iter().all(|version| applied.contains(version))
}

/// Refuses a schema that is too old and a runtime role that could see too much.
pub(crate) async fn check(client: &Client) -> Result<(), Fault> {
    let needed = known().last().copied().unwrap_or(0);
    let found = versions(client).await?.into_iter().max().unwrap_or(0);
    // A newer schema is fine: migrations keep the previous release running.
    if found < needed {
        return Err(Fault::NotMigrated { found, needed });
    }
    check_role(client).await
}

async fn check_role(client: &Client) -> Result<(), Fault> {
    let row = client
        .query_opt(
            "SELECT rolsuper OR rolbypassrls AS sees_all, pg_has_role(current_user, oid, 'MEMBER') AS member
             FROM pg_roles WHERE rolname = $1",
            &[&RUNTIME_ROLE],
        )
        .await
        .map_err(|error| Fault::from_postgres("check the runtime role", error))?;
    let missing = match row {
        None => format!("the role {RUNTIME_ROLE}; run `posthouse migrate`"),
        Some(row) if row.get::<_, bool>("sees_all") => {
            format!("{RUNTIME_ROLE} to be neither SUPERUSER nor BYPASSRLS: tenants would see each other")
        }
        Some(row) if !row.get::<_, bool>("member") => {
            format!("this user to be a member of {RUNTIME_ROLE}: GRANT {RUNTIME_ROLE} TO <user>")
        }
        Some(_) => return Ok(()),
    };
    Err(Fault::Privilege { missing })
}

/// Makes the role if it is missing and the user a member of it. Roles belong to the whole cluster, so another
/// database may do the same at the same time; losing that race is success.
async fn ensure_role(client: &Client) -> Result<(), Fault> {
    let fault = |error| Fault::from_postgres("make the runtime role", error);
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS there,
                    rolsuper OR rolcreaterole AS may_create
             FROM pg_roles WHERE rolname = current_user",
            &[&RUNTIME_ROLE],
        )
        .await
        .map_err(fault)?;
    let (there, may_create): (bool, bool) = (row.get("there"), row.get("may_create"));
    if !there && !may_create {
        return Err(Fault::Privilege {
            missing: format!(
                "the role {RUNTIME_ROLE}, and this user lacks CREATEROLE to make it; as a superuser run: \
                 CREATE ROLE {RUNTIME_ROLE} NOLOGIN; GRANT {RUNTIME_ROLE} TO <user>"
            ),
        });
    }
    if !there {
        client.batch_execute(CREATE_ROLE).await.map_err(fault)?;
    }
    let row = client
        .query_one(
            "SELECT pg_has_role(current_user, oid, 'MEMBER') AS member FROM pg_roles WHERE rolname = $1",
            &[&RUNTIME_ROLE],
        )
        .await
        .map_err(fault)?;
    if !row.get::<_, bool>("member") && may_create {
        // Since PostgreSQL 16 CREATEROLE gives away only what was given to it WITH ADMIN OPTION.
        let granted = client.batch_execute("GRANT posthouse_runtime TO CURRENT_USER").await;
        granted.map_err(|error| {
            fault(error).or_privilege(|| {
                format!("membership of {RUNTIME_ROLE}; as a superuser run: GRANT {RUNTIME_ROLE} TO <user>")
            })
        })?;
    }
    check_role(client).await
}

const CREATE_ROLE: &str = "DO $$ BEGIN
    CREATE ROLE posthouse_runtime NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$";
