//! The shape of the house, checked: who may know whom, headers, sizes, words, and that the docs name what exists.
//!
//! Rules from docs/ARCHITECTURE.md and docs/STYLE.md that a compiler cannot hold. A rule that hurts is changed there
//! and here together, with the reason in the commit.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;

/// Architecture §3: what a crate may depend on, of ours. Test-only dependencies are not in it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("panics", &[]),
    ("smtp", &["mail"]),
    ("registry", &["mail"]),
    ("queue", &["mail"]),
    ("shaping", &["mail"]),
    ("spool", &["mail", "panics", "registry"]),
    ("database", &["mail", "panics", "registry"]),
    ("ingress", &["mail", "panics", "smtp", "registry", "spool"]),
    ("egress", &["mail", "panics", "smtp", "registry", "queue", "shaping", "spool"]),
    ("events", &["mail", "panics", "registry", "spool", "database"]),
    ("api", &["mail", "panics", "registry", "database", "ingress", "queue"]),
    ("lab", &["mail"]),
    ("testkit", &["mail", "registry", "database"]),
    ("properties", &["mail", "smtp", "spool", "ingress"]),
    (
        "posthouse",
        &["mail", "panics", "registry", "spool", "database", "ingress", "egress", "events", "api", "lab"],
    ),
    ("xtask", &[]),
];

/// Crates without runtime, files, sockets and clocks.
const PURE: &[&str] = &["mail", "smtp", "registry", "queue", "shaping"];
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::thread",
    "SystemTime",
    "std::time::Instant",
    "rand::rng",
    "tokio_postgres",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file of the project, relative to the root, with its text.
fn rust_files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = listed
        .lines()
        .filter_map(|name| fs::read_to_string(root().join(name)).ok().map(|text| (name.to_owned(), text)))
        .collect();
    assert!(files.len() > 20, "git lists {} Rust files; is this a checkout?", files.len());
    files
}

fn complain(what: &str, mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{what}:\n  {}", mistakes.join("\n  "));
}

#[test]
fn crates_know_only_whom_they_may_know() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, of)| (*name, of.iter().copied().collect())).collect();
    let mut mistakes = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if name == "posthouse-tests" {
            continue;
        }
        let Some(allowed_here) = allowed.get(name) else {
            mistakes.push(format!("{name} is not in the table of this test"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let of = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if allowed.contains_key(of) && !for_tests && !allowed_here.contains(of) {
                mistakes.push(format!("{name} must not depend on {of}"));
            }
        }
        assert_eq!(package["publish"].as_array().map(Vec::len), Some(0), "{name} must not be published");
    }
    complain("dependencies that architecture §3 does not have", &mistakes);
}

/// What `cargo deny check licenses bans` would say, from the same file, without the tool: everything that can reach
/// the binary on the platforms we build for.
#[test]
fn dependencies_have_licences_that_we_allow_and_none_that_we_ban() {
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let banned: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|ban| ban["crate"].as_str())
        .filter(|name| !name.contains('@'))
        .collect();
    let mut mistakes = Vec::new();
    for target in deny["graph"]["targets"].as_array().unwrap().iter().filter_map(toml::Value::as_str) {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--workspace", "--edges=normal,build", "--prefix=none", "--no-dedupe"])
            .args(["--target", target, "--format={p}|{l}"])
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        let lines: BTreeSet<&str> = tree.lines().collect();
        assert!(lines.len() > 100, "cargo tree says: {}", String::from_utf8_lossy(&output.stderr));
        for (package, licence) in lines.into_iter().filter_map(|line| line.split_once('|')) {
            let name = package.split(' ').next().unwrap();
            if banned.contains(&name) {
                mistakes.push(format!("{name} is banned by deny.toml"));
            }
            // Some still write MIT/Apache-2.0.
            let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
            let is_allowed = |one: &spdx::LicenseReq| allowed.contains(one.to_string().as_str());
            if !expression.is_ok_and(|expression| expression.evaluate(is_allowed)) {
                mistakes.push(format!("{name}: its licence is {licence:?}"));
            }
            // Those from the registry are shown without an address.
            if package.contains("://") {
                mistakes.push(format!("{package} does not come from the registry"));
            }
        }
    }
    complain("licences and bans of deny.toml", &mistakes);
}

#[test]
fn every_file_says_what_it_is_for() {
    let lacking: Vec<String> = rust_files()
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| format!("{name} does not open with //!"))
        .collect();
    complain("headers", &lacking);
}

