//! posthouse: reads the command line, calls the role, turns its failure into a sentence and an exit code.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to a person")]

mod allocator;
mod authority;
mod cli;
mod clock;
mod clocks;
mod cores;
mod data;
mod delivery;
mod demo;
mod denied;
mod doctor;
mod exit;
mod figures;
mod front;
mod housekeeping;
mod journal_name;
mod keepers;
mod key_file;
mod key_fit;
mod lab_zone;
mod listening;
mod log_writer;
mod manual;
mod node;
mod nofile;
mod postgres;
mod printing;
mod process;
mod readiness;
mod ready;
mod remote;
mod roles;
mod screen;
mod secrets;
mod sections;
mod signals;
mod telemetry;
mod told;
mod usage;

// As if they were modules of this program.
use posthouse::{config, memory};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    match roles::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failure(&error),
    }
}
