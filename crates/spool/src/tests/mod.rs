//! The journal as a whole, on the disk that lies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod crash;
mod damage;
mod damage_matrix;
mod faults;
mod follow;
mod format;
mod forward;
mod forward_crash;
mod impatient;
mod inspect;
mod loading;
mod memory;
mod once;
mod owed;
mod real;
mod round_trip;
mod short_start;
mod shortage;
mod trim;

use crate::lying::LyingDisk;
use crate::*;
use bytes::Bytes;
use mail::{
    BodyKind, Class, ClassKind, Clock, DomainId, ForwardPath, Instant, MessageId, Outcome, PoolId, Random,
    ReversePath, Scope, SiteName, StreamId, TenantId, Timestamp, Verdict,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct StoppedClock;

impl Clock for StoppedClock {
    fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(1_795_425_249_120)
    }
    fn instant(&self) -> Instant {
        Instant::ZERO
    }
}

fn config() -> Config {
    Config { directory: PathBuf::from("/spool"), reserve_octets: 0, readers: Vec::new(), ..Config::default() }
}

/// Segments of a few messages each.
fn small() -> Config {
    Config { segment_octets_max: 4_096, ..config() }
}

fn open(config: &Config, disk: &LyingDisk) -> (Spool, Recovery) {
    let (spool, recovery) =
        Spool::open(config.clone(), Arc::new(disk.clone()), Arc::new(StoppedClock)).unwrap();
    spool.shared().loading.until_loaded();
    (spool, recovery)
}

fn segment_path(segment: u32) -> PathBuf {
    Path::new("/spool").join(crate::segment::file_name(segment))
}

fn message(number: u64, recipients: usize) -> Accepted {
    let mut random = Random::from_number(number);
    let at = Timestamp::from_millis(1_795_425_249_120);
    Accepted {
        message: MessageId::mint(at, &mut random),
        tenant: TenantId::mint(at, &mut random),
        stream: StreamId::mint(at, &mut random),
        domain: DomainId::mint(at, &mut random),
        credential: None,
        api_key: None,
        pool: PoolId::mint(at, &mut random),
        accepted_at: at,
        not_before: None,
        expires_at: at,
        reverse_path: ReversePath::Null,
        message_id_header: format!("<{number}@client.example>"),
        subject: "Hello".to_owned(),
        header_from: "news@client.example".to_owned(),
        tags: Vec::new(),
        metadata: Vec::new(),
        body_kind: BodyKind::SevenBit,
        smtputf8: false,
        require_tls: false,
        dsn_return: None,
        envelope_id: None,
        recipients: (0..recipients)
            .map(|index| RecipientRecord {
                forward_path: ForwardPath::parse(&format!("r{index}@site.example")).unwrap(),
                reverse_path: ReversePath::parse("b+token@rp.client.example").unwrap(),
                notify: None,
                original: None,
            })
            .collect(),
        size: body(number).len() as u64,
    }
}

/// Bytes that differ from message to message, also in length.
fn body(number: u64) -> Bytes {
    let mut random = Random::from_number(number ^ 0xb0d7);
    let mut octets = vec![0; 200 + random.below(900) as usize];
    random.fill(&mut octets);
    octets.into()
}

fn outcome() -> Outcome {
    Outcome {
        verdict: Verdict::Deferred,
        class: Class::stored("remote.down"),
        kind: ClassKind::Soft,
        scope: Scope::Site,
        stage: "connect",
        reply: None,
        trouble: Some("no answer".to_owned()),
        status: None,
        rule: None,
        mx: None,
        egress: None,
        tls: None,
        provider: "other".into(),
    }
}

fn settled(accepted: &Accepted, recipient: u32) -> OutcomeRecord {
    OutcomeRecord::Settled(Settled {
        message: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        recipient,
        attempt: 1,
        at: accepted.accepted_at,
        settlement: Settlement::Delivered,
        outcome: None,
        source: None,
        site: None,
        duration_ms: 3,
        queued_ms: 1,
    })
}

fn attempted(accepted: &Accepted, recipient: u32, attempt: u32, next_at: i64) -> OutcomeRecord {
    OutcomeRecord::Attempted(Attempted {
        message: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        recipient,
        attempt,
        at: accepted.accepted_at,
        outcome: outcome(),
        source: None,
        site: SiteName::new("site.example"),
        next_at: Timestamp::from_millis(next_at),
        duration_ms: 3,
        queued_ms: 1,
    })
}

/// Appends messages one after the other.
async fn append(spool: &Spool, numbers: std::ops::Range<u64>) -> Vec<Committed> {
    let intake = spool.intake();
    let mut committed = Vec::new();
    for number in numbers {
        committed.push(intake.append(message(number, 1), body(number)).await.unwrap());
    }
    committed
}

/// Number, position and body of everything unsettled, as recovery and the disk tell it.
async fn unsettled(spool: &Spool, recovery: Recovery) -> Vec<(MessageId, Position, Bytes)> {
    let mut all = Vec::new();
    for waiting in recovery.unsettled {
        let body = spool.body(waiting.position).await.unwrap();
        all.push((waiting.accepted.message, waiting.position, body));
    }
    all
}
