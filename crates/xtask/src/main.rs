//! What a newcomer types: `cargo xtask up`, `cargo xtask test`, and the shorter checks behind them.
//!
//! Installs what the host lacks (Debian and Ubuntu: apt, as root or through sudo; elsewhere it names the packages),
//! then calls cargo. It uses the standard library only, so that it is built in a second and cannot be broken by a
//! dependency. Tools that it fetches land below `target/`, what the host lacks comes by apt; `up` keeps its data in
//! `.posthouse`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to a person")]

mod fuzz;
mod host;
mod house;
mod skipped;
mod test;
mod up;

use std::process::{Command, ExitCode};

/// A sentence for the person at the terminal.
pub type Outcome<T = ()> = Result<T, String>;

const HELP: &str = "\
cargo xtask up [OPTIONS]      install what is missing, build, run everything on this machine with the lab internet
                              (OPTIONS go to `posthouse up`; try `cargo xtask up -- --help`)
cargo xtask test [FILTER]     install what the tests need, run formatting, lints and all tests
cargo xtask check             formatting, lints and the rules of the house (tests/tidy.rs); no servers needed
cargo xtask crash [ROUNDS] [--row ROW]
                              the long form of a row of docs/RELIABILITY.md, with an optimised binary: D1 unless told,
                              which is 2,000 kills under load; `--row S4`, `--row all`
cargo xtask sim --seed N      one world of tests/simulation, line by line; with `--seeds COUNT` that many from seed N (or 1)
                              on, failures only
cargo xtask fuzz [TARGET] [--seconds N]
                              the targets of fuzz/ one after the other, 60 seconds each unless told; brings cargo-fuzz
cargo xtask bench [OPTIONS]   speed beside Postfix in the same run (`--rounds N --count N --waiting N --skip-postfix`, rows
                              `idle`, `road`, `sizes`, `latency`, `waiting`); installs Postfix and OpenDKIM; half an hour
cargo xtask house [--write]   who knows whom, the longest files and functions; --write draws the first into
                              docs/ARCHITECTURE.md
cargo xtask config            write config/posthouse.toml anew from the defaults in the code
cargo xtask openapi           accept the API of the code as the committed one (crates/api/tests/api/snapshots)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.filter(|argument| argument != "--").collect();
    let outcome = match command.as_str() {
        "up" => up::run(&rest),
        "test" => test::run(&rest),
        "check" => test::check(),
        "crash" => test::crash(&rest),
        "sim" => test::sim(&rest),
        "fuzz" => fuzz::run(&rest),
        "bench" => test::bench(&rest),
        "house" => house::run(&rest),
        "config" => test::rewrite("config"),
        "openapi" => test::rewrite("openapi"),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("there is no `cargo xtask {other}`\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("xtask: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// The cargo that runs us, in the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The root of the workspace.
pub fn root() -> std::path::PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Where cargo builds, wherever that was configured to be: this program lies in `<target>/<profile>/`.
pub fn target() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).map_or_else(|| root().join("target"), std::path::Path::to_path_buf)
}

/// Runs a command with our terminal.
///
/// # Errors
/// The sentence to print if the command cannot be started or ends with anything but success.
pub fn execute(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}").replace('"', "");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("cannot run `{shown}`: {error}")),
    }
}
