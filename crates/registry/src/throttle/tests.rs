//! What wrong secrets cost, and whom they do not stop.
#![allow(clippy::unwrap_used)]

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn throttle() -> Throttle {
    Throttle::new(ThrottleConfig::default())
}

#[test]
fn the_delay_grows_and_then_the_pair_is_locked() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    // Slowly enough that the limits by the minute have no say.
    let delays: Vec<u64> =
        (0..8).map(|n| throttle.failed("c", peer, at(n * 61)).as_millis() as u64).collect();
    assert_eq!(delays, [0, 0, 500, 1000, 2000, 4000, 8000, 8000]);
    let refusal = throttle.check("c", address("192.0.2.200"), at(428)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::CredentialLocked);
    assert_eq!(refusal.retry_after_seconds(), Some(899));
    throttle.check("c", peer, at(427 + 900)).unwrap();
}

#[test]
fn a_lock_that_is_over_does_not_give_a_whole_new_set_of_tries() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..8 {
        throttle.failed("c", peer, at(n * 61));
    }
    let after = 427 + 901;
    let tries = (0..8).take_while(|n| {
        throttle.failed("c", peer, at(after + n * 61));
        throttle.check("c", peer, at(after + n * 61)).is_ok()
    });
    assert_eq!(tries.count(), 3);
}

#[test]
fn one_network_that_tries_many_names_is_stopped() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..10 {
        throttle.check(&format!("name{n}"), peer, at(n)).unwrap();
        throttle.failed(&format!("name{n}"), peer, at(n));
    }
    assert!(throttle.check("name10", peer, at(10)).is_err());
    throttle.check("name10", address("198.51.100.1"), at(10)).unwrap();
    throttle.check("name10", peer, at(70)).unwrap();
}

#[test]
fn somebody_known_does_not_make_the_lock_of_a_network_longer() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    throttle.succeeded("known", peer, at(0));
    for n in 0..10 {
        throttle.failed(&format!("name{n}"), peer, at(n));
    }
    assert!(throttle.check("name10", peer, at(10)).is_err());
    for n in 10..60 {
        throttle.check("known", peer, at(n)).unwrap();
        throttle.failed("known", peer, at(n));
        throttle.succeeded("known", peer, at(n));
    }
    throttle.check("name10", peer, at(70)).unwrap();
}

#[test]
fn strangers_from_everywhere_cannot_lock_the_owner_out() {
    let (mut throttle, owner) = (throttle(), address("203.0.113.5"));
    throttle.succeeded("c", owner, at(0));
    for n in 0..100u8 {
        throttle.failed("c", address(&format!("10.0.{n}.1")), at(1));
    }
    assert!(throttle.check("c", address("10.200.0.1"), at(2)).is_err());
    throttle.check("c", owner, at(2)).unwrap();
}

#[test]
fn a_neighbour_who_guesses_does_not_stop_whom_we_know() {
    let (mut throttle, office) = (throttle(), address("203.0.113.5"));
    throttle.succeeded("c", office, at(0));
    for n in 0..20 {
        throttle.failed(&format!("name{n}"), office, at(1));
    }
    assert!(throttle.check("d", office, at(2)).is_err());
    throttle.check("c", office, at(2)).unwrap();
}

fn guess(number: u8) -> Guess {
    Guess([number; 16])
}

#[test]
fn wrong_secrets_of_neighbours_stop_no_right_one() {
    let (mut throttle, office) = (throttle(), address("203.0.113.5"));
    for n in 0..20 {
        throttle.wrong(&format!("tenant{n}"), office, guess(n), at(1));
    }
    throttle.check_pair("newcomer", office, at(2)).unwrap();
    throttle.check_pair("tenant3", office, at(2)).unwrap();
}

#[test]
fn strangers_from_everywhere_stop_no_right_secret_at_a_new_place() {
    let mut throttle = throttle();
    for n in 0..100u8 {
        throttle.wrong("c", address(&format!("10.0.{n}.1")), guess(n), at(1));
    }
    throttle.check_pair("c", address("10.200.0.1"), at(2)).unwrap();
}

