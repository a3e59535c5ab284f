//! How many connections a path may have at once: a window that feels its way, after Postfix's SCHEDULER_README.
//!
//! Nobody tells us how much a site can take. Postfix's queue manager finds it like this (the chapter is
//! "Concurrency scheduling"): start low; let every
//! success push the window up and every sign of trouble push it down; push by an amount that depends on the window
//! itself; and move the window only when enough small pushes have added up. The words it coined are kept here:
//!
//! - *Feedback* of 1/N. At window N one answer moves the account by 1/N, so that a whole cohort of N answers, one
//!   from each connection, moves the window by one. A constant push would double a large window in one round trip,
//!   and would let one bad connection among many throttle all of them.
//! - *Hysteresis*. Pushes add up in an account and the window moves by whole connections only. After it has moved
//!   one way the account of the other way starts anew. Without this, a window of good and bad answers in turn would
//!   flap between two values; with it the answer must lean one way for about a cohort.
//! - *Pseudo-cohorts of failure*. Trouble that means "nobody home" (no connection, no greeting, a session that was
//!   shut) is also counted as 1/N; when a full cohort has failed without a success in between, the site counts as
//!   dead and is not asked at all for a while. Feedback alone would hammer a dead site with its last connection. A
//!   profile may say that fewer failures in a row are enough.
//!
//! Ours is different in three places. A dead path wakes up with a window of one instead of the initial window: one
//! probe finds out as much as five. The pause before the probe doubles from probe to probe, within bounds. And
//! growth needs a busy window: Postfix lets it run ahead of the connections in use by the initial concurrency, we
//! ask that at least half of it is in use, for the same reason, which is that success of a few connections says
//! nothing about many.
//!
//! All sums are integers, in parts per million, so that runs of the simulator do not differ between machines.

use crate::rule::WindowRule;
use mail::Instant;
use std::time::Duration;

/// One connection, in the unit of the accounts.
const ONE: u32 = 1_000_000;
/// How long it is believed that a site takes no more connections than it said, at first and at most.
const BELIEF_FIRST: Duration = Duration::from_secs(10 * 60);
const BELIEF_MAX: Duration = Duration::from_secs(4 * 3600);
/// So many answers in a row that want less than one connection are a wish for none.
const WISHES_MAX: u32 = 10;
/// After a rest the window no more than doubles in this time, however fast the answers come.
const RAMP_STEP: Duration = Duration::from_secs(10);

/// What one answer, or its absence, says about the site as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// The site works: it delivered, or refused a recipient for a reason of that recipient.
    Good,
    /// The site is there and wants less.
    Slower,
    /// No site there: nothing connects, or sessions break before they are of use.
    Gone,
    /// Says nothing either way: the session ended as it should.
    Neutral,
}

/// The window of one path.
///
/// ```text
///             Good × N                 Gone × N, no Good between
///   ┌──────┐ ─────────► window + 1   ┌──────┐ ──────────────► ┌──────┐
///   │ open │                         │ open │                 │ dead │ nothing until `wakes`
///   └──────┘ ─────────► window − 1   └──────┘ ◄────────────── └──────┘
///             Slower × N, not < 1              then window 1: the probe; Good: open, Gone: dead for twice as long
/// ```
#[derive(Debug, Clone)]
pub struct Window {
    rule: WindowRule,
    size: u32,
    /// Account of success: at `ONE` the window grows.
    success: u32,
    /// Account of trouble: at `ONE` the window shrinks.
    trouble: u32,
    /// Pseudo-cohorts that found nobody home since the last success: at `ONE` the path is dead.
    gone: u32,
    /// Failures in a row that found nobody home.
    failures: u32,
    /// Answers in a row that wanted less although there was one connection only.
    wishes: u32,
    /// Dead until then.
    wakes: Option<Instant>,
    /// How long it will be dead the next time.
    pause: Duration,
    /// The most that the site took when it said that there are too many, and until when one more is not tried.
    ceiling: Option<(u32, Instant)>,
    /// How long the next ceiling will be believed.
    belief: Duration,
    /// After a rest, until the window is full again: its size when the present step of the ramp began, and when.
    ramp: Option<(u32, Instant)>,
}

impl Window {
    /// At the first size that the rule has.
    pub fn new(rule: WindowRule) -> Window {
        let size = rule.initial.clamp(1, rule.limit.max(1));
        Window {
            rule,
            size,
            success: 0,
            trouble: 0,
            gone: 0,
            failures: 0,
            wishes: 0,
            wakes: None,
            pause: rule.pause_first,
            ceiling: None,
            belief: BELIEF_FIRST,
            ramp: None,
        }
    }

    /// Connections that may be open at `now`; none while the path is dead.
    pub fn size(&self, now: Instant) -> u32 {
        match self.wakes {
            Some(wakes) if wakes > now => 0,
            _ => self.size,
        }
    }

    /// When a dead path may be probed. None while it is not dead.
    pub fn wakes(&self, now: Instant) -> Option<Instant> {
        self.wakes.filter(|wakes| *wakes > now)
    }

    /// Whether this is as it was made: forgetting it loses nothing.
    pub fn is_untouched(&self) -> bool {
        let fresh = Window::new(self.rule);
        (self.size, self.success, self.trouble, self.gone, self.wakes)
            == (fresh.size, fresh.success, fresh.trouble, fresh.gone, fresh.wakes)
    }

