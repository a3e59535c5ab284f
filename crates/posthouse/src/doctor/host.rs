//! The host itself: descriptors, clock, kernel settings, IPv6. What is read is judged by plain functions.

use crate::clocks;
use crate::doctor::finding::{Finding, Trouble};
use mail::Timestamp;
use rustix::process::{Resource, getrlimit};

/// Enough for the listeners' limits and as many sessions with sites.
const DESCRIPTORS_WANTED: u64 = 65_536;
const DESCRIPTORS_NEEDED: u64 = 512;
const BACKLOG_WANTED: u64 = 1_024;
const PORTS_WANTED: u64 = 28_000;

pub fn check(now: Timestamp) -> Vec<Finding> {
    let limit = getrlimit(Resource::Nofile).maximum;
    vec![
        descriptors(limit),
        clock(now),
        backlog(read("/proc/sys/net/core/somaxconn").trim().parse().ok()),
        ports(&read("/proc/sys/net/ipv4/ip_local_port_range")),
        ipv6(&read("/proc/net/if_inet6")),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn descriptors(limit: Option<u64>) -> Finding {
    const CHECK: &str = "descriptors";
    let advice = "raise the hard limit: LimitNOFILE=65536 in the unit, or `ulimit -Hn 65536`";
    match limit {
        None => Finding::ok(CHECK, "any number of open files is allowed"),
        Some(limit) if limit < DESCRIPTORS_NEEDED => {
            let found = format!(
                "only {limit} open files are allowed; a node needs {DESCRIPTORS_NEEDED} at the least"
            );
            Finding::error(Trouble::Unavailable, CHECK, found, advice)
        }
        Some(limit) if limit < DESCRIPTORS_WANTED => {
            let found =
                format!("{limit} open files are allowed: fewer connections than the configuration admits");
            Finding::warning(CHECK, found, advice)
        }
        Some(limit) => Finding::ok(CHECK, format!("{limit} open files are allowed")),
    }
}

fn clock(now: Timestamp) -> Finding {
    match clocks::is_set(now) {
        true => Finding::ok("clock", format!("it is {now}")),
        false => Finding::error(Trouble::Unavailable, "clock", clocks::unset(now), clocks::SET),
    }
}

fn backlog(most: Option<u64>) -> Finding {
    match most {
        Some(most) if most < BACKLOG_WANTED => Finding::warning(
            "backlog",
            format!("{most} connections may wait to be accepted (net.core.somaxconn)"),
            format!(
                "`sysctl -w net.core.somaxconn={}`; a burst of clients is refused otherwise",
                BACKLOG_WANTED * 4
            ),
        ),
        Some(most) => Finding::ok("backlog", format!("{most} connections may wait to be accepted")),
        None => Finding::ok("backlog", "not known on this system"),
    }
}

fn ports(range: &str) -> Finding {
    let numbers: Vec<u64> = range.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let [first, last] = numbers[..] else { return Finding::ok("ports", "not known on this system") };
    let count = (last + 1).saturating_sub(first);
    if count < PORTS_WANTED {
        let found =
            format!("{count} local ports for connections to one address (net.ipv4.ip_local_port_range)");
        let advice = "`sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"`";
        return Finding::warning("ports", found, advice);
    }
    Finding::ok("ports", format!("{count} local ports for connections to one address"))
}

/// Fourth field: the scope, 00 is global.
fn ipv6(interfaces: &str) -> Finding {
    let global = interfaces.lines().filter(|line| line.split_whitespace().nth(3) == Some("00")).count();
    if global == 0 {
        let advice = "none needed; sites that only have IPv6 addresses cannot be reached without one";
        return Finding::warning("ipv6", "this host has no global IPv6 address", advice);
    }
    Finding::ok("ipv6", format!("{global} global addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    fn said(finding: &Finding) -> (State, String) {
        (finding.state, finding.found.clone())
    }

    #[test]
    fn few_descriptors_are_doubtful_and_very_few_are_wrong() {
        let (state, found) = said(&descriptors(Some(256)));
        assert_eq!(state, State::Error);
        assert_eq!(found, "only 256 open files are allowed; a node needs 512 at the least");
        let few = descriptors(Some(1_024));
        assert_eq!(few.state, State::Warning);
        assert!(few.advice.is_some_and(|advice| advice.contains("LimitNOFILE")));
        assert_eq!(descriptors(Some(1 << 20)).state, State::Ok);
        assert_eq!(descriptors(None).state, State::Ok);
    }

    #[test]
    fn a_clock_that_was_never_set_is_wrong() {
        let (state, found) = said(&clock(Timestamp::UNIX_EPOCH));
        assert_eq!(state, State::Error);
        assert!(found.contains("1970") && found.contains("before this program was made"), "{found}");
        assert_eq!(clock(Timestamp::from_millis(1_795_425_249_120)).state, State::Ok);
    }

    #[test]
    fn kernel_settings_that_are_small_are_told_with_the_command() {
        let small = backlog(Some(128));
        assert_eq!(small.state, State::Warning);
        assert!(small.advice.is_some_and(|advice| advice.contains("sysctl -w net.core.somaxconn=4096")));
        let few = ports("32768\t33000\n");
        assert_eq!((few.state, few.found.starts_with("233 local ports")), (State::Warning, true));
        assert_eq!(ports("32768\t60999\n").state, State::Ok);
        assert_eq!(ports("").state, State::Ok);
    }

    #[test]
    fn loopback_and_link_local_are_no_ipv6() {
        let local = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe80000000000000 02 40 20 80     eth0\n";
        assert_eq!(ipv6(local).state, State::Warning);
        assert_eq!(ipv6("20010db8000000000000000000000001 02 40 00 80 eth0\n").state, State::Ok);
    }
}
