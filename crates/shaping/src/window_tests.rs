//! The window answer by answer, with `now` advanced by hand.

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
fn after_a_rest_it_no_more_than_doubles_in_a_step_however_fast_the_answers_come() {
    let mut window = Window::new(rule());
    times(&mut window, Feedback::Gone, 5, NOW);
    let back = NOW + Duration::from_secs(60);
    for (seconds, size) in [(0, 2), (9, 2), (10, 4), (20, 8), (29, 8), (30, 16), (40, 20), (41, 20)] {
        let now = back + Duration::from_secs(seconds);
        times(&mut window, Feedback::Good, 1_000, now);
        assert_eq!(window.size(now), size, "after {seconds} s");
    }
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
