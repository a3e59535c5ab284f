//! Admission of connections and messages: limits hold whatever happens, barriers are named, pauses end gently.
#![allow(clippy::unwrap_used)]

use mail::{EgressPath, Instant, Random, SiteName, SourceName};
use shaping::{Barrier, Family, Feedback, Hold, Limits, NotBefore, Permit, Rate, Shaper, Signal, WindowRule};
use std::time::Duration;

const NOW: Instant = Instant::from_micros(3_600_000_000);

fn path(source: &str, site: &str) -> EgressPath {
    EgressPath { source: SourceName::new(source), site: SiteName::new(site) }
}

fn shaper() -> Shaper {
    Shaper::new(Random::from_number(5))
}

fn limits() -> Limits {
    Limits {
        window: WindowRule { initial: 2, limit: 4, ..WindowRule::default() },
        connections_per_site: Some(3),
        family: None,
        connection_rate: None,
        message_rate: None,
        messages_per_connection: 10,
    }
}

fn barrier(result: Result<Permit, NotBefore>) -> Barrier {
    result.unwrap_err().barrier
}

#[test]
fn the_window_and_the_site_are_full_at_their_limits() {
    let (mut shaper, a, b) = (shaper(), path("a", "s"), path("b", "s"));
    let first = shaper.admit(&a, &limits(), NOW).unwrap();
    let _second = shaper.admit(&a, &limits(), NOW).unwrap();
    assert_eq!(barrier(shaper.admit(&a, &limits(), NOW)), Barrier::Window);
    let _third = shaper.admit(&b, &limits(), NOW).unwrap();
    assert_eq!(barrier(shaper.admit(&b, &limits(), NOW)), Barrier::Site);
    shaper.release(first, NOW);
    assert!(shaper.admit(&b, &limits(), NOW).is_ok());
}

#[test]
fn a_provider_counts_connections_over_all_its_sites_for_each_source() {
    let limits = Limits { family: Some(Family { number: 7, connections: 2 }), ..limits() };
    let mut shaper = shaper();
    let first = shaper.admit(&path("a", "s1"), &limits, NOW).unwrap();
    let _second = shaper.admit(&path("a", "s2"), &limits, NOW).unwrap();
    assert_eq!(barrier(shaper.admit(&path("a", "s3"), &limits, NOW)), Barrier::Family);
    let _other = shaper.admit(&path("b", "s3"), &limits, NOW).unwrap();
    shaper.release(first, NOW);
    assert!(shaper.admit(&path("a", "s3"), &limits, NOW).is_ok());
}

#[test]
fn a_connection_that_was_never_opened_has_taken_no_turn() {
    let minute = Rate::new(1, Duration::from_secs(60));
    let window = WindowRule { initial: 1, limit: 4, ..WindowRule::default() };
    let limits = Limits { window, connection_rate: minute, message_rate: minute, ..limits() };
    let (mut shaper, path) = (shaper(), path("a", "s"));
    for _ in 0..10 {
        let unused = shaper.admit(&path, &limits, NOW).unwrap();
        shaper.give_back(unused, NOW);
    }
    let used = shaper.admit(&path, &limits, NOW).unwrap();
    shaper.release(used, NOW);
    assert_eq!(barrier(shaper.admit(&path, &limits, NOW)), Barrier::ConnectionRate);
}

#[test]
fn rates_name_the_time_and_a_refusal_counts_nothing() {
    let rate = Rate::new(6, Duration::from_secs(60));
    let window = WindowRule { initial: 1, limit: 4, ..WindowRule::default() };
    let limits = Limits { window, connection_rate: rate, connections_per_site: None, ..limits() };
    let (mut shaper, path) = (shaper(), path("a", "s"));
    let permit = shaper.admit(&path, &limits, NOW).unwrap();
    shaper.release(permit, NOW);
    for _ in 0..3 {
        let refused = shaper.admit(&path, &limits, NOW).unwrap_err();
        assert_eq!(
            refused,
            NotBefore { barrier: Barrier::ConnectionRate, at: Some(NOW + Duration::from_secs(10)) }
        );
    }
    assert!(shaper.admit_message(&path, &limits, NOW).is_ok(), "messages have their own rate");
    assert!(shaper.admit(&path, &limits, NOW + Duration::from_secs(10)).is_ok());
}

