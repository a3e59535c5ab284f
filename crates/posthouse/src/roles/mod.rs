//! What the binary can be: one file per subcommand.

mod check_config;
mod doctor;
mod keys;
mod lab;
mod migrate;
mod operator;
mod serve;
mod spool;
pub mod up;

use crate::cli::{Cli, Command};
use crate::printing::print;
use crate::remote;
use clap::CommandFactory;

pub fn run(command: Command) -> anyhow::Result<()> {
    // One provider of cryptography for every TLS stack in the process; a second call would be a mistake of ours.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(installed.is_ok(), "the provider of cryptography is installed once");
    match command {
        Command::Up(options) => up::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Migrate(options) => migrate::run(&options),
        Command::Operator(command) => operator::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::CheckConfig(options) => check_config::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Spool(command) => spool::run(&command),
        Command::Lab(command) => lab::run(command),
        Command::Tenant(command) => remote::run(&command),
        Command::Domain(command) => remote::run(&command),
        Command::Credential(command) => remote::run(&command),
        Command::ApiKey(command) => remote::run(&command),
        Command::Pool(command) => remote::run(&command),
        Command::Source(command) => remote::run(&command),
        Command::Webhook(command) => remote::run(&command),
        Command::Message(command) => remote::run(&command),
        Command::Queue(command) => remote::run(&command),
        Command::Event(command) => remote::run(&command),
        Command::Login(login) => remote::log_in(&login),
        Command::Logout(logout) => remote::log_out(&logout),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "posthouse", &mut script);
            print(format_args!("{}", String::from_utf8_lossy(&script)))
        }
    }
}
