//! What a node may decide about its way out. What sites allow is in the provider profiles, what tenants may do is in
//! the registry; here are the limits of this process and the defaults for sites that nobody described.

use serde::{Deserialize, Serialize};
use shaping::{Family, Limits, Rate, WindowRule};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What delivery is told by the configuration file: the section `[egress]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Port of mail exchangers; anything but 25 is for tests and the lab.
    pub smtp_port: u16,
    /// Connect to loopback addresses and to nothing else. Set by `posthouse up --lab`: no mail leaves the machine.
    pub lab_loopback_only: bool,
    /// Networks that may be connected to although they are not public, such as an internal mail exchanger's.
    pub allow_networks: Vec<ipnet::IpNet>,
    /// DNS servers to ask; none: those of the system. Set by the binary from `[dns]`.
    #[serde(skip)]
    pub dns_servers: Vec<SocketAddr>,
    /// One domain's mail exchangers with all their addresses must be known within this time.
    pub resolve_seconds_max: u64,
    /// Look-ups at a time; one tenant has half of them at most.
    pub resolves_max: usize,
    /// Domains whose mail exchangers are remembered.
    pub domains_remembered_max: usize,
    /// Seconds that they are remembered at least, whatever their records say.
    pub route_seconds_min: u64,
    /// Seconds that they are remembered at most, whatever their records say.
    pub route_seconds_max: u64,
    /// How long a failed look-up is not repeated.
    pub resolve_failure_seconds: u64,
    /// Names of this house: mail exchangers with such a name are ourselves (RFC 5321 §5.1). Set by the binary.
    #[serde(skip)]
    pub own_names: Vec<String>,
    /// Where this house takes mail from others: an exchanger there is ourselves too. Set by the binary.
    #[serde(skip)]
    pub own_door: Option<SocketAddr>,
    /// To open one TCP connection (Postfix: 30 s).
    pub connect_seconds_max: u64,
    /// Addresses of a site that are tried in one attempt.
    pub addresses_per_attempt_max: usize,
    /// Connections of this process.
    pub connections_max: usize,
    /// Deliveries in flight of one tenant: no tenant's slow sites take all connections.
    pub deliveries_per_tenant_max: usize,
    /// Recipients that wait in memory; beyond that the journal is read no further.
    pub waiting_max: u64,
    /// Messages that may be taken back before the journal has given them, as after a start; one more is refused.
    pub cancels_remembered_max: usize,
    /// How long a connection is kept without work, unless the profile of the site says less or more.
    pub idle_seconds: u64,
    /// For sites without a profile of their own; see `SiteLimits`.
    pub limits: SiteLimits,
    /// Connections that a path begins with.
    pub window_initial: u32,
    /// How long a site that does not answer is left alone, at first and at most; up to 40 % longer, by chance, below that.
    pub dead_seconds_first: u64,
    /// The longest.
    pub dead_seconds_max: u64,
    /// Delays between attempts; the last one repeats until the mail expires.
    pub retry_seconds: Vec<u64>,
    /// How far chance moves each delay, either way, in per cent of it; below 100.
    pub retry_jitter_percent: u32,
    /// How long each command may take (RFC 5321 §4.5.3.2), unless the profile of the site says less or more.
    pub timeouts: smtp::Timeouts,
    /// Certificates that vouch for sites whose profile requires a verified TLS.
    pub tls_roots: PathBuf,
    /// How long a host whose TLS fails is spoken to in plain text, where policy allows that, unless the profile of the
    /// site says less or more.
    pub broken_tls_seconds: u64,
    /// How long open deliveries may go on at shutdown.
    pub drain_seconds_max: u64,
}

/// Limits of a site without a profile. An empty field leaves what the default profile says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteLimits {
    /// Connections of one source to the site.
    pub connections: Option<u32>,
    /// Transactions before a connection is closed by us.
    pub messages_per_connection: Option<u32>,
    /// New connections in a minute; 0 for no limit.
    pub connections_per_minute: Option<u32>,
    /// Messages in a second; 0 for no limit.
    pub messages_per_second: Option<u32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            smtp_port: 25,
            lab_loopback_only: false,
            allow_networks: Vec::new(),
            dns_servers: Vec::new(),
            resolve_seconds_max: 10,
            resolves_max: 200,
            domains_remembered_max: 100_000,
            route_seconds_min: 60,
            route_seconds_max: 3600,
            resolve_failure_seconds: 60,
            own_names: Vec::new(),
            own_door: None,
            connect_seconds_max: 30,
            addresses_per_attempt_max: 5,
            connections_max: 5_000,
            deliveries_per_tenant_max: 2_500,
            waiting_max: 20_000_000,
            cancels_remembered_max: 10_000,
            idle_seconds: 10,
            limits: SiteLimits::default(),
            window_initial: 5,
            dead_seconds_first: 60,
            dead_seconds_max: 900,
            retry_seconds: [1, 5, 15, 30, 60, 120, 240].map(|minutes| minutes * 60).to_vec(),
            retry_jitter_percent: 20,
            timeouts: smtp::Timeouts::default(),
            tls_roots: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            broken_tls_seconds: 3 * 86_400,
            drain_seconds_max: 8,
        }
    }
}

impl Config {
    /// Whether it can work, as far as single numbers tell.
    ///
    /// # Errors
    /// The first rule that is broken, as a sentence that names the keys: a port, limit of connections,
    /// deliveries, addresses, cancels, look-ups or what waits of 0, a time limit of 0, or retries that are no
    /// schedule (`queue::Schedule::new`).
    pub fn check(&self) -> Result<(), &'static str> {
        let times = &self.timeouts;
        let no_time = [
            times.greeting_seconds,
            times.hello_seconds,
            times.starttls_seconds,
            times.auth_seconds,
            times.mail_seconds,
            times.rcpt_seconds,
            times.data_seconds,
            times.block_seconds,
            times.body_seconds,
            times.hold_seconds,
            times.final_seconds,
            times.reset_seconds,
            times.quit_seconds,
        ]
        .contains(&0);
        let rules = [
            (self.smtp_port == 0, "egress.smtp_port must not be 0"),
            (
                self.schedule().is_none(),
                "egress.retry_seconds needs at least one step and none of 0; the jitter stays below 100",
            ),
            (
                self.connections_max == 0
                    || self.deliveries_per_tenant_max == 0
                    || self.addresses_per_attempt_max == 0
                    || self.cancels_remembered_max == 0,
                "egress limits of connections, deliveries, addresses and cancels must be at least 1",
            ),
            (self.waiting_max == 0, "egress.waiting_max must be at least 1: nothing would ever be sent"),
            (self.resolves_max == 0, "egress.resolves_max must be at least 1: no domain would be looked up"),
            (self.resolve_seconds_max == 0, "egress.resolve_seconds_max must be at least 1"),
            (self.connect_seconds_max == 0, "egress.connect_seconds_max must be at least 1"),
            (no_time, "egress.timeouts must be at least 1 second each: no site answers in 0"),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(is_broken, _)| *is_broken) {
            return Err(rule);
        }
        Ok(())
    }

    pub(crate) fn schedule(&self) -> Option<queue::Schedule> {
        let steps = self.retry_seconds.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        queue::Schedule::new(steps, self.retry_jitter_percent)
    }

    /// The time limits towards a site with this profile.
    pub(crate) fn site_timeouts(&self, of: &mail::classify::ProviderLimits) -> smtp::Timeouts {
        let mut timeouts = self.timeouts.clone();
        if let Some(time) = of.data_timeout {
            timeouts.data_seconds = time.as_secs();
        }
        if let Some(time) = of.data_dot_timeout {
            timeouts.final_seconds = time.as_secs();
        }
        timeouts
    }

    /// The limits of a path to a site with this profile. `family` is the number of its provider; none if it has no
    /// profile of its own.
    pub(crate) fn path_limits(&self, of: &mail::classify::ProviderLimits, family: Option<u32>) -> Limits {
        let own = if family.is_none() { self.limits.clone() } else { SiteLimits::default() };
        let rate = |set: Option<u32>, per: u64, profile: Option<mail::classify::Rate>| match set {
            Some(count) => Rate::new(count, Duration::from_secs(per)),
            None => profile.and_then(|rate| Rate::new(rate.count, rate.per)),
        };
        let per_site = own.connections.or(of.connections_per_site).unwrap_or(10);
        let together = of.connections.filter(|_| own.connections.is_none());
        let limit = together.map_or(per_site, |together| together.min(per_site)).max(1);
        let window = WindowRule {
            initial: self.window_initial.clamp(1, limit),
            limit,
            failures_max: of.connection_failures_before_delay.unwrap_or(u32::MAX).max(1),
            pause_first: Duration::from_secs(self.dead_seconds_first),
            pause_max: Duration::from_secs(self.dead_seconds_max.max(self.dead_seconds_first)),
        };
        Limits {
            window,
            // Profiles count per source; a limit over all sources has no published figure.
            connections_per_site: None,
            family: family.zip(together).map(|(number, connections)| Family { number, connections }),
            connection_rate: rate(own.connections_per_minute, 60, of.connection_rate),
            message_rate: rate(own.messages_per_second, 1, of.message_rate),
            messages_per_connection: own
                .messages_per_connection
                .or(of.messages_per_connection)
                .unwrap_or(100)
                .max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_would_spin_or_stand_still_is_refused() {
        assert_eq!(Config::default().check(), Ok(()));
        assert!(Config { retry_seconds: vec![], ..Config::default() }.check().is_err());
        assert!(Config { retry_seconds: vec![0], ..Config::default() }.check().is_err());
        assert!(Config { connections_max: 0, ..Config::default() }.check().is_err());
        let changes: [fn(&mut Config); 6] = [
            |config| config.waiting_max = 0,
            |config| config.resolves_max = 0,
            |config| config.resolve_seconds_max = 0,
            |config| config.connect_seconds_max = 0,
            |config| config.timeouts.rcpt_seconds = 0,
            |config| config.timeouts.reset_seconds = 0,
        ];
        for change in changes {
            let mut config = Config::default();
            change(&mut config);
            let said = config.check().unwrap_err();
            assert!(said.starts_with("egress.") && said.contains("at least 1"), "{said}");
        }
    }

    #[test]
    fn only_sites_without_a_profile_take_the_limits_of_the_node() {
        let limits =
            SiteLimits { connections: Some(50), messages_per_second: Some(0), ..SiteLimits::default() };
        let config = Config { limits, ..Config::default() };
        let profile = mail::classify::ProviderLimits { connections: Some(5), ..Default::default() };
        assert_eq!(config.path_limits(&profile, None).window.limit, 50);
        assert_eq!(config.path_limits(&profile, None).message_rate, None);
        let known = config.path_limits(&profile, Some(3));
        assert_eq!((known.window.limit, known.family), (5, Some(Family { number: 3, connections: 5 })));
    }
}
