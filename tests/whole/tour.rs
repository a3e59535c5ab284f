//! The tour in the README, command by command as it is pasted, by a newcomer with a shell: each prints what stands beneath
//! it, and those beneath which nothing stands print nothing.

use crate::house::{Plot, wait_or};
use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");
/// What a line of output begins with: a comment to the shell, so that all of it can be pasted.
const OUTPUT: &str = "#>";
/// Anything; as a whole line, any number of lines.
const ANYTHING: char = '…';

/// Lines for the shell, and what they print.
#[derive(Debug, Default)]
struct Step {
    lines: Vec<&'static str>,
    prints: Vec<&'static str>,
}

/// The shell lines of the section "Ten minutes".
fn steps() -> Vec<Step> {
    let (_, section) = README.split_once("\n## Ten minutes\n").expect("the README has a tour");
    let (_, shell) = section.split_once("```sh\n").expect("the tour is to be pasted");
    let (shell, _) = shell.split_once("```").expect("its block has an end");
    let mut steps = vec![Step::default()];
    for line in shell.lines() {
        let last = steps.last_mut().unwrap();
        if let Some(output) = line.strip_prefix(OUTPUT) {
            last.prints.push(output.strip_prefix(' ').unwrap_or(output));
        } else if last.prints.is_empty() && !line.is_empty() {
            last.lines.push(line);
        } else {
            steps.push(Step { lines: vec![line], prints: Vec::new() });
        }
    }
    steps
}

/// Whether these lines are what was shown.
fn matches(shown: &[&str], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, first) => first.is_none(),
        (Some((first, rest)), _) if first.chars().eq([ANYTHING]) => {
            (0..=lines.len()).any(|from| matches(rest, &lines[from..]))
        }
        (Some((first, rest)), Some((line, others))) => line_matches(first, line) && matches(rest, others),
        (Some(_), None) => false,
    }
}

fn line_matches(shown: &str, line: &str) -> bool {
    let Some((before, after)) = shown.split_once(ANYTHING) else { return shown == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|from| line_matches(after, &rest[from..]))
}

/// What the lines print, in a shell that stops at the first failure. It knows what those before it have set: a person keeps
/// one shell open.
fn paste(directory: &Path, lines: &[&str]) -> String {
    let known = "if [ -f variables ]; then . ./variables; fi";
    let keep = "declare -p R API LAB TOKEN SRC SINK T D KEY > variables 2> unknown || true";
    let script = format!("{known}\n{}\n{keep}", lines.join("\n"));
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(directory).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{said}{complaint}");
    format!("{said}{complaint}")
}

#[test]
fn the_tour_shows_what_happens() {
    let plot = Plot::new();
    let house = plot.start();
    // Where `cargo xtask up` would have put it.
    std::fs::create_dir(plot.path().join(".posthouse")).unwrap();
    std::fs::copy(plot.path().join("ready.json"), plot.path().join(".posthouse/ready.json")).unwrap();

    let (mut is_later, mut seen) = (false, 0);
    for Step { lines, prints } in steps() {
        let said = RefCell::new(String::new());
        let is_right = || {
            said.replace(paste(plot.path(), &lines));
            matches(&prints, &said.borrow().lines().collect::<Vec<_>>()).then_some(())
        };
        let explain =
            || format!("{}\nshows\n{}\nsaid\n{}", lines.join("\n"), prints.join("\n"), said.borrow());
        // From there on it is only looked, and the moment may be longer here.
        is_later |= lines.iter().any(|line| line.starts_with("sleep "));
        if is_later {
            wait_or("the tour to be right:", is_right, explain);
        } else {
            assert!(is_right().is_some(), "{}", explain());
        }
        seen += prints.len();
    }
    assert!(seen >= 8, "the tour shows {seen} lines of output");
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn what_is_not_shown_does_not_match() {
    let verified = ["…", "\"verified\"", "{\"id\":\"pol_…\",\"name\":\"…\"}"];
    assert!(matches(&verified, &["a", "b", "\"verified\"", "{\"id\":\"pol_1\",\"name\":\"\"}"]));
    assert!(!matches(&verified, &["\"pending\"", "{\"id\":\"pol_1\",\"name\":\"x\"}"]));
    assert!(!matches(&verified, &["\"verified\"", "{\"id\":\"src_1\",\"name\":\"x\"}"]));
    assert!(!matches(&verified, &["\"verified\""]));
    assert!(!matches(&[], &["a line that is not shown"]));
    assert!(!matches(&["250 …"], &["550 5.1.1 no"]));
}