#[test]
fn pure_code_has_no_io_no_clock_no_randomness() {
    let mut mistakes = Vec::new();
    for (name, text) in rust_files() {
        let in_pure_crate = PURE.iter().any(|pure| name.starts_with(&format!("crates/{pure}/src/")));
        let says_pure =
            text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("Pure."));
        if !in_pure_crate && !says_pure {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE_WORDS.iter().filter(|word| code.contains(**word)) {
                mistakes.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    complain("impure words in pure files", &mistakes);
}

#[test]
fn sql_is_only_in_the_database_crate() {
    let mistakes: Vec<String> = rust_files()
        .iter()
        .filter(|(name, _)| name.starts_with("crates/") && !name.starts_with("crates/database/"))
        .filter(|(name, _)| !name.starts_with("crates/testkit/") && !name.contains("/tests/"))
        .filter(|(_, text)| text.contains("tokio_postgres"))
        .map(|(name, _)| name.clone())
        .collect();
    complain("tokio_postgres outside database", &mistakes);
}

#[test]
fn files_and_functions_fit_on_a_few_screens() {
    let mut mistakes = Vec::new();
    for (name, text) in rust_files() {
        let code =
            if name.contains("/tests/") || name.starts_with("tests/") { &text } else { without_tests(&text) };
        let lines = code.lines().count();
        if lines > FILE_LINES_MAX {
            mistakes.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        for (line, length) in long_functions(code) {
            mistakes
                .push(format!("{name}:{line}: a function of {length} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    complain("sizes", &mistakes);
}

#[test]
fn names_say_what_a_thing_is() {
    let mut mistakes = Vec::new();
    for (name, text) in rust_files() {
        let stem = Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        if ["manager", "helper", "helpers", "util", "utils", "common", "misc"].contains(&stem.as_str()) {
            mistakes.push(format!("{name}: a file name that says nothing"));
        }
        for (number, line) in text.lines().enumerate() {
            let declares = |word: &str| {
                line.contains(&format!("struct {word}")) || line.contains(&format!("enum {word}"))
            };
            let vague = ["Manager", "Helper", "Util"].iter().any(|word| {
                (declares("")
                    && line.split(['{', '(', '<', ';']).next().unwrap_or("").trim_end().ends_with(word))
                    || declares(&format!("{word} "))
            });
            if vague || line.contains(&["fn ge", "t_"].concat()) {
                mistakes.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain("names that STYLE rule 2 does not want", &mistakes);
}

#[test]
fn nothing_unfinished_and_no_foreign_path_is_left() {
    // Put together here so that this file does not find itself.
    let banned = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["unimpl", "emented!"].concat(),
        ["/wo", "rk/"].concat(),
        ["/share", "d/"].concat(),
    ];
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    let mut mistakes = Vec::new();
    for name in String::from_utf8(output.stdout).unwrap().lines().filter(|name| !name.ends_with(".lock")) {
        let text = fs::read_to_string(root().join(name)).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word.as_str())) {
                mistakes.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    complain("left-overs", &mistakes);
}

#[test]
fn the_docs_name_what_exists() {
    let architecture = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut mistakes = Vec::new();
    for (name, _) in ALLOWED {
        if !architecture.contains(&format!("`{name}`")) {
            mistakes.push(format!("docs/ARCHITECTURE.md does not name the crate `{name}`"));
        }
    }
    for document in ["ARCHITECTURE", "STYLE", "HOWTO", "RFCS", "GLOSSARY", "OPERATING"] {
        let text = fs::read_to_string(root().join(format!("docs/{document}.md"))).unwrap();
        for path in paths_in(&text) {
            let exists =
                [path.clone(), format!("crates/{path}")].iter().any(|path| root().join(path).exists());
            if !exists {
                mistakes.push(format!("docs/{document}.md names {path}, which does not exist"));
            }
        }
    }
    complain("docs", &mistakes);
}

#[test]
fn every_migration_says_what_it_locks() {
    let mut seen = 0;
    let mut mistakes = Vec::new();
    for entry in fs::read_dir(root().join("migrations")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            seen += 1;
            if !fs::read_to_string(&path).unwrap().to_lowercase().contains("lock") {
                mistakes.push(path.display().to_string());
            }
        }
    }
    assert!(seen > 0, "there are migrations");
    complain("migrations without a comment on their locks", &mistakes);
}

/// The text before the first test module of the file.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]").map_or(text, |at| &text[..at])
}

/// Functions longer than allowed, found by indentation: rustfmt puts the closing brace under the `fn`.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "pub const fn ",
        ];
        if !words.iter().any(|word| code.starts_with(word)) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..]
            .iter()
            .position(|line| *line == closing || line.ends_with(';') && start_of(line) == indent);
        let length = end.unwrap_or(0) + 1;
        if length > FUNCTION_LINES_MAX {
            found.push((start + 1, length));
        }
    }
    found
}

fn start_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Paths of Rust files in a document, in code quotes or plain.
fn paths_in(text: &str) -> Vec<String> {
    let stop = |c: char| c.is_whitespace() || "`()|,;*".contains(c);
    let words =
        text.split(stop).filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains('{'));
    words.map(|word| word.trim_start_matches('/').to_owned()).collect()
}
