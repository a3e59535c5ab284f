//! What the process says about itself: log lines on standard error, metrics for Prometheus.
//!
//! Log lines are for people by default and JSON with `log.format = "json"`. Metrics are collected by one recorder and
//! rendered by the API on request. A log that cannot be written is lost, never waited for by the mail path
//! (`log_writer.rs`).

use crate::config::{Log, LogFormat};
use crate::figures;
use crate::log_writer::{self, Flush};
use crate::process;
use crate::readiness::{self, Sources};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Between two times that samples are folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Called once, first thing. What it returns is kept until the end, and waits for the last lines then.
#[must_use = "the last lines are lost without it"]
pub fn start_logging(config: &Log) -> anyhow::Result<Flush> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| anyhow::anyhow!("log.filter = \"{}\" cannot be used: {error}", config.filter))?;
    let (writer, flush) = log_writer::start(config.lines_waiting_max, std::io::stderr())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    match config.format {
        LogFormat::Text => builder.with_target(false).init(),
        // Fields at the top, where whoever collects lines looks for them.
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    if cfg!(feature = "fail-points") {
        tracing::warn!("this build panics where a test asks for it (fail-points); it is not for production");
    }
    Ok(flush)
}

/// A line like every other. Only a text that stands in the source is told: one made at run time may hold anything.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    metrics::counter!("posthouse_panics_total").increment(1);
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload().downcast_ref::<&'static str>().copied();
    tracing::error!(place = place.as_deref(), text, "a task panicked; this is a bug of ours");
}

/// Called once; the handle renders the text that `/metrics` serves.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), figures::SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), figures::COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_vs_bound".to_owned()), figures::RATIOS)?;
    for name in figures::LONG {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), figures::LONG_SECONDS)?;
    }
    let handle = builder.install_recorder()?;
    figures::describe();
    Ok(handle)
}

/// What `/metrics` serves: what was recorded, and what is only known when somebody asks.
pub fn rendering(
    handle: &PrometheusHandle,
    config: &crate::config::Config,
    sources: Arc<Sources>,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    let (handle, journal) = (handle.clone(), crate::sections::spool_directory(config));
    let reserve = config.spool.reserve_octets;
    Arc::new(move || {
        process::measure();
        readiness::measure(&sources.look());
        metrics::gauge!("posthouse_spool_disk_reserve_octets").set(reserve as f64);
        if let Ok(space) = rustix::fs::statvfs(&journal) {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            metrics::gauge!("posthouse_spool_disk_free_octets").set(free as f64);
        }
        handle.render()
    })
}

/// Folds samples into buckets now and then: the recorder keeps every one until somebody asks, and nobody may. What that
/// and others freed goes back to the system.
pub async fn keep_up(handle: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        handle.run_upkeep();
        crate::allocator::give_back();
    }
}
