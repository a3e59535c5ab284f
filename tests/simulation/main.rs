//! The whole road in one thread under one seed: clients, both SMTP machines, admission, preparation, the journal on a
//! disk that lies, the Dispatcher, and model sites, with crashes, breaks, partitions and jumps of the clock.
//!
//! Code of the house is what runs in production, but for the shells around it (docs/design/0008-simulation.md). A seed
//! decides everything; the same seed gives the same trace. `cargo xtask sim --seed N` shows one world line by line. A
//! seed that failed is written into `seeds.txt` and runs first from then on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agenda;
mod client;
mod door;
mod house;
mod limits;
mod network;
mod plan;
mod registry;
mod session;
mod site;
mod trace;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use trace::Voice;
use world::World;

/// Seeds that failed once.
const KEPT: &str = include_str!("seeds.txt");
const SEEDS: u64 = 1_000;

/// What a run of one world came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Result {
    hash: u64,
    lines: u64,
    messages: usize,
    recipients: usize,
    extra_copies: u64,
    waited_ms: u64,
    lives: u64,
}

/// Runs a world to its end. If it fails, says how to see it again.
fn run(seed: u64, voice: Voice) -> Result {
    let mut world = World::new(seed, voice);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        println!("seed {seed} fails; the last lines of its trace:{}", world.trace.last_lines());
        println!("again, with all lines: cargo xtask sim --seed {seed} (at commit {})", commit());
        // What is in it is not fit to be dropped in order.
        std::mem::forget(world);
        std::panic::resume_unwind(panic);
    }
    let (messages, recipients) = world.truth.figures();
    Result {
        hash: world.trace.hash(),
        lines: world.trace.total(),
        messages,
        recipients,
        extra_copies: world.truth.extra_copies,
        waited_ms: world.truth.waited_max.as_millis() as u64,
        lives: world.lives,
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn run_all(seeds: &[u64]) {
    let next = AtomicU64::new(0);
    let (lines, messages, recipients) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (copies, waited, lives) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let result = run(*seed, Voice::Quiet);
                    lines.fetch_add(result.lines, Ordering::Relaxed);
                    messages.fetch_add(result.messages as u64, Ordering::Relaxed);
                    recipients.fetch_add(result.recipients as u64, Ordering::Relaxed);
                    copies.fetch_add(result.extra_copies, Ordering::Relaxed);
                    waited.fetch_max(result.waited_ms, Ordering::Relaxed);
                    lives.fetch_add(result.lives, Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "{} worlds: {lives:?} lives of the house, {messages:?} messages for {recipients:?} recipients, 0 lost, \
         {copies:?} extra copies, longest wait at the calm site {waited:?} ms, {lines:?} lines",
        seeds.len()
    );
}

fn kept() -> Vec<u64> {
    let lines = KEPT.lines().map(|line| line.split('#').next().unwrap().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..=5 {
        assert_eq!(run(seed, Voice::Quiet), run(seed, Voice::Quiet), "seed {seed}");
    }
}

#[test]
fn a_thousand_worlds_keep_every_promise() {
    run_all(&kept());
    run_all(&(1..=SEEDS).collect::<Vec<_>>());
}

/// `POSTHOUSE_SIM_SEED` with `POSTHOUSE_SIM_SEEDS` beside it: that many from there on, else that one with all its lines.
#[test]
#[ignore = "for cargo xtask sim"]
fn worlds_that_were_asked_for() {
    #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: Option<u64> = asked("POSTHOUSE_SIM_SEED");
    match asked("POSTHOUSE_SIM_SEEDS") {
        Some(count) => run_all(&(seed.unwrap_or(1)..).take(count as usize).collect::<Vec<_>>()),
        None => println!("{:?}", run(seed.unwrap_or(1), Voice::Loud)),
    }
}
