//! What one seed decides beforehand: who writes to whom, how the sites behave, what goes wrong and when.
//!
//! Worlds are small: a few tenants, a few sites, some dozens of letters, twenty minutes of trouble. What matters is that
//! no two are alike. Site 0 is calm: nothing ever goes wrong there, so mail for it shows whether somebody starves.

use egress::config::SiteLimits;
use mail::Random;
use std::path::PathBuf;
use std::time::Duration;

/// How long things go wrong.
pub const CHAOS: Duration = Duration::from_secs(20 * 60);
pub const TENANTS: usize = 3;
pub const SOURCES: usize = 3;
/// The site where nothing goes wrong.
pub const CALM: usize = 0;
/// Writes to the calm site only: whatever keeps its mail waiting is somebody else's trouble.
pub const QUIET_TENANT: usize = 2;

pub struct Plan {
    pub letters: Vec<Letter>,
    pub sites: Vec<Model>,
    pub faults: Vec<Fault>,
    pub spool: spool::Config,
    pub egress: egress::Config,
    /// Of the lines between clients and the house, and between the house and sites.
    pub breaks_percent: u64,
}

/// A message that a client has to send.
#[derive(Clone)]
pub struct Letter {
    pub tenant: usize,
    pub at: Duration,
    /// Site and number of the mailbox.
    pub recipients: Vec<(usize, u32)>,
    pub raw: bytes::Bytes,
    /// Sent over the same connection right behind the one before.
    pub follows: bool,
}

/// How a site behaves. Chances are per thousand.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub deferred: u64,
    pub bounced: u64,
    /// A recipient is told to come back when it is first seen.
    pub greylists: bool,
    /// 421 instead of the answer to a message.
    pub closing: u64,
    /// Takes a message and breaks off before the answer.
    pub silent: u64,
    /// Hangs up right behind its 250.
    pub leaves: u64,
    /// Breaks off at the final dot and takes nothing.
    pub dropped: u64,
    /// 5yz or 4yz to the final dot.
    pub rejected: u64,
    pub put_off: u64,
    /// Answers take up to so many milliseconds.
    pub slow_ms: u64,
    pub connections_max: usize,
    /// Nobody answers between these.
    pub dead: Option<(Duration, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub at: Duration,
    pub lasts: Duration,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The power goes: what was not synced may be lost or torn.
    PowerCut,
    /// The process dies, the kernel lives on.
    Kill,
    /// The power goes in the middle of the nth operation of the disk from now.
    PowerCutAt(u64),
    /// The nth sync from now fails.
    SyncFails(u64),
    DirectorySyncFails(u64),
    /// So many octets are left.
    DiskFull(u64),
    /// A sealed segment that all readers are past can be read no more, until the next start.
    ReadsFail,
    /// The house is told to stop, and starts again.
    Shutdown,
    /// No octet gets through between the house and the site.
    Partition(usize),
    /// Wall time, in milliseconds.
    Jump(i64),
    Pause(usize),
    HoldSource(usize),
    /// The tenant takes back the letter, if it was accepted.
    TakeBack(usize),
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let random = &mut Random::from_number(seed);
        let sites: Vec<Model> =
            (0..2 + random.below(4) as usize).map(|number| model(number, random)).collect();
        let letters = letters(sites.len(), random);
        let faults = (0..random.below(12)).map(|_| fault(sites.len(), letters.len(), random)).collect();
        let breaks_percent = [0, 5, 30][random.below(3) as usize];
        Plan { letters, sites, faults, spool: spool(random), egress: egress(random), breaks_percent }
    }
}

fn model(number: usize, random: &mut Random) -> Model {
    let mut model = Model { connections_max: 50, slow_ms: 50, ..Model::default() };
    if number == CALM {
        return model;
    }
    match random.below(6) {
        0 => {}
        1 => (model.deferred, model.bounced, model.rejected, model.put_off) = (200, 100, 50, 100),
        2 => (model.silent, model.dropped, model.closing, model.leaves) = (100, 100, 100, 300),
        3 => (model.greylists, model.connections_max) = (true, 1 + random.below(3) as usize),
        4 => model.slow_ms = [5_000, 40_000][random.below(2) as usize],
        _ => {
            let from = Duration::from_secs(random.below(CHAOS.as_secs()));
            model.dead = Some((from, from + Duration::from_secs(random.below(1_200))));
            model.silent = 50;
        }
    }
    model
}

fn letters(sites: usize, random: &mut Random) -> Vec<Letter> {
    // A few worlds have one tenant that writes much more than the others.
    let (count, flood) = (5 + random.below(30), random.below(4) == 0);
    let mut letters: Vec<Letter> = Vec::new();
    for number in 0..count {
        let tenant = if flood && random.below(4) > 0 { 0 } else { random.below(TENANTS as u64) as usize };
        let many = if random.below(12) == 0 { 40 } else { 4 };
        let recipients = (0..1 + random.below(many))
            .map(|index| {
                let site = random.below(sites as u64) as usize;
                (if tenant == QUIET_TENANT { CALM } else { site }, (number * 100 + index) as u32)
            })
            .collect();
        let burst = Duration::from_millis(random.below(3_000));
        let spread = Duration::from_millis(random.below(CHAOS.as_millis() as u64));
        let at = if flood || random.below(2) == 0 { burst } else { spread };
        let follows = letters.last().is_some_and(|last| last.tenant == tenant) && random.below(2) == 0;
        letters.push(Letter { tenant, at, recipients, raw: raw(number, tenant, random), follows });
    }
    letters
}

