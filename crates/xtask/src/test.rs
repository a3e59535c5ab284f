//! `cargo xtask test` and its parts.
//!
//! Everything that the tests need is installed first: PostgreSQL, swaks, Python with the verifiers of other people
//! (in a virtual environment below `target/`), and cargo-nextest. The end of the output is one line with the counts; what
//! this host could not run is listed before it (`skipped.rs`).

use crate::{Outcome, cargo, execute, host, root, skipped, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Other people's implementations that judge ours, from PyPI.
const PYTHON_PACKAGES: &[&str] =
    &["dkimpy==1.1.8", "dnspython==2.9.2", "standardwebhooks==1.1.0", "aiosmtplib==5.1.3", "pynacl==1.6.2"];

pub fn run(rest: &[String]) -> Outcome {
    host::ensure(&[
        host::COMPILER,
        host::POSTGRESQL,
        host::SWAKS,
        host::PERL_TLS,
        host::CURL,
        host::JQ,
        host::PYTHON,
        host::VENV,
        host::STRACE,
        host::EXT4,
        host::PRLIMIT,
        host::PGBOUNCER,
    ])?;
    host::ensure_listed(&root().join("tests/strangers/apt.txt"))?;
    let nextest = ensure_nextest()?;
    let python = ensure_python()?;
    format_and_lints()?;
    // Tests that start the binary measure it and kill it: they get an optimised one. nextest builds the rest.
    let binary = optimised()?;
    let mut command = cargo();
    command.args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast"]);
    command
        .env("PATH", path_with(&nextest, &python))
        .env("POSTHOUSE_TEST_PYTHON", &python)
        .env("POSTHOUSE_TEST_COMPLETE", "1")
        .env("POSTHOUSE_TEST_BINARY", binary)
        .args(rest);
    skipped::run_and_tell(&mut command, &target().join("tests-skipped.txt"))
}

pub fn check() -> Outcome {
    format_and_lints()?;
    run_step(cargo().args(["test", "--locked", "--package", "posthouse-tests", "--test", "tidy"]))
}

/// `[ROUNDS] [--row ROW]`: the tests of tests/faults whose names begin with the row.
pub fn crash(rest: &[String]) -> Outcome {
    let (mut rounds, mut row) = ("long", "D1".to_owned());
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--row" => row.clone_from(words.next().ok_or("--row wants the name of a row, such as D5")?),
            number if number.parse::<u32>().is_ok() => rounds = number,
            other => {
                return Err(format!(
                    "there is no `cargo xtask crash {other}`; it takes [ROUNDS] [--row ROW]"
                ));
            }
        }
    }
    let filter = if row == "all" { String::new() } else { format!("::{}_", row.to_lowercase()) };
    host::ensure(&[host::COMPILER, host::POSTGRESQL, host::STRACE, host::EXT4, host::PRLIMIT])?;
    let binary = optimised()?;
    let mut command = cargo();
    command.args(["test", "--locked", "--package", "posthouse-tests", "--test", "faults", &filter]);
    // One at a time: a row's figures are its own.
    command.args(["--", "--nocapture", "--test-threads=1"]);
    command.env("POSTHOUSE_CRASH_ROUNDS", rounds);
    command.env("POSTHOUSE_TEST_BINARY", binary);
    run_step(&mut command)
}

pub fn sim(rest: &[String]) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--locked", "--package", "posthouse-tests", "--test", "simulation", "asked_for"]);
    command.args(["--", "--ignored", "--nocapture"]);
    for pair in rest.chunks(2) {
        match pair {
            [name, number] if name == "--seed" => command.env("POSTHOUSE_SIM_SEED", number),
            [name, number] if name == "--seeds" => command.env("POSTHOUSE_SIM_SEEDS", number),
            _ => return Err("the options of sim are --seed N and --seeds COUNT".to_owned()),
        };
    }
    run_step(&mut command)
}

pub fn bench(rest: &[String]) -> Outcome {
    host::ensure(&[host::COMPILER, host::POSTGRESQL, host::OPENSSL])?;
    if !rest.iter().any(|argument| argument == "--skip-postfix") {
        host::ensure(&[host::POSTFIX, host::OPENDKIM])?;
    }
    run_step(cargo().args(["build", "--locked", "--release", "--package", "posthouse"]))?;
    let mut command = cargo();
    command.args([
        "bench",
        "--locked",
        "--package",
        "posthouse-tests",
        "--bench",
        "road",
        "--profile",
        "dev",
        "--",
    ]);
    run_step(command.args(rest).env("POSTHOUSE_TEST_BINARY", target().join("release/posthouse")))
}

/// Files that are made from the code and committed, so that a change of them is seen in review.
pub fn rewrite(what: &str) -> Outcome {
    let mut command = cargo();
    match what {
        "config" => command.args(["test", "--locked", "--package", "posthouse", "shipped_configuration"]),
        _ => command.args(["test", "--locked", "--package", "api", "as_committed"]),
    };
    run_step(command.env("POSTHOUSE_REWRITE", "1").env("INSTA_UPDATE", "always"))
}

/// Builds the binary as `[profile.ci]` says: optimised, and linked fast. It has the places where tests/faults makes it
/// panic.
fn optimised() -> Outcome<PathBuf> {
    let build =
        ["build", "--locked", "--profile", "ci", "--package", "posthouse", "--features", "fail-points"];
    run_step(cargo().args(build))?;
    Ok(target().join("ci/posthouse"))
}

fn format_and_lints() -> Outcome {
    run_step(cargo().args(["fmt", "--all", "--check"]))?;
    let clippy =
        ["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    run_step(cargo().args(clippy))
}

/// Shows a command before it is run.
pub fn announced(command: &Command) -> String {
    let shown = format!("{command:?}").replace('"', "");
    println!("\n> {shown}");
    shown
}

pub fn run_step(command: &mut Command) -> Outcome {
    announced(command);
    execute(command)
}

/// cargo-nextest from the host, or one of our own below target/.
fn ensure_nextest() -> Outcome<PathBuf> {
    let own = target().join("tools/bin");
    if host::quiet(cargo().args(["nextest", "--version"])) || own.join("cargo-nextest").exists() {
        return Ok(own);
    }
    println!("installing cargo-nextest below target/ (once)");
    let mut command = cargo();
    command.args(["install", "--locked", "--quiet", "cargo-nextest", "--version", "0.9.143", "--root"]);
    execute(command.arg(target().join("tools")))?;
    Ok(own)
}

fn ensure_python() -> Outcome<PathBuf> {
    let place = target().join("tools/python");
    let python = place.join("bin/python3");
    let stamp = place.join("packages.txt");
    let wanted = PYTHON_PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) && python.exists() {
        return Ok(python);
    }
    println!("installing Python packages below target/: {}", PYTHON_PACKAGES.join(" "));
    execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    execute(Command::new(&python).args(pip).args(PYTHON_PACKAGES))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    Ok(python)
}

/// Our Python first, so that whatever runs `python3` has the verifiers; our nextest last.
fn path_with(nextest: &Path, python: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = python.parent().map(Path::to_path_buf);
    let folders = first.into_iter().chain(std::env::split_paths(&path)).chain([nextest.to_path_buf()]);
    std::env::join_paths(folders).unwrap_or(path.clone())
}
