//! The lab as a whole: what is shared, how it starts, how it is spoken to.
//!
//! `Lab::start` makes the certificates, fills the DNS, binds every address and only then returns. Everything it does
//! afterwards ends with the token that it was given. Read this first, then `provider/model.rs`.

use crate::arrivals::{Arrival, Arrivals};
use crate::config::LabConfig;
use crate::control;
use crate::dns::{Data, Deception, DnsServer, Publication, PublicationError, Zones};
use crate::error::{Fault, require_loopback};
use crate::hooks::Hooks;
use crate::listener::{self, Door};
use crate::provider::{
    Counters, DEAD_HOSTS, DEFAULT_PROVIDER, EXTRA_EXCHANGES, Host, Model, PROVIDERS, Provider, Spec,
};
use crate::returns::{self, Errand};
use crate::tls::Authority;
use mail::{Clock, Random};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The third octet of addresses on which nobody listens.
const DEAD_OCTET: u8 = 254;

/// The internet on loopback; `start` makes it run.
pub struct Lab;

/// What the lab needs from outside.
pub struct LabParts {
    /// For arrivals, greylisting and rates.
    pub clock: Arc<dyn Clock>,
    /// For delays, rates of bounces and certificates.
    pub random: Random,
}

/// A running lab.
pub struct LabHandle {
    /// HTTP.
    pub control: SocketAddr,
    /// Where names are answered, by UDP and TCP.
    pub dns: SocketAddr,
    /// The port of every provider.
    pub smtp_port: u16,
    /// The certificate of the authority that signed the providers' certificates, PEM.
    pub authority_pem: String,
    world: Arc<World>,
    tracker: TaskTracker,
}

/// Everything that sessions and control calls share.
pub(crate) struct World {
    pub config: LabConfig,
    pub clock: Arc<dyn Clock>,
    pub zones: Arc<Mutex<Zones>>,
    pub providers: Vec<Arc<Provider>>,
    pub arrivals: Mutex<Arrivals>,
    pub hooks: Mutex<Hooks>,
    pub dns_queries: Arc<AtomicU64>,
    pub returns_accepted: AtomicU64,
    pub returns_refused: AtomicU64,
    random: Mutex<Random>,
    serial: AtomicU64,
    inbound: Mutex<Option<SocketAddr>>,
    errands: mpsc::Sender<(mail::Instant, Errand)>,
}

impl Lab {
    /// Starts everything; on return every listener accepts.
    ///
    /// # Errors
    /// `NotLoopback` for a configured address that is not on loopback; `Bind` if one cannot be listened on;
    /// `NoCommonPort` if no port is free on all addresses of the providers; `Certificate` or `Tls` if
    /// certificates cannot be made or used.
    pub async fn start(
        config: LabConfig,
        parts: LabParts,
        shutdown: CancellationToken,
    ) -> Result<LabHandle, Fault> {
        require_loopback("the control", config.control)?;
        require_loopback("the DNS", config.dns)?;
        if let Some(inbound) = config.inbound {
            require_loopback("the inbound listener", inbound)?;
        }
        if config.provider_net[0] != 127 {
            let address = Ipv4Addr::new(config.provider_net[0], config.provider_net[1], 1, 1);
            return Err(Fault::NotLoopback { what: "a provider", address: address.into() });
        }
        let authority = Authority::new()?;
        let providers = make_providers(&config, &authority)?;
        let zones = Arc::new(Mutex::new(make_zones(&config, &providers)));
        let (errands, waiting) = mpsc::channel(config.returns_max.max(1));
        let tracker = TaskTracker::new();
        let dns_queries = Arc::new(AtomicU64::new(0));
        let dns_server = DnsServer::bind(config.dns, zones.clone(), dns_queries.clone()).await?;
        let control_fault = |source| Fault::Bind { what: "the control", address: config.control, source };
        let control_listener = TcpListener::bind(config.control).await.map_err(control_fault)?;
        let control = control_listener.local_addr().map_err(control_fault)?;
        let dns = dns_server.address().map_err(|source| Fault::Bind {
            what: "the DNS",
            address: config.dns,
            source,
        })?;
        let addresses: Vec<Ipv4Addr> =
            providers.iter().flat_map(|provider| &provider.hosts).map(|host| host.address).collect();
        let (smtp_port, listeners) = listener::bind(&addresses, config.smtp_port).await?;

        let world = Arc::new(World {
            clock: parts.clock,
            zones,
            providers,
            arrivals: Mutex::new(Arrivals::new(config.arrivals_max, config.raw_octets_max)),
            hooks: Mutex::new(Hooks::new(config.hooks_max, config.hook_calls_max)),
            dns_queries,
            returns_accepted: AtomicU64::new(0),
            returns_refused: AtomicU64::new(0),
            random: Mutex::new(parts.random),
            serial: AtomicU64::new(1),
            inbound: Mutex::new(config.inbound),
            errands,
            config,
        });
        dns_server.run(&tracker, &shutdown);
        tracker.spawn(returns::run(world.clone(), waiting, shutdown.clone()));
        tracker.spawn(control::serve(control_listener, control, world.clone(), shutdown.clone()));
        serve_providers(&world, listeners, &tracker, &shutdown);
        tracker.close();
        tracing::info!(%control, %dns, smtp_port, "the lab is up");
        Ok(LabHandle { control, dns, smtp_port, authority_pem: authority.pem, world, tracker })
    }
}