    /// Takes one answer into account. `busy` is how many connections are open, the one that answered among them.
    pub fn feedback(&mut self, feedback: Feedback, busy: u32, now: Instant) {
        match feedback {
            Feedback::Good => self.good(busy, now),
            Feedback::Slower => self.slower(now),
            Feedback::Gone => self.nobody_home(now),
            Feedback::Neutral => {}
        }
    }

    /// The rule may change while we run, when the registry does. What was learned stays, within the new limit.
    pub fn set_rule(&mut self, rule: WindowRule) {
        self.rule = rule;
        self.size = self.size.clamp(1, rule.limit.max(1));
    }

    /// The site said that there are too many: it takes one less than are `open` now.
    pub fn shrink(&mut self, open: u32, now: Instant) {
        self.size = self.size.min(open).saturating_sub(1).max(1);
        self.success = 0;
        self.trouble = 0;
        // Others of the same cohort that hear it too say it once.
        let believed = self.ceiling.is_some_and(|(_, until)| until > now);
        if !believed {
            self.belief =
                if self.ceiling.is_some() { (self.belief * 2).min(BELIEF_MAX) } else { BELIEF_FIRST };
        }
        self.ceiling = Some((self.size, now + self.belief));
    }

    /// Down to one connection until `end`, because the site asked for a pause: what it took before says nothing about
    /// after.
    pub fn collapse(&mut self, end: Instant) {
        self.size = 1;
        self.success = 0;
        self.trouble = 0;
        self.ramp = Some((1, end));
    }

    /// Somebody knows that a site is back, or that its pause is over: probe it now, and begin the ramp that was to begin at
    /// the end of it.
    pub fn wake(&mut self, now: Instant) {
        self.wakes = None;
        self.pause = self.rule.pause_first;
        self.ramp = self.ramp.map(|(size, since)| (size, since.min(now)));
    }

    /// A dead path sleeps on for so long: paths that died together are not probed together.
    pub fn oversleep(&mut self, more: Duration, now: Instant) {
        if let Some(wakes) = self.wakes(now).map(|wakes| wakes + more) {
            self.wakes = Some(wakes);
            self.collapse(wakes);
        }
    }

    fn good(&mut self, busy: u32, now: Instant) {
        self.somebody_home();
        self.wishes = 0;
        if self.wakes.take().is_some_and(|wakes| wakes > now) {
            // Somebody is home before we thought; the ramp begins here.
            self.ramp = Some((1, now));
        }
        self.pause = self.rule.pause_first;
        // An idle window proves nothing by its size.
        if busy.saturating_mul(2) < self.size {
            return;
        }
        self.success += ONE / self.size;
        // Rounding must not cost a whole answer: three pushes of a third are one.
        if self.success + ONE / self.size / 2 >= ONE {
            self.success = 0;
            self.trouble = 0;
            self.grow(now);
        }
    }

    fn grow(&mut self, now: Instant) {
        let limit = match self.ceiling {
            Some((most, until)) if until > now => self.rule.limit.min(most),
            // A whole cohort above it: the site takes more now.
            Some((most, _)) if self.size > most => {
                self.ceiling = None;
                self.rule.limit
            }
            Some(_) | None => self.rule.limit,
        };
        let limit = self.ramp_limit(now).min(limit).max(self.size);
        self.size = (self.size + 1).min(limit).clamp(1, self.rule.limit.max(1));
        if self.size >= self.rule.limit {
            self.ramp = None;
        }
    }

    /// A site that is back is met by everything that waited for it, and fast answers would open all doors at once.
    fn ramp_limit(&mut self, now: Instant) -> u32 {
        let Some((mut size, mut since)) = self.ramp else { return u32::MAX };
        if since > now {
            // What was under way when the pause began proves nothing about its end.
            return size;
        }
        if now.saturating_since(since) >= RAMP_STEP {
            (size, since) = (self.size, now);
            self.ramp = Some((size, since));
        }
        size.saturating_mul(2)
    }

    fn somebody_home(&mut self) {
        self.gone = 0;
        self.failures = 0;
    }

    fn slower(&mut self, now: Instant) {
        self.somebody_home();
        if self.wakes(now).is_some() {
            return;
        }
        self.wishes = if self.size == 1 { self.wishes + 1 } else { 0 };
        if self.wishes >= WISHES_MAX {
            return self.rest(now);
        }
        self.trouble += ONE / self.size;
        if self.trouble + ONE / self.size / 2 >= ONE {
            self.trouble = 0;
            self.success = 0;
            // At one the account still turns over, so that trouble keeps cancelling success.
            self.size = (self.size - 1).max(1);
        }
    }

    fn nobody_home(&mut self, now: Instant) {
        // Connections that were already under way when the path died say nothing new.
        if self.wakes(now).is_some() {
            return;
        }
        self.gone += ONE / self.size;
        self.failures += 1;
        if self.gone + ONE / self.size / 2 < ONE && self.failures < self.rule.failures_max {
            return;
        }
        self.rest(now);
    }

    fn rest(&mut self, now: Instant) {
        self.wakes = Some(now + self.pause);
        self.collapse(now + self.pause);
        self.pause = (self.pause * 2).min(self.rule.pause_max);
        // The probe's answer alone decides whether it rests again.
        self.wishes = WISHES_MAX - 1;
        self.somebody_home();
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
