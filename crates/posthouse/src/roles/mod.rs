//! What the binary can be: one file per subcommand.

mod check_config;
mod doctor;
mod lab;
mod migrate;
mod operator;
mod serve;
mod spool;
mod up;

use crate::cli::Command;

pub fn run(command: Command) -> anyhow::Result<()> {
    // One provider of cryptography for every TLS stack in the process; a second call would be a mistake of ours.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(installed.is_ok(), "the provider of cryptography is installed once");
    match command {
        Command::Up(options) => up::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Migrate(options) => migrate::run(&options),
        Command::Operator(command) => operator::run(&command),
        Command::CheckConfig(options) => check_config::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Spool(command) => spool::run(&command),
        Command::Lab(command) => lab::run(command),
    }
}
