//! Reads transcripts and compares what a machine does with them.

pub mod client;
pub mod server;

use std::fmt::Write as _;
use std::path::Path;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Does(String),
    Answer(String),
    Deliver(String),
    Passes(u64),
    Eof,
}

pub struct Transcript {
    pub setup: Vec<String>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Pieces {
    Lines,
    Octets,
}

pub fn run_all(folder: &str, run: impl Fn(&Transcript) -> Result<(), String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "transcripts are missing in {}", folder.display());
    let mut failures = String::new();
    for path in paths {
        let transcript = parse(&std::fs::read_to_string(&path).unwrap());
        if let Err(error) = run(&transcript) {
            writeln!(failures, "{}: {error}\n", path.file_name().unwrap().to_string_lossy()).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

pub fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript { setup: Vec::new(), steps: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let said = |ending: &[u8]| [&unescape(rest)[..], ending].concat();
        transcript.steps.push(match mark {
            "@" => {
                transcript.setup.push(rest.to_owned());
                continue;
            }
            "C:" => Step::Client(said(b"\r\n")),
            "C~" => Step::Client(said(b"")),
            "C*" => Step::Client(repeated(rest)),
            "S:" => Step::Server(said(b"\r\n")),
            "S~" => Step::Server(said(b"")),
            "S*" => Step::Server(repeated(rest)),
            ">" => Step::Does(rest.to_owned()),
            "A:" => Step::Answer(rest.to_owned()),
            "D:" => Step::Deliver(rest.to_owned()),
            "T:" => Step::Passes(rest.parse().unwrap()),
            "EOF" => Step::Eof,
            _ => panic!("not a line of a transcript: {line}"),
        });
    }
    transcript
}

pub fn repeated(rest: &str) -> Vec<u8> {
    let (times, text) = rest.split_once(' ').unwrap();
    unescape(text).repeat(times.parse().unwrap())
}

pub fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        octets.push(match (b, b == b'\\') {
            (_, false) => b,
            _ => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("\\{} is not known", other as char),
            },
        });
    }
    octets
}

pub fn show(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// Compares what a machine said with the lines the transcript has for it.
pub struct Output {
    pub said: Vec<u8>,
    pub doings: Vec<String>,
}

impl Output {
    pub fn new() -> Output {
        Output { said: Vec::new(), doings: Vec::new() }
    }

    pub fn take_said(&mut self, expected: &[u8]) -> Result<(), String> {
        if !self.said.starts_with(expected) {
            return Err(format!("expected  {}\n          but it was {}", show(expected), show(&self.said)));
        }
        self.said.drain(..expected.len());
        Ok(())
    }

    pub fn take_doing(&mut self, expected: &str) -> Result<(), String> {
        if self.doings.first().is_none_or(|doing| doing != expected) {
            return Err(format!(
                "expected  > {expected}\n          but it was {:?}, {}",
                self.doings,
                show(&self.said)
            ));
        }
        self.doings.remove(0);
        Ok(())
    }

    pub fn must_be_empty(&self, before: &Step) -> Result<(), String> {
        if self.said.is_empty() && self.doings.is_empty() {
            return Ok(());
        }
        Err(format!("before {before:?} it also said {} and did {:?}", show(&self.said), self.doings))
    }
}

pub fn number(setup: &str) -> usize {
    setup.split_once(' ').unwrap().1.parse().unwrap()
}
