//! Somebody at a shell who types the commands that are calls of the API. Used by `commands.rs` and `nouns.rs`.

use crate::house::{House, Plot, binary};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Somebody at a shell: the binary with an environment that leads to one house.
pub struct Shell {
    environment: Vec<(&'static str, String)>,
    pub session: PathBuf,
}

impl Shell {
    pub fn new(plot: &Plot) -> Shell {
        let ready = plot.path().join("ready.json").display().to_string();
        Shell {
            environment: vec![("POSTHOUSE_READY_FILE", ready)],
            session: plot.path().join("kept/session.json"),
        }
    }

    pub fn with(&self, environment: &[(&'static str, String)]) -> Shell {
        Shell { environment: environment.to_vec(), session: self.session.clone() }
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(binary());
        // Somewhere without a ready file lying about.
        command.args(line.split_whitespace()).current_dir("/").env("POSTHOUSE_SESSION", &self.session);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdin(Stdio::null());
        command
    }

    /// Exit code and everything that was printed.
    pub fn run(&self, line: &str) -> (i32, String) {
        let output = self.command(line).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), said)
    }

    pub fn says(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "posthouse {line}\n{said}");
        said
    }

    pub fn json(&self, line: &str) -> Value {
        let said = self.says(&format!("{line} --json"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("posthouse {line}: {error}\n{said}"))
    }

    pub fn refuses(&self, line: &str, code: i32, part: &str) {
        let (ended, said) = self.run(line);
        assert!(
            ended == code && said.contains(part),
            "posthouse {line}: {ended}, not {code} and {part:?}\n{said}"
        );
    }
}

pub fn with_a_house() -> (Plot, House, Shell) {
    let plot = Plot::new();
    let house = plot.start();
    let shell = Shell::new(&plot);
    (plot, house, shell)
}
