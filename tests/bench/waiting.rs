//! Very much mail that waits: what it costs while new mail comes, in memory, and when the process is killed.
//!
//! What waits is for domains whose exchangers do not answer, so each is also tried now and then, as on a bad day. RSS
//! is told as it is, and as what it grew by beyond the idle node for each recipient.

use crate::Options;
use crate::cpu;
use crate::figures::Series;
use crate::mailer::{Mailer, Signing};
use crate::postfix::Postfix;
use crate::posthouse::Posthouse;
use crate::rows::{PEER_SHARE, SIZE};
use crate::stage::{Load, Stage};
use std::io::BufRead;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Recipients a domain, and a tenant.
const IN_A_DOMAIN: u64 = 20;
const OF_A_TENANT: u64 = 2_000;
/// The peer takes them so much more slowly that it gets one of so many.
const OF_THE_PEER: u64 = 20;
/// Senders of one load: two connections each.
const SENDERS: usize = 50;
/// Octets of a message that waits.
const WAITING_SIZE: usize = 1024;
/// Until everything that waits was tried once, or its site was.
const SETTLED_WAIT_MAX: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(20);

pub fn run(options: &Options, stage: &Stage, house: &mut Posthouse, peer: Option<&Postfix>) {
    let idle = cpu::resident(house.pid());
    let load = Load { count: options.count, domains: 1, size: SIZE, signing: Signing::None, rate: None };
    let peer_load = Load { count: options.count / PEER_SHARE, ..load };
    let (mut none, mut many) = (Taken::default(), Taken::default());
    let (mut peer_none, mut peer_many) = (Series::default(), Series::default());
    let measure = |house: &Posthouse, own: &mut Taken, other: &mut Series| {
        let database = house.database_pid(stage);
        let before = cpu::of_tree(database);
        let measured = stage.measure(house, load);
        own.database_us.push((cpu::of_tree(database) - before).as_micros() as f64 / load.count as f64);
        own.cpu_us.push(measured.cpu_us);
        own.accepted.push(measured.accepted);
        if let Some(peer) = peer {
            other.push(stage.measure(peer, peer_load).accepted);
        }
    };
    // The first is for warming up.
    measure(house, &mut Taken::default(), &mut Series::default());
    for _ in 0..options.rounds {
        measure(house, &mut none, &mut peer_none);
    }
    let before = cpu::resident(house.pid());
    fill(options, stage, house);
    let at_rest = until_calm(house);
    let with = cpu::resident(house.pid());
    if let Some(peer) = peer {
        fill_peer(options, stage, peer);
    }
    for _ in 0..options.rounds {
        measure(house, &mut many, &mut peer_many);
    }
    let each = |resident: f64, from: f64| (resident - from) / options.waiting as f64;
    println!(
        "| waiting | mailer | accepted msg/s | ratio | CPU µs/msg | PostgreSQL µs/msg | RSS MB | a recipient, above idle |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let megabytes = format!("{:.0} idle, {:.0} after load", idle / 1e6, before / 1e6);
    println!(
        "| 0 | posthouse | {} | | {} | {} | {megabytes} | |",
        none.accepted, none.cpu_us, none.database_us
    );
    println!(
        "| {} | posthouse | {} | {:.3} | {} | {} | {:.0} | {:.0} B |",
        options.waiting,
        many.accepted,
        many.accepted.median() / none.accepted.median(),
        many.cpu_us,
        many.database_us,
        with / 1e6,
        each(with, idle),
    );
    if peer.is_some() {
        println!("| 0 | Postfix | {peer_none} | | | | | |");
        let ratio = peer_many.median() / peer_none.median();
        println!("| {} | Postfix | {peer_many} | {ratio:.3} | | | | |", options.waiting / OF_THE_PEER);
    }
    println!("\nCPU of the node while it waits: {:.0} % of a core\n", at_rest * 100.0);
    restart(options, stage, house, &each, idle);
}

/// What was taken in, and what it cost.
#[derive(Default)]
struct Taken {
    accepted: Series,
    cpu_us: Series,
    database_us: Series,
}

/// One domain of the dead ones for every 20 messages, all by the next hop at which nobody listens.
fn fill_peer(options: &Options, stage: &Stage, peer: &Postfix) {
    let count = options.waiting / OF_THE_PEER;
    let domains: Vec<String> =
        (0..count / IN_A_DOMAIN).map(|number| format!("w{number}.dead.example")).collect();
    let fill = Load { count, domains: 1, size: WAITING_SIZE, signing: Signing::None, rate: None };
    let sent = stage.load(&peer.door(Signing::None), fill, &domains);
    assert_eq!(sent["accepted"], count, "{sent}");
    until_calm(peer);
}

fn fill(options: &Options, stage: &Stage, house: &Posthouse) {
    let domains = stage.publish_dead(options.waiting / IN_A_DOMAIN);
    let doors = house.onboard_many(stage, options.waiting / OF_A_TENANT);
    let parts = doors.len().div_ceil(SENDERS);
    let mut left = options.waiting;
    for (number, doors) in doors.chunks(SENDERS).enumerate() {
        let count = left / (parts - number) as u64;
        left -= count;
        // A command line has no room for more domains at once.
        let width = domains.len().div_ceil(parts).min(5_000);
        let from = number * width;
        let domains = &domains[from.min(domains.len() - width)..][..width];
        let fill = Load { count, domains: 1, size: WAITING_SIZE, signing: Signing::None, rate: None };
        let sent = stage.load_of_many(doors, fill, domains);
        assert_eq!(sent["accepted"], count, "{sent}");
    }
}

/// Waits until the mailer has little to do. Says how much of a core it still uses.
fn until_calm(mailer: &dyn Mailer) -> f64 {
    let (started, window) = (now(), Duration::from_secs(5));
    loop {
        let used = mailer.cpu();
        pause(window);
        let share = mailer.cpu().saturating_sub(used).as_secs_f64() / window.as_secs_f64();
        if share < 0.05 || started.elapsed() > SETTLED_WAIT_MAX {
            return share;
        }
    }
}

/// Killed, and started on what it left: until a client is greeted, until a new message is at the sink, until all is in
/// the queue again.
fn restart(
    options: &Options,
    stage: &Stage,
    house: &mut Posthouse,
    each: &dyn Fn(f64, f64) -> f64,
    idle: f64,
) {
    let sink = stage.sink(1);
    let address = house.door(Signing::None).address;
    let started = now();
    house.kill_and_start(stage);
    while !is_greeted(&address) {
        pause(LOOK);
    }
    let listening = started.elapsed();
    let one = Load { count: 1, domains: 1, size: SIZE, signing: Signing::None, rate: None };
    let sent = stage.load(&house.door(Signing::None), one, &["d0.bulk.example".to_owned()]);
    assert_eq!(sent["accepted"], 1, "{sent}");
    sink.wait_with_output().unwrap();
    let delivered = started.elapsed();
    house.await_ready();
    let is_scheduled =
        |house: &Posthouse| house.metric("posthouse_queue_recipients") >= options.waiting as f64;
    while !is_scheduled(house) {
        assert!(started.elapsed() < SETTLED_WAIT_MAX, "not all is scheduled");
        pause(LOOK);
    }
    let scheduled = started.elapsed();
    until_calm(house);
    let after = cpu::resident(house.pid());
    println!(
        "| after kill -9 | greets | first delivery | all scheduled | RSS MB | a recipient, above idle |"
    );
    println!("|---|---|---|---|---|---|");
    println!(
        "| {} waiting | {:.1} s | {:.1} s | {:.1} s | {:.0} | {:.0} B |\n",
        options.waiting,
        listening.as_secs_f64(),
        delivered.as_secs_f64(),
        scheduled.as_secs_f64(),
        after / 1e6,
        each(after, idle),
    );
}

fn is_greeted(address: &str) -> bool {
    let Ok(stream) = TcpStream::connect(address) else { return false };
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220")
}

#[expect(clippy::disallowed_methods, reason = "a client outside of the house has its own clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "what is measured goes on meanwhile")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
