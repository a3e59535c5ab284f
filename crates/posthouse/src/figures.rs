//! Every figure that `/metrics` has, in one table: name, labels, meaning. `docs/OPERATING.md` shows the same.
//!
//! The crates record what they do where they do it; here it is said what it means, which buckets it has, and that it
//! is there from the start: a counter that only appears with its first trouble cannot be watched for. Labels come from
//! closed lists, never from what a tenant or a site wrote. Called by `telemetry.rs`.

use Kind::{Counter, Gauge, Histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

/// Bounds of histograms in seconds, from one sync of a fast disk to a call that has timed out.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// Of what may wait for hours.
pub const LONG_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0,
    14_400.0, 86_400.0,
];
/// Histograms that have them.
pub const LONG: &[&str] = &["posthouse_queued_seconds", "posthouse_events_lag_seconds"];
/// Of numbers of things.
pub const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// Of a share of a bound.
pub const RATIOS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0];

const fn figure(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Figure {
    Figure { name, kind, labels, meaning }
}

/// In the order of the way of a message.
pub const FIGURES: &[Figure] = &[
    figure(Gauge, "posthouse_build_info", &["version"], "always 1; says which version runs"),
    figure(Gauge, "posthouse_ready", &[], "1 if /ready answers 200"),
    figure(Gauge, "posthouse_not_ready", &["reason"], "1 for each reason that /ready gives"),
    figure(
        Counter,
        "posthouse_log_lines_dropped_total",
        &[],
        "lines of the log that nobody took in time or that had no room: mail does not wait for them",
    ),
    figure(Gauge, "posthouse_smtp_connections", &[], "open SMTP connections of clients"),
    figure(Counter, "posthouse_smtp_sessions_total", &["door", "end"], "SMTP sessions that ended, and how"),
    figure(
        Counter,
        "posthouse_smtp_replies_unheard_total",
        &[],
        "messages that are ours although the client was gone before it could hear its 250: it sends them again",
    ),
    figure(Counter, "posthouse_smtp_auth_total", &["outcome"], "AUTH attempts by outcome"),
    figure(
        Counter,
        "posthouse_submissions_total",
        &["door", "outcome"],
        "messages offered, by what became of them",
    ),
    figure(
        Histogram,
        "posthouse_submission_seconds",
        &["door"],
        "accepting a message, from its last octet to 250 or 202",
    ),
    figure(
        Histogram,
        "posthouse_submission_stage_seconds",
        &["stage"],
        "parts of it: wait (for a signing thread), sign, commit (group commit, its wait included)",
    ),
    figure(Gauge, "posthouse_submission_octets_in_flight", &[], "octets of messages not answered yet"),
    figure(Histogram, "posthouse_spool_sync_seconds", &[], "one sync of the journal"),
    figure(Histogram, "posthouse_spool_group_records", &[], "records that shared a sync"),
    figure(Counter, "posthouse_spool_syncs_total", &[], "syncs of the journal"),
    figure(Counter, "posthouse_spool_records_total", &[], "records written to the journal"),
    figure(
        Gauge,
        "posthouse_spool_sealed",
        &[],
        "1 after a failed write or sync: nothing is accepted any more",
    ),
    figure(Gauge, "posthouse_spool_segments", &[], "segments of the journal"),
    figure(
        Gauge,
        "posthouse_spool_segments_pinned",
        &[],
        "segments kept because something in them cannot be read",
    ),
    figure(
        Gauge,
        "posthouse_spool_segments_owed",
        &[],
        "segments that were passed over, in whole or in part, and are read as soon as the disk gives them",
    ),
    figure(
        Counter,
        "posthouse_spool_messages_given_up_total",
        &[],
        "messages that waited in a segment whose file is gone",
    ),
    figure(
        Gauge,
        "posthouse_spool_readers_stopped",
        &[],
        "readers that wait before a piece of the journal which the disk does not give",
    ),
    figure(Gauge, "posthouse_spool_octets", &["of"], "octets of segments, and of waiting_messages in them"),
    figure(Gauge, "posthouse_spool_waiting_messages", &[], "messages with recipients that are not settled"),
    figure(Gauge, "posthouse_spool_disk_free_octets", &[], "free space of the journal's disk"),
    figure(Gauge, "posthouse_spool_disk_reserve_octets", &[], "free space at which mail is refused"),
    figure(
        Counter,
        "posthouse_spool_quarantined_total",
        &[],
        "damaged pieces of the journal since the start",
    ),
    figure(Counter, "posthouse_spool_segments_removed_total", &[], "segments that were done with"),
    figure(Counter, "posthouse_spool_copied_forward_total", &[], "messages copied into a newer segment"),
    figure(Counter, "posthouse_spool_copied_forward_octets_total", &[], "their octets"),
    figure(Gauge, "posthouse_queue_recipients", &["state"], "recipients waiting, ready and in_flight"),
    figure(Gauge, "posthouse_queue_lanes", &[], "lanes with mail: of a tenant, from a pool, to a site"),
    figure(
        Histogram,
        "posthouse_sched_wait_vs_bound",
        &[],
        "what others sent while a tenant waited for its turn at a site, over the bound of fairness: never above 1",
    ),
    figure(Gauge, "posthouse_egress_sessions", &[], "open sessions with sites"),
    figure(Histogram, "posthouse_queued_seconds", &[], "from being accepted, or due, to the first attempt"),
    figure(
        Histogram,
        "posthouse_egress_stage_seconds",
        &["stage", "result"],
        "parts of an attempt: connect, tls, transaction",
    ),
    figure(
        Counter,
        "posthouse_egress_timeouts_total",
        &["stage"],
        "times that a site was waited for no longer: connect, greeting, …, final, quit",
    ),
    figure(
        Counter,
        "posthouse_egress_shortages_total",
        &[],
        "connections that could not be opened for want of a descriptor or of memory",
    ),
    figure(
        Counter,
        "posthouse_egress_crowded_total",
        &[],
        "messages that were given back untried because there was no memory for them (`spool.loaded_octets_max`)",
    ),
    figure(Counter, "posthouse_egress_deferred_total", &[], "attempts after which a recipient waits again"),
    figure(
        Counter,
        "posthouse_egress_settled_total",
        &["settlement"],
        "recipients that were settled, and how",
    ),
    figure(
        Histogram,
        "posthouse_events_lag_seconds",
        &[],
        "from a record of the journal to its row in PostgreSQL",
    ),
    figure(Counter, "posthouse_events_records_total", &[], "records of the journal that were projected"),
    figure(
        Counter,
        "posthouse_events_records_left_out_total",
        &[],
        "records that PostgreSQL refuses for good",
    ),
    figure(Counter, "posthouse_events_database_failures_total", &[], "failed transactions of the projection"),
    figure(
        Gauge,
        "posthouse_webhook_calls",
        &["state"],
        "webhook calls under_way, and claimed to be made next",
    ),
    figure(Counter, "posthouse_webhook_calls_total", &["result"], "webhook calls made, by result"),
    figure(Histogram, "posthouse_webhook_call_seconds", &[], "one webhook call"),
    figure(Gauge, "posthouse_snapshot_age_seconds", &[], "since the registry was last read or confirmed"),
    figure(Gauge, "posthouse_snapshot_generation", &[], "generation of the registry that is in force here"),
    figure(Histogram, "posthouse_snapshot_build_seconds", &[], "reading a changed registry"),
    figure(Gauge, "posthouse_registry_rows_left_out", &[], "rows of the registry that cannot be used"),
    figure(Counter, "posthouse_api_requests_total", &["route", "method", "status"], "API requests"),
    figure(Histogram, "posthouse_api_request_seconds", &["route", "method"], "answering an API request"),
    figure(Gauge, "posthouse_api_requests_in_flight", &[], "API requests being answered"),
    figure(Counter, "posthouse_panics_total", &[], "panics: bugs of ours, each with a line in the log"),
    figure(
        Counter,
        "posthouse_tasks_begun_anew_total",
        &["task"],
        "tasks that were begun anew after a panic",
    ),
    figure(Gauge, "process_open_fds", &[], "file descriptors in use"),
    figure(Gauge, "process_max_fds", &[], "file descriptors allowed"),
    figure(Gauge, "process_resident_memory_bytes", &[], "memory in use"),
    figure(Gauge, "process_cpu_seconds_total", &[], "processor time used, user and system"),
    figure(Gauge, "process_threads", &[], "threads"),
];

/// Makes all of them known to the recorder, with their meaning, and those without labels present.
pub fn describe() {
    for figure in FIGURES {
        let (name, meaning) = (figure.name, figure.meaning);
        match figure.kind {
            Counter => metrics::describe_counter!(name, meaning),
            Gauge => metrics::describe_gauge!(name, meaning),
            Histogram => metrics::describe_histogram!(name, meaning),
        }
        if figure.labels.is_empty() {
            match figure.kind {
                Counter => metrics::counter!(name).increment(0),
                Gauge => metrics::gauge!(name).set(0.0),
                Histogram => drop(metrics::histogram!(name)),
            }
        }
    }
    metrics::gauge!("posthouse_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the table in the manual: name, kind, labels, meaning.
    fn documented() -> Vec<String> {
        let text = include_str!("../../../docs/OPERATING.md");
        let rows =
            text.lines().filter(|line| line.starts_with("| posthouse_") || line.starts_with("| process_"));
        rows.map(str::to_owned).collect()
    }

    #[test]
    fn the_manual_has_the_same_table() {
        let rows: Vec<String> = FIGURES
            .iter()
            .map(|figure| {
                let kind = format!("{:?}", figure.kind).to_lowercase();
                let labels = figure.labels.join(", ");
                let labels = if labels.is_empty() { "–".to_owned() } else { labels };
                format!("| {} | {kind} | {labels} | {} |", figure.name, figure.meaning)
            })
            .collect();
        assert_eq!(documented().join("\n"), rows.join("\n"), "docs/OPERATING.md must have these rows");
    }

    #[test]
    fn no_label_could_grow_with_tenants_sites_or_what_they_write() {
        let known = [
            "version",
            "reason",
            "door",
            "end",
            "outcome",
            "stage",
            "of",
            "state",
            "result",
            "settlement",
            "route",
            "method",
            "status",
            "task",
        ];
        for label in FIGURES.iter().flat_map(|figure| figure.labels) {
            assert!(known.contains(label), "{label}: is its list closed?");
        }
    }

    #[test]
    fn every_histogram_has_buckets_of_its_unit() {
        for figure in FIGURES.iter().filter(|figure| figure.kind == Histogram) {
            let units = ["_seconds", "_records", "_vs_bound"];
            assert!(units.iter().any(|unit| figure.name.ends_with(unit)), "{}", figure.name);
        }
        assert!(LONG.iter().all(|name| FIGURES.iter().any(|figure| figure.name == *name)));
    }
}
