//! System calls of the house: listed with their times, or made to fail.
//!
//! A `Trace` is there from the start of the process, one file for each thread, so that no call is torn into two lines.
//! An `Injection` is attached to a running house and counts from then on. Both slow the house down: no timing of it is
//! worth anything meanwhile.

use crate::house::wait_for;
use crate::skipped::skipped;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the lines go.
pub struct Trace {
    files: PathBuf,
}

/// One finished call.
#[derive(Debug, Clone)]
pub struct Call {
    /// `fdatasync` and the like.
    pub name: String,
    /// Everything between the parentheses; descriptors with their paths.
    pub arguments: String,
    /// What the call returned; negative for an error.
    pub result: i64,
    /// Microseconds since 1970.
    pub start_us: u64,
    /// Microseconds since 1970.
    pub end_us: u64,
}

/// Ends when dropped; the house goes on without it.
pub struct Injection {
    strace: Child,
}

/// False, with a notice for this row, where strace is missing or may not trace.
pub fn can_trace(row: &str) -> bool {
    let tried = Command::new("strace").args(["-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        skipped(row, "strace is not installed or not allowed here");
    }
    can
}

impl Trace {
    /// The words to start a house through, and the trace that they fill.
    pub fn new(folder: &Path, calls: &str) -> (Vec<String>, Trace) {
        let files = folder.join("calls");
        std::fs::create_dir_all(&files).unwrap();
        let trace = format!("trace={calls}");
        let output = files.join("t").display().to_string();
        let words = ["strace", "-ff", "--seccomp-bpf", "-qq", "-ttt", "-T", "-y", "-s", "1000", "-e", &trace];
        let words = words.iter().copied().chain(["-e", "signal=none", "-o", &output]);
        (words.map(str::to_owned).collect(), Trace { files })
    }

    /// Every call so far in the order of its start.
    pub fn calls(&self) -> Vec<Call> {
        let files = std::fs::read_dir(&self.files).unwrap().flatten();
        let text = |file: std::fs::DirEntry| {
            String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()
        };
        let mut calls: Vec<Call> =
            files.flat_map(|file| text(file).lines().filter_map(call).collect::<Vec<_>>()).collect();
        calls.sort_by_key(|call| call.start_us);
        calls
    }
}

/// `1795706325.630123 fdatasync(27</spool/1.log>) = 0 <0.004012>`
fn call(line: &str) -> Option<Call> {
    let (time, rest) = line.split_once(' ')?;
    let (name, rest) = rest.split_once('(')?;
    let (arguments, ended) = rest.rsplit_once(") = ")?;
    let result = ended.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?.parse().ok()?;
    let took = ended.rsplit_once('<')?.1.strip_suffix('>')?;
    let start_us = micros(time)?;
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        result,
        start_us,
        end_us: start_us + micros(took)?,
    })
}

fn micros(seconds: &str) -> Option<u64> {
    let (whole, parts) = seconds.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + parts.parse::<u64>().ok()?)
}

impl Injection {
    /// `calls` are traced, `inject` is what strace calls an injection, such as `fdatasync:error=EIO:when=1`.
    pub fn attach(pid: Pid, inject: &[&str]) -> Injection {
        let calls: Vec<&str> = inject.iter().filter_map(|one| one.split(':').next()).collect();
        let log =
            tempfile::Builder::new().prefix("strace").tempfile().unwrap().into_temp_path().keep().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.as_raw_nonzero().to_string(), "-o", "/dev/null"]);
        command.args(["-e", &format!("trace={}", calls.join(","))]);
        for one in inject {
            command.args(["-e", &format!("inject={one}")]);
        }
        let said = std::fs::File::create(&log).unwrap();
        let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        wait_for("strace to be attached", || {
            std::fs::read_to_string(&log).unwrap_or_default().contains("attached").then_some(())
        });
        let _ = std::fs::remove_file(&log);
        Injection { strace }
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // SIGINT lets go of the process; SIGKILL would, too, but may leave threads stopped.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::INT);
        let _ = self.strace.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_call() {
        let one = call("5.000100 fdatasync(27</spool/1>) = 0 <0.004012>").unwrap();
        assert_eq!((one.name.as_str(), one.arguments.as_str()), ("fdatasync", "27</spool/1>"));
        assert_eq!((one.result, one.start_us, one.end_us), (0, 5_000_100, 5_004_112));
        let failed =
            call("5.000100 fdatasync(27</spool/1>) = -1 EIO (Input/output error) (INJECTED) <0.000012>")
                .unwrap();
        assert_eq!(failed.result, -1);
        let odd = call(r#"5.000100 pwritev(9</s>, [{iov_base="a) = 7", iov_len=6}], 1, 0) = 6 <0.000001>"#)
            .unwrap();
        assert_eq!(odd.result, 6);
        assert!(call("5.000100 +++ exited with 0 +++").is_none());
        assert!(call("5.000100 fdatasync(27</spool/1>) = ?").is_none());
    }
}
