//! What the kernel says about this process: descriptors, memory, processor time. Read when somebody asks.
//!
//! Where there is no `/proc` nothing is said. Called by `readiness.rs` and when `/metrics` is rendered.

use rustix::process::{Resource, getrlimit};

/// Descriptors in use and allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    pub open: u64,
    pub max: u64,
}

pub fn descriptors() -> Option<Descriptors> {
    // The listing itself is one of them.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
    Some(Descriptors { open, max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) })
}

/// Sets the gauges of the process.
pub fn measure() {
    if let Some(descriptors) = descriptors() {
        metrics::gauge!("process_open_fds").set(descriptors.open as f64);
        metrics::gauge!("process_max_fds").set(descriptors.max as f64);
    }
    if let Some(octets) = resident_octets(&read("/proc/self/statm")) {
        metrics::gauge!("process_resident_memory_bytes").set(octets as f64);
    }
    if let Some((ticks, threads)) = ticks_and_threads(&read("/proc/self/stat")) {
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        metrics::gauge!("process_cpu_seconds_total").set(seconds);
        metrics::gauge!("process_threads").set(threads as f64);
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The second number, in pages.
fn resident_octets(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Fields 14, 15 and 20 of proc_pid_stat(5). The second field is a name in parentheses, which may hold anything.
fn ticks_and_threads(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index - 3).and_then(|field| field.parse::<u64>().ok());
    Some((number(14)? + number(15)?, number(20)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 3 0 12 30 0 0 20 0 9 0 100 1000 200";
        assert_eq!(ticks_and_threads(stat), Some((42, 9)));
        assert_eq!(ticks_and_threads("nonsense"), None);
        assert_eq!(resident_octets("9 2 1"), Some(2 * rustix::param::page_size() as u64));
        assert_eq!(resident_octets(""), None);
    }

    #[test]
    fn this_process_has_descriptors() {
        let before = descriptors().unwrap();
        let _file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(descriptors().unwrap().open > before.open - 1 && before.max >= before.open);
    }
}
