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

/// A load by its name. Of posthouse `--count` by `share` messages, of the slower peer a quarter of that.
struct Kind {
    name: &'static str,
    domains: usize,
    size: usize,
    signing: Signing,
    share: u64,
}

const ROAD: [Kind; 4] = [
    Kind { name: "W1", domains: 1, size: SIZE, signing: Signing::None, share: 1 },
    Kind { name: "W200", domains: 200, size: SIZE, signing: Signing::None, share: 1 },
    Kind { name: "W1s", domains: 1, size: SIZE, signing: Signing::Rsa, share: 1 },
    Kind { name: "W200s", domains: 200, size: SIZE, signing: Signing::Rsa, share: 1 },
];

const SIZES: [Kind; 3] = [
    Kind { name: "W200, 50 KB", domains: 200, size: 50 * 1024, signing: Signing::None, share: 2 },
    Kind { name: "W200s, 50 KB", domains: 200, size: 50 * 1024, signing: Signing::Rsa, share: 2 },
    Kind { name: "W200, 1 MB", domains: 200, size: 1024 * 1024, signing: Signing::None, share: 10 },
];

/// What a slower peer gets of a load, so that both measurements take a like time.
pub const PEER_SHARE: u64 = 4;

/// Messages a second that stand in nobody's way.
const LIGHT: u32 = 100;

/// Medians of one mailer under one load.
#[derive(Default)]
struct Row {
    rate: Series,
    cpu_us: Series,
    p50_ms: Series,
    p99_ms: Series,
    syncs: Series,
    written: Series,
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
        if let Some(written) = measured.written {
            self.written.push(written);
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
    let compared = ["road", "sizes", "latency", "waiting"].into_iter().any(asked);
    let peer = (options.with_postfix && compared).then(|| Postfix::start(&stage));
    if asked("road") {
        side_by_side(options, &stage, &house, peer.as_ref(), &ROAD);
    }
    if asked("sizes") {
        side_by_side(options, &stage, &house, peer.as_ref(), &SIZES);
    }
    if asked("latency") {
        latency(options, &stage, &house, peer.as_ref());
    }
    if asked("waiting") {
        crate::waiting::run(options, &stage, &mut house, peer.as_ref());
    }
}

fn both<'a>(house: &'a Posthouse, peer: Option<&'a Postfix>) -> Vec<&'a dyn Mailer> {
    let mut mailers: Vec<&dyn Mailer> = vec![house];
    mailers.extend(peer.map(|peer| peer as &dyn Mailer));
    mailers
}

fn side_by_side(options: &Options, stage: &Stage, house: &Posthouse, peer: Option<&Postfix>, kinds: &[Kind]) {
    let mailers = both(house, peer);
    let mut rows: BTreeMap<(usize, usize), Row> = BTreeMap::new();
    let database = house.database_pid(stage);
    let (mut database_us, mut delivered) = (0.0, 0.0);
    // The first measurement of each is for warming up.
    for round in 0..=options.rounds {
        for (number, kind) in kinds.iter().enumerate() {
            for (which, mailer) in mailers.iter().enumerate() {
                let count = options.count / kind.share / if which == 0 { 1 } else { PEER_SHARE };
                let count = if round == 0 { count / 10 } else { count };
                let load =
                    Load { count, domains: kind.domains, size: kind.size, signing: kind.signing, rate: None };
                let before = cpu::of_tree(database);
                let measured = stage.measure(*mailer, load);
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
        "| load | mailer | msg/s at the sink | CPU µs/msg | MAIL→250 p50 ms | p99 ms | syncs/msg | written | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for ((number, which), row) in &rows {
        let ratio = rows.get(&(*number, 1)).map(|peer| row.rate.median() / peer.rate.median());
        let told = |series: &Series| if *which == 0 { series.to_string() } else { "–".to_owned() };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            kinds[*number].name,
            mailers[*which].name(),
            row.rate,
            row.cpu_us,
            row.p50_ms,
            row.p99_ms,
            told(&row.syncs),
            told(&row.written),
            ratio.filter(|_| *which == 0).map_or_else(String::new, |ratio| format!("{ratio:.2} ×")),
        );
    }
    println!("\nPostgreSQL beside it: {:.0} µs of CPU a message\n", database_us / delivered);
}

/// Half of what each can take, and so little that nothing is in the way: what happens to the answer's time, and to that of
/// the first attempt.
fn latency(options: &Options, stage: &Stage, house: &Posthouse, peer: Option<&Postfix>) {
    let mailers = both(house, peer);
    let load = Load { count: options.count, domains: 1, size: SIZE, signing: Signing::None, rate: None };
    let mut full: Vec<Row> = mailers.iter().map(|_| Row::default()).collect();
    for round in 0..=options.rounds {
        for (which, mailer) in mailers.iter().enumerate() {
            let count = options.count / if which == 0 { 1 } else { PEER_SHARE };
            let measured = stage.measure(*mailer, Load { count, ..load });
            // The first is for warming up.
            if round > 0 {
                full[which].take(&measured);
            }
        }
    }
    println!(
        "| load | mailer | rate msg/s | MAIL→250 p50 ms | p99 ms | queued → first attempt p99 |\n|---|---|---|---|---|---|"
    );
    for (mailer, full) in mailers.iter().zip(&full) {
        println!("| full | {} | {} | {} | {} | |", mailer.name(), full.rate, full.p50_ms, full.p99_ms);
    }
    for (name, light) in [("half", None), ("light", Some(LIGHT))] {
        for (mailer, full) in mailers.iter().zip(&full) {
            let rate = light.unwrap_or((full.rate.median() / 2.0) as u32);
            let (mut row, before) = (Row::default(), mailer.queued());
            for _ in 0..options.rounds {
                let count = u64::from(rate) * 10;
                row.take(&stage.measure(*mailer, Load { rate: Some(rate), count, ..load }));
            }
            let queued = mailer.queued().since(&before).quantile(0.99);
            println!(
                "| {name} | {} | {} | {} | {} | {queued} |",
                mailer.name(),
                row.rate,
                row.p50_ms,
                row.p99_ms
            );
        }
    }
    println!();
}
