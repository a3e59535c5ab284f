//! The database itself, for a server that is ours alone: `posthouse up` makes it at the first start.
//!
//! Asks through the maintenance database `postgres`. An operator's server has its database made by the operator, and
//! a role that may not connect to `postgres` there is no mistake, so an existing database is looked for first.

use crate::config::Config;
use crate::connect::Target;
use crate::error::Fault;
use tokio_postgres::error::SqlState;

/// Makes the database that the URL names, unless it is there. Whether it was made.
///
/// # Errors
/// `Config` for a URL or a CA file that cannot be used; `Unavailable` if the server is not there; `Statement`
/// if it does not let the user in; `Privilege` if the user may not make a database; `Pooler` if something
/// stands in between.
pub async fn ensure_database(config: &Config) -> Result<bool, Fault> {
    let target = Target::new(config).await?;
    match target.open().await {
        Ok(_) => return Ok(false),
        Err(fault) if is_missing_database(&fault) => {}
        Err(fault) => return Err(fault),
    }
    let name = target.postgres.get_dbname().unwrap_or_default().to_owned();
    let mut maintenance = target.clone();
    maintenance.postgres.dbname("postgres");
    let single = maintenance.open().await?;
    let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
    match single.client.batch_execute(&statement).await {
        Ok(()) => Ok(true),
        // Another process was faster.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => Ok(false),
        Err(error) => Err(Fault::from_postgres("create the database", error).or_privilege(|| {
            format!(
                "the database {name}, and this user lacks CREATEDB to make it; as a superuser run: \
                 CREATE DATABASE {name} OWNER <user>"
            )
        })),
    }
}

fn is_missing_database(fault: &Fault) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(fault);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
            return error.code() == Some(&SqlState::INVALID_CATALOG_NAME);
        }
        cause = error.source();
    }
    false
}
