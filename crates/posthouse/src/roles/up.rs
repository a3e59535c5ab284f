//! `posthouse up`: everything in one process on this machine, with its own PostgreSQL and, if asked, an internet.
//!
//! PostgreSQL is started from the main thread and stopped after everything else: the kernel ties its life to this
//! thread. What `up` makes for itself on the first start (keys, authority, operator, demo tenant) it keeps in the data
//! directory, so that a second start continues.

use crate::cli::Up;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data::DataDirectory;
use crate::demo;
use crate::exit::Failure;
use crate::key_fit::KeyLoss;
use crate::lab_zone::Zone;
use crate::log_writer::Flush;
use crate::node::{Node, NodeParts, unavailable};
use crate::postgres::{self, Server};
use crate::printing::{print, print_line};
use crate::ready::{Lab as ReadyLab, Operator, Ready};
use crate::secrets::Secrets;
use crate::sections::spool_directory;
use crate::signals::{Hangup, Signals};
use crate::{authority, clocks, cores, nofile, screen, telemetry};
use anyhow::Context;
use lab::{Lab, LabConfig, LabHandle, LabParts};
use mail::{Clock, Random};
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

const OPERATOR: &str = "operator@posthouse.test";

/// What there is before the runtime: a locked directory, keys, certificates, a database.
struct Ground {
    config: Config,
    data: DataDirectory,
    secrets: Secrets,
    clock: Arc<SystemClock>,
    random: Random,
    authority: Option<PathBuf>,
    operator: Operator,
    metrics: PrometheusHandle,
}

pub fn run(options: &Up) -> anyhow::Result<()> {
    let (mut ground, server, _log) = prepare(options)?;
    if let Some(server) = &server {
        ground.config.database.url = server.url(postgres::DATABASE);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(options, ground));
    drop(runtime);
    if let Some(server) = server {
        server.stop();
    }
    outcome
}

fn prepare(options: &Up) -> anyhow::Result<(Ground, Option<Server>, Flush)> {
    let mut config = Config::load(options.config.as_deref())
        .map_err(|error| Failure::Configuration(format!("the configuration cannot be used\n{error}")))?;
    if let Some(data) = &options.data {
        config.node.data.clone_from(data);
    }
    if let Some(url) = &options.database {
        config.database.url.clone_from(url);
    }
    let clock = Arc::new(SystemClock::new());
    clocks::expect_set(clock.timestamp())?;
    let log = telemetry::start_logging(&config.log)?;
    nofile::raise();
    if !config.node.core_files {
        cores::forbid();
    }
    let metrics = telemetry::start_metrics()?;
    let data = DataDirectory::open(&config.node.data)?;
    config.node.data = data.path().to_path_buf();
    options.ready_file.as_deref().map_or(Ok(()), Ready::make_room)?;
    // The listener of `up` speaks plain HTTP on this machine; a cookie for HTTPS only would never come back.
    config.api.cookie_secure = false;
    let mut random = os_random()?;
    let keys = data.private("keys")?;
    let secrets = Secrets::load_or_create(&config.master_key(), &mut random)?;
    let operator = operator(&keys.join("operator.json"), &mut random)?;
    let authority = certificates(&mut config, &data, &*clock)?;
    let server = match config.database.url.is_empty() {
        true => Some(
            Server::start(&data.path().join("postgres"), &mut random)
                .map_err(|error| Failure::Unavailable(format!("{error:#}")))?,
        ),
        false => None,
    };
    Ok((Ground { config, data, secrets, clock, random, authority, operator, metrics }, server, log))
}

/// The one place where randomness comes from the operating system.
pub fn os_random() -> anyhow::Result<Random> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the operating system gives no random numbers"))?;
    Ok(Random::from_seed(seed))
}

/// The operator's first password: made once, kept where only we can read it.
fn operator(file: &Path, random: &mut Random) -> anyhow::Result<Operator> {
    if let Ok(text) = std::fs::read_to_string(file) {
        return serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()));
    }
    let password = crate::roles::operator::new_password(random);
    let operator = Operator { email: OPERATOR.to_owned(), password: password.to_string() };
    authority::write(file, serde_json::to_string(&operator)?.as_bytes(), 0o600)?;
    Ok(operator)
}

