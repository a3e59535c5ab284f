//! How fast the journal takes messages: `cargo run --release -p spool --example append_load -- <directory>`.
//!
//! A hundred appenders, one message of 5 KB at a time each, every one waiting for its sync. Prints messages a second
//! and CPU a message. The directory is left behind.

mod load;

use bytes::Bytes;
use load::{Failed, message};
use mail::Random;
use spool::{Accepted, Config, OutcomeRecord, RealDisk, Settled, Settlement, Spool};
use std::io::Write;
use std::sync::Arc;

const APPENDERS: u64 = 100;
const BODY_OCTETS: usize = 5 * 1_024;

/// User and system time of the process, as Linux counts it: in hundredths of a second.
fn cpu_micros() -> Result<u64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks * 10_000)
}

fn delivered(accepted: &Accepted) -> OutcomeRecord {
    OutcomeRecord::Settled(Settled {
        message: accepted.message,
        tenant: accepted.tenant,
        stream: accepted.stream,
        recipient: 0,
        attempt: 1,
        at: accepted.accepted_at,
        settlement: Settlement::Delivered,
        outcome: None,
        source: None,
        site: None,
        duration_ms: 12,
        queued_ms: 1,
    })
}

async fn appender(spool: Spool, seed: u64, count: u64) -> Result<(), Failed> {
    let mut random = Random::from_number(seed);
    let mut body = vec![0; BODY_OCTETS];
    random.fill(&mut body);
    let body = Bytes::from(body);
    let (intake, outcomes) = (spool.intake(), spool.outcomes());
    for _ in 0..count {
        let accepted = message(&mut random, "Your order", BODY_OCTETS)?;
        let record = delivered(&accepted);
        let _committed = intake.append(accepted, body.clone()).await?;
        outcomes.append(vec![record.into()]).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: append_load <empty directory> [messages]")?.into();
    let messages: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let clock = load::clock();
    let config = Config { directory, readers: Vec::new(), ..Config::default() };
    let (spool, _) = Spool::open(config, Arc::new(RealDisk), Arc::clone(&clock))?;
    let (start, cpu_start) = (clock.instant(), cpu_micros()?);
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|seed| tokio::spawn(appender(spool.clone(), seed, messages / APPENDERS)))
        .collect();
    for appender in appenders {
        appender.await??;
    }
    let micros = clock.instant().saturating_since(start).as_micros() as u64;
    let cpu = cpu_micros()? - cpu_start;
    spool.shutdown().await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} messages/s", messages * 1_000_000 / micros.max(1))?;
    writeln!(out, "{:.1} µs of CPU a message, its completion record included", cpu as f64 / messages as f64)?;
    writeln!(out, "{} segments left", spool.status().segments)?;
    Ok(())
}
