//! Looks at everything a node needs on this host, before a node is started or while one runs, and says what to do.
//!
//! Nothing is changed; a file of a few pages is written into the data directory to time its disk, and removed. Each file
//! here looks at one side: `host.rs`, `data.rs`, `certificate.rs`, `network.rs`. Sentences are for people; the names of
//! checks and the states are for programs. Called by `roles/doctor.rs`.

mod certificate;
mod data;
pub mod finding;
mod host;
mod network;

use crate::clock::SystemClock;
use crate::config::{Config, Mistakes};
use crate::sections::spool_directory;
use finding::{Finding, Trouble};
use mail::Clock;
use network::Running;
use std::sync::Arc;

/// A configuration that cannot be used: nothing else can be looked at.
pub fn mistaken(mistakes: &Mistakes) -> Vec<Finding> {
    let wrong = |text: &String| {
        let advice = "`posthouse check-config FILE` shows every mistake; config/posthouse.toml every key";
        Finding::error(Trouble::Configuration, "configuration", text.clone(), advice)
    };
    mistakes.0.iter().map(wrong).collect()
}

/// Everything, in the order in which one would set it up.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let clock = Arc::new(SystemClock::new());
    let now = clock.timestamp();
    let running = Running::on(&config.node.data);
    let mut findings = vec![Finding::ok("configuration", "can be used")];
    findings.extend(host::check(now));
    let master = config.master_key();
    let places = (&*config.node.data, &*spool_directory(config));
    findings.extend(data::check(places, &master, config.spool.reserve_octets, &*clock));
    findings.push(certificate::check(&config.tls.chain, &config.tls.key, &config.node.hostname, now).await);
    findings.extend(network::ports(config, running));
    findings.push(network::names(config).await);
    findings.extend(network::postgresql(config, clock).await);
    findings.push(network::node(config, running).await);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_of_the_configuration_is_a_finding() {
        let findings = mistaken(&Mistakes(vec!["a:1: one".to_owned(), "a:2: two".to_owned()]));
        assert_eq!(
            findings.iter().map(|finding| &*finding.found).collect::<Vec<_>>(),
            ["a:1: one", "a:2: two"]
        );
        assert!(findings.iter().all(|finding| finding.trouble == Trouble::Configuration));
    }
}