/// The operator's certificate, or one of our own authority; returns the authority's file in that case.
fn certificates(
    config: &mut Config,
    data: &DataDirectory,
    clock: &dyn Clock,
) -> anyhow::Result<Option<PathBuf>> {
    if !config.tls.chain.as_os_str().is_empty() {
        return Ok(None);
    }
    let year = i32::from(clock.timestamp().to_jiff().to_zoned(jiff::tz::TimeZone::UTC).year());
    let names =
        [config.node.hostname.to_string(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let files = authority::ensure(&data.path().join("tls"), &names, year)?;
    config.tls.chain = files.chain;
    config.tls.key = files.key;
    Ok(Some(files.authority))
}

async fn serve(options: &Up, mut ground: Ground) -> anyhow::Result<()> {
    let mut signals = Signals::new(Hangup::Stops)?;
    forget(options, ground.data.path());
    let stop_lab = CancellationToken::new();
    let lab = match options.lab {
        true => Some(start_lab(&mut ground, stop_lab.clone()).await?),
        false => None,
    };
    // Whoever changes their mind meanwhile need not wait: nothing has been accepted yet.
    let Some(node) = signals.unless_asked(start_node(options, &mut ground)).await.transpose()? else {
        return Ok(());
    };
    // From here on mail is under way: whatever happens, what is in flight gets its end.
    let ended = open_for_use(options, &ground, &node, lab.as_ref(), &mut signals).await;
    forget(options, ground.data.path());
    let stopped = node.stop().await;
    stop_lab.cancel();
    if let Some(lab) = lab {
        lab.stopped().await;
    }
    ended.and(stopped)
}

/// What `up` adds to a node, and then the node's life.
async fn open_for_use(
    options: &Up,
    ground: &Ground,
    node: &Node,
    lab: Option<&LabHandle>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let password = Zeroizing::new(ground.operator.password.clone());
    node.database
        .operator_ensure(&ground.operator.email, password)
        .await
        .map_err(|error| unavailable("cannot make the operator", error))?;
    let mut ready = ready(ground, node, lab);
    let Some(lab) = lab else {
        announce(options, ground, &ready)?;
        return node.until_the_end(signals).await;
    };
    if let Some(inbound) = node.addresses.inbound {
        lab.set_inbound(inbound)?;
    }
    let mut zone = Zone::open(&node.database, lab).await?;
    let live = async {
        let file = ground.data.path().join("keys/demo.json");
        let demo = signals.unless_asked(demo::ensure(&ready, &file)).await;
        let Some(demo) = demo.transpose()? else { return Ok(()) };
        ready.demo = Some(demo);
        announce(options, ground, &ready)?;
        node.until_the_end(signals).await
    };
    tokio::select! {
        ended = live => ended,
        () = zone.keep(&node.database, &node.snapshots, lab) => unreachable!("the zone is kept for ever"),
    }
}

/// The database at the schema of this version, and the node on it.
async fn start_node(options: &Up, ground: &mut Ground) -> anyhow::Result<Node> {
    let settings = &ground.config.database;
    database::ensure_database(settings)
        .await
        .map_err(|error| unavailable("cannot make the database", error))?;
    let applied = database::migrate(settings).await.map_err(|error| unavailable("cannot migrate", error))?;
    tracing::info!(applied, "the schema is up to date");
    Node::start(NodeParts {
        config: ground.config.clone(),
        secrets: ground.secrets.clone(),
        clock: ground.clock.clone(),
        random: ground.random.fork(),
        metrics: ground.metrics.clone(),
        chain: ground.config.tls.chain.clone(),
        key: ground.config.tls.key.clone(),
        with_api: true,
        key_loss: KeyLoss::of(options.master_key_lost),
    })
    .await
}

/// The lab first: its name server and its port are part of the configuration of everything else.
async fn start_lab(ground: &mut Ground, stop: CancellationToken) -> anyhow::Result<LabHandle> {
    let parts = LabParts { clock: ground.clock.clone(), random: ground.random.fork() };
    let lab = Lab::start(LabConfig::default(), parts, stop)
        .await
        .map_err(|error| unavailable("cannot start the lab", error))?;
    ground.config.dns.servers = vec![lab.dns];
    ground.config.egress.smtp_port = lab.smtp_port;
    ground.config.egress.lab_loopback_only = true;
    // Complaints of the lab's providers come back to our own door.
    if ground.config.ingress.headers.complaint_domain.is_none() {
        ground.config.ingress.headers.complaint_domain = Some(ground.config.node.return_path_host.clone());
    }
    let loopback: [ipnet::IpNet; 2] = [
        ipnet::IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
        ipnet::IpNet::new_assert(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), 128),
    ];
    ground.config.events.webhook_allow_networks.extend(loopback);
    Ok(lab)
}

fn ready(ground: &Ground, node: &Node, lab: Option<&LabHandle>) -> Ready {
    let lab = lab.map(|lab| ReadyLab {
        control: format!("http://{}", lab.control),
        dns: lab.dns,
        smtp_port: lab.smtp_port,
    });
    Ready {
        ca: ground.authority.clone(),
        operator: Some(ground.operator.clone()),
        database: Some(ground.config.database.url.clone()),
        lab,
        ..Ready::of(node, spool_directory(&ground.config))
    }
}

/// Ready files of an earlier run tell ports that are nobody's now.
fn forget(options: &Up, data: &Path) {
    let _ = std::fs::remove_file(data.join("ready.json"));
    if let Some(file) = &options.ready_file {
        let _ = std::fs::remove_file(file);
    }
}

fn announce(options: &Up, ground: &Ground, ready: &Ready) -> anyhow::Result<()> {
    ready.write(&ground.data.path().join("ready.json"))?;
    if let Some(file) = &options.ready_file {
        ready.write(file)?;
    }
    let said = match options.json {
        true => print_line(format_args!("{}", ready.to_json())),
        false => print(format_args!("{}", screen::of(ready))),
    };
    // That would be no reason to end a house that is well.
    if let Err(error) = said {
        tracing::warn!(
            error = format!("{error:#}"),
            "nobody reads where the ports are; the ready file has them"
        );
    }
    Ok(())
}
