//! How long a journal with many waiting messages takes to open, and what they take in memory:
//! `cargo run --release -p spool --example restart_load -- <directory> [messages]`.
//!
//! Fills an empty directory first; a second run opens what the first left. Prints seconds until the journal takes
//! mail, until all that waits is known, and until every envelope was read, and octets of memory for each message.

mod load;

use bytes::Bytes;
use load::{Failed, message};
use mail::{Clock, Instant, Random};
use spool::{Config, RealDisk, Spool};
use std::io::Write;
use std::sync::Arc;

const APPENDERS: u64 = 200;
const BODY_OCTETS: usize = 2 * 1_024;
/// Makes the envelope about 1 KB.
const SUBJECT_OCTETS: usize = 700;

/// Octets of memory the process has in use.
fn resident() -> Result<u64, Failed> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4_096)
}

async fn fill(config: &Config, clock: &Arc<dyn Clock>, messages: u64) -> Result<(), Failed> {
    let (spool, _) = Spool::open(config.clone(), Arc::new(RealDisk), Arc::clone(clock))?;
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|seed| {
            let intake = spool.intake();
            tokio::spawn(async move {
                let mut random = Random::from_number(seed);
                let subject = "s".repeat(SUBJECT_OCTETS);
                let body = Bytes::from(vec![b'x'; BODY_OCTETS]);
                for _ in 0..messages / APPENDERS {
                    let _committed =
                        intake.append(message(&mut random, &subject, BODY_OCTETS)?, body.clone()).await?;
                }
                Ok::<(), Failed>(())
            })
        })
        .collect();
    for appender in appenders {
        appender.await??;
    }
    spool.shutdown().await?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let directory: std::path::PathBuf =
        arguments.next().ok_or("usage: restart_load <directory> [messages]")?.into();
    let messages: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let clock = load::clock();
    let seconds = |since: Instant| clock.instant().saturating_since(since).as_secs_f64();
    let mut out = std::io::stdout().lock();
    let config =
        Config { directory: directory.clone(), readers: Vec::new(), reserve_octets: 0, ..Config::default() };
    if !directory.exists() {
        fill(&config, &clock, messages).await?;
        writeln!(out, "filled; run it again to measure")?;
        return Ok(());
    }
    let (start, before) = (clock.instant(), resident()?);
    let (spool, recovery) = Spool::open(config, Arc::new(RealDisk), Arc::clone(&clock))?;
    writeln!(out, "{:.2} s until mail is taken", seconds(start))?;
    let unsettled = recovery.unsettled.len();
    writeln!(out, "{:.2} s until {unsettled} waiting messages are known", seconds(start))?;
    let memory = resident()?.saturating_sub(before);
    writeln!(out, "{} octets of memory a message", memory / (unsettled as u64).max(1))?;
    let read = tokio::task::spawn_blocking(move || recovery.unsettled.count()).await?;
    writeln!(out, "{:.2} s until all {read} envelopes are read", seconds(start))?;
    spool.shutdown().await?;
    Ok(())
}
