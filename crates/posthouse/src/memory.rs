//! How much memory this process may use, and the bounds that follow from it.
//!
//! The defaults fit a machine with some gigabytes. Below, what holds messages in memory is bounded by a share of what is
//! there, so that a small machine or a tight control group says 451 to a client instead of being killed by its kernel.
//! What was configured lower stays. What may surprise: the largest message becomes smaller, too, since one that never
//! fits must be refused for good (552) and not put off for ever.

use crate::config::Config;
use std::path::{Path, PathBuf};

/// What the process needs before it holds a message: code, registry, connections.
const BASE_OCTETS: u64 = 64 << 20;

/// With less no message of a useful size fits, and every one would be refused for good.
pub const OCTETS_MIN: u64 = 128 << 20;

/// Lowers the bounds to what fits. `node.memory_octets` says how much there is; 0 asks the machine.
///
/// # Errors
/// With a sentence if that is below `OCTETS_MIN`.
pub fn fit(config: &mut Config) -> Result<(), String> {
    let asked = Some(config.node.memory_octets).filter(|octets| *octets > 0);
    let Some(octets) = asked.or_else(allowed) else { return Ok(()) };
    enough(octets)?;
    let before = config.ingress.limits.octets_in_flight_max;
    bound(config, octets);
    let after = config.ingress.limits.octets_in_flight_max;
    if after < before {
        tracing::info!(
            memory_octets = octets,
            octets_in_flight_max = after,
            message_octets_max = config.ingress.session.message_octets_max,
            "there is little memory: bounds are lower than configured"
        );
    }
    Ok(())
}

/// Judges what was configured; what the machine has shows only where the node starts.
///
/// # Errors
/// With a sentence if `node.memory_octets` is neither 0 nor `OCTETS_MIN` at least.
pub fn check(config: &Config) -> Result<(), String> {
    match config.node.memory_octets {
        0 => Ok(()),
        octets => enough(octets),
    }
}

fn enough(octets: u64) -> Result<(), String> {
    if octets >= OCTETS_MIN {
        return Ok(());
    }
    Err(format!(
        "there is memory of {octets} octets (node.memory_octets, the machine or its control group), and at least \
         {OCTETS_MIN} are needed"
    ))
}

fn bound(config: &mut Config, octets: u64) {
    let share = |of: u64| octets.saturating_sub(BASE_OCTETS) / of;
    let limits = &mut config.ingress.limits;
    // A message is copied once when it is signed, and a buffer that grows is there twice for a moment.
    limits.octets_in_flight_max = limits.octets_in_flight_max.min(share(5) as usize);
    // One tenant alone may hold half of them.
    let largest = &mut config.ingress.session.message_octets_max;
    *largest = (*largest).min(limits.octets_in_flight_max / 2);
    // An answer of "come again" to what will never fit is a lie: the API and the door for others' mail refuse it, too.
    let request = &mut config.api.message_body_octets_max;
    *request = (*request).min(limits.octets_in_flight_max / 2);
    limits.inbound_octets_max = limits.inbound_octets_max.min(limits.octets_in_flight_max / 2);
    let spool = &mut config.spool;
    spool.body_cache_octets_max = spool.body_cache_octets_max.min(share(16));
    spool.loaded_octets_max = spool.loaded_octets_max.min(share(8));
}

/// The memory of the machine, or less if a control group that we are in has a ceiling.
fn allowed() -> Option<u64> {
    let machine = total(&read(Path::new("/proc/meminfo")));
    let groups = read(Path::new("/proc/self/cgroup"));
    let ceilings = files(&groups).into_iter().filter_map(|file| read(&file).trim().parse::<u64>().ok());
    ceilings.chain(machine).min()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Where ceilings may be said: for each group in /proc/self/cgroup itself and every group around it, cgroup_v1 and v2.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let around = Path::new(path).ancestors().map(|group| group.strip_prefix("/").unwrap_or(group));
        files.extend(around.map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_large_machine_changes_nothing_and_a_small_one_lowers_every_bound() {
        let mut config = Config::default();
        bound(&mut config, 8 << 30);
        assert_eq!(config, Config::default());
        bound(&mut config, 300 << 20);
        let (limits, session) = (&config.ingress.limits, &config.ingress.session);
        assert_eq!(limits.octets_in_flight_max >> 20, 47);
        assert_eq!(session.message_octets_max >> 20, 23);
        assert_eq!((config.api.message_body_octets_max >> 20, limits.inbound_octets_max >> 20), (23, 10));
        assert_eq!(
            (config.spool.body_cache_octets_max >> 20, config.spool.loaded_octets_max >> 20),
            (14, 29)
        );
    }

    #[test]
    fn whatever_may_arrive_fits_into_the_share_of_one_tenant() {
        for octets in [OCTETS_MIN, 160 << 20, 1 << 30] {
            let mut config = Config::default();
            config.node.memory_octets = octets;
            fit(&mut config).unwrap();
            let (limits, half) = (&config.ingress.limits, config.ingress.limits.octets_in_flight_max / 2);
            assert!(config.ingress.session.message_octets_max <= half);
            assert!(limits.inbound_octets_max <= half && config.api.message_body_octets_max <= half);
            assert!(half >= 6 << 20, "{octets}: a useful message fits");
        }
    }

    #[test]
    fn too_little_memory_is_an_error_and_not_a_house_that_refuses_everything() {
        for octets in [1, BASE_OCTETS, OCTETS_MIN - 1] {
            let mut config = Config::default();
            config.node.memory_octets = octets;
            let sentence = fit(&mut config).unwrap_err();
            assert!(sentence.contains("node.memory_octets"), "{sentence}");
            assert_eq!(check(&config), Err(sentence));
        }
    }

    #[test]
    fn what_is_configured_lower_stays() {
        let mut config = Config::default();
        config.ingress.session.message_octets_max = 1_000;
        config.spool.body_cache_octets_max = 0;
        bound(&mut config, 300 << 20);
        assert_eq!(config.ingress.session.message_octets_max, 1_000);
        assert_eq!(config.spool.body_cache_octets_max, 0);
    }

    #[test]
    fn ceilings_are_looked_for_in_every_group_around_ours() {
        let shown = |groups| files(groups).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            shown("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            shown("9:cpu,memory:/x\n3:cpuset:/\nnonsense"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total(""), None);
    }
}
