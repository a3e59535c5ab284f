//! Other people's clients and verifiers judge a house: `run.py` beside this file does the work, in their languages.
//!
//! This starts the house, with limits that are worth running into and a throttle that does not lock the one address out
//! from which everybody comes, and brings the tools below `target/`. Without a network, or without what README.md of
//! this folder wants of a host, it says so and passes, unless everything is asked for (`cargo xtask test` does).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod rust;

use posthouse_tests::house::{House, Plot};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::skipped::{is_complete, lacking};

/// Limits that are worth running into.
const OCTETS_MAX: usize = 4 << 20;
const RECIPIENTS_MAX: usize = 60;
const SETTINGS: [(&str, &str); 8] = [
    ("ingress.throttle.free_failures", "1000"),
    ("ingress.throttle.failures_to_lock", "1000"),
    ("ingress.throttle.failures_per_network_minute_max", "100000"),
    ("ingress.throttle.failures_per_credential_minute_max", "100000"),
    ("egress.limits.connections", "20"),
    ("egress.limits.messages_per_second", "0"),
    ("egress.limits.connections_per_minute", "0"),
    ("egress.limits.messages_per_connection", "1000"),
];

fn settle() -> (Plot, House) {
    let mut plot = Plot::new();
    for (key, value) in SETTINGS {
        plot.set(key, value);
    }
    plot.set("ingress.session.message_octets_max", &OCTETS_MAX.to_string());
    plot.set("ingress.session.recipients_max", &RECIPIENTS_MAX.to_string());
    let house = plot.start();
    (plot, house)
}

#[test]
fn other_peoples_clients_are_served_and_their_verifiers_are_content() {
    let tools = tools();
    let mut install = runner(&tools);
    let installed = install.arg("--install").output().unwrap();
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr);
        lacking("clients of other people", &said);
        return;
    }
    let (plot, house) = settle();
    let mut command = runner(&tools);
    command
        .arg("--ready")
        .arg(plot.path().join("ready.json"))
        .args(["--recipients-max", &RECIPIENTS_MAX.to_string()]);
    if is_complete() {
        command.arg("--complete");
    }
    let output = command.output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}{said}\n{}", plot.log());
    assert!(house.stop().success());
}

fn runner(tools: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/strangers/run.py")).arg("--tools").arg(tools);
    // The checkout stays as it is.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Below the build directory, wherever that is: we run from `<target>/<profile>/deps`.
fn tools() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().join("tools/strangers")
}