#[test]
fn a_lowered_rate_comes_back_by_a_quarter_an_hour() {
    let limits = Limits { message_rate: Rate::new(10, Duration::from_secs(1)), ..limits() };
    let (mut shaper, path) = (shaper(), path("a", "s"));
    assert!(shaper.admit_message(&path, &limits, NOW).is_ok());
    shaper.learn(&path, Signal::LowerRate { percent: 50, feedback: Feedback::Slower }, NOW);
    let percent = |shaper: &Shaper| shaper.paths(NOW).next().unwrap().rate_percent;
    assert_eq!(percent(&shaper), 50);
    let sent = |shaper: &mut Shaper, from: Instant| {
        let times = (0..60_000).map(|ms| from + Duration::from_millis(ms));
        times.filter(|at| shaper.admit_message(&path, &limits, *at).is_ok()).count()
    };
    let count = sent(&mut shaper, NOW + Duration::from_secs(60));
    assert!((295..=310).contains(&count), "{count}");
    let hour = NOW + Duration::from_secs(3600);
    sent(&mut shaper, hour);
    assert_eq!(percent(&shaper), 74);
    sent(&mut shaper, NOW + Duration::from_secs(4 * 3600));
    assert_eq!(percent(&shaper), 100);
}

#[test]
fn a_pause_lets_nothing_through_and_ends_with_one_connection() {
    let (mut shaper, path) = (shaper(), path("a", "s"));
    let permit = shaper.admit(&path, &limits(), NOW).unwrap();
    let time = Duration::from_secs(7200);
    shaper.learn(&path, Signal::Pause { time, reason: "blocked".to_owned() }, NOW);
    // A hold by hand does not shorten what the site asked for.
    let short = Hold { until: Some(NOW + Duration::from_secs(1)), reason: "short".to_owned() };
    shaper.hold(&path, &limits(), short, NOW);
    shaper.release(permit, NOW);
    let refused = shaper.admit(&path, &limits(), NOW).unwrap_err();
    assert_eq!(refused, NotBefore { barrier: Barrier::Held("blocked".to_owned()), at: Some(NOW + time) });
    assert_eq!(shaper.admit_message(&path, &limits(), NOW), Err(refused));
    let _one = shaper.admit(&path, &limits(), NOW + time).unwrap();
    assert_eq!(barrier(shaper.admit(&path, &limits(), NOW + time)), Barrier::Window);
}

#[test]
fn a_second_hold_by_hand_takes_the_place_of_the_first_whichever_is_longer() {
    let (mut shaper, path) = (shaper(), path("a", "s"));
    let hold = |seconds: Option<u64>, reason: &str| Hold {
        until: seconds.map(|seconds| NOW + Duration::from_secs(seconds)),
        reason: reason.to_owned(),
    };
    for (seconds, reason) in
        [(Some(60), "first"), (None, "longer"), (Some(600), "shorter"), (Some(600), "again")]
    {
        let said = hold(seconds, reason);
        shaper.hold(&path, &limits(), said.clone(), NOW);
        let refused = shaper.admit(&path, &limits(), NOW).unwrap_err();
        assert_eq!(refused, NotBefore { barrier: Barrier::Held(reason.to_owned()), at: said.until });
        assert_eq!(shaper.paths(NOW).next().unwrap().hold, Some(said));
    }
    // A pause of the site is told while it is the longer one, and ends with the hold when somebody resumes.
    let time = Duration::from_secs(900);
    shaper.learn(&path, Signal::Pause { time, reason: "blocked".to_owned() }, NOW);
    assert_eq!(barrier(shaper.admit(&path, &limits(), NOW)), Barrier::Held("blocked".to_owned()));
    shaper.hold(&path, &limits(), hold(None, "by hand"), NOW);
    assert_eq!(barrier(shaper.admit(&path, &limits(), NOW + time)), Barrier::Held("by hand".to_owned()));
    shaper.resume(&path, NOW);
    assert!(shaper.admit(&path, &limits(), NOW).is_ok());
}

