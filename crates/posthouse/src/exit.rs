//! How a failed command ends: one sentence on standard error and an exit code of sysexits(3).

use anyhow::Error;
use std::process::ExitCode;

/// Why a command could not be carried out; decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Input(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    CannotCreate(String),
    #[error("{0}")]
    Configuration(String),
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 64,
            Failure::Input(_) => 65,
            Failure::Unavailable(_) => 69,
            Failure::CannotCreate(_) => 73,
            Failure::Configuration(_) => 78,
        }
    }
}

/// clap's own text; help and version are no failures.
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal is no reason for another exit code.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
}

pub fn failure(error: &Error) -> ExitCode {
    eprintln!("posthouse: {error:#}");
    let code = error.chain().find_map(|cause| cause.downcast_ref::<Failure>().map(Failure::code));
    ExitCode::from(code.unwrap_or(69))
}