impl LabHandle {
    /// Where providers send bounces and complaints.
    ///
    /// # Errors
    /// `NotLoopback` for an address that is not on loopback.
    pub fn set_inbound(&self, inbound: SocketAddr) -> Result<(), Fault> {
        self.world.set_inbound(inbound)
    }

    /// Names that belong to the house itself: unlike what is published through the control, they survive a
    /// reset.
    ///
    /// # Errors
    /// What [`Publication::parse`] errs with for one of them; none is built in then.
    pub fn build_in(&self, records: &[Publication]) -> Result<(), PublicationError> {
        let parsed = records.iter().map(Publication::parse).collect::<Result<Vec<_>, _>>()?;
        let mut zones = lock(&self.world.zones);
        parsed.into_iter().for_each(|(host, data)| zones.build_in(&host, data));
        Ok(())
    }

    /// As `POST /dns/publish`: all or nothing, to be withdrawn and reset like everything that is published.
    ///
    /// # Errors
    /// What [`Publication::parse`] errs with for one of them, and `TooMany` if the lab would hold more than
    /// it takes.
    pub fn publish(&self, records: &[Publication]) -> Result<(), PublicationError> {
        lock(&self.world.zones).publish(records).map(|_| ())
    }

    /// Waits until everything has ended after the shutdown.
    pub async fn stopped(self) {
        self.tracker.wait().await;
    }
}

impl World {
    pub fn inbound(&self) -> Option<SocketAddr> {
        *lock(&self.inbound)
    }

    pub fn set_inbound(&self, inbound: SocketAddr) -> Result<(), Fault> {
        *lock(&self.inbound) = Some(require_loopback("the inbound listener", inbound)?);
        Ok(())
    }

    /// A number that is used once.
    pub fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Uniform in 0..1.
    pub fn dice(&self) -> f64 {
        const STEPS: u64 = 1 << 32;
        lock(&self.random).below(STEPS) as f64 / STEPS as f64
    }

    /// A name that cannot be guessed, for a webhook sink.
    pub fn token(&self) -> String {
        let bytes: [u8; 12] = lock(&self.random).bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn keep(&self, arrival: Arrival) {
        lock(&self.arrivals).push(arrival);
    }

    /// Something to be sent back later; lost if too much is waiting already.
    pub fn schedule(&self, errand: Option<Errand>) {
        let Some(errand) = errand else { return };
        let due = self.clock.instant() + self.config.return_delay;
        if self.errands.try_send((due, errand)).is_err() {
            tracing::warn!("too many bounces and complaints are waiting, one is dropped");
        }
    }

    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        let exact = self.providers.iter().find(|provider| provider.spec.name == name);
        exact.or_else(|| self.providers.iter().find(|provider| provider.answers_to(name)))
    }

    /// The behaviour of a provider at the start.
    pub fn first_behaviour(&self, spec: &Spec) -> crate::provider::Behaviour {
        first_behaviour(&self.config, spec)
    }

