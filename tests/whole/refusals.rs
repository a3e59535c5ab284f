//! What the binary says to people who start it wrongly.

use crate::house::binary;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (i32, String) {
    let output: Output = Command::new(binary()).args(arguments).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn a_wrong_option_is_a_usage_error() {
    assert_eq!(run(&["up", "--dta", "x"]).0, 64);
    assert_eq!(run(&["fly"]).0, 64);
    assert_eq!(run(&["--help"]).0, 0);
}

#[test]
fn a_wrong_configuration_names_file_line_and_the_right_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("posthouse.toml");
    std::fs::write(&file, "[listen]\nhtpp = \"127.0.0.1:0\"\nsubmision = \"x\"\n").unwrap();
    let (code, said) = run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("posthouse.toml:2") && said.contains("`http`"), "{said}");
    assert!(said.contains("posthouse.toml:3") && said.contains("`submission`"), "{said}");
    // As the other commands have it, and what looks at the host says it too.
    assert_eq!(run(&["check-config", "--config", file.to_str().unwrap()]), (code, said));
    let doctor = run(&["doctor", file.to_str().unwrap()]);
    assert_eq!(doctor, run(&["doctor", "--config", file.to_str().unwrap()]));
    assert!(doctor.0 == 78 && doctor.1.contains("posthouse.toml:2"), "{}", doctor.1);
    assert_eq!(run(&["check-config"]).0, 64);
}

#[test]
fn an_address_that_cannot_be_listened_on_is_a_mistake_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("posthouse.toml");
    std::fs::write(&file, "[listen]\nhttp = \"nonsense\"\n[egress]\nsmtp_port = 0\n").unwrap();
    let (code, said) = run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("listen.http") && said.contains("egress.smtp_port"), "{said}");
}

#[test]
fn values_with_which_nothing_works_are_told_with_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("posthouse.toml");
    let text = "[listen]\nhttp = \"127.0.0.1:2525\"\n[tls]\nchain = \"chain.pem\"\n\
                [spool]\nreaders = [\"evnts\"]\nrecord_octets_max = 1000000\n\
                [ingress.session]\nrecipients_max = 0\n[ingress.limits]\nconnections_max = 0\n\
                [egress]\ntls_roots = \"/nowhere/roots.pem\"\n";
    std::fs::write(&file, text).unwrap();
    let (code, said) = run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
    for (line, key) in [
        ("6: ", "spool.readers"),
        ("7: ", "spool.record_octets_max"),
        ("9: ", "ingress.session.recipients_max"),
        ("11: ", "ingress.limits.connections_max"),
        ("13: ", "egress.tls_roots"),
        // Said by a default.
        ("", "listen.inbound"),
        ("", "tls.key"),
    ] {
        assert!(said.contains(&format!("{line}{key} ")), "{key}: {said}");
    }
}

#[test]
fn memory_that_is_too_little_for_a_node_is_a_mistake_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("posthouse.toml");
    for (octets, right) in [(1, false), ((128 << 20) - 1, false), (128 << 20, true), (0, true)] {
        std::fs::write(&file, format!("[node]\nmemory_octets = {octets}\n")).unwrap();
        let (code, said) = run(&["check-config", file.to_str().unwrap()]);
        assert_eq!(code, if right { 0 } else { 78 }, "{octets}: {said}");
        assert!(right || said.contains("node.memory_octets"), "{said}");
    }
}

#[test]
fn the_shipped_configuration_is_right() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/posthouse.toml");
    let (code, said) = run(&["check-config", file]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn serve_without_a_database_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("posthouse.toml");
    std::fs::write(&file, format!("[node]\ndata = \"{}\"\n", directory.path().display())).unwrap();
    let (code, said) = run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("database.url"), "{said}");
}

#[test]
fn what_cannot_be_printed_is_no_bug_of_ours() {
    let full = || std::fs::File::create("/dev/full").unwrap();
    for words in [&["completion", "bash"][..], &["doctor", "--json"]] {
        let said = Command::new(binary()).args(words).stdout(full()).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(73), "{words:?}: {text}");
        assert!(text.contains("cannot print: No space left"), "{words:?}: {text}");
        // Whoever reads closes the pipe before anything is said.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = Command::new(binary()).args(words).stdout(writer).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(!text.contains("panicked"), "{words:?}: {text}");
    }
}

#[test]
fn a_ready_file_that_cannot_be_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let (data, missing) = (directory.path().join("data"), directory.path().join("nowhere/ready.json"));
    let (code, said) =
        run(&["up", "--data", data.to_str().unwrap(), "--ready-file", missing.to_str().unwrap()]);
    assert_eq!(code, 73, "{said}");
    assert!(said.contains("cannot write the ready file") && said.contains("nowhere/ready.json"), "{said}");
    assert!(!data.join("postgres").exists(), "it started PostgreSQL");
}
