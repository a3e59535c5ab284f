//! How a failed command ends: one sentence on standard error and an exit code of sysexits(3).

use anyhow::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write;
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
    NotPermitted(String),
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
            Failure::NotPermitted(_) => 77,
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

/// To standard error, unless nobody takes it: a process that cannot complain must end all the same.
fn say(text: &str) {
    let error = std::io::stderr();
    let mut ready = [PollFd::new(&error, PollFlags::OUT)];
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    if poll(&mut ready, Some(&patience)).is_ok_and(|count| count > 0) {
        let _ = error.lock().write_all(text.as_bytes());
    }
}

pub fn failure(error: &Error) -> ExitCode {
    say(&format!("posthouse: {error:#}\n"));
    let code = error.chain().find_map(|cause| cause.downcast_ref::<Failure>().map(Failure::code));
    ExitCode::from(code.unwrap_or(69))
}
