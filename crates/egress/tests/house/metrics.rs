//! What is counted while a test runs, as an operator would see it.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

pub struct Metrics(PrometheusRecorder);

impl Metrics {
    pub fn new() -> Metrics {
        Metrics(PrometheusBuilder::new().build_recorder())
    }

    /// Counts what this thread does, until the guard is dropped. Tests with one thread only.
    pub fn count(&self) -> metrics::LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.0)
    }

    pub fn timeouts(&self, stage: &str) -> u64 {
        self.counter(&format!("posthouse_egress_timeouts_total{{stage=\"{stage}\"}}"))
    }

    /// A counter with its labels; 0 if nobody has counted.
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.0.handle().render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}
