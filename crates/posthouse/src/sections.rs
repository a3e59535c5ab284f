//! Sections of the configuration as the crates want them: what one key says for several is filled in here.

use crate::config::Config;
use crate::exit::Failure;
use ingress::Addresses;
use std::net::SocketAddr;
use std::path::PathBuf;

pub fn door_addresses(config: &Config) -> anyhow::Result<Addresses> {
    Ok(Addresses {
        submission: address("listen.submission", &config.listen.submission)?,
        submissions: address("listen.submissions", &config.listen.submissions)?,
        inbound: address("listen.inbound", &config.listen.inbound)?,
    })
}

/// Empty closes the door.
pub fn address(key: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse().map_err(|_| {
        Failure::Configuration(format!(
            "{key} = \"{text}\" is not an address and a port, such as 127.0.0.1:8025"
        ))
    })?;
    Ok(Some(address))
}

pub fn egress_config(config: &Config) -> egress::Config {
    let mut settings = config.egress.clone();
    settings.dns_servers.clone_from(&config.dns.servers);
    settings.own_names = vec![config.node.hostname.to_string(), config.node.return_path_host.to_string()];
    // What is no address was refused when the configuration was read.
    settings.own_door = config.listen.inbound.parse().ok();
    settings
}

/// Where the journal is.
pub fn spool_directory(config: &Config) -> PathBuf {
    match config.spool.directory.as_os_str().is_empty() {
        true => config.node.data.join("spool"),
        false => config.spool.directory.clone(),
    }
}

pub fn events_config(config: &Config) -> events::Config {
    let mut settings = config.events.clone();
    settings.dns_servers.clone_from(&config.dns.servers);
    settings
}

pub fn api_config(config: &Config) -> api::Config {
    let mut settings = config.api.clone();
    settings.dns_servers.clone_from(&config.dns.servers);
    settings.return_path_target.clone_from(&config.node.return_path_host);
    settings.webhook_allow_networks.clone_from(&config.events.webhook_allow_networks);
    settings.platform_domain = Some(config.node.platform_domain.clone());
    settings
}
