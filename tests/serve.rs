//! `posthouse serve`: a node in production, on an external PostgreSQL that the settings name.

use crate::house::{House, Plot, binary, wait_for};
use std::process::{Command, Stdio};

impl Plot {
    fn serve_command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(self.path().join("posthouse.toml"));
        command.arg("--ready-file").arg(self.path().join("ready.json"));
        command.envs(self.settings());
        command.stdin(Stdio::null());
        command
    }

    /// How a `serve` that cannot start ends, and what it says.
    pub fn serve_in_vain(&self) -> (Option<i32>, String) {
        let output = self.serve_command().output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// `posthouse serve` on an external PostgreSQL, which the settings name; it says in its ready file where it is.
    pub fn serve(&self) -> House {
        self.serve_with(&[])
    }

    /// The same with further arguments.
    pub fn serve_with(&self, arguments: &[&str]) -> House {
        let ready_file = self.path().join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).unwrap();
        let mut child =
            self.serve_command().args(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let ready = wait_for("the ready file", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "posthouse ended before it was ready:\n{}", self.log());
            serde_json::from_str(&std::fs::read_to_string(&ready_file).ok()?).ok()
        });
        House::new(child, ready, self.path().join("data"))
    }
}
