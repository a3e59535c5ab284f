//! What was not tested because this host cannot do it: said once, where it is seen.
//!
//! A test that needs a tracer, a loop device, a control group or another user passes without them, and nobody reads what a
//! passing test printed. So its row also goes into the file that `cargo xtask test` names (made anew for each run), and is
//! listed at the end. What `cargo xtask test` installs by itself is no reason to skip: without it those tests fail there.
//! `tests/tidy.rs` sees to it that no test gives up in another way.

use std::io::Write as _;

/// Where `cargo xtask test` wants the rows that were not run: the name of a variable.
const FILE: &str = "POSTHOUSE_TEST_SKIPPED";
/// Set by `cargo xtask test`, which installs what tests need: the name of a variable.
const COMPLETE: &str = "POSTHOUSE_TEST_COMPLETE";

/// Says that a row of docs/RELIABILITY.md (or what else names the test to a reader) was not run here, and why.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so, also to whoever runs it alone")]
pub fn skipped(row: &str, why: &str) {
    println!("skipped: {row}: {why}");
    let Some(file) = std::env::var_os(FILE) else { return };
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(&file);
    // One write, so that lines of tests that run at the same time stay whole.
    let line = line(row, why);
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "{row} was skipped, and {} cannot be told: {written:?}", file.display());
}

/// The same for want of something that `cargo xtask test` installs. It panics there, since a skip would hide something.
pub fn lacking(row: &str, why: &str) {
    assert!(!is_complete(), "{row}: {why}");
    skipped(row, why);
}

/// Whether everything that `cargo xtask test` installs has to be here.
pub fn is_complete() -> bool {
    std::env::var_os(COMPLETE).is_some()
}

fn line(row: &str, why: &str) -> String {
    format!("{row}: {}\n", why.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_several_lines_is_one_line() {
        assert_eq!(line("S7", "no control group\n  here\n"), "S7: no control group here\n");
    }
}