#[test]
fn guessing_goes_on_slowly_where_a_network_or_a_name_is_locked() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..10 {
        let setback = throttle.wrong(&format!("name{n}"), peer, guess(n), at(1));
        assert_eq!((setback.delay, setback.locked), (Duration::ZERO, None), "{n}");
    }
    throttle.succeeded("known", peer, at(1));
    let of_known = throttle.wrong("known", peer, guess(10), at(2));
    let of_network = throttle.wrong("name10", peer, guess(10), at(2));
    assert_eq!(of_known, of_network);
    for n in 0..10u8 {
        throttle.wrong("c", address(&format!("10.0.{n}.1")), guess(n), at(2));
    }
    let of_name = throttle.wrong("c", address("10.200.0.1"), guess(10), at(3));
    for setback in [of_network, of_name] {
        assert_eq!(setback.delay, Duration::from_secs(8));
        assert_eq!(setback.locked.unwrap().kind, RefusalKind::CredentialLocked);
    }
}

#[test]
fn a_lock_of_a_network_ends_however_long_others_go_on() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..65u64 {
        throttle.wrong(&format!("name{n}"), peer, guess(n as u8), at(n));
    }
    assert!(throttle.check("stranger", peer, at(69)).is_ok());
    // Whoever guesses under one name is locked there, whatever else is.
    for n in 0..8 {
        throttle.wrong("c", peer, guess(n), at(100));
    }
    assert!(throttle.check_pair("c", peer, at(100)).is_err());
}

#[test]
fn the_same_wrong_secret_within_a_minute_counts_once_and_is_slowed_down() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    let delays: Vec<u64> =
        (0..59).map(|n| throttle.wrong("c", peer, guess(1), at(n)).delay.as_millis() as u64).collect();
    assert_eq!(delays[..8], [0, 0, 500, 1000, 2000, 4000, 8000, 8000]);
    throttle.check("c", peer, at(59)).unwrap();
    // After a minute it is one more; in the end a client that knows nothing else is locked.
    let counted = (1..10).find(|n| {
        throttle.wrong("c", peer, guess(1), at(n * 60));
        throttle.check_pair("c", peer, at(n * 60)).is_err()
    });
    assert_eq!(counted, Some(7));
}

#[test]
fn another_secret_or_another_name_is_another_failure() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..8 {
        throttle.wrong("c", peer, guess(n % 2), at(1));
    }
    assert!(throttle.check_pair("c", peer, at(1)).is_err());
    for n in 0..2 {
        throttle.wrong(&format!("name{n}"), peer, guess(7), at(1));
    }
    assert!(throttle.check("stranger", peer, at(1)).is_err());
}

#[test]
fn a_success_forgives_earlier_mistakes() {
    let (mut throttle, peer) = (throttle(), address("2001:db8::1"));
    throttle.failed("c", peer, at(0));
    throttle.failed("c", peer, at(0));
    throttle.succeeded("c", peer, at(1));
    assert_eq!(throttle.failed("c", address("2001:db8::ffff"), at(2)), Duration::ZERO);
}

#[test]
fn what_was_counted_beforehand_is_given_back() {
    let (mut throttle, peer) = (throttle(), address("192.0.2.7"));
    for n in 0..100 {
        let name = format!("name{}", n % 3);
        throttle.check(&name, peer, at(1)).unwrap();
        throttle.failed(&name, peer, at(1));
        throttle.returned(&name, peer, at(1));
    }
    for _ in 0..8 {
        throttle.check("name0", peer, at(1)).unwrap();
        throttle.failed("name0", peer, at(1));
    }
    assert!(throttle.check("name0", peer, at(1)).is_err());
    throttle.returned("name0", peer, at(1));
    throttle.check("name0", peer, at(1)).unwrap();
}

#[test]
fn the_table_has_a_bound() {
    let mut throttle = Throttle::new(ThrottleConfig { entries_max: 50, ..ThrottleConfig::default() });
    for n in 0..1000 {
        throttle.failed(&format!("name{n}"), address(&format!("10.1.{}.1", n % 250)), at(n));
    }
    assert_eq!(throttle.table.len(), 50);
}
