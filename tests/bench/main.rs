//! `cargo xtask bench`: how fast the road is, beside a peer in the same run.
//!
//! Everything is on this machine: the load client, the mailer under test, a fast sink that says 250. The mailers take
//! turns, round after round, so that a noisy neighbour hits both; what is printed are medians with their spread, and
//! ratios. Nothing here decides whether a change is good: docs/BENCHMARKS.md holds what was measured and on what.
//!
//! Usage: `cargo xtask bench [--rounds N] [--count N] [--waiting N] [--skip-postfix] [ROW…]` with the rows `idle`,
//! `road`, `sizes`, `latency`, `waiting`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for the person at the terminal")]

mod cpu;
mod figures;
mod idle;
mod mailer;
mod postfix;
mod posthouse;
mod rows;
mod stage;
mod waiting;

use std::process::ExitCode;

/// What was asked for.
pub struct Options {
    /// How often each measurement is made.
    pub rounds: usize,
    /// Messages of one measurement of posthouse; a slower peer gets a share of it.
    pub count: u64,
    /// Recipients that wait in the row `waiting`: of one tenant for each 2,000, in one domain for each 20.
    pub waiting: u64,
    /// Beside Postfix on the same machine.
    pub with_postfix: bool,
    /// Which rows; empty means all.
    pub rows: Vec<String>,
}

const ROWS: [&str; 5] = ["idle", "road", "sizes", "latency", "waiting"];

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(sentence) => {
            println!("bench: {sentence}");
            return ExitCode::FAILURE;
        }
    };
    // A second one in this process would be a mistake of ours.
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    rows::run(&options);
    ExitCode::SUCCESS
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options =
        Options { rounds: 5, count: 20_000, waiting: 200_000, with_postfix: true, rows: Vec::new() };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{argument} wants a number"))
        };
        match argument.as_str() {
            "--rounds" => options.rounds = number()?.max(1) as usize,
            "--count" => options.count = number()?.max(100),
            "--waiting" => options.waiting = number()?.max(2_000),
            "--skip-postfix" => options.with_postfix = false,
            // Added by `cargo bench`.
            "--bench" => {}
            row if ROWS.contains(&row) => options.rows.push(row.to_owned()),
            other => return Err(format!("there is no {other}; rows are {}", ROWS.join(", "))),
        }
    }
    if options.rows.is_empty() {
        options.rows = ROWS.map(str::to_owned).to_vec();
    }
    Ok(options)
}
