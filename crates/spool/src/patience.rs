//! How long a follower stands before what the disk does not give, hoping that it passes. A value: it reads no clock.
//!
//! What is passed over is lost to whoever follows, so a follower waits; but a disk with a bad region has many bad pieces,
//! and the telling of events must not stand still for each of them. So the time is one for a segment: once it is used
//! up, what cannot be read in that segment is passed over at the first try. Called by `follow.rs`.

use crate::Position;
use mail::Instant;
use std::time::Duration;

/// Before the first further try; longer each time, up to the other.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is done about a piece that the disk does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    Stop,
    PassOver,
}

/// A follower has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) after: Duration,
    /// From the second try on: it did not pass at once, and somebody should know.
    pub(crate) lasts: bool,
}

pub(crate) struct Patience {
    most: Duration,
    /// The segment in which the follower stood last.
    segment: Option<u32>,
    /// How long it stood in it before other pieces.
    spent: Duration,
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    at: Position,
    since: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(most: Duration) -> Patience {
        Patience { most, segment: None, spent: Duration::ZERO, stop: None }
    }

    /// What to do if what comes next cannot be read.
    pub(crate) fn unread(&self, at: Position, now: Instant) -> Unread {
        let standing = self.stop.map_or(Duration::ZERO, |stop| now.saturating_since(stop.since));
        if self.segment == Some(at.segment()) && self.spent + standing >= self.most {
            Unread::PassOver
        } else {
            Unread::Stop
        }
    }

    /// It cannot be read, and there is patience left.
    pub(crate) fn stop(&mut self, at: Position, now: Instant) -> Again {
        self.go_to(at, now);
        if self.segment.replace(at.segment()) != Some(at.segment()) {
            self.spent = Duration::ZERO;
        }
        match &mut self.stop {
            Some(stop) => {
                stop.pause = (stop.pause * 2).min(PAUSE_MAX);
                Again { after: stop.pause, lasts: true }
            }
            None => {
                self.stop = Some(Stop { at, since: now, pause: PAUSE_MIN });
                Again { after: PAUSE_MIN, lasts: false }
            }
        }
    }

    /// The follower stands at `at` now; it may be where it stood.
    pub(crate) fn go_to(&mut self, at: Position, now: Instant) {
        if let Some(stop) = self.stop.filter(|stop| stop.at != at) {
            self.spent += now.saturating_since(stop.since);
            self.stop = None;
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_piece_is_tried_less_and_less_often_until_the_time_is_up() {
        let (mut patience, place) = (Patience::new(MINUTE), Position::new(2, 40));
        assert_eq!(patience.unread(place, at(0)), Unread::Stop);
        let pauses: Vec<u128> = (0..6).map(|_| patience.stop(place, at(0)).after.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(patience.unread(place, at(59)), Unread::Stop);
        assert_eq!(patience.unread(place, at(60)), Unread::PassOver);
    }

    #[test]
    fn the_pieces_of_one_segment_share_its_time_and_another_segment_has_its_own() {
        let mut patience = Patience::new(MINUTE);
        patience.stop(Position::new(2, 40), at(0));
        patience.go_to(Position::new(2, 90), at(40));
        // Reading well for long costs nothing.
        assert_eq!(patience.unread(Position::new(2, 900), at(5_000)), Unread::Stop);
        assert!(!patience.stop(Position::new(2, 900), at(5_000)).lasts);
        assert_eq!(patience.unread(Position::new(2, 900), at(5_019)), Unread::Stop);
        assert_eq!(patience.unread(Position::new(2, 900), at(5_020)), Unread::PassOver);
        patience.go_to(Position::new(2, 950), at(5_020));
        assert_eq!(patience.unread(Position::new(2, 1_000), at(5_021)), Unread::PassOver);
        let other = Position::new(3, 40);
        assert_eq!(patience.unread(other, at(5_022)), Unread::Stop);
        patience.stop(other, at(5_022));
        assert_eq!(patience.unread(other, at(5_081)), Unread::Stop);
        assert_eq!(patience.unread(other, at(5_082)), Unread::PassOver);
    }

    #[test]
    fn without_any_patience_it_is_tried_once_more() {
        let (mut patience, place) = (Patience::new(Duration::ZERO), Position::new(2, 40));
        assert_eq!(patience.unread(place, at(0)), Unread::Stop);
        patience.stop(place, at(0));
        assert_eq!(patience.unread(place, at(0)), Unread::PassOver);
    }
}
