//! `cargo xtask house`: the shape of the house, printed; with `--write` its drawing goes into docs/ARCHITECTURE.md.

use crate::{Outcome, cargo, root};
use std::path::Path;
use std::process::Command;
use xtask::shape::{self, Dependencies};

/// How many of the longest are shown.
const SHOWN: usize = 10;

pub fn run(rest: &[String]) -> Outcome {
    let root = root();
    let dependencies = dependencies(&root)?;
    let drawing = shape::drawing(&dependencies);
    match rest {
        [] => {}
        [option] if option == "--write" => return write(&root.join("docs/ARCHITECTURE.md"), &drawing),
        _ => return Err("the only option of house is --write".to_owned()),
    }
    println!("{}\n", fenced(&drawing));
    for (name, known) in &dependencies {
        println!("{name}: {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    }
    sizes(&root)
}

fn dependencies(root: &Path) -> Outcome<Dependencies> {
    let mut command = cargo();
    command.args(["tree", "--locked", "--workspace", "--all-features", "--edges=normal,build"]);
    command.args(["--depth=1", "--prefix=depth", "--no-dedupe"]);
    Ok(shape::dependencies(&printed(&mut command)?, &root.display().to_string()))
}

/// Lengths of all files that git knows, with their tests: what a reader opens.
fn sizes(root: &Path) -> Outcome {
    let listed = printed(Command::new("git").args(["ls-files", "*.rs"]).current_dir(root))?;
    let mut files = Vec::new();
    let mut functions = Vec::new();
    for name in listed.lines() {
        // A file that was moved away and is not committed yet.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        files.push((text.lines().count(), name.to_owned()));
        functions.extend(
            shape::functions(&text)
                .into_iter()
                .map(|function| (function.lines, format!("{name}:{} {}", function.line, function.name))),
        );
    }
    longest("files", files);
    longest("functions", functions);
    Ok(())
}

fn longest(what: &str, mut all: Vec<(usize, String)>) {
    all.sort_by(|one, other| other.cmp(one));
    let lines: Vec<usize> = all.iter().map(|(lines, _)| *lines).collect();
    let [half, most] = [50, 90].map(|percent| shape::percentile(&lines, percent));
    println!(
        "\n{} {what}; half have at most {half} lines, nine in ten at most {most}; the longest:",
        all.len()
    );
    for (lines, name) in all.iter().take(SHOWN) {
        println!("{lines:6} {name}");
    }
}

fn fenced(drawing: &str) -> String {
    format!("```mermaid\n{drawing}```")
}

fn write(document: &Path, drawing: &str) -> Outcome {
    let trouble = |error: std::io::Error| format!("cannot change {}: {error}", document.display());
    let text = std::fs::read_to_string(document).map_err(trouble)?;
    let old = shape::drawn_in(&text).ok_or_else(|| format!("{} has no drawing", document.display()))?;
    std::fs::write(document, text.replacen(&fenced(old), &fenced(drawing), 1)).map_err(trouble)
}

fn printed(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
