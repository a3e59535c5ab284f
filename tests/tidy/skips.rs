//! No test gives up where nobody sees it: `testkit::skipped` lists it, and nothing else does.
//!
//! Seen are a test's early returns one block deep, that print macros do not say it, and that the variables of
//! `cargo xtask test` are read in one place. A return from deep within loops is taken for a success.

use crate::{complain, rust_files};
use xtask::shape::functions;

/// What tells it. A function of ours that does, and says so by its bool or Option, is a guard, too.
const TELLING: [&str; 2] = ["skipped", "lacking"];
/// They write the variables' names, since they set them or read them.
const KNOW_THE_VARIABLES: [&str; 3] =
    ["crates/testkit/src/skipped.rs", "crates/xtask/src/skipped.rs", "crates/xtask/src/test.rs"];

#[test]
fn a_test_gives_up_only_where_it_is_listed() {
    let files = rust_files();
    let mut guards: Vec<String> = TELLING.map(str::to_owned).to_vec();
    guards.extend(files.iter().flat_map(|(_, text)| guards_in(text)));
    assert!(guards.len() > 6, "only {guards:?} are known to skip");
    let mut mistakes = Vec::new();
    for (name, text) in &files {
        let found = silent(text, &guards).into_iter().chain(told_elsewhere(name, text));
        mistakes.extend(found.map(|(number, line)| format!("{name}:{number}: {line}")));
    }
    complain("a test skips, and `cargo xtask test` does not list it (testkit::skipped)", &mistakes);
}

/// Whether this function is called in the text: by its whole name.
fn calls(text: &str, name: &str) -> bool {
    let before = |at: usize| text[..at].chars().next_back();
    let call = format!("{name}(");
    text.match_indices(&call).any(|(at, _)| before(at).is_none_or(|c| !c.is_alphanumeric() && c != '_'))
}

fn guards_in(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_guard = |line: usize, count: usize| {
        let body = lines[line - 1..(line - 1 + count).min(lines.len())].join("\n");
        let signature = body.split('{').next().unwrap_or_default();
        let says = signature.contains("-> bool") || signature.contains("-> Option<");
        says && TELLING.iter().any(|name| calls(&body, name))
    };
    let all = functions(text).into_iter();
    all.filter(|one| is_guard(one.line, one.lines)).map(|one| one.name).collect()
}

/// Early returns of tests that no guard stands before.
fn silent<'t>(text: &'t str, guards: &[String]) -> Vec<(usize, &'t str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for one in functions(text) {
        let at = one.line - 1;
        let attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        if !attributes.into_iter().any(|line| line.contains("test]") || line.contains("::test(")) {
            continue;
        }
        let margin = indent(lines[at]);
        for number in at..(at + one.lines).min(lines.len()) {
            let line = lines[number];
            let is_early = line.trim() == "return;" && indent(line) <= margin + 8;
            let is_short = line.ends_with("{ return };") && indent(line) <= margin + 4;
            if is_early || is_short {
                let opens = |n: &usize| is_short || indent(lines[*n]) + 4 == indent(line);
                let first = (at..=number).rev().find(opens).unwrap_or(at);
                let block = lines[first..=number].join("\n");
                if !guards.iter().any(|guard| calls(&block, guard)) {
                    found.push((number + 1, line.trim()));
                }
            }
        }
    }
    found
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn told_elsewhere<'t>(name: &str, text: &'t str) -> Vec<(usize, &'t str)> {
    // Put together here so that this file does not find itself.
    let variables = ["COMPLETE", "SKIPPED"].map(|end| format!("POSTHOUSE_TEST_{end}"));
    let print = ["print", "ln!("].concat();
    let is_told = |line: &str| {
        let prints = line.contains(&print) && line.contains("skip");
        prints || variables.iter().any(|variable| line.contains(variable.as_str()))
    };
    if KNOW_THE_VARIABLES.contains(&name) {
        return Vec::new();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| is_told(line));
    lines.map(|(number, line)| (number + 1, line.trim())).collect()
}

#[test]
fn an_early_return_without_a_guard_is_seen() {
    let guarded = "fn can(row: &str) -> bool {\n    skipped(row, \"no\");\n    false\n}\n";
    let test =
        |condition: &str| format!("#[test]\nfn s() {{\n    if {condition} {{\n        return;\n    }}\n}}\n");
    let guards = guards_in(guarded);
    assert_eq!(guards, ["can"]);
    assert!(silent(&test("!can(\"S5\")"), &guards).is_empty());
    assert_eq!(silent(&test("!toucan(\"S5\")"), &guards), [(4, "return;")]);
    assert_eq!(
        silent("#[tokio::test]\nasync fn s() {\n    let Some(a) = b() else { return };\n}\n", &guards).len(),
        1
    );
    assert!(silent(&test("a").replace("#[test]\n", ""), &guards).is_empty());
    assert_eq!(told_elsewhere("a.rs", &format!("    {}rintln!(\"skipped: x\");", "ep")).len(), 1);
}
