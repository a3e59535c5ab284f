//! Whether this node takes mail and moves it, and if not, why not: what `/ready` answers.
//!
//! Each reason has a code that does not change and a sentence for people. Nothing here waits for anybody: everything is
//! known already or asked of the kernel. A disk that only comes near its reserve, or a slow PostgreSQL, is no reason: an
//! alert is the right place for what still works (`docs/OPERATING.md`).

use crate::nofile::RESERVED;
use crate::process::{self, Descriptors};
use api::{Journal, Readiness, Reason};
use database::SnapshotHandle;
use spool::{Progress, Spool, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// PostgreSQL has not answered for that long: what was changed meanwhile is not in force here.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(5);

/// How often a change is looked for, to be told in the log.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a node looks at.
pub struct Sources {
    pub spool: Spool,
    pub snapshots: Arc<SnapshotHandle>,
    /// Cancelled when a worker ended before it was told to.
    pub died: CancellationToken,
    pub stopping: CancellationToken,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
struct Facts {
    stopping: bool,
    died: bool,
    sealed: bool,
    full: bool,
    unread: bool,
    stalled: Option<Duration>,
    snapshot_age: Duration,
    descriptors: Option<Descriptors>,
}

impl Sources {
    pub fn look(&self) -> Readiness {
        let status = self.spool.status();
        let reasons = judge(Facts {
            stopping: self.stopping.is_cancelled(),
            died: self.died.is_cancelled(),
            sealed: status.sealed,
            full: status.full,
            unread: status.readers_stopped > 0,
            stalled: status.stalled,
            snapshot_age: self.snapshots.age(),
            descriptors: process::descriptors(),
        });
        Readiness { reasons, journal: Some(journal(&status)) }
    }
}

/// Beside the reasons: what waits from before may still be looked for while mail is taken.
fn journal(status: &Status) -> Journal {
    Journal {
        loading_percent: status.loading.map(Progress::percent),
        quarantined: status.quarantined,
        segments_pinned: status.pinned,
        segments_owed: status.owed,
    }
}

/// While the journal is read and the registry is fetched.
pub fn loading() -> Readiness {
    let detail = "the node is starting: it reads its journal and the registry".to_owned();
    Readiness { reasons: vec![Reason { code: "loading", detail }], journal: None }
}

fn judge(facts: Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut add = |holds: bool, code: &'static str, detail: String| {
        if holds {
            reasons.push(Reason { code, detail });
        }
    };
    add(facts.stopping, "stopping", "the node was asked to stop".to_owned());
    let died = "delivery, events or API ended by themselves; the log says why, and the node stops";
    add(facts.died, "worker_died", died.to_owned());
    let sealed = "the journal is sealed after a failed write or sync; restart when the disk is well";
    add(facts.sealed, "journal_sealed", sealed.to_owned());
    let full = "free space on the spool's disk has fallen to the reserve (spool.reserve_octets): make room there, and mail \
                is taken again by itself";
    add(facts.full, "disk_full", full.to_owned());
    let unread = "the disk does not give a piece of the journal, and events or deliveries wait before it; they pass \
                  over it after spool.read_retry_seconds_max";
    add(facts.unread, "journal_unread", unread.to_owned());
    let lasts = facts.stalled.unwrap_or_default();
    let stalled =
        format!("the spool's disk has not come back for {} s; is it overloaded or dying?", lasts.as_secs());
    add(facts.stalled.is_some(), "disk_stalled", stalled);
    let age = facts.snapshot_age;
    let old = format!("the registry was last read {} s ago; is PostgreSQL up?", age.as_secs());
    add(age > SNAPSHOT_AGE_MAX, "registry_old", old);
    if let Some(Descriptors { open, max }) = facts.descriptors {
        let few = format!(
            "{open} of {max} file descriptors are in use and the last {RESERVED} are kept; raise the limit \
             (LimitNOFILE=)"
        );
        add(open.saturating_add(RESERVED) > max, "descriptors_low", few);
    }
    reasons
}

/// What was told last, so that the log has each change once and not each look.
#[derive(Default)]
struct Told(Vec<&'static str>);

impl Told {
    /// Reasons that have come, and codes of those that have gone.
    fn changes<'a>(&mut self, reasons: &'a [Reason]) -> (Vec<&'a Reason>, Vec<&'static str>) {
        let now: Vec<&'static str> = reasons.iter().map(|reason| reason.code).collect();
        let come = reasons.iter().filter(|reason| !self.0.contains(&reason.code)).collect();
        let gone = self.0.iter().filter(|code| !now.contains(code)).copied().collect();
        self.0 = now;
        (come, gone)
    }
}

/// Whoever has nothing but the log reads there why no mail is taken, what to do, and when it is over.
pub async fn keep_telling(sources: Arc<Sources>, stop: CancellationToken) {
    let mut told = Told::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let readiness = sources.look();
        let (come, gone) = told.changes(&readiness.reasons);
        for reason in come {
            tracing::warn!(reason = reason.code, detail = reason.detail, "the node is not ready");
        }
        for reason in gone {
            tracing::info!(reason, "what kept the node from being ready is over");
        }
    }
}

