//! What a command prints on standard output.
//!
//! `| head` closes the pipe before everything is said: that is no failure, and whoever closed it wants no more. Anything
//! else that cannot be printed is one (`/dev/full`): a command whose answer nobody got has not done its work.

use crate::exit::Failure;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints it as it is. Errs if it cannot be printed.
pub fn print(text: Arguments<'_>) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.to_string().as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::CannotCreate(format!("cannot print: {error}")).into())
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// The same, and the end of the line.
pub fn print_line(text: Arguments<'_>) -> anyhow::Result<()> {
    print(format_args!("{text}\n"))
}
