//! What is around the node: ports, addresses to send from, names, PostgreSQL, and a node that runs here already.

use crate::config::Config;
use crate::doctor::finding::{Finding, Trouble};
use crate::listening;
use crate::secrets::Secrets;
use crate::sections::egress_config;
use crate::{clocks, key_fit};
use database::{Database, KeyFit, Keys, PageRequest};
use egress::resolve::{DnsResolver, Resolver, Unresolved};
use mail::{Clock, Domain, Random};
use registry::Access;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const KEY: &str = "master key";
const ACCESS: Access = Access::house("doctor");
/// PostgreSQL on the same host answers in less than one; over this, the API is slow.
const LATENCY_SLOW: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a node runs on the data directory, as its lock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    Here,
    Not,
}

impl Running {
    pub fn on(data: &Path) -> Running {
        let Ok(lock) = std::fs::File::open(data.join("lock")) else { return Running::Not };
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared) {
            Ok(()) => Running::Not,
            Err(_) => Running::Here,
        }
    }
}

pub fn ports(config: &Config, running: Running) -> Vec<Finding> {
    let listen = &config.listen;
    [
        ("listen.http", &listen.http),
        ("listen.submission", &listen.submission),
        ("listen.submissions", &listen.submissions),
        ("listen.inbound", &listen.inbound),
    ]
    .into_iter()
    .filter_map(|(key, text)| Some(port(key, text.parse().ok()?, running)))
    .collect()
}

fn port(key: &'static str, address: SocketAddr, running: Running) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(key, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && running == Running::Here => {
            Finding::ok(key, format!("{address} is in use, by the node that runs here it seems"))
        }
        Err(error) => {
            let found = format!("cannot listen on {address}: {error}");
            Finding::error(Trouble::Unavailable, key, found, listening::advice(address, &error))
        }
    }
}

/// PostgreSQL, and if it answers, the addresses that mail leaves from.
pub async fn postgresql(config: &Config, clock: Arc<dyn Clock>) -> Vec<Finding> {
    const CHECK: &str = "postgresql";
    if config.database.url.is_empty() {
        return vec![Finding::warning(
            CHECK,
            "database.url is empty",
            "`posthouse up` runs its own PostgreSQL; `posthouse serve` needs one that is named here",
        )];
    }
    let examined = tokio::time::timeout(PATIENCE, database::examine(&config.database, &*clock)).await;
    match examined {
        Err(_) => {
            let found = format!("no answer in {} s", PATIENCE.as_secs());
            vec![Finding::error(Trouble::Unavailable, CHECK, found, "is it up, and may this host reach it?")]
        }
        Ok(Err(fault)) => vec![trouble_with_postgresql(&fault)],
        Ok(Ok(examination)) => {
            let mut findings = vec![examined_well(&examination, config.database.connections_max)];
            findings.push(clocks_compared(&examination.clocks));
            findings.extend(registry(config, clock).await);
            findings
        }
    }
}

fn trouble_with_postgresql(fault: &database::Fault) -> Finding {
    let mut found = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        found = format!("{found}: {error}");
        cause = error.source();
    }
    let (trouble, advice) = match fault {
        database::Fault::NotMigrated { .. } => {
            (Trouble::Unavailable, "run `posthouse migrate --config FILE`")
        }
        database::Fault::Pooler => {
            (Trouble::Configuration, "name PostgreSQL itself in database.url; see docs/OPERATING.md")
        }
        database::Fault::Config(_) => (Trouble::Configuration, "see the section [database]"),
        _ => (Trouble::Unavailable, "is it up, may this host reach it, and are user and password right?"),
    };
    Finding::error(trouble, "postgresql", found, advice)
}