#[test]
fn a_dead_path_says_when_it_is_probed_and_resume_probes_at_once() {
    let (mut shaper, path) = (shaper(), path("a", "s"));
    for _ in 0..2 {
        let permit = shaper.admit(&path, &limits(), NOW).unwrap();
        shaper.learn(&path, Signal::Feedback(Feedback::Gone), NOW);
        shaper.release(permit, NOW);
    }
    let refused = shaper.admit(&path, &limits(), NOW).unwrap_err();
    assert_eq!(refused.barrier, Barrier::Dead);
    let pause = refused.at.unwrap().saturating_since(NOW).as_secs();
    assert!((60..=84).contains(&pause), "{pause} s");
    shaper.resume(&path, NOW);
    let _probe = shaper.admit(&path, &limits(), NOW).unwrap();
    assert_eq!(barrier(shaper.admit(&path, &limits(), NOW)), Barrier::Window);
}

#[test]
fn no_path_ever_exceeds_its_window_or_its_site_whatever_happens() {
    let (mut shaper, mut random) = (shaper(), Random::from_number(3));
    let paths: Vec<_> = (0..6).map(|n| path(&format!("p{}", n % 3), &format!("s{}", n / 3))).collect();
    let mut open: Vec<Permit> = Vec::new();
    let mut now = NOW;
    for _ in 0..50_000 {
        let path = &paths[random.below(6) as usize];
        match random.below(8) {
            0..3 => open.extend(shaper.admit(path, &limits(), now)),
            3..5 if !open.is_empty() => {
                let permit = open.swap_remove(random.below(open.len() as u64) as usize);
                shaper.release(permit, now);
            }
            5 => shaper.learn(path, Signal::Feedback(Feedback::Good), now),
            6 => shaper.learn(path, Signal::Feedback(Feedback::Slower), now),
            7 if random.below(20) == 0 => shaper.learn(path, Signal::Feedback(Feedback::Gone), now),
            _ => now = now + Duration::from_millis(random.below(500)),
        }
        for site in 0..2 {
            let at_site = open.iter().filter(|permit| permit.path().site == paths[site * 3].site).count();
            assert!(at_site <= 3, "{at_site} connections at one site");
        }
        for path in &paths {
            let on_path = open.iter().filter(|permit| permit.path() == path).count();
            assert!(on_path <= 4, "{on_path} connections on one path");
        }
    }
}

#[test]
fn unused_paths_are_forgotten_after_an_hour_unless_held() {
    let mut shaper = shaper();
    for number in 0..100 {
        let _ = shaper.admit_message(&path("a", &number.to_string()), &limits(), NOW);
    }
    let hold = Hold { until: None, reason: "by hand".to_owned() };
    shaper.hold(&path("a", "7"), &limits(), hold, NOW);
    shaper.sweep(NOW + Duration::from_secs(60));
    assert_eq!(shaper.len(), 100);
    shaper.sweep(NOW + Duration::from_secs(3601));
    assert_eq!(shaper.len(), 1);
}

#[test]
fn too_many_connections_where_there_is_one_is_nobody_home() {
    let (mut shaper, path) = (shaper(), path("a", "s"));
    let mut now = NOW;
    // Two at first, because the window is two.
    for seconds in [60, 120, 240] {
        let permit = shaper.admit(&path, &limits(), now).unwrap();
        shaper.learn(&path, Signal::FewerConnections, now);
        shaper.learn(&path, Signal::FewerConnections, now);
        shaper.release(permit, now);
        let refused = shaper.admit(&path, &limits(), now).unwrap_err();
        assert_eq!(refused.barrier, Barrier::Dead);
        let pause = refused.at.unwrap().saturating_since(now).as_secs();
        assert!((seconds..=seconds * 7 / 5).contains(&pause), "{pause} s after a pause of {seconds} s");
        now = refused.at.unwrap();
    }
}

