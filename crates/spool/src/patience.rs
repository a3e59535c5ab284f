//! How long a follower stands before what the disk does not give, hoping that it passes. A value: it reads no clock.
//!
//! What is passed over comes late to whoever follows, so a follower waits; but a disk with a bad region has many bad
//! pieces, and the telling of events must not stand still for each of them. So the time is one for a segment: once it is
//! used up, what cannot be read in that segment is passed over at the first try. Called by `follow.rs`.
//!
//! What may surprise: only tries and the pauses between them count. Whoever does not ask for an hour, because there is
//! enough to do, has not been refused for an hour; and a shortage of ours says nothing about the disk.

use crate::Position;
use mail::Instant;
use std::time::Duration;

/// Before the first further try; longer each time, up to the other.
const PAUSE_MIN: Duration = Duration::from_millis(100);
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

/// Whose fault it is that nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Disk,
    /// No descriptor, no memory: it is waited for as long as it takes.
    Shortage,
}

pub(crate) struct Patience {
    most: Duration,
    /// The segment in which the follower stood last.
    segment: Option<u32>,
    /// How long it has been refused in it.
    spent: Duration,
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    at: Position,
    pause: Duration,
    /// When the last try ended, or the one that is under way began.
    since: Instant,
    cause: Cause,
}

impl Patience {
    pub(crate) fn new(most: Duration) -> Patience {
        Patience { most, segment: None, spent: Duration::ZERO, stop: None }
    }

    /// A try begins. What to do if what comes next cannot be read.
    pub(crate) fn unread(&mut self, at: Position, now: Instant) -> Unread {
        if let Some(stop) = self.stop.as_mut().filter(|stop| stop.at == at) {
            let waited = now.saturating_since(stop.since).min(stop.pause);
            if stop.cause == Cause::Disk {
                self.spent += waited;
            }
            stop.since = now;
        }
        if self.segment == Some(at.segment()) && self.spent >= self.most {
            Unread::PassOver
        } else {
            Unread::Stop
        }
    }

    /// It could not be read, and is tried again.
    pub(crate) fn stop(&mut self, at: Position, cause: Cause, now: Instant) -> Again {
        self.go_to(at);
        if self.segment.replace(at.segment()) != Some(at.segment()) {
            self.spent = Duration::ZERO;
        }
        match &mut self.stop {
            Some(stop) => {
                if cause == Cause::Disk {
                    self.spent += now.saturating_since(stop.since);
                }
                stop.pause = (stop.pause * 2).min(PAUSE_MAX);
                (stop.since, stop.cause) = (now, cause);
                Again { after: stop.pause, lasts: true }
            }
            None => {
                self.stop = Some(Stop { at, pause: PAUSE_MIN, since: now, cause });
                Again { after: PAUSE_MIN, lasts: false }
            }
        }
    }

    /// The follower stands at `at` now; it may be where it stood.
    pub(crate) fn go_to(&mut self, at: Position) {
        self.stop = self.stop.filter(|stop| stop.at == at);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// One try after the other, each of them a second after the one before, until there is no patience left; how many.
    fn tries(patience: &mut Patience, place: Position, from: u64) -> u64 {
        (0..1_000)
            .find(|try_| {
                let now = at(from + try_);
                let unread = patience.unread(place, now);
                patience.stop(place, Cause::Disk, now);
                unread == Unread::PassOver
            })
            .unwrap()
    }

    #[test]
    fn a_piece_is_tried_less_and_less_often_until_the_time_is_up() {
        let (mut patience, place) = (Patience::new(MINUTE), Position::new(2, 40));
        let pauses: Vec<u128> =
            (0..6).map(|_| patience.stop(place, Cause::Disk, at(0)).after.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(tries(&mut patience, place, 1), 59);
    }

    #[test]
    fn time_in_which_nobody_asked_does_not_count_and_time_in_which_the_disk_is_busy_does() {
        let (mut patience, place) = (Patience::new(MINUTE), Position::new(2, 40));
        patience.stop(place, Cause::Disk, at(0));
        assert_eq!(patience.unread(place, at(3_600)), Unread::Stop);
        // This try takes the disk most of a minute.
        patience.stop(place, Cause::Disk, at(3_659));
        assert_eq!(patience.unread(place, at(9_000)), Unread::Stop);
        patience.stop(place, Cause::Disk, at(9_001));
        assert_eq!(patience.unread(place, at(9_002)), Unread::PassOver);
    }

    #[test]
    fn a_shortage_of_ours_uses_no_patience() {
        let (mut patience, place) = (Patience::new(MINUTE), Position::new(2, 40));
        for second in 0..1_000 {
            assert_eq!(patience.unread(place, at(second)), Unread::Stop);
            patience.stop(place, Cause::Shortage, at(second));
        }
        assert!(patience.is_stopped() && patience.stop(place, Cause::Shortage, at(1_000)).lasts);
    }

    #[test]
    fn the_pieces_of_one_segment_share_its_time_and_another_segment_has_its_own() {
        let mut patience = Patience::new(MINUTE);
        let first = tries(&mut patience, Position::new(2, 40), 0);
        // Reading well for long costs nothing and gives nothing back.
        patience.go_to(Position::new(2, 900));
        assert_eq!(patience.unread(Position::new(2, 900), at(5_000)), Unread::PassOver);
        let other = Position::new(3, 40);
        assert_eq!(patience.unread(other, at(5_022)), Unread::Stop);
        assert_eq!(tries(&mut patience, other, 5_022), first);
    }

    #[test]
    fn without_any_patience_it_is_tried_once_more() {
        let (mut patience, place) = (Patience::new(Duration::ZERO), Position::new(2, 40));
        assert_eq!(patience.unread(place, at(0)), Unread::Stop);
        patience.stop(place, Cause::Disk, at(0));
        assert_eq!(patience.unread(place, at(0)), Unread::PassOver);
    }
}