/// Lines of all kinds: dots at the beginning, empty ones, long ones, eight bits.
fn raw(number: u64, tenant: usize, random: &mut Random) -> bytes::Bytes {
    let mut raw = format!(
        "From: a@t{tenant}.example\r\nTo: undisclosed:;\r\nSubject: letter {number}\r\nX-Letter: {number}\r\n\r\n"
    );
    let lines = match random.below(10) {
        0 => 0,
        1 => 100 + random.below(300),
        2 | 3 => 20 + random.below(80),
        _ => 1 + random.below(20),
    };
    for _ in 0..lines {
        raw.push_str(match random.below(8) {
            0 => ".\r\n",
            1 => "..dots\r\n",
            2 => "\r\n",
            3 => "gr\u{fc}n\r\n",
            _ => "The quick brown fox jumps over the lazy dog, and so on and on and on.\r\n",
        });
    }
    raw.into()
}

fn fault(sites: usize, letters: usize, random: &mut Random) -> Fault {
    // Much happens in the first seconds, when everybody is busy.
    let span = if random.below(2) == 0 { 10_000 } else { CHAOS.as_millis() as u64 };
    let at = Duration::from_millis(random.below(span));
    let lasts = Duration::from_millis(random.below(240_000));
    let site = 1 + random.below(sites as u64 - 1) as usize;
    let jumps = [-3_600_000, 3_600_000, -1_500, 2_000, 86_400_000];
    let kind = match random.below(19) {
        0 | 1 => FaultKind::PowerCut,
        2 => FaultKind::Kill,
        3 | 4 | 15 | 16 | 17 => FaultKind::PowerCutAt(1 + random.below(12)),
        5 => FaultKind::SyncFails(1 + random.below(10)),
        6 => FaultKind::DirectorySyncFails(1 + random.below(3)),
        7 => FaultKind::DiskFull(random.below(4_000)),
        8 | 9 => FaultKind::Partition(site),
        10 => FaultKind::Jump(jumps[random.below(jumps.len() as u64) as usize]),
        11 => FaultKind::Pause(random.below(TENANTS as u64) as usize),
        12 => FaultKind::HoldSource(random.below(SOURCES as u64) as usize),
        13 => FaultKind::ReadsFail,
        14 => FaultKind::Shutdown,
        _ => FaultKind::TakeBack(random.below(letters as u64) as usize),
    };
    Fault { at, lasts, kind }
}

/// Small segments and small groups, so that there are many of them.
fn spool(random: &mut Random) -> spool::Config {
    spool::Config {
        directory: PathBuf::from("/data/spool"),
        segment_octets_max: [4_096, 16_384, 65_536, 1 << 20][random.below(4) as usize],
        record_octets_max: 1 << 20,
        group_records_max: [1, 4, 512][random.below(3) as usize],
        group_octets_max: [2_048, 65_536][random.below(2) as usize],
        body_cache_octets_max: [0, 1 << 20][random.below(2) as usize],
        recent_records_max: [4, 8_192][random.below(2) as usize],
        reserve_octets: 1_500,
        copy_forward_octets_min: [20_000, 1 << 30][random.below(2) as usize],
        copy_forward_live_percent_max: 75,
        copy_forward_octets_per_second_max: u64::MAX,
        copy_forward_group_octets_max: 4_096,
        ..spool::Config::default()
    }
}

fn egress(random: &mut Random) -> egress::Config {
    let timeouts = smtp::Timeouts {
        greeting_seconds: 30,
        hello_seconds: 30,
        mail_seconds: 30,
        rcpt_seconds: 30,
        data_seconds: 30,
        block_seconds: 30,
        final_seconds: 60,
        ..smtp::Timeouts::default()
    };
    // Two tenants whose sites are slow never have all of the connections.
    let connections_max = [8, 30][random.below(2) as usize];
    egress::Config {
        connections_max,
        deliveries_per_tenant_max: connections_max * 3 / 8 - random.below(2) as usize,
        idle_seconds: 1 + random.below(10),
        limits: SiteLimits {
            connections: Some(1 + random.below(8) as u32),
            messages_per_connection: Some(1 + random.below(20) as u32),
            connections_per_minute: Some([0, 60][random.below(2) as usize]),
            messages_per_second: Some([0, 3][random.below(2) as usize]),
        },
        window_initial: 1 + random.below(5) as u32,
        retry_seconds: vec![20, 60, 300],
        timeouts,
        ..egress::Config::default()
    }
}
