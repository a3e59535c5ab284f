//! The tour in the README, command by command as it is pasted, by a newcomer with a shell.

use crate::house::{Plot, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");

/// The shell lines of the section "Ten minutes", a paragraph each.
fn paragraphs() -> Vec<&'static str> {
    let (_, section) = README.split_once("\n## Ten minutes\n").expect("the README has a tour");
    let (_, shell) = section.split_once("```sh\n").expect("the tour is to be pasted");
    let (shell, _) = shell.split_once("```").expect("its block has an end");
    shell.split("\n\n").collect()
}

/// What the lines print, in a shell that stops at the first failure.
fn paste(directory: &Path, lines: &str) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", lines]).current_dir(directory).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{lines}\n{said}{complaint}");
    format!("{said}{complaint}")
}

#[test]
fn the_tour_says_what_happens() {
    let plot = Plot::new();
    let house = plot.start();
    // Where `cargo xtask up` would have put it.
    std::fs::create_dir(plot.path().join(".posthouse")).unwrap();
    std::fs::copy(plot.path().join("ready.json"), plot.path().join(".posthouse/ready.json")).unwrap();

    let paragraphs = paragraphs();
    let [first, pool, domain, send, look] = paragraphs[..] else {
        panic!("the tour has five paragraphs: {paragraphs:#?}")
    };
    // A person keeps one shell open; here what it knows is handed on.
    let variables = "declare -p R API LAB TOKEN SRC SINK T D KEY 2>/dev/null > variables || true";
    let begin = format!("{first}\n{pool}\n{variables}");
    let said = paste(plot.path(), &begin);
    assert!(said.contains("\"name\":\"acme\""), "{said}");
    let said = paste(plot.path(), &format!(". ./variables\n{domain}\n{variables}"));
    assert!(said.contains("\"verified\""), "{said}");
    let said = paste(plot.path(), &format!(". ./variables\n{send}"));
    assert!(said.contains("250 2.0.0 queued as msg_"), "{said}");

    house.arrivals("anna@gmail.com", 1);
    let look = look.replace("\nsleep 1\n", "\n");
    let said = wait_for("both ends of the tour", || {
        let said = paste(plot.path(), &format!(". ./variables\n{look}"));
        said.contains("message.bounced").then_some(said)
    });
    for part in ["\"peer_ip\": \"127.2.0.77\"", "acme-1.posthouse.test", "b+", "unknown@gmail.com", "550"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(house.stop().code(), Some(0));
}
