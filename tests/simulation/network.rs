//! Connections that are not sockets: octets arrive late, in pieces, or not at all.
//!
//! A line has two sides. What one side sends arrives at the other in its order, cut into pieces by chance; a line may
//! break after a number of octets that was drawn when it was opened, so that a break can be at any octet of a
//! conversation. A line that broke either tells both sides or goes silent, and then their clocks have to tell them.

use crate::agenda::Happening;
use crate::world::World;
use mail::{Instant, Random};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Who opened the line.
    Caller,
    Called,
}

/// Who talks over a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client with the house.
    Submission,
    /// A session of the house with a site.
    Delivery { session: u64, site: usize },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    Octets(Vec<u8>),
    End,
}

pub struct Line {
    pub purpose: Purpose,
    latency: Duration,
    ways: [Way; 2],
    /// Octets of both ways together that still get through.
    left: Option<usize>,
    mute: bool,
}

/// What is on the way to one side, and what has arrived there unread.
#[derive(Default)]
struct Way {
    packets: VecDeque<Packet>,
    /// When the last packet arrives.
    last: Option<Instant>,
    inbox: VecDeque<Packet>,
    alarm: Option<Instant>,
    /// That side has gone: nothing arrives any more.
    gone: bool,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Caller => Side::Called,
            Side::Called => Side::Caller,
        }
    }
}

impl Line {
    /// `breaks_percent` of lines break at some octet.
    pub fn new(purpose: Purpose, breaks_percent: u64, random: &mut Random) -> Line {
        let latency = Duration::from_micros(200 + random.below(40_000));
        let breaks = random.below(100) < breaks_percent;
        // Half of the breaks are among the commands, the others may be deep in a message.
        let span = if random.below(2) == 0 { 600 } else { 20_000 };
        let left = breaks.then(|| random.below(span) as usize);
        Line { purpose, latency, ways: [Way::default(), Way::default()], left, mute: false }
    }

    fn to(&mut self, side: Side) -> &mut Way {
        &mut self.ways[side as usize]
    }
}

impl World {
    pub fn open_line(&mut self, purpose: Purpose, breaks_percent: u64) -> u64 {
        self.lines_opened += 1;
        let line = Line::new(purpose, breaks_percent, &mut self.random);
        self.lines.insert(self.lines_opened, line);
        self.lines_opened
    }

    pub fn send(&mut self, line: u64, from: Side, octets: &[u8]) {
        let Some(open) = self.lines.get_mut(&line).filter(|line| !line.mute) else { return };
        let through = open.left.map_or(octets.len(), |left| left.min(octets.len()));
        open.left = open.left.map(|left| left - through);
        let broken = through < octets.len();
        let mut rest = &octets[..through];
        while !rest.is_empty() {
            // Mostly whole, sometimes halves, seldom single octets.
            let piece = match self.random.below(20) {
                0 => 1 + self.random.below(3) as usize,
                1..5 => 1 + self.random.below(rest.len() as u64) as usize,
                _ => rest.len(),
            };
            let (now, later) = rest.split_at(piece.min(rest.len()));
            self.post(line, from.other(), Packet::Octets(now.to_vec()));
            rest = later;
        }
        if broken {
            self.break_line(line);
        }
    }

    /// Both sides notice, or neither does.
    pub fn break_line(&mut self, line: u64) {
        let silent = self.random.below(4) == 0;
        self.trace.say(self.now, format_args!("line {line} breaks, silent: {silent}"));
        if !silent {
            self.post(line, Side::Caller, Packet::End);
            self.post(line, Side::Called, Packet::End);
        }
        if let Some(open) = self.lines.get_mut(&line) {
            open.mute = true;
        }
    }

    /// `side` closes the connection; what it sent before arrives.
    pub fn hang_up(&mut self, line: u64, side: Side) {
        self.post(line, side.other(), Packet::End);
        self.leave(line, side);
    }

    /// `side` is no more. The line is forgotten when both are gone.
    pub fn leave(&mut self, line: u64, side: Side) {
        let Some(open) = self.lines.get_mut(&line) else { return };
        open.to(side).gone = true;
        if open.ways.iter().all(|way| way.gone) {
            self.lines.remove(&line);
        }
    }

    fn post(&mut self, line: u64, to: Side, packet: Packet) {
        let jitter = Duration::from_micros(self.random.below(2_000));
        let Some(open) = self.lines.get_mut(&line).filter(|line| !line.mute) else { return };
        let at = self.now + open.latency + jitter;
        let way = open.to(to);
        if way.gone {
            return;
        }
        let at = way.last.map_or(at, |last| last.max(at));
        way.last = Some(at);
        way.packets.push_back(packet);
        self.agenda.add(at, Happening::Arrive(line, to));
    }

    /// Puts the front packet where its receiver finds it. False if there is nobody any more.
    pub fn arrive(&mut self, line: u64, to: Side) -> bool {
        let Some(open) = self.lines.get_mut(&line) else { return false };
        let way = open.to(to);
        let Some(packet) = way.packets.pop_front().filter(|_| !way.gone) else { return false };
        way.inbox.push_back(packet);
        true
    }

    /// The next packet that `side` has not read.
    pub fn read(&mut self, line: u64, side: Side) -> Option<Packet> {
        self.lines.get_mut(&line)?.to(side).inbox.pop_front()
    }

    /// Sees to it that the machine at that side is woken at `at`, or a little earlier.
    pub fn arm(&mut self, line: u64, side: Side, at: Option<Instant>) {
        let (Some(open), Some(at)) = (self.lines.get_mut(&line), at) else { return };
        let way = open.to(side);
        if way.alarm.is_none_or(|alarm| alarm > at) {
            way.alarm = Some(at);
            self.agenda.add(at.max(self.now), Happening::Alarm(line, side));
        }
    }

    /// An alarm went off. False if nobody is there to hear it.
    pub fn disarm(&mut self, line: u64, side: Side) -> bool {
        let Some(open) = self.lines.get_mut(&line) else { return false };
        let way = open.to(side);
        way.alarm = None;
        !way.gone
    }

    /// Lines to a site go silent.
    pub fn cut_off_lines(&mut self, site: usize) {
        for line in self.lines.values_mut() {
            if matches!(line.purpose, Purpose::Delivery { site: of, .. } if of == site) {
                line.mute = true;
                // What is under way is lost as well.
                line.ways.iter_mut().for_each(|way| {
                    way.packets.clear();
                });
            }
        }
    }
}
