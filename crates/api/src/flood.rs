//! Floods: what a connection may send that asks for nothing, and what its address pays when it was closed for one.
//!
//! A frame of HTTP/2 need not ask for anything: PING and SETTINGS are answered one for one, a request can be taken back as
//! soon as it is made, and a body can come an octet at a time. h2 ends a connection whose requests are taken back before
//! they are looked at (rapid reset, CVE-2023-44487), or that goes on without an end (CONTINUATION, empty DATA, streams
//! over the limit). It counts none of the rest, so `Frames` does, on the octets that h2 is about to read: headers of frames
//! only, no content. DATA and WINDOW_UPDATE are earned, by octets of a body and of our answers; what was not earned, and
//! every frame that does neither carry a request nor make room for an answer, is counted.
//!
//! A client that begins anew whenever it was closed costs a handshake each time; so the next connections of its address
//! are not heard for a while (`Calm`). They wait, and are not refused, because the address may be that of a neighbour, and
//! one that comes again at once costs more than one that waits. A request in progress, and a connection that is there
//! already, wait for nothing. Both are plain values that are told the time; `server.rs` and `watched.rs` are the shells.

use crate::limit::{Rate, make_room};
use mail::Instant;
use registry::Neighbour;
use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a connection of HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets of the header of a frame (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Types of frames (RFC 9113 §6); h2 bounds CONTINUATION itself.
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

/// Octets, read or written, that earn one frame of DATA or WINDOW_UPDATE. Less in a frame than its header is long is
/// not how anybody sends a body.
const OCTETS_PER_FRAME: usize = 32;
/// Octets that earn frames later: whoever reads a long answer may make room for all of it at the end.
const EARNED_MAX: usize = 128 * 1024;

/// The octets of a connection, as far as they make frames.
///
/// ```text
/// Preface ──► Header ◄──► Payload          Plain: not HTTP/2
///    └──────────────────────────────────────►┘
/// ```
#[derive(Debug)]
pub struct Frames {
    at: At,
    /// Octets that no frame was charged to yet.
    earned: usize,
    rate: Rate,
    /// When everything that was counted so far will have been paid for.
    paid: Option<Instant>,
}

#[derive(Debug)]
enum At {
    /// So many octets of it were there.
    Preface(usize),
    Plain,
    /// So many of its octets are known.
    Header([u8; HEADER], usize),
    /// So many octets are left.
    Payload(usize),
}

/// More frames that ask for nothing than a connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frames that ask for nothing come without an end")]
pub struct Flood;

impl Frames {
    pub fn new(per_second: u32) -> Frames {
        Frames { at: At::Preface(0), earned: 0, rate: Rate::new(per_second), paid: None }
    }

    /// So many octets went to the client.
    pub fn wrote(&mut self, octets: usize) {
        self.earn(octets);
    }

    /// The next octets of the client, cut anywhere.
    pub fn read(&mut self, octets: &[u8], now: Instant) -> Result<(), Flood> {
        let idle = self.count(octets);
        if idle == 0 {
            return Ok(());
        }
        self.paid = Some(self.rate.after(self.paid.unwrap_or(now), idle, now).ok_or(Flood)?);
        Ok(())
    }

    /// Frames that ask for nothing and whose headers end here.
    fn count(&mut self, mut octets: &[u8]) -> u32 {
        let mut idle = 0;
        while let Some((&first, rest)) = octets.split_first() {
            match &mut self.at {
                At::Plain => return idle,
                At::Preface(known) => {
                    if PREFACE.get(*known) != Some(&first) {
                        self.at = At::Plain;
                        return idle;
                    }
                    *known += 1;
                    if *known == PREFACE.len() {
                        self.at = At::Header([0; HEADER], 0);
                    }
                    octets = rest;
                }
                At::Header(header, known) => {
                    let taken = octets.len().min(HEADER - *known);
                    header[*known..*known + taken].copy_from_slice(&octets[..taken]);
                    *known += taken;
                    octets = &octets[taken..];
                    if *known == HEADER {
                        let (length, kind) = ([0, header[0], header[1], header[2]], header[3]);
                        let length = u32::from_be_bytes(length) as usize;
                        self.at = At::after_header(length);
                        idle += u32::from(self.is_idle(kind, length));
                    }
                }
                At::Payload(left) => {
                    let taken = octets.len().min(*left);
                    octets = &octets[taken..];
                    self.at = At::after_header(*left - taken);
                }
            }
        }
        idle
    }

    /// Whether this frame asks for nothing.
    fn is_idle(&mut self, kind: u8, length: usize) -> bool {
        match kind {
            // Two for the end of an answer, of its stream and of the connection.
            HEADERS => self.earn(2 * OCTETS_PER_FRAME),
            CONTINUATION => {}
            DATA => {
                self.earn(length);
                return !self.spend();
            }
            WINDOW_UPDATE => return !self.spend(),
            _ => return true,
        }
        false
    }

    fn earn(&mut self, octets: usize) {
        self.earned = (self.earned + octets).min(EARNED_MAX);
    }

    fn spend(&mut self) -> bool {
        let left = self.earned.checked_sub(OCTETS_PER_FRAME);
        self.earned = left.unwrap_or(self.earned);
        left.is_some()
    }
}

impl At {
    fn after_header(left: usize) -> At {
        if left == 0 { At::Header([0; HEADER], 0) } else { At::Payload(left) }
    }
}

/// Addresses that have to wait.
#[derive(Debug)]
pub struct Calm {
    pause: Duration,
    addresses_max: usize,
    until: Mutex<HashMap<Neighbour, Instant>>,
}

impl Calm {
    pub fn new(pause: Duration, addresses_max: usize) -> Calm {
        Calm { pause, addresses_max: addresses_max.max(1), until: Mutex::default() }
    }

    /// One of its connections was closed for a flood.
    pub fn ask(&self, peer: IpAddr, now: Instant) {
        let (address, mut until) = (Neighbour::of(peer), self.lock());
        make_room(&mut until, &address, self.addresses_max, |until| *until <= now);
        until.insert(address, now + self.pause);
    }

    /// How long a new connection of this address is not heard.
    pub fn wait(&self, peer: IpAddr, now: Instant) -> Duration {
        let until = self.lock().get(&Neighbour::of(peer)).copied();
        until.map_or(Duration::ZERO, |until| until.saturating_since(now))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Neighbour, Instant>> {
        // Every entry stands for itself.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether we have ended a connection because it asked too much of us: ENHANCE_YOUR_CALM (RFC 9113 §7).
pub fn is_for_calm(error: &(dyn Error + 'static)) -> bool {
    let is_ours =
        |error: &h2::Error| error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    error.downcast_ref().is_some_and(is_ours) || error.source().is_some_and(is_for_calm)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const START: Instant = Instant::ZERO;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let octets = (length as u32).to_be_bytes();
        let mut frame = [&octets[1..], &[kind, 0], &[0; 4]].concat();
        frame.resize(HEADER + length, 0);
        frame
    }

    fn after_preface(frames: &[Vec<u8>]) -> Vec<u8> {
        [PREFACE, &frames.concat()].concat()
    }

    #[test]
    fn frames_that_ask_for_nothing_are_counted_however_they_are_cut() {
        let kinds =
            [(4, 12), (1, 40), (0, 300), (6, 8), (3, 4), (9, 40), (8, 4), (2, 5), (6, 8), (200, 0), (7, 70)];
        let octets = after_preface(&kinds.map(|(kind, length)| frame(kind, length)));
        for cut in 1..octets.len() {
            let mut frames = Frames::new(1);
            let idle: u32 = octets.chunks(cut).map(|octets| frames.count(octets)).sum();
            assert_eq!(idle, 7, "cut every {cut}");
        }
    }

    #[test]
    fn bodies_and_answers_earn_their_frames_and_small_pieces_do_not() {
        let idle =
            |frames: &mut Frames, kind, length, count| frames.count(&frame(kind, length).repeat(count));
        let mut frames = Frames::new(1);
        frames.count(PREFACE);
        assert_eq!(idle(&mut frames, WINDOW_UPDATE, 4, 10), 10);
        assert_eq!(idle(&mut frames, HEADERS, 40, 5) + idle(&mut frames, WINDOW_UPDATE, 4, 11), 1);
        assert_eq!(idle(&mut frames, DATA, OCTETS_PER_FRAME, 100_000), 0);
        assert_eq!(idle(&mut frames, DATA, 1, 3_200), 3_100);
        frames.wrote(16_384);
        assert_eq!(idle(&mut frames, WINDOW_UPDATE, 4, 513), 1);
        frames.wrote(1 << 30);
        assert_eq!(idle(&mut frames, WINDOW_UPDATE, 4, 4_097), 1);
    }

    #[test]
    fn what_is_not_http_2_has_no_frames() {
        for start in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSN", "PRINT"] {
            let octets = [start.as_bytes(), &frame(6, 8).repeat(10_000)].concat();
            assert_eq!(Frames::new(1).read(&octets, START), Ok(()), "{start}");
        }
    }

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_no_more() {
        let mut frames = Frames::new(100);
        assert_eq!(frames.read(&after_preface(&vec![frame(6, 8); 1000]), START), Ok(()));
        assert_eq!(frames.read(&frame(0, 80).repeat(5_000), START), Ok(()), "a body is no flood");
        let second = START + Duration::from_secs(1);
        assert_eq!(frames.read(&frame(3, 4).repeat(100), second), Ok(()));
        assert_eq!(frames.read(&frame(4, 0), second), Err(Flood));
    }

    #[test]
    fn a_neighbour_of_a_flood_waits_and_nobody_else() {
        let calm = Calm::new(Duration::from_secs(5), 2);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, other) = (at("2001:db8::1"), at("192.0.2.1"));
        calm.ask(one, START);
        let second = START + Duration::from_secs(1);
        assert_eq!(calm.wait(at("2001:db8::2"), second), Duration::from_secs(4));
        assert_eq!(calm.wait(other, second), Duration::ZERO);
        assert_eq!(calm.wait(one, START + Duration::from_secs(5)), Duration::ZERO);
    }

    #[test]
    fn no_more_addresses_are_kept_than_there_is_room_for_and_those_that_waited_go_first() {
        let calm = Calm::new(Duration::from_secs(5), 2);
        let at = |last: u8| IpAddr::from([192, 0, 2, last]);
        calm.ask(at(1), START);
        let later = START + Duration::from_secs(6);
        calm.ask(at(2), later);
        calm.ask(at(3), later);
        assert_eq!(calm.wait(at(2), later), Duration::from_secs(5));
        calm.ask(at(4), later);
        assert_eq!(calm.wait(at(4), later), Duration::from_secs(5));
        assert_eq!(calm.lock().len(), 2);
    }
}