fn examined_well(examination: &database::Examination, wanted: usize) -> Finding {
    let latency = examination.latency;
    let version = &examination.version;
    let found = format!("version {version}, answers in {:.1} ms", latency.as_secs_f64() * 1_000.0);
    let major: u32 = version.split('.').next().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if major < 15 {
        return Finding::error(Trouble::Unavailable, "postgresql", found, "use PostgreSQL 15 or newer");
    }
    if examination.connections_max < wanted + 4 {
        let found = format!("{found}; it allows {} connections in all", examination.connections_max);
        let advice = format!("raise max_connections above {} for each node", wanted + 4);
        return Finding::warning("postgresql", found, advice);
    }
    if latency > LATENCY_SLOW {
        return Finding::warning(
            "postgresql",
            found,
            "every change of the API makes several such trips; move it nearer",
        );
    }
    Finding::ok("postgresql", found)
}

fn clocks_compared(clocks: &database::Clocks) -> Finding {
    const CHECK: &str = "clocks";
    let found = |apart: clocks::Apart| Finding::warning(CHECK, apart.to_string(), clocks::ALIGN);
    let agree = || Finding::ok(CHECK, format!("PostgreSQL's says {}: they agree", clocks.theirs));
    clocks::apart(clocks).map_or_else(agree, found)
}

/// What the database says about this host: whether the master key is its own, and which addresses must be here.
async fn registry(config: &Config, clock: Arc<dyn Clock>) -> Vec<Finding> {
    let path = config.master_key();
    let secrets = match Secrets::load(&path) {
        Ok(secrets) => secrets,
        Err(error) => {
            let advice = "put it back from your backup; no secret opens without it";
            return vec![Finding::error(Trouble::Configuration, KEY, format!("{error:#}"), advice)];
        }
    };
    let keys = secrets.as_ref().map_or_else(Keys::none, Secrets::database);
    let Ok(database) = Database::connect(&config.database, keys, clock, Random::from_number(0)).await else {
        return Vec::new();
    };
    let mut findings = match database.key_fit(&ACCESS).await {
        Ok(KeyFit::NothingSealed) => Vec::new(),
        Ok(KeyFit::Opens) => vec![Finding::ok(KEY, "it opens secrets of the database")],
        Ok(KeyFit::NothingOpens) => {
            vec![Finding::error(Trouble::Configuration, KEY, key_fit::found(&path), key_fit::ADVICE)]
        }
        Err(fault) => vec![trouble_with_postgresql(&fault)],
    };
    findings.extend(sources(&database).await);
    findings
}

/// Every address in the registry must be on this host.
async fn sources(database: &Database) -> Vec<Finding> {
    let page = PageRequest::new(Some(200), None);
    let Ok(page) = page else { return Vec::new() };
    match database.source_list(&ACCESS, &page).await {
        Ok(page) if page.rows.is_empty() => {
            let advice = "add one with POST /v1/sources; nothing can be sent without";
            vec![Finding::warning("sources", "the registry has no address to send from", advice)]
        }
        Ok(page) => {
            page.rows.iter().map(|source| source_here(&source.name.to_string(), source.address)).collect()
        }
        Err(fault) => vec![trouble_with_postgresql(&fault)],
    }
}

fn source_here(name: &str, address: IpAddr) -> Finding {
    match TcpListener::bind(SocketAddr::new(address, 0)) {
        Ok(_) => Finding::ok("sources", format!("{name}: {address} is on this host")),
        Err(error) => Finding::error(
            Trouble::Unavailable,
            "sources",
            format!("{name}: {address} cannot be sent from: {error}"),
            format!("add the address (`ip address add {address} dev …`), or delete the source"),
        ),
    }
}

