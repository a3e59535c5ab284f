//! What happened, as text: a hash of all of it, so that two runs can be compared, and the last lines, for whoever has to
//! find out why a seed failed.

use mail::Instant;
use std::collections::VecDeque;
use std::fmt::{Arguments, Write};

/// Lines that are kept.
const LINES_MAX: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    Quiet,
    /// Every line is printed as it comes.
    Loud,
}

pub struct Trace {
    voice: Voice,
    hash: u64,
    lines: VecDeque<String>,
    total: u64,
}

impl Trace {
    pub fn new(voice: Voice) -> Trace {
        Trace { voice, hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), total: 0 }
    }

    pub fn say(&mut self, now: Instant, what: Arguments<'_>) {
        let mut line = if self.lines.len() >= LINES_MAX {
            self.lines.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        let micros = now.as_micros();
        let _ = write!(line, "{:>6}.{:06} {what}", micros / 1_000_000, micros % 1_000_000);
        for octet in line.bytes() {
            self.hash = (self.hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.voice == Voice::Loud {
            println!("{line}");
        }
        self.lines.push_back(line);
        self.total += 1;
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Lines in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn last_lines(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}
