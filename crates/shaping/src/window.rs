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
}

impl Window {
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
            self.belief = if self.ceiling.is_some() { (self.belief * 2).min(BELIEF_MAX) } else { BELIEF_FIRST };
        }
        self.ceiling = Some((self.size, now + self.belief));
    }

    /// Down to one connection, because the site asked for a pause: what it took before says nothing about after.
    pub fn collapse(&mut self) {
        self.size = 1;
        self.success = 0;
        self.trouble = 0;
    }

    /// Somebody knows that a dead site is back: probe it now.
    pub fn wake(&mut self) {
        self.wakes = None;
        self.pause = self.rule.pause_first;
    }

    fn good(&mut self, busy: u32, now: Instant) {
        self.somebody_home();
        self.wishes = 0;
        self.wakes = None;
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
        self.size = (self.size + 1).min(limit.max(1)).max(self.size.min(self.rule.limit.max(1)));
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
        self.pause = (self.pause * 2).min(self.rule.pause_max);
        self.size = 1;
        self.success = 0;
        self.trouble = 0;
        // The probe's answer alone decides whether it rests again.
        self.wishes = WISHES_MAX - 1;
        self.somebody_home();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000_000);

    fn rule() -> WindowRule {
        WindowRule {
            initial: 5,
            limit: 20,
            failures_max: 100,
            pause_first: Duration::from_secs(60),
            pause_max: Duration::from_secs(300),
        }
    }

    fn times(window: &mut Window, feedback: Feedback, count: u32, now: Instant) {
        for _ in 0..count {
            let busy = window.size;
            window.feedback(feedback, busy, now);
        }
    }

    #[test]
    fn a_window_never_leaves_its_limits() {
        let mut window = Window::new(rule());
        times(&mut window, Feedback::Good, 10_000, NOW);
        assert_eq!(window.size(NOW), 20);
        times(&mut window, Feedback::Slower, 1_000, NOW);
        assert_eq!(window.size(NOW + Duration::from_secs(60)), 1);
        assert_eq!(Window::new(WindowRule { initial: 0, limit: 0, ..rule() }).size(NOW), 1);
    }

    #[test]
    fn a_dead_path_is_left_alone_and_woken_with_one_probe_after_a_doubling_pause() {
        let mut window = Window::new(rule());
        times(&mut window, Feedback::Gone, 5, NOW);
        assert_eq!((window.size(NOW), window.wakes(NOW)), (0, Some(NOW + Duration::from_secs(60))));
        // The rest of the cohort comes in late and changes nothing.
        times(&mut window, Feedback::Gone, 20, NOW);
        assert_eq!(window.wakes(NOW), Some(NOW + Duration::from_secs(60)));
        let mut now = NOW;
        for seconds in [60, 120, 240, 300, 300] {
            assert_eq!(window.wakes(now), Some(now + Duration::from_secs(seconds)));
            now = now + Duration::from_secs(seconds);
            assert_eq!(window.size(now), 1, "one probe");
            window.feedback(Feedback::Gone, 1, now);
        }
        now = now + Duration::from_secs(300);
        window.feedback(Feedback::Good, 1, now);
        assert_eq!((window.size(now), window.wakes(now)), (2, None));
        times(&mut window, Feedback::Gone, 2, now);
        assert_eq!(window.wakes(now), Some(now + Duration::from_secs(60)), "success ended the doubling");
    }

    #[test]
    fn so_many_failures_in_a_row_are_enough_although_the_window_is_larger() {
        let mut window = Window::new(WindowRule { failures_max: 3, ..rule() });
        times(&mut window, Feedback::Gone, 2, NOW);
        // Somebody is home.
        times(&mut window, Feedback::Slower, 1, NOW);
        times(&mut window, Feedback::Gone, 2, NOW);
        assert_eq!(window.wakes(NOW), None);
        times(&mut window, Feedback::Gone, 1, NOW);
        assert_eq!(window.wakes(NOW), Some(NOW + Duration::from_secs(60)));
    }

    #[test]
    fn one_success_in_a_cohort_keeps_the_path_alive() {
        let mut window = Window::new(rule());
        for _ in 0..50 {
            times(&mut window, Feedback::Gone, 2, NOW);
            times(&mut window, Feedback::Good, 1, NOW);
            assert!(window.wakes(NOW).is_none());
        }
    }

    #[test]
    fn a_cohort_of_success_opens_one_more_connection_and_a_cohort_of_trouble_closes_one() {
        let mut window = Window::new(rule());
        times(&mut window, Feedback::Good, 4, NOW);
        assert_eq!(window.size(NOW), 5);
        times(&mut window, Feedback::Good, 1, NOW);
        assert_eq!(window.size(NOW), 6);
        times(&mut window, Feedback::Good, 6, NOW);
        assert_eq!(window.size(NOW), 7);
        times(&mut window, Feedback::Slower, 6, NOW);
        assert_eq!(window.size(NOW), 7);
        times(&mut window, Feedback::Slower, 1, NOW);
        assert_eq!(window.size(NOW), 6);
    }

    #[test]
    fn mixed_answers_do_not_make_it_flap() {
        let mut window = Window::new(rule());
        let mut moves = 0;
        for _ in 0..1_000 {
            let before = window.size(NOW);
            times(&mut window, Feedback::Good, 1, NOW);
            times(&mut window, Feedback::Slower, 1, NOW);
            moves += u32::from(window.size(NOW) != before);
        }
        assert!(moves <= 500 && (3..=8).contains(&window.size(NOW)), "{moves} moves, {}", window.size(NOW));
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(rule());
        for _ in 0..1_000 {
            window.feedback(Feedback::Good, 2, NOW);
        }
        assert_eq!(window.size(NOW), 5);
        window.feedback(Feedback::Neutral, 5, NOW);
        assert!(window.is_untouched());
    }

    #[test]
    fn too_many_connections_costs_one_at_once() {
        let mut window = Window::new(rule());
        window.shrink(5, NOW);
        assert_eq!(window.size(NOW), 4);
        window.shrink(3, NOW);
        assert_eq!(window.size(NOW), 2, "it took two beside the one that it refused");
        for _ in 0..10 {
            window.shrink(1, NOW);
        }
        assert_eq!(window.size(NOW), 1);
    }

    #[test]
    fn what_the_site_called_too_many_is_tried_again_seldom_and_then_once() {
        let mut window = Window::new(rule());
        let minutes = |count: u64| NOW + Duration::from_secs(count * 60);
        for open in [5, 4, 3] {
            window.shrink(open, NOW);
        }
        times(&mut window, Feedback::Good, 1_000, NOW);
        assert_eq!(window.size(minutes(9)), 2);
        times(&mut window, Feedback::Good, 2, minutes(10));
        assert_eq!(window.size(NOW), 3, "one more is tried");
        window.shrink(3, minutes(10));
        times(&mut window, Feedback::Good, 1_000, minutes(29));
        assert_eq!(window.size(NOW), 2, "the second time it is believed for twice as long");
        times(&mut window, Feedback::Good, 2 + 3 + 4, minutes(30));
        assert_eq!(window.size(NOW), 5, "a cohort above it: the site takes more now");
        window.shrink(5, minutes(31));
        times(&mut window, Feedback::Good, 4, minutes(41));
        assert_eq!(window.size(NOW), 5, "and what was believed before is over");
    }

    #[test]
    fn a_site_that_wants_less_than_one_connection_is_left_alone_for_longer_and_longer() {
        let mut window = Window::new(rule());
        times(&mut window, Feedback::Slower, 5 + 4 + 3 + 2, NOW);
        assert_eq!((window.size(NOW), window.wakes(NOW)), (1, None));
        times(&mut window, Feedback::Slower, 10, NOW);
        assert_eq!(window.wakes(NOW), Some(NOW + Duration::from_secs(60)));
        // What was under way says nothing new.
        times(&mut window, Feedback::Slower, 10, NOW);
        let later = NOW + Duration::from_secs(60);
        times(&mut window, Feedback::Slower, 1, later);
        assert_eq!(window.wakes(later), Some(later + Duration::from_secs(120)), "the probe is enough");
        let later = later + Duration::from_secs(120);
        times(&mut window, Feedback::Good, 1, later);
        times(&mut window, Feedback::Slower, 9, later);
        assert_eq!(window.wakes(later), None);
    }

    #[test]
    fn a_new_rule_keeps_what_was_learned() {
        let mut window = Window::new(rule());
        times(&mut window, Feedback::Good, 200, NOW);
        window.set_rule(WindowRule { limit: 9, ..rule() });
        assert_eq!(window.size(NOW), 9);
    }
}
