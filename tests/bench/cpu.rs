//! CPU time, memory, octets written and wake-ups of processes, as the kernel counts them.

use std::collections::BTreeMap;
use std::time::Duration;

/// User and system time of one process, without its children.
pub fn of_process(pid: u32) -> Duration {
    read(pid).map_or(Duration::ZERO, |stat| stat.own)
}

/// The same for a process, everything below it, and those below it that have ended and were waited for.
pub fn of_tree(root: u32) -> Duration {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = read(pid) {
            children.entry(stat.parent).or_default().push(pid);
            all.insert(pid, stat);
        }
    }
    let (mut sum, mut waiting) = (Duration::ZERO, vec![root]);
    while let Some(pid) = waiting.pop() {
        if let Some(stat) = all.get(&pid) {
            sum += stat.own + stat.reaped;
        }
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    sum
}

/// Memory in use, in octets.
pub fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64
}

/// Octets that a process sent to the disk (proc(5), `write_bytes`).
pub fn written(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
}

/// How often its threads went to sleep by themselves, by name of the thread: each time something woke them.
pub fn sleeps(pid: u32) -> BTreeMap<String, u64> {
    let mut sleeps = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let status = read("status");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count: u64 = count.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        *sleeps.entry(read("comm").trim().to_owned()).or_default() += count;
    }
    sleeps
}

struct Stat {
    parent: u32,
    own: Duration,
    reaped: Duration,
}

fn read(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; fields count from behind it: state is the first.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let time =
        |a: usize, b: usize| Some(Duration::from_millis((ticks(a)? + ticks(b)?) * 1000 / ticks_per_second()));
    Some(Stat { parent: fields.get(1)?.parse().ok()?, own: time(11, 12)?, reaped: time(13, 14)? })
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}
