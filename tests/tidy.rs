//! The shape of the house, checked: who may know whom, headers, sizes, words, and that the docs name what exists.
//!
//! Rules from docs/ARCHITECTURE.md and docs/STYLE.md that a compiler cannot hold. A rule that hurts is changed there
//! and here together, with the reason in the commit.

#![allow(clippy::unwrap_used)]

#[path = "tidy/skips.rs"]
mod skips;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::shape::{self, Dependencies, without_tests};

/// Lines of a file without its tests and without what stands above its items: nobody is to save on either.
const FILE_LINES_MAX: usize = 400;
/// Lines of a file with its tests, and of nine files in ten.
const WHOLE_LINES_MAX: usize = 900;
const WHOLE_LINES_P90_MAX: usize = 400;
/// Lines of a function, signature and braces included.
const FUNCTION_LINES_MAX: usize = 70;

/// ARCHITECTURE.md, Who may know whom: what a crate may depend on, of ours. Test-only dependencies are not in it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("panics", &[]),
    ("names", &[]),
    ("smtp", &["mail"]),
    ("registry", &["mail"]),
    ("queue", &["mail"]),
    ("shaping", &["mail"]),
    ("spool", &["mail", "panics", "registry"]),
    ("database", &["mail", "panics", "registry"]),
    ("ingress", &["mail", "panics", "smtp", "registry", "spool"]),
    ("egress", &["mail", "panics", "names", "smtp", "registry", "queue", "shaping", "spool"]),
    ("events", &["mail", "panics", "names", "registry", "spool", "database"]),
    ("api", &["mail", "panics", "names", "registry", "database", "ingress", "queue"]),
    ("lab", &["mail"]),
    ("testkit", &["mail", "database"]),
    ("properties", &["mail", "smtp", "spool", "ingress", "posthouse"]),
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

/// Our crates as cargo sees them, without what only their tests need, and each one's word on being published.
fn crates() -> (Dependencies, Vec<(String, bool)>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let known = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let built_with = all.filter(|one| one["kind"].as_str() != Some("dev"));
        built_with.map(name).filter(|one| ours.contains(one)).collect()
    };
    let published = |package: &serde_json::Value| package["publish"].as_array().map(Vec::len) != Some(0);
    let published = packages.iter().map(|package| (name(package), published(package))).collect();
    // The package of the tests may know everybody.
    let packages = packages.iter().filter(|package| package["name"] != "posthouse-tests");
    (packages.map(|package| (name(package), known(package))).collect(), published)
}

#[test]
fn crates_know_whom_the_table_says_and_nobody_is_published() {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let table: Dependencies = ALLOWED.iter().map(|(name, of)| ((*name).to_owned(), owned(of))).collect();
    let (crates, published) = crates();
    let mut mistakes = Vec::new();
    for name in table.keys().chain(crates.keys()).collect::<BTreeSet<_>>() {
        let (allowed, known) = (table.get(name), crates.get(name));
        if allowed != known {
            mistakes.push(format!("{name} knows {known:?}, the table of this test says {allowed:?}"));
        }
    }
    let published = published.into_iter().filter(|(_, is)| *is);
    mistakes.extend(published.map(|(name, _)| format!("{name} must not be published")));
    complain("who may know whom", &mistakes);
}

#[test]
fn the_drawing_of_the_crates_is_theirs() {
    let architecture = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let drawing = shape::drawing(&crates().0);
    let hint = "`cargo xtask house --write` draws docs/ARCHITECTURE.md anew";
    assert_eq!(shape::drawn_in(&architecture), Some(drawing.as_str()), "{hint}");
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
    let mut lengths = Vec::new();
    for (name, text) in rust_files() {
        let code =
            if name.contains("/tests/") || name.starts_with("tests/") { &text } else { without_tests(&text) };
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("///")).count();
        if lines > FILE_LINES_MAX {
            mistakes.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        lengths.push(text.lines().count());
        if text.lines().count() > WHOLE_LINES_MAX {
            mistakes.push(format!("{name}: more than {WHOLE_LINES_MAX} lines with its tests"));
        }
        for function in shape::functions(code).iter().filter(|one| one.lines > FUNCTION_LINES_MAX) {
            let shape::Function { line, name: called, lines } = function;
            mistakes.push(format!("{name}:{line}: {called} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    let most = shape::percentile(&lengths, 90);
    if most > WHOLE_LINES_P90_MAX {
        mistakes.push(format!("nine files in ten have up to {most} lines, at most {WHOLE_LINES_P90_MAX}"));
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

/// Paths of Rust files in a document, in code quotes or plain.
fn paths_in(text: &str) -> Vec<String> {
    let stop = |c: char| c.is_whitespace() || "`()|,;*".contains(c);
    let words =
        text.split(stop).filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains('{'));
    words.map(|word| word.trim_start_matches('/').to_owned()).collect()
}