/// Any answer shows that somebody answers; that a name does not exist is one.
pub async fn names(config: &Config) -> Finding {
    const CHECK: &str = "dns";
    let mut settings = egress_config(config);
    // That the name leads to us is what it should do.
    settings.own_names.clear();
    let advice = "set dns.servers to resolvers that answer; mail cannot be routed without";
    let wrong = |found: String| Finding::error(Trouble::Unavailable, CHECK, found, advice);
    let resolver = match DnsResolver::new(&settings) {
        Ok(resolver) => resolver,
        Err(fault) => return wrong(format!("name servers cannot be used: {fault}")),
    };
    let domain: &Domain = &config.node.return_path_host;
    match tokio::time::timeout(PATIENCE, resolver.resolve(domain)).await {
        Err(_) => wrong(format!("no answer about {domain} in {} s", PATIENCE.as_secs())),
        Ok(Err(Unresolved::Temporary(words))) => wrong(format!("no answer about {domain}: {words}")),
        Ok(Err(Unresolved::NoSuchDomain | Unresolved::NullMx | Unresolved::NoAddress)) => Finding::warning(
            CHECK,
            format!("name servers answer, and {domain} (node.return_path_host) leads nowhere"),
            "publish its MX: bounces of tenants' mail come back there",
        ),
        Ok(Ok(_) | Err(Unresolved::Loop)) => {
            Finding::ok(CHECK, format!("name servers answer; {domain} leads somewhere"))
        }
    }
}

/// Asks the node that runs here whether it is ready.
pub async fn node(config: &Config, running: Running) -> Finding {
    const CHECK: &str = "node";
    if running == Running::Not {
        return Finding::ok(CHECK, "no node runs on this data directory");
    }
    let Some(address) = address_of(config) else {
        return Finding::ok(
            CHECK,
            "a node runs on this data directory; listen.http does not say where to ask it",
        );
    };
    let unknown = |found: String| {
        let advice = "look at its log; the address is that of ready.json or listen.http";
        Finding::warning(CHECK, found, advice)
    };
    let asked = async {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        client.get(format!("http://{address}/ready")).send().await?.text().await
    };
    match asked.await {
        Err(error) => {
            unknown(format!("a node runs on this data directory, but does not answer on {address}: {error}"))
        }
        Ok(text) => match serde_json::from_str::<Value>(&text) {
            Ok(answer) => readiness(&answer),
            Err(_) => unknown(format!("what answers on {address} is not a node")),
        },
    }
}

/// With port 0 only the ready file knows.
fn address_of(config: &Config) -> Option<String> {
    let ready = std::fs::read_to_string(config.node.data.join("ready.json")).ok();
    let ready = ready.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let address = |ready: &Value| {
        let url = ready["metrics"].as_str()?;
        Some(url.strip_prefix("http://")?.strip_suffix("/metrics")?.to_owned())
    };
    let told = ready.as_ref().and_then(address);
    told.or_else(|| Some(config.listen.http.clone()).filter(|text| !text.is_empty()))
}

