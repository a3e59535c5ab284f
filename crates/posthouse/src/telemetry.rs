//! What the process says about itself: log lines on standard error, metrics for Prometheus.
//!
//! Log lines are for people by default and JSON with `log.format = "json"`. Metrics are collected by one recorder and
//! rendered by the API on request. A log that cannot be written is lost, never waited for by the mail path
//! (`log_writer.rs`).

use crate::log_writer::{self, Flush};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which lines are written: a level, or `target=level` pairs as `tracing` knows them.
    pub filter: String,
    pub format: Format,
    /// Lines that may wait for standard error; what comes while it takes none is dropped and counted.
    pub lines_waiting_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Config {
        Config { filter: "info".to_owned(), format: Format::Text, lines_waiting_max: 8_192 }
    }
}

/// Bounds of the latency histograms, in seconds.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Called once, first thing. What it returns is kept until the end, and waits for the last lines then.
#[must_use = "the last lines are lost without it"]
pub fn start_logging(config: &Config) -> anyhow::Result<Flush> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| anyhow::anyhow!("log.filter = \"{}\" cannot be used: {error}", config.filter))?;
    let (writer, flush) = log_writer::start(config.lines_waiting_max, std::io::stderr())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    match config.format {
        Format::Text => builder.with_target(false).init(),
        Format::Json => builder.json().init(),
    }
    Ok(flush)
}

/// Called once; the handle renders the text that `/metrics` serves.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
    Ok(builder.install_recorder()?)
}
