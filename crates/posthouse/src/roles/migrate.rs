//! `posthouse migrate`: brings the schema to this version. Safe to run on several nodes at once.

use crate::cli::Migrate;
use crate::config::Config;
use crate::exit::Failure;
use crate::printing::print_line;

pub fn run(options: &Migrate) -> anyhow::Result<()> {
    let mut config =
        Config::load(options.config.as_deref()).map_err(|error| Failure::Configuration(error.to_string()))?;
    if let Some(url) = &options.database {
        config.database.url.clone_from(url);
    }
    if config.database.url.is_empty() {
        return Err(Failure::Usage(
            "say which database: --database URL, or database.url in --config FILE".into(),
        )
        .into());
    }
    let _log = crate::telemetry::start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let applied = runtime.block_on(database::migrate(&config.database)).map_err(|error| {
        let error = anyhow::Error::from(error);
        Failure::Unavailable(format!("{error:#}"))
    })?;
    if options.json {
        print_line(format_args!("{}", serde_json::json!({"applied": applied})))?;
    } else {
        print_line(format_args!("{applied} migrations applied; the schema is up to date"))?;
    }
    Ok(())
}
