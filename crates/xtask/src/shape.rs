//! The shape of the house, measured: who knows whom, and how long its files and functions are.
//!
//! `cargo xtask house` prints it, tests/tidy.rs holds it to its limits and to the drawing in docs/ARCHITECTURE.md: both
//! measure with the code of this file. It reads text by its indentation, which rustfmt keeps, and parses no Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A crate of ours, and those of ours that it is built with. What only its tests need is not in it.
pub type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// A function in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The line of its `fn`, counted from 1.
    pub line: usize,
    /// As it is called.
    pub name: String,
    /// How many lines it has, signature and closing brace included.
    pub lines: usize,
}

/// Reads what `cargo tree --depth=1 --prefix=depth --no-dedupe` says of the packages below `root`, the package of the
/// tests left out: it may know everybody.
pub fn dependencies(tree: &str, root: &str) -> Dependencies {
    let mut found = Dependencies::new();
    let mut last = String::new();
    for line in tree.lines() {
        let Some((depth, name)) = line.split_at_checked(1) else { continue };
        let name = name.split(' ').next().unwrap_or_default().to_owned();
        let is_ours = line.contains(&format!("({root}/crates/"));
        if depth == "0" {
            last.clone_from(&name);
        }
        if depth == "0" && is_ours {
            found.insert(name, BTreeSet::new());
        } else if let Some(known) = found.get_mut(&last).filter(|_| is_ours) {
            known.insert(name);
        }
    }
    found
}

/// The drawing of docs/ARCHITECTURE.md, for mermaid. A line that can be walked by way of another crate is left out.
pub fn drawing(dependencies: &Dependencies) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (name, known) in dependencies {
        let beyond: BTreeSet<&str> = known.iter().flat_map(|one| below(dependencies, one)).collect();
        let direct: Vec<&String> = known.iter().filter(|one| !beyond.contains(one.as_str())).collect();
        let is_known = dependencies.values().any(|others| others.contains(name));
        if direct.is_empty() && !is_known {
            let _ = writeln!(text, "    {name}");
        }
        for one in direct {
            let _ = writeln!(text, "    {name} --> {one}");
        }
    }
    text
}

/// Everybody whom a crate knows, at first hand or through others.
fn below<'d>(dependencies: &'d Dependencies, name: &str) -> BTreeSet<&'d str> {
    let mut all = BTreeSet::new();
    for one in dependencies.get(name).into_iter().flatten() {
        if all.insert(one.as_str()) {
            all.extend(below(dependencies, one));
        }
    }
    all
}

/// The text of the first drawing in a document, without its fences.
pub fn drawn_in(document: &str) -> Option<&str> {
    let (_, rest) = document.split_once("```mermaid\n")?;
    rest.split_once("```").map(|(drawing, _)| drawing)
}

/// The text before the first test module of a file.
pub fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]").map_or(text, |at| &text[..at])
}

/// Every function with a body, nested ones too.
pub fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = indent_of(line);
        let Some(name) = declared(line.trim_start()) else { continue };
        // The closing brace stands under the `fn`, or the whole of it in one line; a `;` ends one without a body.
        let end = lines[start..]
            .iter()
            .position(|line| indent_of(line) == indent && line.trim_end().ends_with([';', '}']));
        found.push(Function { line: start + 1, name, lines: end.unwrap_or(0) + 1 });
    }
    found
}

/// The name of the function that a line begins, behind whatever says who may call it and how.
fn declared(code: &str) -> Option<String> {
    let (before, after) = code.split_once("fn ").filter(|(before, _)| !before.contains("//"))?;
    let mut words = before.split_whitespace();
    let opens = |word: &str| {
        ["pub", "async", "const", "unsafe", "extern", "\"C\"", "in"].contains(&word)
            || word.starts_with("pub(")
    };
    words.all(opens).then(|| after.split(['(', '<']).next().unwrap_or_default().to_owned())
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The value that this share of all values, in percent, does not exceed; 0 without values.
pub fn percentile(values: &[usize], percent: usize) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pairs: &[(&str, &[&str])]) -> Dependencies {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        pairs.iter().map(|(name, of)| ((*name).to_owned(), owned(of))).collect()
    }

    #[test]
    fn a_tree_is_read_without_what_others_wrote() {
        let tree = "0api v0.0.0 (/house/crates/api)\n1axum v0.8.9\n1mail v0.0.0 (/house/crates/mail)\n\n\
                    0mail v0.0.0 (/house/crates/mail)\n1idna v1.1.0\n\n\
                    0posthouse-tests v0.0.0 (/house/tests)\n\
                    1api v0.0.0 (/house/crates/api)\n";
        assert_eq!(dependencies(tree, "/house"), known(&[("api", &["mail"]), ("mail", &[])]));
    }

    #[test]
    fn a_drawing_leaves_out_what_is_reached_anyway_and_keeps_who_knows_nobody() {
        let house =
            known(&[("api", &["database", "mail"]), ("database", &["mail"]), ("mail", &[]), ("xtask", &[])]);
        let drawing = drawing(&house);
        assert_eq!(drawing, "flowchart TD\n    api --> database\n    database --> mail\n    xtask\n");
        assert_eq!(drawn_in(&format!("text\n```mermaid\n{drawing}```\nmore")), Some(drawing.as_str()));
        assert_eq!(drawn_in("```\nno drawing\n```"), None);
    }

    #[test]
    fn functions_are_measured_whoever_may_call_them() {
        let text = "pub(super) const fn one() -> u8 {\n    1\n}\n\nimpl X {\n    async fn two(\n        &self,\n    ) {\n    }\n\
                    \n    fn three();\n}\n// a fn in a comment\nlet fn_like = 1;\nfn four() {}\nfn five() { 5 }\n";
        let seen: Vec<_> =
            functions(text).into_iter().map(|found| (found.line, found.name, found.lines)).collect();
        let want = [(1, "one", 3), (6, "two", 4), (11, "three", 1), (15, "four", 1), (16, "five", 1)];
        assert_eq!(seen, want.map(|(line, name, lines)| (line, name.to_owned(), lines)));
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<usize> = (1..=10).rev().collect();
        assert_eq!((percentile(&values, 90), percentile(&values, 100), percentile(&values, 1)), (9, 10, 1));
        assert_eq!(percentile(&[], 90), 0);
    }
}
