//! The rows: what is measured, and how it is told.

use crate::figures::Series;
use crate::mailer::{Mailer, Signing};
use crate::postfix::Postfix;
use crate::posthouse::Posthouse;
use crate::stage::{Load, Measured, Stage};
use crate::{Options, cpu};
use std::collections::BTreeMap;

/// Size of workload W.
pub const SIZE: usize = 5 * 1024;

/// From being due to the first attempt, as the node itself measures it.
const QUEUED: &str = "posthouse_queued_seconds";

/// Medians of one mailer under one load.
#[derive(Default)]
struct Row {
    rate: Series,
    cpu_us: Series,
    p50_ms: Series,
    p99_ms: Series,
    syncs: Series,
}

impl Row {
    fn take(&mut self, measured: &Measured) {
        self.rate.push(measured.rate);
        self.cpu_us.push(measured.cpu_us);
        self.p50_ms.push(measured.p50_ms);
        self.p99_ms.push(measured.p99_ms);
        if let Some(syncs) = measured.syncs {
            self.syncs.push(syncs);
        }
    }
}

pub fn run(options: &Options) {
    let stage = Stage::set();
    let mut house = Posthouse::start(&stage);
    let asked = |row: &str| options.rows.iter().any(|asked| asked == row);
    println!("rounds: {}, {SIZE} octets a message, 100 connections; medians (least–most)\n", options.rounds);
    if asked("idle") {
        crate::idle::run(&house);
    }
    let peer = (options.with_postfix && asked("road")).then(|| Postfix::start(&stage));
    if asked("road") {
        road(options, &stage, &house, peer.as_ref());
    }
    drop(peer);
    if asked("latency") {
        latency(options, &stage, &house);
    }
    if asked("waiting") {
        crate::waiting::run(options, &stage, &mut house);
    }
}

fn road(options: &Options, stage: &Stage, house: &Posthouse, peer: Option<&Postfix>) {
    let mut mailers: Vec<&dyn Mailer> = vec![house];
    mailers.extend(peer.map(|peer| peer as &dyn Mailer));
    let loads = [
        ("W1", 1, Signing::None),
        ("W200", 200, Signing::None),
        ("W1s", 1, Signing::Rsa),
        ("W200s", 200, Signing::Rsa),
    ];
    let mut rows: BTreeMap<(usize, usize), Row> = BTreeMap::new();
    let database = house.database_pid(stage);
    let (mut database_us, mut delivered) = (0.0, 0.0);
    // The first measurement of each is for warming up.
    for round in 0..=options.rounds {
        for (number, (_, domains, signing)) in loads.into_iter().enumerate() {
            for (which, mailer) in mailers.iter().enumerate() {
                let count = if which == 0 { options.count } else { options.count / 4 };
                let count = if round == 0 { count / 10 } else { count };
                let before = cpu::of_tree(database);
                let measured =
                    stage.measure(*mailer, Load { count, domains, size: SIZE, signing, rate: None });
                if round == 0 {
                    continue;
                }
                if which == 0 {
                    database_us += (cpu::of_tree(database) - before).as_micros() as f64;
                    delivered += count as f64;
                }
                rows.entry((number, which)).or_default().take(&measured);
            }
        }
    }
    println!(
        "| load | mailer | msg/s at the sink | CPU µs/msg | MAIL→250 p50 ms | p99 ms | syncs/msg | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for ((number, which), row) in &rows {
        let ratio = rows.get(&(*number, 1)).map(|peer| row.rate.median() / peer.rate.median());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            loads[*number].0,
            mailers[*which].name(),
            row.rate,
            row.cpu_us,
            row.p50_ms,
            row.p99_ms,
            if *which == 0 { row.syncs.to_string() } else { "–".to_owned() },
            ratio.filter(|_| *which == 0).map_or_else(String::new, |ratio| format!("{ratio:.2} ×")),
        );
    }
    println!("\nPostgreSQL beside it: {:.0} µs of CPU a message\n", database_us / delivered);
}

/// Half of what it can take, and what happens to the answer's time.
fn latency(options: &Options, stage: &Stage, house: &Posthouse) {
    let load = Load { count: options.count, domains: 1, size: SIZE, signing: Signing::None, rate: None };
    let full = stage.measure(house, load);
    let half = (full.rate / 2.0) as u32;
    let mut row = Row::default();
    let before = house.histogram(QUEUED);
    for _ in 0..options.rounds {
        let count = u64::from(half) * 10;
        row.take(&stage.measure(house, Load { rate: Some(half), count, ..load }));
    }
    let queued = house.histogram(QUEUED).since(&before);
    println!(
        "| load | rate msg/s | MAIL→250 p50 ms | p99 ms | queued → first attempt p99 |\n|---|---|---|---|---|"
    );
    println!("| full | {:.0} | {:.1} | {:.1} | |", full.rate, full.p50_ms, full.p99_ms);
    println!("| half | {half} | {} | {} | {} |\n", row.p50_ms, row.p99_ms, queued.quantile(0.99));
}