/// N10: our line breaks, and a thousand paths find nobody home in the same second.
#[test]
fn paths_that_died_together_are_not_probed_together() {
    let mut shaper = shaper();
    let limits = Limits { window: WindowRule { initial: 1, ..limits().window }, ..limits() };
    let paths: Vec<_> = (0..1_000).map(|site| path("a", &format!("s{site}"))).collect();
    let mut probed = vec![NOW; paths.len()];
    // The second time they die at their probes, which are apart, and what is added moves them apart further. At the
    // longest pause nothing is added: it is the longest.
    for seconds in [60, 120, 240, 480, 900, 900] {
        let mut pauses = Vec::new();
        for (path, at) in paths.iter().zip(&mut probed) {
            let permit = shaper.admit(path, &limits, *at).unwrap();
            shaper.learn(path, Signal::Feedback(Feedback::Gone), *at);
            shaper.release(permit, *at);
            let next = shaper.admit(path, &limits, *at).unwrap_err().at.unwrap();
            pauses.push(next.saturating_since(*at));
            *at = next;
        }
        let bounds = (Duration::from_secs(seconds), Duration::from_secs((seconds * 7 / 5).min(900)));
        assert!(pauses.iter().all(|pause| (bounds.0..=bounds.1).contains(pause)), "{bounds:?}");
        let mut counts = std::collections::HashMap::<u64, usize>::new();
        for at in &probed {
            *counts.entry(at.saturating_since(NOW).as_secs()).or_default() += 1;
        }
        let worst = counts.into_values().max().unwrap();
        println!("after a pause of {seconds} s: {worst} of 1,000 probes in one second at worst");
        // Spread evenly over 24 seconds it would be 42 on average, and chance adds to the worst of them.
        assert!(worst * 100 <= paths.len() * 7, "{worst} probes in one second");
    }
}

#[test]
fn what_a_site_takes_over_one_connection_is_learned_for_a_day_and_never_exceeds_the_rule() {
    let (mut shaper, path) = (shaper(), path("a", "s"));
    let messages = |shaper: &mut Shaper, now| {
        let permit = shaper.admit(&path, &limits(), now).unwrap();
        let messages = permit.messages();
        shaper.release(permit, now);
        messages
    };
    assert_eq!(messages(&mut shaper, NOW), 10);
    shaper.learn(&self::path("a", "s"), Signal::MessagesPerConnection(3), NOW);
    shaper.learn(&self::path("a", "s"), Signal::MessagesPerConnection(50), NOW);
    assert_eq!(messages(&mut shaper, NOW), 3);
    assert_eq!(messages(&mut shaper, NOW + Duration::from_secs(24 * 3600)), 10);
}

#[test]
fn a_hold_of_one_tenant_is_about_that_tenant_and_that_path_and_ends_by_itself() {
    let (mut shaper, mut random) = (shaper(), Random::from_number(8));
    let at = mail::Timestamp::from_millis(1);
    let (held, other) = (mail::TenantId::mint(at, &mut random), mail::TenantId::mint(at, &mut random));
    let (path, time) = (path("a", "s"), Duration::from_secs(300));
    let hold = |time| Hold { until: Some(NOW + time), reason: "complaints".to_owned() };
    shaper.hold_tenant(&path, held, hold(time), NOW);
    // A shorter one does not shorten it.
    shaper.hold_tenant(&path, held, hold(time / 2), NOW);
    let refused = shaper.check_tenant(&path, held, NOW).unwrap_err();
    assert_eq!(refused, NotBefore { barrier: Barrier::Held("complaints".to_owned()), at: Some(NOW + time) });
    assert_eq!(shaper.tenant_hold(&path.site, held, NOW), Some(&hold(time)));
    assert_eq!(shaper.check_tenant(&path, other, NOW), Ok(()));
    assert_eq!(shaper.check_tenant(&self::path("b", "s"), held, NOW), Ok(()));
    assert_eq!(shaper.check_tenant(&path, held, NOW + time), Ok(()));
    shaper.hold_tenant(&path, held, hold(time * 3), NOW + time);
    shaper.resume(&path, NOW + time);
    assert_eq!(shaper.check_tenant(&path, held, NOW + time), Ok(()));
}
