//! System calls of the house: listed with their times, or made to fail.
//!
//! A `Trace` is there from the start of the process, one file for each thread, so that no call is torn into two lines.
//! An `Injection` is attached to a running house and counts from then on. Both slow the house down: no timing of it is
//! worth anything meanwhile.

use crate::house::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use testkit::skipped;

/// Where the lines go.
pub struct Trace {
    files: PathBuf,
}

/// One finished call.
#[derive(Debug, Clone)]
pub struct Call {
    /// `fdatasync` and the like.
    pub name: String,
    /// Everything between the parentheses; descriptors with their paths, or with both ends of their connection.
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
    /// Its lines; the calls that it changed say so.
    lines: tempfile::TempPath,
}

/// Octets that are shown of each text: more than the largest letter of a test has.
const TEXT_MAX: &str = "1300000";

/// To start a house with: the first reads of each of its threads take 100 ms more, then the disk is itself again, and
/// delivery is not slowed. The house is the process that was started; who traces it is a child of nobody.
pub const SLOW_READS: [&str; 9] = [
    "strace",
    "-D",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-o/dev/null",
    "-etrace=pread64",
    "-e",
    "inject=pread64:delay_enter=100000:when=1..60",
];

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
        let words =
            ["strace", "-ff", "--seccomp-bpf", "-qq", "-ttt", "-T", "-yy", "-s", TEXT_MAX, "-e", &trace];
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
            files.flat_map(|file| text(file).lines().filter_map(Call::parse).collect::<Vec<_>>()).collect();
        calls.sort_by_key(|call| call.start_us);
        calls
    }
}

impl Call {
    /// `1795706325.630123 fdatasync(27</spool/1.log>) = 0 <0.004012>`
    pub fn parse(line: &str) -> Option<Call> {
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

    /// The path of the file that it is about, or both ends of the connection: `TCP:[127.0.0.1:465->127.0.0.1:50652]`.
    pub fn about(&self) -> Option<&str> {
        let (_, rest) = self.arguments.split_once('<')?;
        let end = if rest.starts_with("TCP") { rest.find("]>")? + 1 } else { rest.find('>')? };
        rest.get(..end)
    }
}

fn micros(seconds: &str) -> Option<u64> {
    let (whole, parts) = seconds.split_once('.')?;
    Some(whole.parse::<u64>().ok()? * 1_000_000 + parts.parse::<u64>().ok()?)
}

impl Injection {
    /// `calls` are traced, `inject` is what strace calls an injection, such as `fdatasync:error=EIO:when=1`.
    pub fn attach(pid: Pid, inject: &[&str]) -> Injection {
        let calls: Vec<&str> = inject.iter().filter_map(|one| one.split(':').next()).collect();
        let file = || tempfile::Builder::new().prefix("strace").tempfile().unwrap().into_temp_path();
        let (log, lines) = (file(), file());
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.as_raw_nonzero().to_string(), "-o"]).arg(&lines);
        command.args(["-e", &format!("trace={}", calls.join(","))]);
        for one in inject {
            command.args(["-e", &format!("inject={one}")]);
        }
        let said = std::fs::File::create(&log).unwrap();
        let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        wait_for("strace to be attached", || {
            std::fs::read_to_string(&log).unwrap_or_default().contains("attached").then_some(())
        });
        Injection { strace, lines }
    }

    /// Calls that met it so far.
    pub fn hits(&self) -> usize {
        let lines = std::fs::read(&self.lines).unwrap();
        String::from_utf8_lossy(&lines).lines().filter(|line| line.contains("(INJECTED)")).count()
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
        let one = Call::parse("5.000100 fdatasync(27</spool/1>) = 0 <0.004012>").unwrap();
        assert_eq!((one.name.as_str(), one.arguments.as_str()), ("fdatasync", "27</spool/1>"));
        assert_eq!((one.result, one.start_us, one.end_us), (0, 5_000_100, 5_004_112));
        let failed = Call::parse(
            "5.000100 fdatasync(27</spool/1>) = -1 EIO (Input/output error) (INJECTED) <0.000012>",
        )
        .unwrap();
        assert_eq!(failed.result, -1);
        let odd =
            Call::parse(r#"5.000100 pwritev(9</s>, [{iov_base="a) = 7", iov_len=6}], 1, 0) = 6 <0.000001>"#)
                .unwrap();
        assert_eq!(odd.result, 6);
        let sent = Call::parse(
            r#"5.000100 sendto(9<TCP:[127.0.0.1:465->127.0.0.1:50652]>, "\27", 1, 0, NULL, 0) = 1 <0.000001>"#,
        );
        assert_eq!(sent.unwrap().about(), Some("TCP:[127.0.0.1:465->127.0.0.1:50652]"));
        assert!(Call::parse("5.000100 +++ exited with 0 +++").is_none());
        assert!(Call::parse("5.000100 fdatasync(27</spool/1>) = ?").is_none());
    }
}
