//! A host on which nothing is installed and nothing can be: the first command names what to get, and begins nothing.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn without_apt_the_first_command_names_the_packages() {
    for command in ["up", "test"] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg(command).env("PATH", "/nowhere").output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("xtask: this host lacks: build-essential, "), "{said}");
        for package in ["swaks", "curl", "jq", "libnet-ssleay-perl"] {
            assert!(said.contains(package), "{package}: {said}");
        }
        assert!(said.contains("install what your system calls them and start again"), "{said}");
        // Nothing was begun before it was said.
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
