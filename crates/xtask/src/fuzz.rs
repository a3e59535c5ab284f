//! `cargo xtask fuzz`: the targets of `fuzz/`, with libFuzzer, for so many seconds each.
//!
//! No sanitizer, since the house has no unsafe code; so the compiler of the house will do. What is found while it runs
//! goes to `target/fuzz`, not into the stored corpus: that is small, and changed by hand.

use crate::{Outcome, cargo, execute, host, root, target};
use std::path::{Path, PathBuf};

const VERSION: &str = "0.13.2";
const SECONDS: &str = "60";
/// Octets of an input, in one place for all: what is longer finds nothing that a shorter one does not.
const OCTETS_MAX: &str = "-max_len=4096";

/// `[TARGET] [--seconds N]`.
pub fn run(rest: &[String]) -> Outcome {
    let (mut seconds, mut only) = (SECONDS.to_owned(), None);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds.clone_from(words.next().ok_or("--seconds wants a number")?),
            other if !other.starts_with('-') => only = Some(other.to_owned()),
            other => {
                return Err(format!(
                    "there is no `cargo xtask fuzz {other}`; it takes [TARGET] [--seconds N]"
                ));
            }
        }
    }
    seconds.parse::<u32>().map_err(|_| format!("--seconds {seconds} is no number"))?;
    let all = targets()?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such target; there are {}", all.join(", ")));
    }
    host::ensure(&[host::COMPILER])?;
    let tools = ensure_cargo_fuzz()?;
    for name in chosen {
        one(name, &seconds, &tools)?;
    }
    Ok(())
}

fn one(name: &str, seconds: &str, tools: &Path) -> Outcome {
    println!("\n> fuzz {name}, {seconds} s");
    let found = target().join("fuzz/corpus").join(name);
    std::fs::create_dir_all(&found).map_err(|error| format!("cannot make {}: {error}", found.display()))?;
    let mut command = cargo();
    command.env("PATH", with_tools(tools));
    command.args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir", "fuzz", "--target-dir"]);
    // Where it writes, then what is stored.
    command.arg(target().join("fuzz")).arg(name).arg(&found).arg(root().join("fuzz/corpus").join(name));
    command.args(["--", OCTETS_MAX, "-timeout=20", "-print_final_stats=1", "-verbosity=0"]);
    command.arg(format!("-max_total_time={seconds}"));
    execute(&mut command).map_err(|sentence| {
        format!(
            "{sentence}\nThe input that failed lies in fuzz/artifacts/{name}. Mend what it found, and keep it as \
             fuzz/corpus/{name}/<what-it-found>: `cargo test -p properties` runs it from then on."
        )
    })
}

/// One for each folder of the stored corpus.
fn targets() -> Outcome<Vec<String>> {
    let place = root().join("fuzz/corpus");
    let entries =
        std::fs::read_dir(&place).map_err(|error| format!("cannot read {}: {error}", place.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn ensure_cargo_fuzz() -> Outcome<PathBuf> {
    let own = target().join("tools/bin");
    if host::quiet(cargo().args(["fuzz", "--version"])) || own.join("cargo-fuzz").exists() {
        return Ok(own);
    }
    println!("installing cargo-fuzz below target/ (once)");
    let mut command = cargo();
    command.args(["install", "--locked", "--quiet", "cargo-fuzz", "--version", VERSION, "--root"]);
    execute(command.arg(target().join("tools")))?;
    Ok(own)
}

fn with_tools(tools: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([tools.to_path_buf()]);
    std::env::join_paths(folders).unwrap_or(path.clone())
}
