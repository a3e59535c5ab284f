//! Rows that were not run on this host, told at the end of `cargo xtask test`.
//!
//! A test that needs what a host may lack (a tracer, a loop device, a control group) passes without it and writes a line
//! into a file of ours (`testkit/src/skipped.rs`). nextest shows nothing that a passing test printed, so the lines are listed
//! when it has ended: before its counts, which stay the last line of a log; a person at a terminal, to whom nextest draws
//! its progress, finds them below.

use crate::{Outcome, test};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the tests write; they know it by the variable of the same name in `testkit/src/skipped.rs`.
const VARIABLE: &str = "POSTHOUSE_TEST_SKIPPED";

/// Runs the tests, then lists what was not run here; nothing if that is nothing. They write into `file`, which is emptied.
pub fn run_and_tell(command: &mut Command, file: &Path) -> Outcome {
    let fresh = std::fs::write(file, "");
    fresh.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    command.env(VARIABLE, file);
    if std::io::stderr().is_terminal() {
        let outcome = test::run_step(command);
        eprint!("{}", list_of(file));
        return outcome;
    }
    counts_last(command, file)
}

fn counts_last(command: &mut Command, file: &Path) -> Outcome {
    let shown = test::announced(command);
    let cannot = |error| format!("cannot run `{shown}`: {error}");
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let mut counts = String::new();
    // Whatever is not text is passed on as well as it can be: it is only looked at.
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
        let line = String::from_utf8_lossy(&line.map_err(cannot)?).into_owned();
        if counts.is_empty() && !is_counts(&line) {
            eprintln!("{line}");
        } else {
            counts.push_str(&line);
            counts.push('\n');
        }
    }
    let status = child.wait().map_err(cannot)?;
    eprint!("{}{counts}", list_of(file));
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}")) }
}

/// The line that nextest ends with, in colours or not; failures are named again behind it.
fn is_counts(line: &str) -> bool {
    line.contains("Summary") && line.contains("run:")
}

fn list_of(file: &Path) -> String {
    list(&std::fs::read_to_string(file).unwrap_or_default())
}

/// A heading and a line for each reason; several tests of a row may have the same.
fn list(lines: &str) -> String {
    let mut rows = BTreeMap::<&str, usize>::new();
    lines.lines().for_each(|line| *rows.entry(line).or_default() += 1);
    if rows.is_empty() {
        return String::new();
    }
    let shown = rows.iter().map(|(line, count)| match count {
        1 => format!("  {line}\n"),
        count => format!("  {line} ({count} tests)\n"),
    });
    format!("Not run on this host, and counted as passed:\n{}", shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_listed_once_and_nothing_is_no_heading() {
        assert_eq!(list(""), "");
        let told = list("S7: no control group\nS1: no root\nS7: no control group\n");
        let lines: Vec<&str> = told.lines().skip(1).collect();
        assert_eq!(lines, ["  S1: no root", "  S7: no control group (2 tests)"]);
    }

    #[test]
    fn the_counts_are_known_in_colours_too() {
        assert!(is_counts("     Summary [  16.452s] 9 tests run: 9 passed, 47 skipped"));
        assert!(is_counts("\u{1b}[32;1m     Summary\u{1b}[0m [ 1s] \u{1b}[1m1\u{1b}[0m test run: 1 passed"));
        assert!(!is_counts("        PASS [   0.026s] (2/3) posthouse-tests::whole tour::a_summary"));
    }

    /// The command stands for nextest and the tests in it.
    #[test]
    fn the_file_is_fresh_for_each_run_and_a_failure_stays_one() {
        let file = std::env::temp_dir().join(format!("xtask-skipped-{}", std::process::id()));
        let said = |script: &str| run_and_tell(Command::new("sh").args(["-c", script]), &file);
        said("echo 'S2: no tracer' >> $POSTHOUSE_TEST_SKIPPED").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "S2: no tracer\n");
        assert!(said("echo ' Summary [ 1s] 1 test run' >&2; exit 3").unwrap_err().contains("3"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
        std::fs::remove_file(&file).unwrap();
    }
}
