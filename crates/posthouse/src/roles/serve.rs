//! `posthouse serve`: one node in production. Nothing is made up here: what is missing is said.

use crate::cli::Serve;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::exit::Failure;
use crate::key_fit::KeyLoss;
use crate::node::{Node, NodeParts};
use crate::ready::Ready;
use crate::roles::up::os_random;
use crate::secrets::Secrets;
use crate::sections::spool_directory;
use crate::signals::{Hangup, Signals};
use crate::{clocks, cores, nofile, telemetry};
use mail::Clock;
use std::sync::Arc;

const ROLES: &[&str] = &["ingress", "egress", "events", "api"];

pub fn run(options: &Serve) -> anyhow::Result<()> {
    let mut config = Config::load(Some(&options.config))
        .map_err(|error| Failure::Configuration(format!("the configuration cannot be used\n{error}")))?;
    let with_api = check_roles(&options.role)?;
    check_complete(&config)?;
    let clock = Arc::new(SystemClock::new());
    clocks::expect_set(clock.timestamp())?;
    let _log = telemetry::start_logging(&config.log)?;
    nofile::raise();
    if !config.node.core_files {
        cores::forbid();
    }
    let metrics = telemetry::start_metrics()?;
    let data = DataDirectory::open(&config.node.data)?;
    config.node.data = data.path().to_path_buf();
    options.ready_file.as_deref().map_or(Ok(()), Ready::make_room)?;
    data.private("keys")?;
    let mut random = os_random()?;
    let secrets = Secrets::load_or_create(&config.master_key(), &mut random)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new(Hangup::GoesOn)?;
        let (chain, key) = (config.tls.chain.clone(), config.tls.key.clone());
        let spool = spool_directory(&config);
        let key_loss = KeyLoss::of(options.master_key_lost);
        let parts = NodeParts { config, secrets, clock, random, metrics, chain, key, with_api, key_loss };
        let Some(node) = signals.unless_asked(Node::start(parts)).await.transpose()? else { return Ok(()) };
        if let Some(file) = &options.ready_file {
            Ready::of(&node, spool).write(file)?;
        }
        tracing::info!("ready");
        let ended = node.until_the_end(&mut signals).await;
        let stopped = node.stop().await;
        ended.and(stopped)
    })
}

/// Whether the API is among the roles.
fn check_roles(roles: &[String]) -> anyhow::Result<bool> {
    for role in roles {
        if !ROLES.contains(&role.as_str()) {
            return Err(Failure::Usage(format!(
                "there is no role {role}; the roles are {}",
                ROLES.join(", ")
            ))
            .into());
        }
    }
    if ROLES[..3].iter().any(|needed| !roles.iter().any(|role| role == needed)) {
        return Err(Failure::Usage(
            "ingress, egress and events share the journal on this node's disk and run together; only api can be left \
             out"
            .to_owned(),
        )
        .into());
    }
    Ok(roles.iter().any(|role| role == "api"))
}

fn check_complete(config: &Config) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if config.database.url.is_empty() {
        missing
            .push("database.url is empty: `serve` uses an external PostgreSQL (`posthouse up` runs its own)");
    }
    if config.tls.chain.as_os_str().is_empty() || config.tls.key.as_os_str().is_empty() {
        missing.push("tls.chain and tls.key are empty: name the PEM files of this host's certificate");
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::Configuration(missing.join("\n")).into()) }
}