    /// As after the start; sessions go on, the inbound listener stays known.
    pub fn reset(&self) {
        lock(&self.zones).reset();
        lock(&self.arrivals).reset();
        lock(&self.hooks).reset();
        for provider in &self.providers {
            lock(&provider.model).reset(self.first_behaviour(provider.spec));
            provider.counters.reset();
        }
        for counter in [&self.returns_accepted, &self.returns_refused, &*self.dns_queries] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

fn first_behaviour(config: &LabConfig, spec: &Spec) -> crate::provider::Behaviour {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    spec.behaviour(millis(config.slow_delay), millis(config.greylist_delay))
}

/// Provider n, host m: a.b.n.m.
fn make_providers(config: &LabConfig, authority: &Authority) -> Result<Vec<Arc<Provider>>, Fault> {
    let [a, b] = config.provider_net;
    let octet = |index: usize| u8::try_from(index + 1).unwrap_or(u8::MAX);
    let mut providers = Vec::with_capacity(PROVIDERS.len());
    for (n, spec) in PROVIDERS.iter().enumerate() {
        let mut hosts = Vec::new();
        for (m, name) in spec.hosts().enumerate() {
            let address = Ipv4Addr::new(a, b, octet(n), octet(m));
            hosts.push(Host { name, address, identity: authority.identity(name)? });
        }
        let model = Mutex::new(Model::new(first_behaviour(config, spec), config.slow_delay));
        providers.push(Arc::new(Provider { spec, hosts, model, counters: Counters::default() }));
    }
    Ok(providers)
}

fn make_zones(config: &LabConfig, providers: &[Arc<Provider>]) -> Zones {
    let mut zones = Zones::new(config.source_net, config.published_max);
    for provider in providers {
        for host in &provider.hosts {
            zones.build_in(host.name, Data::A(host.address));
            let [a, b, c, d] = host.address.octets();
            zones.build_in(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), Data::Ptr(host.name.to_owned()));
        }
        for (site, domain) in
            provider.spec.sites.iter().flat_map(|site| site.domains.iter().map(move |domain| (site, domain)))
        {
            // A domain that is its own host has no MX record: implicit-mx.example.
            for (preference, host) in site.mx.iter().filter(|(_, host)| host != domain) {
                zones.build_in(domain, Data::Mx(*preference, (*host).to_owned()));
            }
        }
    }
    let [a, b] = config.provider_net;
    for (last, (domain, preference, host)) in (1..).zip(DEAD_HOSTS) {
        zones.build_in(domain, Data::Mx(*preference, (*host).to_owned()));
        zones.build_in(host, Data::A(Ipv4Addr::new(a, b, DEAD_OCTET, last)));
    }
    for (domain, preference, host) in EXTRA_EXCHANGES {
        zones.build_in(domain, Data::Mx(*preference, (*host).to_owned()));
    }
    zones.build_in("null-mx.example", Data::Mx(0, String::new()));
    zones.build_in("loop.example", Data::Mx(10, "mx.loop.example".into()));
    zones.build_in("mx.loop.example", Data::Cname("mx2.loop.example".into()));
    zones.build_in("mx2.loop.example", Data::Cname("mx.loop.example".into()));
    zones.build_in("alias.example", Data::Cname("plain.example".into()));
    zones.build_in("missing-mx.example", Data::Mx(10, "mx.missing-mx.example".into()));
    // Exists, but takes no mail: neither exchange nor address.
    zones.build_in("mailless.example", Data::Txt("no mail here".into()));
    zones.build_out("nowhere.example");
    zones.build_in_fault("servfail.example", Deception::Servfail);
    zones.build_in_fault("timeout.example", Deception::Timeout);
    zones
}

fn serve_providers(
    world: &Arc<World>,
    listeners: Vec<TcpListener>,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let places = Arc::new(Semaphore::new(world.config.connections_max));
    let doors = world
        .providers
        .iter()
        .flat_map(|provider| (0..provider.hosts.len()).map(move |host| (provider, host)));
    for ((provider, host), listener) in doors.zip(listeners) {
        let door = Door { world: world.clone(), provider: provider.clone(), host };
        let serve = listener::serve(listener, door, places.clone(), tracker.clone(), shutdown.clone());
        tracker.spawn(serve);
    }
    debug_assert!(world.provider(DEFAULT_PROVIDER).is_some(), "the catalogue has the default provider");
}

/// A lock that a panicking test thread does not spoil for the others: the values inside are valid at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