fn readiness(answer: &Value) -> Finding {
    let reasons = answer["reasons"].as_array().cloned().unwrap_or_default();
    let details: Vec<&str> = reasons.iter().filter_map(|reason| reason["detail"].as_str()).collect();
    if details.is_empty() {
        return Finding::ok("node", "the node that runs here is ready");
    }
    let found = format!("the node that runs here is not ready: {}", details.join("; "));
    Finding::error(Trouble::Unavailable, "node", found, "docs/OPERATING.md has what to do for each reason")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::doctor::finding::State;
    use serde_json::json;

    #[test]
    fn a_port_that_is_taken_is_wrong_unless_the_node_runs_here() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = port("listen.http", address, Running::Not);
        assert_eq!(finding.state, State::Error);
        assert!(finding.found.starts_with(&format!("cannot listen on {address}")), "{}", finding.found);
        assert!(finding.advice.is_some_and(|advice| advice.contains("ss -ltnp")));
        assert_eq!(port("listen.http", address, Running::Here).state, State::Ok);
        let foreign = port("listen.http", "192.0.2.1:80".parse().unwrap(), Running::Not);
        assert!(foreign.advice.is_some_and(|advice| advice.contains("an address of this host")));
    }

    #[test]
    fn a_source_that_is_not_on_this_host_is_wrong() {
        let finding = source_here("out-1", "192.0.2.25".parse().unwrap());
        assert_eq!(finding.state, State::Error);
        assert!(finding.found.starts_with("out-1: 192.0.2.25 cannot be sent from"), "{}", finding.found);
        assert!(finding.advice.is_some_and(|advice| advice.contains("ip address add 192.0.2.25")));
        assert_eq!(source_here("out-1", "127.0.0.1".parse().unwrap()).state, State::Ok);
    }

    #[tokio::test]
    async fn a_postgresql_that_is_not_there_is_wrong_with_its_cause() {
        let mut config = Config::default();
        config.database.url = "postgres://a@127.0.0.1:1/a".to_owned();
        let findings = postgresql(&config, Arc::new(SystemClock::new())).await;
        assert_eq!((findings.len(), findings[0].state), (1, State::Error));
        assert!(findings[0].found.contains("cannot connect: "), "{}", findings[0].found);
        config.database.url = "nonsense".to_owned();
        let findings = postgresql(&config, Arc::new(SystemClock::new())).await;
        assert_eq!(findings[0].trouble, Trouble::Configuration);
    }

    /// This host's clock so far ahead of PostgreSQL's.
    fn clocks_of(ahead_ms: i64) -> database::Clocks {
        let theirs = mail::Timestamp::from_millis(1_795_425_249_120);
        let ours = mail::Timestamp::from_millis(theirs.as_millis() + ahead_ms);
        database::Clocks { ours, theirs, round_trip: Duration::from_millis(1) }
    }

    #[test]
    fn a_clock_that_is_off_is_doubtful_and_ends_nothing() {
        let finding = clocks_compared(&clocks_of(-7_000));
        assert_eq!((finding.check, finding.state), ("clocks", State::Warning));
        assert!(finding.found.ends_with("this host is 7.0 s behind"), "{}", finding.found);
        assert!(finding.advice.is_some_and(|advice| advice.contains("chronyc tracking")));
        assert_eq!(clocks_compared(&clocks_of(1_000)).state, State::Ok);
    }

    #[test]
    fn an_old_or_small_or_distant_postgresql_is_told() {
        let examination = |version: &str, connections_max, ms| database::Examination {
            version: version.to_owned(),
            connections_max,
            latency: Duration::from_millis(ms),
            clocks: clocks_of(0),
        };
        assert_eq!(examined_well(&examination("14.2", 100, 1), 16).state, State::Error);
        let small = examined_well(&examination("16.1 (Debian)", 10, 1), 16);
        assert!(small.advice.is_some_and(|advice| advice.contains("max_connections above 20")));
        assert_eq!(examined_well(&examination("17", 100, 50), 16).state, State::Warning);
        let good = examined_well(&examination("17.2", 100, 1), 16);
        assert_eq!(good, Finding::ok("postgresql", "version 17.2, answers in 1.0 ms"));
    }

    #[tokio::test]
    async fn a_resolver_that_refuses_is_wrong() {
        let mut config = Config::default();
        // Nobody listens there, and the kernel says so.
        config.dns.servers = vec!["127.0.0.1:1".parse().unwrap()];
        let finding = names(&config).await;
        assert_eq!(finding.state, State::Error);
        assert!(finding.found.starts_with("no answer about return.posthouse.test"), "{}", finding.found);
    }

    #[tokio::test]
    async fn a_node_that_runs_is_asked_why_it_is_not_ready() {
        let reasons = json!({"ready": false, "reasons": [{"code": "journal_sealed", "detail": "the journal is sealed"}]});
        let finding = readiness(&reasons);
        assert_eq!(
            (finding.state, &*finding.found),
            (State::Error, "the node that runs here is not ready: the journal is sealed")
        );
        assert_eq!(readiness(&json!({"ready": true, "reasons": []})).state, State::Ok);
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Running::on(place.path()), Running::Not);
        let held = crate::data::DataDirectory::open(place.path()).unwrap();
        assert_eq!(Running::on(place.path()), Running::Here);
        drop(held);
        assert_eq!(Running::on(place.path()), Running::Not);
    }
}