/// Sets the gauges of readiness.
pub fn measure(readiness: &Readiness) {
    const CODES: [&str; 8] = [
        "stopping",
        "worker_died",
        "journal_sealed",
        "disk_full",
        "journal_unread",
        "disk_stalled",
        "registry_old",
        "descriptors_low",
    ];
    metrics::gauge!("posthouse_ready").set(if readiness.reasons.is_empty() { 1.0 } else { 0.0 });
    for code in CODES {
        let holds = readiness.reasons.iter().any(|reason| reason.code == code);
        metrics::gauge!("posthouse_not_ready", "reason" => code).set(if holds { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Facts = Facts {
        stopping: false,
        died: false,
        sealed: false,
        full: false,
        unread: false,
        stalled: None,
        snapshot_age: Duration::from_secs(1),
        descriptors: Some(Descriptors { open: 100, max: 1_024 }),
    };

    fn codes(facts: Facts) -> Vec<&'static str> {
        judge(facts).iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn every_trouble_has_its_code_and_all_are_told_at_once() {
        assert!(codes(WELL).is_empty());
        assert_eq!(codes(Facts { stopping: true, ..WELL }), ["stopping"]);
        assert_eq!(codes(Facts { died: true, ..WELL }), ["worker_died"]);
        assert_eq!(codes(Facts { sealed: true, full: true, ..WELL }), ["journal_sealed", "disk_full"]);
        assert_eq!(codes(Facts { stalled: Some(Duration::from_secs(2)), ..WELL }), ["disk_stalled"]);
        assert_eq!(codes(Facts { snapshot_age: Duration::from_secs(6), ..WELL }), ["registry_old"]);
        assert_eq!(codes(Facts { unread: true, ..WELL }), ["journal_unread"]);
        let few = Some(Descriptors { open: 900, max: 1_024 });
        assert_eq!(codes(Facts { descriptors: few, ..WELL }), ["descriptors_low"]);
        assert!(codes(Facts { descriptors: None, ..WELL }).is_empty());
        assert_eq!(loading().reasons[0].code, "loading");
    }

    #[test]
    fn each_reason_is_told_when_it_comes_and_when_it_goes() {
        let mut told = Told::default();
        let mut codes = |facts: Facts| {
            let reasons = judge(facts);
            let (come, gone) = told.changes(&reasons);
            (come.iter().map(|reason| reason.code).collect::<Vec<_>>(), gone)
        };
        assert_eq!(codes(WELL), (vec![], vec![]));
        assert_eq!(codes(Facts { full: true, ..WELL }), (vec!["disk_full"], vec![]));
        assert_eq!(codes(Facts { full: true, ..WELL }), (vec![], vec![]));
        assert_eq!(codes(Facts { full: true, sealed: true, ..WELL }), (vec!["journal_sealed"], vec![]));
        assert_eq!(codes(WELL), (vec![], vec!["journal_sealed", "disk_full"]));
    }

    #[test]
    fn how_far_a_large_journal_is_loaded_is_told_while_it_loads() {
        let place = tempfile::tempdir().unwrap();
        for segment in 1..=20 {
            let header = b"posthouse spool segment 1\n\0\0\0\0\0\0";
            std::fs::write(place.path().join(format!("{segment:08x}.seg")), header).unwrap();
        }
        let config = spool::Config { directory: place.path().to_owned(), ..spool::Config::default() };
        let clock = Arc::new(crate::clock::SystemClock::new());
        let (spool, mut steps, _) = Spool::open_loading(config, Arc::new(spool::RealDisk), clock).unwrap();
        let percent = || journal(&spool.status()).loading_percent;
        let mut seen = vec![percent().unwrap()];
        while steps.load() {
            seen.push(percent().unwrap());
        }
        assert_eq!((seen.len(), seen[0], seen[10], seen[19]), (20, 0, 50, 95));
        assert_eq!(percent(), None, "all is known");
        assert_eq!(journal(&spool.status()).quarantined, 0);
    }

    #[test]
    fn a_sentence_says_what_to_do() {
        let facts = Facts { snapshot_age: Duration::from_secs(63), ..WELL };
        assert_eq!(judge(facts)[0].detail, "the registry was last read 63 s ago; is PostgreSQL up?");
    }
}
